"""Balanced accuracy of rows that count by weights, and how it varies with the patients that were drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import t

from .intervals import Interval, mid_p
from .overlap_weights import Overlap, kish

# Of the variance over who is judged: who is learnt from varies as well. By planted data this holds
# (docs/coverage.md), where 1 was too little; Nadeau & Bengio (2003) would have 2.1 for ten folds.
_LEARNT = 1.5


@dataclass(frozen=True)
class WeighedRecall:
    """The mean of the recalls of classes, and what each group adds to it.

    Attributes
    ----------
    score : the mean.
    own : array of shape (n_groups,), as if the weights were given.
    freed : the same without what the weights would take back (:meth:`.Overlap.freed`).
    worth : groups that count alike these are worth.
    """

    score: float
    own: np.ndarray
    freed: np.ndarray
    worth: float

    def interval(self) -> Interval:
        """The mid-P interval of a share of so many rows as have the score's variance."""
        reached = _reach(float(self.own @ self.own), self.worth)
        count = self.worth
        if 0 < self.score < 1 and reached:
            count = self.score * (1 - self.score) / (reached / float(ndtri(0.975))) ** 2
        return mid_p(self.score * count, count)

    def above(self, other: WeighedRecall) -> tuple[float, float]:
        """How much higher the score is than another on the same groups, and how far the 95% interval of that reaches.

        They go together as groups do, but for what the weights take back: with a group that makes the one score higher
        and weighs less in the other, neither moves the other.
        """
        variance = float(self.own @ self.own + other.own @ other.own - 2 * self.freed @ other.freed)
        return self.score - other.score, _reach(max(0.0, variance), min(self.worth, other.worth))


def weighed_recall(y: np.ndarray, predicted: np.ndarray, of_group: np.ndarray, alike: Overlap | None) -> WeighedRecall:
    """Judge rows.

    Parameters
    ----------
    y, predicted : int arrays of shape (n,), classes counted from 0, each of which has rows.
    of_group : int array of shape (n,), groups counted from 0.
    alike : by whose weights rows count among those of their class; None counts all alike.
    """
    weight = np.ones(len(y)) if alike is None else alike.weight
    sums = np.bincount(y, weight)
    recalls = np.bincount(y, (predicted == y) * weight) / sums
    share = weight / sums[y] / len(sums)
    added = share * ((predicted == y) - recalls[y])
    own = np.bincount(of_group, added)
    freed = own if alike is None else np.bincount(of_group, alike.freed(added))
    return WeighedRecall(float(recalls.mean()), own, freed, kish(share, of_group))


def _reach(variance: float, groups: float) -> float:
    if groups <= 1:
        return 1.0
    return float(t.ppf(0.975, groups - 1) * np.sqrt(_LEARNT * groups / (groups - 1) * variance))
