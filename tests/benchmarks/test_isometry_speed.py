"""The logistic baseline's grid on the projection against the same ``GridSearchCV`` on the features, side by side.

    pytest tests/benchmarks/test_isometry_speed.py -s

Six values of C, three folds, 316 rows of 25,088 features in four classes. With FEATCACHE_CACHE naming a cache that
holds the VGG16 features of a dataset of that kind, on those (training rows of its last extract); else on made ones,
as sparse.
"""

from __future__ import annotations

import os
import time

import numpy as np
from sklearn.model_selection import GridSearchCV

import featcache
from heads.experiments.baseline_models import TABLE
from heads.search.gram_projection import isometric

GRID = {"model__C": [0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0]}


def features() -> tuple[np.ndarray, np.ndarray]:
    if "FEATCACHE_CACHE" in os.environ:
        train = featcache.load("vgg16", task="multiclass", cache=os.environ["FEATCACHE_CACHE"]).split("train")
        return train.X, train.y
    rng = np.random.default_rng(0)
    y = np.arange(316) % 4
    return np.maximum(rng.normal(-0.5, 1, (316, 25_088)) + 0.2 * rng.normal(size=(4, 25_088))[y], 0).astype("f4"), y


def test_logistic_grid():
    X, y = features()

    def search(rows: np.ndarray) -> GridSearchCV:
        return GridSearchCV(TABLE["logistic"].model, GRID, cv=3).fit(rows, y)

    search(isometric(X[:60, :2000]).repeat(6, axis=0)[: len(y)])  # warm-up
    started = time.perf_counter()
    ours = search(isometric(X))
    middle = time.perf_counter()
    plain = search(X)
    seconds = (middle - started, time.perf_counter() - middle)
    scores = [found.cv_results_["mean_test_score"] for found in (ours, plain)]
    difference = float(np.abs(scores[0] - scores[1]).max())
    print(  # noqa: T201
        f"\nprojected {seconds[0]:.2f} s, plain {seconds[1]:.1f} s: {seconds[1] / seconds[0]:.1f} times; "
        f"scores differ by {difference:.1g}; best {ours.best_params_} and {plain.best_params_}"
    )
    assert difference < 1e-6
    assert ours.best_params_ == plain.best_params_
