"""What a learning curve is of: scores of each class, label or number, and what each patient adds to them; by kind.

Of classes a score is a recall, of labels a ROC area, of a number the mean absolute error; the headline is their mean:
balanced accuracy, mean ROC area, mean absolute error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .label_metrics import enough
from .ridge_smoother import RidgeSmoother
from .roc_areas import area_of


@dataclass(frozen=True)
class Scores:
    """Scores of several targets on the same rows.

    Attributes
    ----------
    values : array of shape (n_targets,).
    added : array of shape (n, n_targets): by how much each row raises them, were it counted once more; sums are 0.
    """

    values: np.ndarray
    added: np.ndarray


class CurveKind(Protocol):
    """How one kind of task is learnt and judged."""

    @property
    def metric(self) -> str:
        """The headline's key in a test."""

    @property
    def of_target(self) -> str:
        """What is said of each target."""

    def judged(self, y: np.ndarray, of_group: np.ndarray) -> np.ndarray:
        """Which targets there is enough to judge by, bool array of shape (n_targets,)."""

    def has(self, y: np.ndarray) -> np.ndarray:
        """Which rows have which target, bool array of shape (n, n_targets)."""

    def outputs(self, X: np.ndarray, y: np.ndarray, learnt: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """What ridges give every row, array of shape (n, n_outputs): learnt from the rows ``learnt``, positions, and of
        each of those from the other patients'."""

    def scores(self, y: np.ndarray, outputs: np.ndarray) -> Scores:
        """Of all rows."""


def _given(X: np.ndarray, targets: np.ndarray, learnt: np.ndarray, folds: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """One ridge, its penalty chosen by the folds that are held out; array of shape (n, n_columns)."""
    own = targets[learnt]
    smoother = RidgeSmoother(X[learnt], weight)
    held = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    penalty = smoother.best_penalty(own, held)
    slopes, level = smoother.model(own, penalty)
    given = X @ slopes + level
    given[learnt] = smoother.held_out(own, held, penalty)
    return np.asarray(given)


class _OfClasses:
    metric = "balanced_accuracy"
    of_target = "recall"

    def judged(self, y: np.ndarray, of_group: np.ndarray) -> np.ndarray:
        return np.ones(int(y.max()) + 1, bool)

    def has(self, y: np.ndarray) -> np.ndarray:
        return np.eye(int(y.max()) + 1, dtype=bool)[y]

    def outputs(self, X: np.ndarray, y: np.ndarray, learnt: np.ndarray, folds: np.ndarray) -> np.ndarray:
        own = y[learnt]
        weight = len(own) / np.bincount(own)[own] / len(np.unique(own))  # classes count alike
        return _given(X, np.eye(int(y.max()) + 1)[y], learnt, folds, weight)

    def scores(self, y: np.ndarray, outputs: np.ndarray) -> Scores:
        has = self.has(y)
        counts = has.sum(axis=0)
        right = has & (outputs.argmax(axis=1) == y)[:, None]
        values = right.sum(axis=0) / counts
        return Scores(values, (right - has * values) / counts)


class _OfLabels:
    metric = "mean_roc_auc"
    of_target = "roc_auc"

    def judged(self, y: np.ndarray, of_group: np.ndarray) -> np.ndarray:
        known = ~np.isnan(y)
        return np.array([enough(y[own, i] == 1, of_group[own]) for i, own in enumerate(known.T)])

    def has(self, y: np.ndarray) -> np.ndarray:
        return np.asarray(y == 1)

    def outputs(self, X: np.ndarray, y: np.ndarray, learnt: np.ndarray, folds: np.ndarray) -> np.ndarray:
        given = np.zeros(y.shape)
        patterns, which = np.unique(~np.isnan(y[learnt]), axis=1, return_inverse=True)
        for place, known in enumerate(patterns.T):  # labels that are known of the same rows share a decomposition
            columns = np.flatnonzero(which.ravel() == place)
            if known.any():
                given[:, columns] = _given(X, np.asarray(y[:, columns], np.float64), learnt[known], folds[known], None)
        return given

    def scores(self, y: np.ndarray, outputs: np.ndarray) -> Scores:
        values, added = np.full(y.shape[1], np.nan), np.zeros(y.shape)
        for label in range(y.shape[1]):
            rows = np.flatnonzero(~np.isnan(y[:, label]))
            positive = y[rows, label] == 1
            if 0 < positive.sum() < len(rows):
                area = area_of(positive, outputs[rows, label])
                counts = np.where(positive, positive.sum(), (~positive).sum())
                values[label], added[rows, label] = area.value, (area.ranked - area.value) / counts
        return Scores(values, added)


class _OfNumbers:
    metric = "mae"
    of_target = "mae"

    def judged(self, y: np.ndarray, of_group: np.ndarray) -> np.ndarray:
        return np.ones(1, bool)

    def has(self, y: np.ndarray) -> np.ndarray:
        return np.ones((len(y), 1), bool)

    def outputs(self, X: np.ndarray, y: np.ndarray, learnt: np.ndarray, folds: np.ndarray) -> np.ndarray:
        return _given(X, y[:, None], learnt, folds, None)

    def scores(self, y: np.ndarray, outputs: np.ndarray) -> Scores:
        error = np.abs(outputs - y[:, None])
        return Scores(error.mean(axis=0), (error - error.mean()) / len(y))


CURVES: dict[str, CurveKind] = {"classes": _OfClasses(), "labels": _OfLabels(), "number": _OfNumbers()}
