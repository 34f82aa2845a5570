"""The figure by which subgroups are told apart: its values over many ways to deal rows to them, and their variances.

Of classes it is the ROC area (of several the mean, one against the rest), of labels the mean ROC area, of a number the
mean absolute error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from featcache.data.tasks import Kind

_PRIOR = 10  # rows that the variance in all rows is worth, against the one in the rows of a subgroup
_BINS = 64  # of scores: one way to deal is a count of rows in each, however many rows there are


class Figure(ABC):
    """A figure of rows."""

    name: str
    higher_is_better: bool

    @abstractmethod
    def of(self, dealt: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Values and their variances, rows taken as independent; NaN where a subgroup has none.

        Parameters
        ----------
        dealt : int array of shape (some, n), subgroups of the rows, counted from 0.
        count : how many subgroups there are.

        Returns
        -------
        Two arrays of shape (some, count).
        """


class MeanError(Figure):
    """The mean absolute error, from y and predictions of shape (n,)."""

    name, higher_is_better = "mae", False

    def __init__(self, y: np.ndarray, predicted: np.ndarray) -> None:
        self._errors = np.abs(predicted - y)

    def of(self, dealt: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        sums, squares, rows = (
            np.array([np.bincount(one, weights, count) for one in dealt])
            for weights in (self._errors, self._errors**2, None)
        )
        few = np.where(rows > 0, rows, np.nan)
        mean = sums / few
        own = np.maximum(squares / few - mean**2, 0)
        return mean, _leaning(own, float(self._errors.var()), rows) / few


class MeanArea(Figure):
    """The mean ROC area of several questions, each with an answer for some rows; scores in at most 64 bins.

    Parameters
    ----------
    name : what the figure is called.
    y : array of shape (n, n_questions): 1, 0, or NaN.
    scores : array of shape (n, n_questions).
    """

    higher_is_better = True

    def __init__(self, name: str, y: np.ndarray, scores: np.ndarray) -> None:
        self.name = name
        self._questions = []
        for answer, score in zip(y.T, scores.T, strict=True):
            rows = np.flatnonzero(~np.isnan(answer))
            bins, many = _binned(score[rows])
            self._questions.append((rows, np.where(answer[rows] == 1, many, 0) + bins, many))

    def of(self, dealt: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        values, variances, answered = (np.zeros((len(dealt), count)) for _ in range(3))
        for rows, code, many in self._questions:
            _, prior, _ = _areas(np.bincount(code, minlength=2 * many).reshape(2, many))
            tallies = [np.bincount(one * (2 * many) + code, minlength=count * 2 * many) for one in dealt[:, rows]]
            area, own, counts = _areas(np.array(tallies).reshape(len(dealt), count, 2, many))
            there = ~np.isnan(area)
            values[there] += area[there]
            variances[there] += (_leaning(own, prior, counts) / np.maximum(counts, 1)).sum(axis=-1)[there]
            answered += there
        answered[answered == 0] = np.nan
        return values / answered, variances / answered**2


def figure_of(kind: Kind, y: np.ndarray, outputs: np.ndarray) -> Figure:
    """The figure of a task's kind, from y and what the model gives."""
    return _KINDS[kind](y, outputs)


def questions(kind: Kind, y: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answers and scores, arrays of shape (n, n_questions), of classes or labels; of two classes one question."""
    if kind == "labels":
        return np.asarray(y, np.float64), outputs
    answers = np.eye(outputs.shape[1])[y]
    return (answers[:, 1:], outputs[:, 1:]) if outputs.shape[1] == 2 else (answers, outputs)


def _binned(score: np.ndarray) -> tuple[np.ndarray, int]:
    """Each score's bin, the lowest first, and their number: one a score, or about as many rows in each."""
    edges = np.unique(score)
    if len(edges) > _BINS:
        edges = np.unique(np.quantile(score, np.arange(_BINS) / _BINS, method="lower"))
    return np.searchsorted(edges, score, side="right") - 1, len(edges)


def _areas(tallies: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Areas, NaN where a class has no rows, from rows counted by class and bin: shape (…, 2, bins).

    Beside them, of shape (…, 2), the variances of the shares that make them (DeLong et al. 1988), and the rows.
    """
    counts = tallies.sum(axis=-1)
    few = np.where(counts > 0, counts, np.nan)
    below = np.cumsum(tallies, axis=-1) - tallies / 2  # of each class, ties by half
    shares = below[..., ::-1, :] / few[..., ::-1, None]  # of the other class below a row of either
    means = (shares * tallies).sum(axis=-1) / few
    variances = np.maximum((shares**2 * tallies).sum(axis=-1) / few - means**2, 0)
    return means[..., 1], variances, counts


def _leaning(own: np.ndarray, in_all: np.ndarray | float, count: np.ndarray) -> np.ndarray:
    """Variances that lean on those in all rows: a few that happen to agree are no certainty."""
    return np.asarray((count * own + _PRIOR * in_all) / (count + _PRIOR))


_KINDS: dict[Kind, Callable[[np.ndarray, np.ndarray], Figure]] = {
    "classes": lambda y, outputs: MeanArea("roc_auc", *questions("classes", y, outputs)),
    "labels": lambda y, outputs: MeanArea("mean_roc_auc", *questions("labels", y, outputs)),
    "number": MeanError,
}
