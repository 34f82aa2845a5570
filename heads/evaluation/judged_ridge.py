"""Balanced accuracy of a ridge classifier on rows that count by weights, and how it varies with what was drawn.

A cross-validated score varies twice: with the patients who are judged, and with those who were learnt from. The first
is the variance of what patients add to it (linearised, Cochran 1977). The second is that of a jackknife over folds: the
score of models that leave out one fold besides the one they are judged on, which one decomposition gives exactly
(:mod:`heads.evaluation.ridge_smoother`). Of its squares those that each patient gives by itself are taken off: answers
that tip over by chance, in a few of many patients, would else pass for a model that has become better or worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import t

from .intervals import Interval, mid_p
from .ridge_smoother import RidgeSmoother


@dataclass(frozen=True)
class Judged:
    """A score, and what each patient does to it.

    Attributes
    ----------
    score : the mean of the recalls.
    own : array of shape (n_groups,): what the rows of each add, in sum 0.
    moved : array of shape (n_folds, n_groups): how much more they add where a fold is not learnt from.
    worth : groups that count alike these are worth.
    """

    score: float
    own: np.ndarray
    moved: np.ndarray
    worth: float

    def interval(self) -> Interval:
        """The mid-P interval of a share of so many rows as have the score's variance."""
        count = self.worth
        if 0 < self.score < 1 and (reached := self.reach()):
            count = self.score * (1 - self.score) / (reached / float(ndtri(0.975))) ** 2
        return mid_p(self.score * count, count)

    def minus(self, other: Judged) -> Judged:
        """The difference from a score on the same groups, of which both know the same folds."""
        worth = min(self.worth, other.worth)
        return Judged(self.score - other.score, self.own - other.own, self.moved - other.moved, worth)

    def reach(self) -> float:
        """How far the score's 95% interval reaches, by Student's t."""
        folds = len(self.moved)
        judged = self.worth / (self.worth - 1) * float(self.own @ self.own)
        learnt = (folds - 1) / folds * float((self.moved.sum(axis=1) ** 2 - (self.moved**2).sum(axis=1)).sum())
        return float(t.ppf(0.975, self.worth - 1) * np.sqrt(judged + max(0.0, learnt)))


class HeldOutAnswers:
    """Which rows a ridge classifier that did not learn from them gets right.

    Classes count alike in learning, and so do the rows of each but for their weights. The penalty is the one of
    :meth:`RidgeSmoother.best_penalty`.

    Parameters
    ----------
    rows : array of shape (n, d), scaled.
    y : int array of shape (n,), classes counted from 0, each with rows.
    folds : positions of the rows of each; every row stands in one.
    weight : how much each row counts in learning, array of shape (n,) of numbers above 0.
    """

    def __init__(self, rows: np.ndarray, y: np.ndarray, folds: Sequence[np.ndarray], weight: np.ndarray) -> None:
        sums = np.bincount(y, weight)
        smoother = RidgeSmoother(rows, weight * len(y) / sums[y] / len(sums))
        targets = np.eye(len(sums))[y]
        penalty = smoother.best_penalty(targets, folds)
        self._y = y
        self._right = smoother.held_out(targets, folds, penalty).argmax(axis=1) == y
        pairs = [(a, b) for b in range(len(folds)) for a in range(b)]
        both = [np.r_[folds[a], folds[b]] for a, b in pairs]
        self._without = np.tile(self._right, (len(folds), 1))
        for (a, b), held, given in zip(pairs, both, smoother.left_out(targets, both, penalty), strict=True):
            right, first = given.argmax(axis=1) == y[held], len(folds[a])
            self._without[a, folds[b]], self._without[b, folds[a]] = right[first:], right[:first]

    def judged(
        self,
        of_group: np.ndarray,
        weight: np.ndarray,
        worth: float,
        freed: Callable[[np.ndarray], np.ndarray] = lambda shares: shares,
    ) -> Judged:
        """The mean of recalls by weights.

        Parameters
        ----------
        of_group : int array of shape (n,), groups counted from 0.
        weight : how much each row counts among those of its class, array of shape (n,).
        worth : groups that count alike these are worth.
        freed : of what rows add, what is left where weights are estimated from the same rows.
        """
        sums = np.bincount(self._y, weight)
        recalls = np.bincount(self._y, self._right * weight) / sums
        share = weight / sums[self._y] / len(sums)
        own = np.bincount(of_group, freed(share * (self._right - recalls[self._y])))
        tipped = self._without.astype(np.int8) - self._right
        moved = np.stack([np.bincount(of_group, share * one) for one in tipped])
        return Judged(float(recalls.mean()), own, moved, worth)
