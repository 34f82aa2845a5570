r"""How many labels that were made wrong ``label-errors`` finds, beside cleanlab where it is installed.

    python tests/benchmarks/flipped_labels.py --data xrays/ --backbone vgg16 --pair pneumonia_bac,pneumonia_vir \
        --keep probabilities --cleanlab clenv/bin/python

Labels of real images are flipped, at random and within a pair of classes, and looked for. At the right number, as many
as were flipped, precision and recall are the same; cleanlab ranks by the same probabilities. It is no dependency and
has an environment of its own; without one its column stays empty.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
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


_CLEANLAB = """
import sys
import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
for place in sys.argv[1:]:
    kept = np.load(place)
    y, p = kept["y"], kept["each"].mean(axis=0)
    order = np.lexsort((get_label_quality_scores(y, p), ~find_label_issues(y, p)))
    print(" ".join(map(str, order)))
"""


def orders_of_cleanlab(python: str | None, places: list[Path]) -> list[np.ndarray | None]:
    """Of each file of probabilities: its issues first, then the rest by its score of a label's quality."""
    if python is None:
        return [None] * len(places)
    command = [python, "-c", _CLEANLAB, *map(str, places)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [np.array(line.split(), dtype=int) for line in lines]


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
    parser.add_argument("--keep", required=True, help="a folder for the probabilities; those there are not made anew")
    parser.add_argument("--cleanlab", help="a Python that has it, such as clenv/bin/python")
    asked = parser.parse_args()
    kept = Path(asked.keep)
    kept.mkdir(parents=True, exist_ok=True)
    load = {"task": "multiclass", "data": asked.data, "cache": asked.cache}
    features = join_groups(featcache.load(asked.backbone, pooling=asked.pooling, **load), asked.cache)
    averaged = replace(featcache.load(asked.backbone, pooling="avg", **load), groups=features.groups)
    models = asked.models.split(",")
    pair = tuple(features.classes.index(name) for name in asked.pair.split(","))
    seen = model_rows(features, np.arange(len(features)), chosen_models(models, features.task)[0], 0)
    settings = [("nothing", None, 0.0)]
    for kind, among in (("at random", None), (asked.pair, pair)):
        settings += [(kind, among, float(share)) for share in asked.shares.split(",")]
    for seed in range(asked.seeds):
        for kind, among, share in settings:
            place = _place(kept, kind, share, seed)
            if place.exists():
                continue
            y, rows = flipped(features.y, len(features.classes), among, share, seed)
            own, of_head = (replace(one, y=y) for one in (features, averaged))
            held = out_of_fold(replace(seen, features=own), of_head, models, 5, seed, lambda model: None)
            np.savez(place, each=np.stack([model.outputs for model in held]), y=y, rows=rows)
            sys.stderr.write(f"made {place.name}\n")
    wide = max(len(kind) for kind, _, _ in settings)
    lines = [
        f"{len(features)} images, {', '.join(models)}, {asked.pooling}, mean of {asked.seeds} seeds",
        f"{'flipped':<{wide}} share   labels   found   cleanlab   suspects   precision   recall   estimate",
    ]
    for kind, _, share in settings:
        places = [_place(kept, kind, share, seed) for seed in range(asked.seeds)]
        each = [
            _line(np.load(place), order)
            for place, order in zip(places, orders_of_cleanlab(asked.cleanlab, places), strict=True)
        ]
        n, own, theirs, count, precision, recall, wrong = np.mean(each, axis=0)
        lines.append(
            f"{kind:<{wide}} {share:>5.0%} {n:>8.0f} {own:>7.3f} {theirs:>10.3f} {count:>10.1f} {precision:>11.2f} "
            f"{recall:>8.2f} {wrong:>10.1f}"
        )
    sys.stdout.write("\n".join(lines) + "\n")


def _place(folder: Path, kind: str, share: float, seed: int) -> Path:
    return folder / f"{kind}-{share}-{seed}.npz"


def _line(kept: Mapping[str, np.ndarray], theirs: np.ndarray | None) -> tuple[float, ...]:
    y, rows, p = kept["y"], kept["rows"], kept["each"].mean(axis=0)
    noise = label_noise(y, p)
    suspects = np.flatnonzero(suspected(y, p, noise))
    hits = len(set(suspects) & set(rows))
    return (
        *(len(rows), found(order_of(y, p), rows), np.nan if theirs is None else found(theirs, rows), len(suspects)),
        *(hits / max(1, len(suspects)), hits / len(rows) if len(rows) else np.nan, noise.wrong),
    )


if __name__ == "__main__":
    main()
