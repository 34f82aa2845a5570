"""The area under the ROC curve and its 95% interval, over rows that come in groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import rankdata

from .clusters import alike_scores, effective_number
from .intervals import Interval, reach

_PRIOR = 8  # groups not all ranked rightly that the expected variance is worth, against a smaller one that is observed
_UNSEEN = 0.5  # correlation of areas of several classes in which no group differs


@dataclass(frozen=True)
class Area:
    """An area and what it is made of.

    Attributes
    ----------
    value : share of the pairs of a positive and a negative row in which the positive one scores higher, ties half.
    positive : bool array of shape (n,).
    ranked : array of shape (n,): of each row, the share of the pairs it is in that are ranked rightly (DeLong et al.
        1988: its structural component). Their mean over the rows of either class is the area.
    """

    value: float
    positive: np.ndarray
    ranked: np.ndarray

    def added(self) -> np.ndarray:
        """What each row adds to the area, array of shape (n,)."""
        counts = np.where(self.positive, self.positive.sum(), (~self.positive).sum())
        return np.asarray((self.ranked - self.value) / counts)

    def sums(self, of_group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the positive and the negative rows of each group add to the area, two arrays of shape (n_groups,)."""
        count = int(of_group.max()) + 1
        deviation = self.ranked - self.value
        positive, negative = (
            np.bincount(of_group[own], deviation[own], count) / own.sum() for own in (self.positive, ~self.positive)
        )
        return positive, negative

    def variance(self, of_group: np.ndarray) -> float:
        """Variance of the area over groups (Obuchowski 1997); where each row is its own group, DeLong's.

        NaN where a class has rows of one group only.
        """
        positive, negative = self.sums(of_group)
        m, n = (len(np.unique(of_group[own])) for own in (self.positive, ~self.positive))
        if min(m, n) < 2:
            return float("nan")
        both = len(np.unique(of_group))
        return float(
            positive @ positive * m / (m - 1)
            + negative @ negative * n / (n - 1)
            + 2 * positive @ negative * both / (both - 1)
        )


def area_of(positive: np.ndarray, score: np.ndarray) -> Area:
    """The area of scores, of which the positive rows should have the higher ones; both classes must be there."""
    own, others = np.flatnonzero(positive), np.flatnonzero(~positive)
    among_all = rankdata(score)
    ranked = np.empty(len(score))
    ranked[own] = (among_all[own] - rankdata(score[own])) / len(others)
    ranked[others] = 1 - (among_all[others] - rankdata(score[others])) / len(own)
    return Area(float(ranked[own].mean()), np.asarray(positive, bool), ranked)


def area_interval(y: np.ndarray, probabilities: np.ndarray, of_group: np.ndarray) -> Interval:
    """Interval of the area, of several classes of the mean of theirs, one against the rest.

    Parameters
    ----------
    y : int array of shape (n,), classes counted from 0, each of which has rows.
    probabilities : array of shape (n, n_classes).
    of_group : int array of shape (n,), groups counted from 0.
    """
    n_classes = probabilities.shape[1]
    if n_classes == 2:
        score = probabilities[:, 1]
        return area_limits(area_of(y == 1, score), score, of_group)
    values, limits, lengths = np.zeros(n_classes), np.zeros((2, n_classes)), np.zeros(n_classes)
    for label in range(n_classes):
        area = area_of(y == label, probabilities[:, label])
        values[label], limits[:, label] = area.value, area_limits(area, probabilities[:, label], of_group)
        lengths[label] = np.linalg.norm(np.add(*area.sums(of_group)))
    known, parts = lengths > 1e-12, np.abs(limits - values) / n_classes
    together = np.zeros((2, int(of_group.max()) + 1))
    for label in np.flatnonzero(known).tolist():  # anew, since what all classes add at once may not fit in memory
        added = np.add(*area_of(y == label, probabilities[:, label]).sums(of_group))
        together += parts[:, label, None] * added / lengths[label]
    low, high = (reach(part, whole, known, _UNSEEN) for part, whole in zip(parts, together, strict=True))
    return max(0.0, float(values.mean()) - low), min(1.0, float(values.mean()) + high)


def area_limits(area: Area, score: np.ndarray, of_group: np.ndarray, tail: float = 0.025) -> Interval:
    """A score interval (Newcombe 2006, his method 5): the areas for which chance explains the one observed.

    The variance is Hanley and McNeil's (1982) at each of those areas, for as many independent rows as each class is
    worth by how alike the scores of a group are in rank: so it neither ends at 1 where all is ranked rightly, nor needs
    to estimate a variance there. It is scaled to the variance that is observed, where that is larger, and where it is
    smaller towards it, the more groups say so: those with a row that is not ranked rightly against all others.
    """
    numbers, telling = [], []
    for own in (area.positive, ~area.positive):
        sizes = np.bincount(np.unique(of_group[own], return_inverse=True)[1])
        alone = sizes.max() == 1
        alike = 0.0 if alone else alike_scores(score[own], of_group[own])
        numbers.append(float(len(sizes)) if alone else max(1.0, effective_number(sizes, alike, tail)))
        telling.append(len(np.unique(of_group[own & (area.ranked < 1)])))
    m, n = numbers
    variance, seen = area.variance(of_group), min(telling)
    expected = _expected_variance(area.value, m, n)
    ratio = variance / expected if variance > 0 and expected > 0 else 1.0
    factor = ratio if ratio > 1 else (seen * ratio + _PRIOR) / (seen + _PRIOR)
    z = float(ndtri(1 - tail))

    def beyond(value: float) -> float:
        return abs(area.value - value) - z * float(np.sqrt(factor * _expected_variance(value, m, n)))

    low = brentq(beyond, 0, area.value - 1e-9, xtol=1e-9) if area.value > 1e-6 else 0.0
    high = brentq(beyond, area.value + 1e-9, 1, xtol=1e-9) if area.value < 1 - 1e-6 else 1.0
    return float(low), float(high)


def _expected_variance(value: float, m: float, n: float) -> float:
    """Hanley and McNeil's variance of an area over m and n rows, neither class told apart (Newcombe 2006)."""
    more = (m + n) / 2 - 1
    return value * (1 - value) * (1 + more * ((1 - value) / (2 - value) + value / (1 + value))) / (m * n)
