"""A quick exact model to judge features by: ridge regression on the classes, cross-validated with whole groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from .ridge_smoother import RidgeSmoother

FOLDS = 10


def held_out_labels(
    X: np.ndarray, y: np.ndarray, folds: Sequence[np.ndarray], weight: np.ndarray | None = None
) -> np.ndarray:
    """The class that a ridge classifier gives each row, learnt from the other folds; int array of shape (n,).

    Columns are scaled to mean 0 and deviation 1 over all rows, which takes no labels; classes count alike. The one
    penalty is that with the least squared error on what is held out, classes counting alike there too: one number,
    chosen by another measure than the labels are judged by.

    Parameters
    ----------
    X : array of shape (n, d).
    y : int array of shape (n,), classes counted from 0.
    folds : positions of the rows of each; every row stands in one.
    weight : how much each row counts among those of its class, array of shape (n,) of numbers above 0; None counts all
        alike.
    """
    n_classes = len(np.unique(y))
    every = np.ones(len(y)) if weight is None else weight
    smoother = RidgeSmoother(scaled(X), every * len(y) / np.bincount(y, every)[y] / n_classes)
    targets = np.eye(int(y.max()) + 1)[y]
    return smoother.held_out(targets, folds, smoother.best_penalty(targets, folds)).argmax(axis=1)


def whole_group_folds(y: np.ndarray, of_group: np.ndarray, seed: int) -> list[np.ndarray]:
    """Positions of the rows of each of ten folds, or as many as a class has groups; classes in proportion.

    Every class has rows of two groups or more.
    """
    fewest = min(len(np.unique(of_group[y == label])) for label in np.unique(y))
    splitter = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    return [held for _, held in splitter.split(y, y, of_group) if len(held)]


def scaled(X: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and deviation 1; those that are the same in all rows are 0."""
    rows = np.asarray(X, np.float64).reshape(len(X), -1)
    rows = rows - rows.mean(axis=0)
    return np.asarray(rows / np.maximum(rows.std(axis=0), 1e-9 * max(1.0, float(np.abs(rows).max(initial=0.0)))))
