"""What follows from one decomposition is what sklearn's ridge gives, fitted anew without the rows in question."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from heads.evaluation.ridge_smoother import RidgeSmoother


def fitted_without(rows, X, Y, weight, penalty, intercept):
    rest = np.setdiff1d(np.arange(len(X)), rows)
    ridge = Ridge(penalty, solver="svd", fit_intercept=intercept)
    return ridge.fit(X[rest], Y[rest], None if weight is None else weight[rest])


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize(
    ("n", "d", "rank"), [(60, 200, 200), (60, 200, 7), (120, 15, 15), (120, 15, 4), (40, 40, 40), (40, 39, 39)]
)
def test_left_out_groups_and_their_models(n, d, rank, weighed, intercept):
    rng = np.random.default_rng(n + d + rank)
    X = 3 + rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d)) if rank < d else 3 + rng.normal(size=(n, d))
    X = X if intercept else X - 3
    Y, group = rng.normal(size=(n, 3)), rng.integers(0, 9, n)
    weight = rng.uniform(0.2, 3, n) if weighed else None
    # A partition, and groups that overlap, of one row and of half of them.
    groups = [np.flatnonzero(group == one) for one in range(9)] + [np.arange(1), np.arange(n // 2)]
    smoother = RidgeSmoother(X, weight, intercept=intercept)
    others = X[:5] + X[5:10] - X[10:15]
    for penalty in (1e-3, 1.0, 1e3):
        for rows, given in zip(groups, smoother.left_out(Y, groups, penalty), strict=True):
            alone = fitted_without(rows, X, Y, weight, penalty, intercept)
            np.testing.assert_allclose(given, alone.predict(X[rows]), rtol=1e-9, atol=1e-9)
            pulling_nowhere = Y.copy()
            pulling_nowhere[rows] = given
            slopes, level = smoother.model(pulling_nowhere, penalty)
            np.testing.assert_allclose(slopes.T, alone.coef_, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(level, alone.intercept_, rtol=1e-9, atol=1e-9)
            answers = smoother.answers(others, penalty) @ pulling_nowhere
            np.testing.assert_allclose(answers, alone.predict(others), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(60, 200), (120, 15)], ids=str)
def test_weak_penalties_are_as_exact_as_sklearns_own(shape):
    """Beside the largest square 1e-8; what only one group has is told apart by the penalty alone."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=shape) * np.logspace(0, -5, shape[1])
    X[:3, -1], X[3:, -1] = 1, 0
    y, rows = rng.normal(size=shape[0]), np.arange(3)
    smoother = RidgeSmoother(X)
    penalty = 1e-8 * smoother.largest
    (given,) = smoother.left_out(y, [rows], penalty)
    np.testing.assert_allclose(given, fitted_without(rows, X, y, None, penalty, True).predict(X[rows]), rtol=1e-6)


def test_rows_that_are_all_the_same_give_the_mean_of_the_others():
    smoother = RidgeSmoother(np.full((6, 3), 2.0))
    y = np.arange(6.0)
    (given,) = smoother.left_out(y, [np.array([4, 5])], smoother.penalties()[0])
    np.testing.assert_allclose(given, [1.5, 1.5])


def test_the_best_penalty_is_weak_where_columns_tell_and_strong_where_they_do_not():
    rng = np.random.default_rng(0)
    X, folds = rng.normal(size=(80, 10)), np.array_split(np.arange(80), 10)
    smoother = RidgeSmoother(X)
    ladder = smoother.penalties()
    assert smoother.best_penalty(X @ rng.normal(size=10), folds) == ladder[0]
    assert smoother.best_penalty(rng.normal(size=80), folds) >= ladder[-4]
