"""A quick exact model to judge features by: ridge regression on the classes, cross-validated with whole groups.

A linear smoother's predictions for rows that are held out follow from those for rows that are not: with the hat matrix
H of all rows and a fold B, the errors of a model that never saw B are ``(I - H_BB)^-1 e_B`` (Allen 1974 for single
rows). So one eigendecomposition serves every fold and every penalty, and nothing is fitted anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import linalg
from sklearn.model_selection import StratifiedGroupKFold

FOLDS = 10
_PENALTIES = np.logspace(-3, 2, 11)  # in units of the mean squared length of a row


def held_out_labels(X: np.ndarray, y: np.ndarray, folds: Sequence[np.ndarray]) -> np.ndarray:
    """The class that a ridge classifier gives each row, learnt from the other folds; int array of shape (n,).

    Columns are scaled to mean 0 and deviation 1 over all rows, which takes no labels; classes count alike. The one
    penalty is that with the least squared error on what is held out, classes counting alike there too: one number,
    chosen by another measure than the labels are judged by.

    Parameters
    ----------
    X : array of shape (n, d).
    y : int array of shape (n,), classes counted from 0.
    folds : positions of the rows of each; every row stands in one.
    """
    weights = np.sqrt(len(y) / np.bincount(y)[y] / len(np.unique(y)))[:, None]
    targets = weights * (np.eye(int(y.max()) + 1)[y] - 1 / len(np.unique(y)))
    directions, squares = _directions(weights * _scaled(X))
    unit = float(squares.sum()) / len(y) or 1.0
    best, least = np.zeros_like(targets), np.inf
    along = directions.T @ targets
    for penalty in _PENALTIES * unit:
        kept = squares / (squares + penalty)
        errors = targets - directions @ (kept[:, None] * along)
        for rows in folds:
            own = directions[rows]
            errors[rows] = linalg.solve(np.eye(len(rows)) - (own * kept) @ own.T, errors[rows], assume_a="pos")
        error = float((errors**2).sum())
        if error < least:
            best, least = targets - errors, error
    return (best / weights).argmax(axis=1)


def whole_group_folds(y: np.ndarray, of_group: np.ndarray, seed: int) -> list[np.ndarray]:
    """Positions of the rows of each of ten folds, or as many as a class has groups; classes in proportion.

    Every class has rows of two groups or more.
    """
    fewest = min(len(np.unique(of_group[y == label])) for label in np.unique(y))
    splitter = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    return [held for _, held in splitter.split(y, y, of_group) if len(held)]


def _scaled(X: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and deviation 1, and one more as long as they are together, for what no column says."""
    rows = np.asarray(X, np.float64).reshape(len(X), -1)
    rows = rows - rows.mean(axis=0)
    rows /= np.maximum(rows.std(axis=0), 1e-9 * max(1.0, float(np.abs(rows).max(initial=0.0))))
    length = np.sqrt(max(1.0, float((rows**2).sum()) / len(rows)))
    return np.c_[rows, np.full(len(rows), length)]


def _directions(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal directions of shape (n, r) that the rows span, and the squared length along each."""
    count, columns = rows.shape
    if count <= columns:
        squares, directions = linalg.eigh(rows @ rows.T)
        return directions, np.maximum(squares, 0)
    squares, axes = linalg.eigh(rows.T @ rows)
    there = squares > 1e-10 * squares.max()
    return (rows @ axes[:, there]) / np.sqrt(squares[there]), squares[there]
