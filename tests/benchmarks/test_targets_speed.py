"""Baselines' grids for a number and for several labels: ``FastGridSearchCV`` against ``GridSearchCV``, side by side.

    pytest tests/benchmarks/test_targets_speed.py -s

Three folds, 316 rows of 25,088 features, a number and 14 labels of which a fifth is not known. Three turns each, one
after the other; ratios of medians.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, KFold

from heads import FastGridSearchCV
from heads.experiments.baseline_models import TABLES, with_seed
from heads.experiments.search_scores import SCORES

TURNS = 3
CASES = [("number", "ridge"), ("number", "svr"), ("labels", "xgboost")]


def features() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    along = rng.normal(size=(316, 15))
    X = np.maximum(rng.normal(-0.5, 1, (316, 25_088)) + 0.2 * along @ rng.normal(size=(15, 25_088)), 0).astype("f4")
    labels = (along[:, :14] > 0.8).astype(float)
    labels[rng.random(labels.shape) < 0.2] = np.nan
    return X, {"number": 55 + 15 * along[:, 14], "labels": labels}


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_grid(kind, name):
    X, targets = features()
    row = TABLES[kind][name]
    model, space = with_seed(row.model, 0), {key: list(values) for key, values in row.grid.items()}
    options = {"cv": KFold(3), "scoring": SCORES[kind].scoring, "refit": False}
    seconds: dict[type, list[float]] = {FastGridSearchCV: [], GridSearchCV: []}
    scores = {}
    for _ in range(TURNS):
        for search, taken in seconds.items():
            started = time.perf_counter()
            scores[search] = search(model, space, **options).fit(X, targets[kind]).cv_results_["mean_test_score"]
            taken.append(time.perf_counter() - started)
    ours, plain = (median(taken) for taken in seconds.values())
    difference = float(np.abs(np.subtract(*scores.values())).max() / np.abs(scores[GridSearchCV]).max())
    print(  # noqa: T201
        f"\n{kind}, {name}: {ours:.2f} s, GridSearchCV {plain:.2f} s: {plain / ours:.1f} times; "
        f"scores differ by {difference:.1g} of themselves"
    )
    assert difference < 1e-6
