"""How many labels that were made wrong ``label-errors`` finds, beside cleanlab where it can be imported.

    python tests/benchmarks/flipped_labels.py --data xrays/ --backbone vgg16 --pair pneumonia_bac,pneumonia_vir

Labels of real images are flipped, at random and within a pair of classes, and looked for. At the right number, as many
as were flipped, precision and recall are the same; cleanlab ranks by the same probabilities. It is no dependency: where
it is not installed, its column stays empty.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

import featcache
from heads.auditing.audit_record import join_groups
from heads.evaluation.confident_learning import doubts, label_noise, suspected
from heads.experiments.baseline_search import model_rows
from heads.experiments.label_errors import MODELS
from heads.experiments.out_of_fold import chosen_models, out_of_fold


def flipped(y: np.ndarray, classes: int, pair: tuple[int, int] | None, share: float, seed: int):
    """Labels of which a share is wrong, of all or of a pair of classes, and which."""
    rng, wrong = np.random.default_rng(seed), y.copy()
    among = np.arange(len(y)) if pair is None else np.flatnonzero(np.isin(y, pair))
    rows = rng.choice(among, round(share * len(among)), replace=False)
    wrong[rows] = (y[rows] + rng.integers(1, classes, len(rows))) % classes if pair is None else sum(pair) - y[rows]
    return wrong, rows


def found(order: np.ndarray, rows: np.ndarray) -> float:
    """Share of the flipped ones among as many of the first."""
    return float(np.isin(order[: len(rows)], rows).mean()) if len(rows) else np.nan


def order_of(labels: np.ndarray, p: np.ndarray) -> np.ndarray:
    """As ``label-errors`` has it: suspects first, each part by doubt."""
    return np.lexsort((-doubts(labels, p), ~suspected(labels, p, label_noise(labels, p))))


def order_of_cleanlab(labels: np.ndarray, p: np.ndarray) -> np.ndarray | None:
    """Its issues first, then the rest by its score of a label's quality."""
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return None
    return np.lexsort((get_label_quality_scores(labels, p), ~find_label_issues(labels, p)))


def main() -> None:
    """Flip, look, and print a row for each kind and share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--cache", default="cache")
    parser.add_argument("--pooling", default="flatten")
    parser.add_argument("--pair", required=True, help="two classes that are hard to tell apart")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shares", default="0.05,0.1,0.2")
    parser.add_argument("--keep", help="a folder for the probabilities, as NumPy files")
    asked = parser.parse_args()
    load = {"task": "multiclass", "data": asked.data, "cache": asked.cache}
    features = join_groups(featcache.load(asked.backbone, pooling=asked.pooling, **load), asked.cache)
    averaged = featcache.load(asked.backbone, pooling="avg", **load)
    models = asked.models.split(",")
    pair = tuple(features.classes.index(name) for name in asked.pair.split(","))
    seen = model_rows(features, np.arange(len(features)), chosen_models(models, features.task)[0], 0)
    print(f"{len(features)} images, {', '.join(models)}, {asked.pooling}, mean of {asked.seeds} seeds")
    print("flipped                share   labels   found   cleanlab   suspects   precision   recall   estimate")
    for kind, among in (("nothing", None), ("at random", None), (asked.pair, pair)):
        for share in (0.0,) if kind == "nothing" else map(float, asked.shares.split(",")):
            lines = []
            for seed in range(asked.seeds):
                y, rows = flipped(features.y, len(features.classes), among, share, seed)
                own, of_head = (replace(one, y=y, groups=features.groups) for one in (features, averaged))
                held = out_of_fold(replace(seen, features=own), of_head, models, 5, seed, lambda model: None)
                each = np.stack([model.outputs for model in held])
                p = each.mean(axis=0)
                if asked.keep:
                    Path(asked.keep).mkdir(exist_ok=True)
                    np.savez(Path(asked.keep) / f"{kind}-{share}-{seed}.npz", each=each, y=y, rows=rows)
                suspects, theirs = np.flatnonzero(suspected(y, p, label_noise(y, p))), order_of_cleanlab(y, p)
                hits = len(set(suspects) & set(rows))
                lines.append(
                    (
                        *(len(rows), found(order_of(y, p), rows)),
                        *(np.nan if theirs is None else found(theirs, rows), len(suspects)),
                        *(hits / max(1, len(suspects)), hits / len(rows) if len(rows) else np.nan),
                        label_noise(y, p).wrong,
                    )
                )
            n, own, theirs, count, precision, recall, wrong = np.mean(lines, axis=0)
            print(
                f"{kind[:22]:<22} {share:>5.0%} {n:>8.0f} {own:>7.2f} {theirs:>10.2f} {count:>10.1f} {precision:>11.2f} "
                f"{recall:>8.2f} {wrong:>10.1f}",
                flush=True,
            )
            if asked.keep:
                (Path(asked.keep) / f"{kind}-{share}.json").write_text(json.dumps(lines))


if __name__ == "__main__":
    main()
