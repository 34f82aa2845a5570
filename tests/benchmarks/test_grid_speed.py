"""A slice of the report's binary grid: ``FastGridSearchCV`` against ``GridSearchCV`` over scikeras, side by side.

    pip install scikeras
    FEATCACHE_CACHE=cache pytest tests/benchmarks/test_grid_speed.py -s

The slice: learning rate 0.001, relu, dropout 0.2, and 40, 80 and 120 epochs, 3 folds: 9 of the 270 fits, with the full
grid's mix of epochs. On the binary VGG16 features of the cache that the variable names, or on made-up ones of the same
shape. The engine's program is compiled before, as it is for all but the first of the full grid's trainings.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, StratifiedKFold

import featcache
from featcache.accelerator import load_tensorflow
from heads import DenseHeadClassifier, FastGridSearchCV

ROUNDS = int(os.environ.get("FEATCACHE_ROUNDS", "3"))
GRID = {"epochs": [40, 80, 120]}
FOLDS = StratifiedKFold(3)
FULL, FULL_FITS, SLICE_FITS = "90 candidates x 3 folds", 270, 9


def features(pooling: str) -> tuple[np.ndarray, np.ndarray]:
    """Training rows of the binary task."""
    cache = os.environ.get("FEATCACHE_CACHE")
    if cache:
        loaded = featcache.load("vgg16", task="binary", pooling=pooling, cache=Path(cache))
        train = loaded.split("train")
        return np.asarray(train.X), train.y
    rng = np.random.default_rng(0)
    width = 25_088 if pooling == "flatten" else 512
    return np.maximum(rng.normal(-0.5, 1, (156, width)), 0).astype(np.float32), rng.integers(0, 2, 156)


@pytest.mark.parametrize("pooling", ["flatten", "avg"])
def test_slice_of_the_binary_grid(pooling):
    wrappers = pytest.importorskip("scikeras.wrappers")
    _, keras = load_tensorflow()
    X, y = features(pooling)

    def build() -> object:
        model = keras.Sequential(
            [
                keras.Input((X.shape[1],)), keras.layers.Dense(256, "relu"), keras.layers.Dropout(0.2),
                keras.layers.Dense(1, "sigmoid"),
            ]
        )  # fmt: skip
        model.compile(keras.optimizers.Adam(0.001), "binary_crossentropy", metrics=["accuracy"])
        return model

    theirs = GridSearchCV(wrappers.KerasClassifier(build, batch_size=32, verbose=0), GRID, cv=FOLDS, refit=False)
    head = DenseHeadClassifier(256, dropout=0.2, learning_rate=0.001, batch_size=32, random_state=0)
    ours = FastGridSearchCV(head, GRID, cv=FOLDS, refit=False)

    def seconds(search: GridSearchCV) -> float:
        started = time.perf_counter()
        search.fit(X, y)
        return time.perf_counter() - started

    seconds(ours)  # compiles
    wrappers.KerasClassifier(build, batch_size=32, verbose=0, epochs=1).fit(X, y)
    rounds = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS)]
    ratios = sorted(t / o for o, t in rounds)
    mine, other = (statistics.median(column) for column in zip(*rounds, strict=True))
    scale = FULL_FITS / SLICE_FITS
    print(  # noqa: T201
        f"\n{pooling}, {X.shape[0]} x {X.shape[1]}: {mine:.1f} s, GridSearchCV over scikeras {other:.1f} s: "
        f"{statistics.median(ratios):.1f} times ({ratios[0]:.1f} to {ratios[-1]:.1f}); {FULL}, scaled from it: "
        f"{mine * scale:.0f} s and {other * scale:.0f} s"
    )
    print("scores", ours.cv_results_["mean_test_score"].round(3), theirs.cv_results_["mean_test_score"].round(3))  # noqa: T201
