"""What a learning curve is of: scores of each class, label or number, and what each patient adds to them; by kind.

Of classes a score is a recall, of labels a ROC area, of a number the mean absolute error; the headline is their mean:
balanced accuracy, mean ROC area, mean absolute error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import expit

from .intervals import Interval, mean_influence, mean_recall, share_interval
from .label_metrics import enough, evaluate_labels
from .number_metrics import evaluate_numbers
from .ridge_smoother import RidgeSmoother
from .roc_areas import area_limits, area_of


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

    def interval(self, y: np.ndarray, outputs: np.ndarray, of_group: np.ndarray, target: int | None) -> Interval:
        """The 95% interval of a target's score as a test has it, or with None that of the headline."""


def _given(
    X: np.ndarray, targets: np.ndarray, learnt: np.ndarray, folds: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
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

    def interval(self, y: np.ndarray, outputs: np.ndarray, of_group: np.ndarray, target: int | None) -> Interval:
        predicted = outputs.argmax(axis=1)
        if target is None:
            return mean_recall(y, predicted, of_group)
        own = y == target
        return share_interval(predicted[own] == target, of_group[own])


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
                values[label], added[rows, label] = area.value, area.added()
        return Scores(values, added)

    def interval(self, y: np.ndarray, outputs: np.ndarray, of_group: np.ndarray, target: int | None) -> Interval:
        if target is None:
            names = [str(label) for label in range(y.shape[1])]
            low, high = evaluate_labels(y, expit(outputs), of_group, names)["mean_roc_auc_ci"]
            return low, high
        own = ~np.isnan(y[:, target])
        score, groups = outputs[own, target], np.unique(of_group[own], return_inverse=True)[1]
        return area_limits(area_of(y[own, target] == 1, score), score, groups)


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
        return Scores(error.mean(axis=0), mean_influence(error))

    def interval(self, y: np.ndarray, outputs: np.ndarray, of_group: np.ndarray, target: int | None) -> Interval:
        low, high = evaluate_numbers(y, outputs[:, 0], of_group)["mae_ci"]
        return low, high


CURVES: dict[str, CurveKind] = {"classes": _OfClasses(), "labels": _OfLabels(), "number": _OfNumbers()}
