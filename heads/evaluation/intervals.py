"""95% intervals that hold: of shares, of the mean of recalls, of macro F1, over rows that come in groups.

How often they hold the truth is measured by ``tests/benchmarks/coverage.py``; the table is in ``docs/coverage.md``.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import bdtr, bdtrc, betainc
from scipy.stats import beta, binom, t

from .clusters import alike_hits, effective_number, group_codes

Interval = tuple[float, float]
_TAIL = 0.025


def share_interval(
    right: np.ndarray, groups: Sequence[object] | np.ndarray | None = None, tail: float = _TAIL
) -> Interval:
    """Interval of the share of rows that are right.

    Five pictures of one patient are not five times the evidence: the rows count as so many independent ones as
    :func:`heads.evaluation.clusters.effective_number` says, given how alike those of a group turn out to be. Where
    every row is its own group the interval is Blaker's (:func:`counted`), which never holds the truth less often than
    it says; where rows of a group count for less than one each, their effective number is no whole one, and the
    interval is the mid-P one. Of groups that are right (or wrong) in all their rows nothing says how alike their rows
    are; each then counts once.

    Parameters
    ----------
    right : bool array of shape (n,), n > 0.
    groups : n hashable values, or None where each row is its own.
    tail : what it leaves out on either side, half of 5% by default.
    """
    of_group = group_codes(groups, len(right))
    return _grouped(np.asarray(right, float), of_group, tail)[1]


@functools.lru_cache(maxsize=4096)
def counted(hits: int, count: int, tail: float = _TAIL) -> Interval:
    """Interval of a share of independent rows: Blaker's exact one (2000).

    It holds the truth at least as often as Clopper and Pearson's promises, and lies within that one. One more hit moves
    both of its ends up.
    """
    if 2 * hits < count:
        low, high = counted(count - hits, count, tail)
        return 1 - high, 1 - low
    low, high = _blaker_low(hits, count, tail), 1 - _blaker_low(count - hits, count, tail) if hits < count else 1.0
    return low, high


def mean_recall(y: np.ndarray, predicted: np.ndarray, of_group: np.ndarray) -> Interval:
    """Interval of the mean of the recalls of the classes that have rows (balanced accuracy).

    Each recall has its own interval; how far those reach is then added as :func:`reach` says. A class of five rows, all
    right, so widens it by what five rows leave open.

    Parameters
    ----------
    y, predicted : int arrays of shape (n,).
    of_group : int array of shape (n,), groups counted from 0.
    """
    of_class = np.unique(y, return_inverse=True)[1]
    hits = Shares(predicted == y, of_class, of_group)
    # Classes that share no groups are independent; of those that do, unseen errors may fall together.
    low, high = _mean(hits, hits.limits, hits.values, 1.0 if hits.overlap else 0.0)
    # Limits that whole errors push to the ends of their range reach too short when added: one error in each of two
    # classes is no less than two in one. The mean is a share, too, of as many rows as have its variance where recalls
    # are equal (where classes are of one size, it varies most then: Hoeffding 1956); the farther end of the two is
    # taken.
    count = len(hits.numbers) ** 2 / float((1 / hits.numbers).sum())
    least, most = mid_p(float(hits.values.mean()) * count, count)
    return min(low, least), max(high, most)


def mean_f1(y: np.ndarray, predicted: np.ndarray, of_group: np.ndarray) -> Interval:
    """Interval of the mean F1 of the classes that have rows; parameters as of :func:`mean_recall`.

    F1 is ``2 J / (1 + J)``, J the share of hits among the rows that are of a class or called so (Jaccard): a share with
    an interval of its own, and F1 rises with it.
    """
    labels = np.unique(y)
    place = np.full(int(max(y.max(), predicted.max())) + 1, -1)
    place[labels] = np.arange(len(labels))
    counted_twice = np.flatnonzero((predicted != y) & (place[predicted] >= 0))  # of a class without rows no F1 is taken
    rows = np.r_[np.arange(len(y)), counted_twice]
    hits = Shares((predicted == y)[rows], np.r_[place[y], place[predicted[counted_twice]]], of_group[rows])
    # An error counts in two classes, so unseen ones fall together, the more the fewer classes there are.
    limits = 2 * hits.limits / (1 + hits.limits)
    return _mean(hits, limits, 2 * hits.values / (1 + hits.values), 1 / max(1, len(labels) - 1))


def mean_interval(values: np.ndarray, of_group: np.ndarray) -> Interval:
    """Interval of the mean of numbers over rows in groups: Student's t, one value a group.

    The mean is a ratio to size (Cochran 1977).

    Parameters
    ----------
    values : array of shape (n,).
    of_group : int array of shape (n,), groups counted from 0, two or more.
    """
    count, mean = int(of_group.max()) + 1, float(values.mean())
    deviations = np.bincount(of_group, mean_influence(values))
    reached = float(t.ppf(1 - _TAIL, count - 1) * np.sqrt(deviations @ deviations * count / (count - 1)))
    return mean - reached, mean + reached


def mean_influence(values: np.ndarray) -> np.ndarray:
    """What each row adds to the mean of all, array of shape (n,): its deviation, divided by n."""
    return (values - np.mean(values)) / len(values)


class Shares:
    """Shares of several classes over the same groups: each with its limits, and how they vary together.

    Parameters
    ----------
    right : bool array of shape (n,).
    of_class, of_group : int arrays of shape (n,), counted from 0; every class has rows.

    Attributes
    ----------
    values, known : arrays of shape (n_classes,): the shares, and whether groups differ in them.
    numbers : array of shape (n_classes,): independent rows that each class's are worth.
    limits : array of shape (2, n_classes), of :func:`share_interval`.
    overlap : whether any group has rows of several classes.
    """

    def __init__(self, right: np.ndarray, of_class: np.ndarray, of_group: np.ndarray) -> None:
        self._of_class, self._of_group = of_class, of_group
        counts = np.bincount(of_class)
        order, ends = np.argsort(of_class, kind="stable"), np.r_[0, np.cumsum(counts)]
        right = np.asarray(right, float)
        self.values = np.bincount(of_class, right) / counts
        classes = [order[start:stop] for start, stop in itertools.pairwise(ends)]
        numbers, limits = zip(*(_grouped(right[rows], of_group[rows]) for rows in classes), strict=True)
        self.numbers, self.limits = np.array(numbers), np.array(limits).T
        self._deviation = right - self.values[of_class]
        cell, of_cell = np.unique(of_group * len(counts) + of_class, return_inverse=True)
        squares = np.bincount(cell % len(counts), np.bincount(of_cell, self._deviation) ** 2, len(counts))
        self.known = squares > 1e-18
        self._scale = np.sqrt(np.where(self.known, squares, 1))
        self.overlap = len(cell) > len(np.unique(of_group))

    def along(self, weights: np.ndarray) -> np.ndarray:
        """Weighted sum over classes of what each group adds to them, array of shape (n_groups,).

        Each class's additions have length 1, or 0 where they are not known.
        """
        return np.bincount(self._of_group, (weights / self._scale)[self._of_class] * self._deviation)


def reach(parts: np.ndarray, together: np.ndarray, known: np.ndarray, unseen: float, at_least: float = 1.0) -> float:
    """How far a sum reaches, of which each part reaches so far (MOVER: Zou & Donner 2008).

    Square and add, with the correlations that the groups show.

    Parameters
    ----------
    parts : array of shape (n_parts,), not negative.
    together : what the groups add to the sum of the ``known`` parts, each scaled to its reach.
    known : bool array of shape (n_parts,), which parts groups differ in.
    unseen : correlation of the others, and of them with the known ones.
    at_least : of what independent parts would give: correlations that shorten a sum are believed so far.
    """
    seen, others = float(together @ together), parts[~known]
    square = (1 - unseen) * (seen + float(others @ others)) + unseen * (np.sqrt(seen) + float(others.sum())) ** 2
    return float(np.sqrt(max(square, at_least * float(parts @ parts))))


def _mean(hits: Shares, limits: np.ndarray, values: np.ndarray, unseen: float) -> Interval:
    low, high = (
        reach(parts, hits.along(parts), hits.known, unseen) for parts in (np.abs(limits - values) / len(values))
    )
    return max(0.0, float(values.mean()) - low), min(1.0, float(values.mean()) + high)


def _grouped(right: np.ndarray, of_group: np.ndarray, tail: float = _TAIL) -> tuple[float, Interval]:
    """Independent rows that these are worth, and :func:`share_interval`, of rows whose groups are numbers."""
    _, of_group = np.unique(of_group, return_inverse=True)
    hits, sizes = np.bincount(of_group, right), np.bincount(of_group)
    if sizes.max() == 1:
        return float(len(hits)), counted(int(hits.sum()), len(hits), tail)
    if hits.sum() in (0, sizes.sum()):
        return float(len(hits)), counted(len(hits) if hits.any() else 0, len(hits), tail)
    number = effective_number(sizes, alike_hits(hits, sizes), tail)
    return number, mid_p(float(hits.sum() / sizes.sum()) * number, number, tail)


def mid_p(hits: float, count: float, tail: float = _TAIL) -> Interval:
    """Interval of a share from numbers that need not be whole: the mid-P one (Lancaster 1961)."""

    def more(p: float) -> float:
        """Probability of more hits, half that of as many counted in."""
        reached = betainc(hits, count - hits + 1, p) if hits > 0 else 1.0
        exceeded = betainc(hits + 1, count - hits, p) if hits < count else 0.0
        return float(reached + exceeded) / 2

    low = brentq(lambda p: more(p) - tail, 0, 1, xtol=1e-9) if hits > 0 else 0.0
    high = brentq(lambda p: more(p) - 1 + tail, 0, 1, xtol=1e-9) if hits < count else 1.0
    return float(low), float(high)


def _blaker_low(hits: int, count: int, tail: float) -> float:
    """The least share under which so many hits are not among the rarest outcomes, twice ``tail`` of all."""
    if not hits:
        return 0.0
    low, high = (float(beta.ppf(least, hits, count - hits + 1)) for least in (tail, 2 * tail))
    for _ in range(3):  # the least of a set with gaps: found on a grid, ever finer
        p = np.linspace(low, high, 65)
        least = int(np.argmax(_acceptability(hits, count, p) >= 2 * tail))
        low, high = float(p[max(least - 1, 0)]), float(p[least])
    return low  # just outside: the set may begin at a round share such as a half


def _acceptability(hits: int, count: int, p: np.ndarray) -> np.ndarray:
    """Probability of outcomes as rare as so many hits, where those are more than expected (Blaker 2000, section 2)."""
    reached = bdtrc(hits - 1, count, p)
    other = binom.ppf(reached, count, p)
    other -= bdtr(other, count, p) > reached * (1 + 1e-9)
    return reached + np.where(other >= 0, bdtr(np.maximum(other, 0), count, p), 0)
