"""The one decomposition gives what fitting anew for every fold gives."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from heads.evaluation import held_out_ridge
from heads.evaluation.held_out_ridge import held_out_labels, whole_group_folds
from heads.evaluation.ridge_smoother import RidgeSmoother


def drawn(n: int, d: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n // 2), 2)
    y = groups % classes
    y[y == 1] = np.where(rng.random((y == 1).sum()) < 0.5, 0, 1)  # unequal classes, and patients of several
    return rng.normal(size=(n, d)) + 0.6 * rng.normal(size=(classes, d))[y], y, groups


def fitted_anew(X: np.ndarray, y: np.ndarray, folds: list[np.ndarray]) -> np.ndarray:
    """The same model by sklearn, once for each fold and penalty."""
    Z = (X - X.mean(0)) / X.std(0)
    classes = len(np.unique(y))
    weights = len(y) / np.bincount(y)[y] / classes
    targets = np.eye(classes)[y]
    best, least = None, np.inf
    for penalty in RidgeSmoother(Z, weights).penalties():
        given = np.empty_like(targets)
        for held in folds:
            rest = np.setdiff1d(np.arange(len(y)), held)
            given[held] = Ridge(penalty, solver="svd").fit(Z[rest], targets[rest], weights[rest]).predict(Z[held])
        error = (weights[:, None] * (targets - given) ** 2).sum()
        if error < least:
            best, least = given, error
    return best.argmax(axis=1)


@pytest.mark.parametrize(("n", "d", "classes"), [(60, 200, 2), (60, 200, 3), (120, 15, 2), (120, 15, 4), (60, 60, 3)])
def test_held_out_labels_are_those_of_models_fitted_anew(n, d, classes):
    X, y, groups = drawn(n, d, classes)
    folds = whole_group_folds(y, groups, seed=0)
    np.testing.assert_array_equal(held_out_labels(X, y, folds), fitted_anew(X, y, folds))


def test_folds_tear_no_group_apart_and_hold_every_row_once():
    _, y, groups = drawn(160, 2, 3)
    folds = whole_group_folds(y, groups, seed=0)
    assert sorted(np.concatenate(folds)) == list(range(160))
    assert len(folds) == held_out_ridge.FOLDS
    homes = [set(groups[held]) for held in folds]
    assert sum(map(len, homes)) == len(set(groups))


@pytest.mark.parametrize("columns", [1, 3, 400])
def test_columns_that_say_nothing_give_chance(columns):
    """Leaving rows out one by one would turn the labels around here: each leaves its own class the smaller."""
    rng, found = np.random.default_rng(0), []
    for _ in range(12):
        y = np.arange(80) % 2
        found.append(
            (held_out_labels(rng.normal(size=(80, columns)), y, whole_group_folds(y, np.arange(80), 0)) == y).mean()
        )
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)


def test_constant_features_are_no_error():
    y = np.arange(20) % 2
    assert held_out_labels(np.full((20, 5), 3.0), y, whole_group_folds(y, np.arange(20), 0)).shape == (20,)
