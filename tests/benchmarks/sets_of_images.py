"""How often sets hold the truth of real images, and how large they are, over new divisions of the patients.

    python tests/benchmarks/sets_of_images.py --cache xray-cache --task multiclass --repeats 20

Each division is fitted, calibrated and judged anew, as ``baselines`` and ``fit-head`` do it; the scores that sets could
be made of stand side by side on the same outputs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from conformal_draws import far_by, of_patients

import featcache
from heads.evaluation.clusters import group_codes
from heads.evaluation.conformal_coverage import conformal_coverage
from heads.evaluation.conformal_sets import COVERAGE, SETS
from heads.evaluation.held_out_scores import HeldOutScores, hierarchical_quantile
from heads.evaluation.splits import partition, training_folds
from heads.evaluation.task_metrics import TASK_METRICS
from heads.experiments.baseline_models import TABLES
from heads.experiments.baseline_search import search
from heads.experiments.calibration_patients import scores_of_rows, scores_of_validation
from heads.experiments.divisions import derived_seed, divisions
from heads.experiments.head_models import head_model
from heads.experiments.held_out import outputs_of_folds
from heads.experiments.search_scores import SCORES

SCORE_NAMES = ("LAC", "APS", "RAPS", "LAC by class")


def by_image(scores: HeldOutScores) -> HeldOutScores:
    """As though each image were of a patient of his own."""
    return HeldOutScores(scores.scores, np.arange(len(scores.scores), dtype=np.int32), scores.questions)


def told(kind: Any, scores: HeldOutScores, features: Any, test: np.ndarray, outputs: np.ndarray) -> list[float]:
    y, groups = features.y[test], features.groups[test]
    rows = conformal_coverage(kind, scores, y, outputs, groups, features.classes)["rows"]
    parts = [row["coverage"] for row in rows[1:] if row["coverage"] is not None]
    rules = SETS[kind]
    sets = rules.sets(
        outputs, TASK_METRICS[kind].answers(outputs), rules.thresholds(scores, COVERAGE, features.classes)
    )
    of_images = float(rules.held(y, sets, features.classes).held.mean())
    return [rows[0]["coverage"], rows[0]["size"], rows[0]["one"] or np.nan, min(parts, default=np.nan), of_images]


def by_score(name: str, y: np.ndarray, given: np.ndarray, of: np.ndarray, true: np.ndarray, test: Any, who: Any) -> Any:
    """The same of classes by another score: calibrated on ``y given of``, judged on ``true test who``."""
    own = far_by(name, given, given.argmax(axis=1))[np.arange(len(y)), y]
    labels = range(given.shape[1])
    asked = [y == label for label in labels] if name.endswith("class") else [np.full(len(y), True)]
    q = np.array([hierarchical_quantile(own[rows], of[rows], COVERAGE) for rows in asked])
    sets = far_by(name, test, test.argmax(axis=1)) <= q
    held, sizes = sets[np.arange(len(true)), true], sets.sum(axis=1)
    worst = min(of_patients(held[true == label], who[true == label]) for label in labels)
    return [of_patients(held, who), of_patients(sizes, who), of_patients(sizes == 1, who), worst, float(held.mean())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--task", default="multiclass")
    parser.add_argument("--classes")
    parser.add_argument("--label-column")
    parser.add_argument("--target")
    parser.add_argument("--data")
    parser.add_argument("--models", default="ridge,head")
    parser.add_argument("--repeats", type=int, default=20)
    asked = parser.parse_args()
    task: Any = asked.task
    if asked.task == "multilabel":
        task = featcache.Multilabel(column=asked.label_column)
    if asked.task == "regression":
        task = featcache.Regression(asked.target)
    classes = asked.classes.split(",") if asked.classes else None
    features = featcache.load(None, task=task, classes=classes, data=asked.data, pooling="avg", cache=asked.cache)
    kind = features.task.kind
    measures, found = TASK_METRICS[kind], dict[str, list[Any]]()
    counts = []
    for number, parts in enumerate(divisions(features, partition(features), asked.repeats, 0)):
        test, seed = parts.test, derived_seed(0, number, 2)
        for name in asked.models.split(","):
            if name == "head":
                head: Any = head_model(features.task, "dense", seed, {"patience": 10})
                val = features.take(parts.val)
                learnt = features.take(parts.train)
                head.fit(learnt.X, learnt.y, validation_data=(val.X, val.y))
                raw = measures.outputs(head, features.X)
                settled = measures.settle(features, parts, raw, None if kind == "number" else "temperature", None)
                scores = scores_of_validation(features, parts.val, raw, settled)
                given = settled.probabilities[test]
            else:
                rows, folds = training_folds(features, parts, 5, seed)
                X, y, groups = features.X[rows], features.y[rows], features.groups[rows]
                baseline = TABLES[kind][name]
                best = search(baseline.model, baseline.grid, X, y, folds, SCORES[kind].scoring, groups).search
                outputs = outputs_of_folds(best.best_estimator_, X, y, groups, folds, kind)
                scores, given = scores_of_rows(features, rows, outputs), measures.outputs(best, features.X[test])
                if kind == "classes":
                    who, of = (group_codes(one, len(one)) for one in (features.groups[test], groups))
                    for score in SCORE_NAMES:
                        cells = by_score(score, y, outputs, of, features.y[test], given, who)
                        found.setdefault(f"{name}, {score}", []).append(cells)
            counts.append((name, len(np.unique(scores.patients)), len(scores.scores), len(set(features.groups[test]))))
            found.setdefault(name, []).append(told(kind, scores, features, test, given))
            found.setdefault(f"{name}, by images", []).append(told(kind, by_image(scores), features, test, given))
        print(number, *counts[-len(asked.models.split(",")) :], file=sys.stderr, flush=True)  # noqa: T201
    header = ("sets of", "divisions", "coverage", "its deviation", "size", "single answers", "worst class or answer")
    for cells in ((*header, "of images"), ("---",) * 8):
        print("| " + " | ".join(cells) + " |")  # noqa: T201
    for name, values in found.items():
        mean, spread = np.nanmean(values, axis=0), np.std([one[0] for one in values], ddof=1)
        cells = f"{mean[0]:.3f} | {spread:.3f} | {mean[1]:.3g} | {mean[2]:.2f} | {mean[3]:.3f} | {mean[4]:.3f}"
        print(f"| {name} | {len(values)} | {cells} |")  # noqa: T201


if __name__ == "__main__":
    main()
