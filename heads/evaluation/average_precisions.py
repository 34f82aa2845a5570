"""Average precision and its 95% interval, over rows that come in groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from .clusters import alike_scores, effective_number
from .intervals import Interval, mid_p

_PRIOR = 8  # groups with a positive row that is not first that a share's variance is worth, against a smaller one seen
_NORMAL = float(ndtri(0.975))


@dataclass(frozen=True)
class AveragePrecision:
    """An average precision and what it is made of.

    Attributes
    ----------
    value : mean over the positive rows of the precision at each one's score, sklearn's definition.
    positive : bool array of shape (n,).
    precision : array of shape (n,): of each row, the share of positives among those that score as high or higher.
    added : array of shape (n,): what each row adds to the value (its influence; the sum is 0).
    bias : how far the value is above the truth because each positive row is among those that its own precision counts:
        the jackknife's (Quenouille 1956), rows left out one by one, which sorted sums give all at once.
    """

    value: float
    positive: np.ndarray
    precision: np.ndarray
    added: np.ndarray
    bias: float

    def variance(self, of_group: np.ndarray) -> float:
        """Variance of the value over groups, linearised; how many rows are positive varies with them."""
        sums = np.bincount(of_group, self.added)
        count = len(np.unique(of_group))
        return float(sums @ sums) * count / (count - 1) if count > 1 else float("nan")


def average_precision_of(positive: np.ndarray, score: np.ndarray) -> AveragePrecision:
    """The average precision of scores, of which the positive rows should have the higher ones; some must be positive.

    Rows of one score are called positive together.
    """
    order = np.argsort(-score, kind="stable")
    down, own = -score[order], np.asarray(positive, bool)[order]
    first, beyond = np.searchsorted(down, down, side="left"), np.searchsorted(down, down, side="right")
    hits, called, count = np.r_[0, np.cumsum(own)][beyond].astype(float), beyond.astype(float), float(own.sum())
    precision = hits / called
    value = float(precision[own].mean())

    def below(values: np.ndarray) -> np.ndarray:
        """Of each row, the sum over the positive rows that score as high or lower."""
        return np.r_[np.cumsum((values * own)[::-1])[::-1], 0.0][first]

    gain, loss = below((1 - precision) / called), below(precision / called)
    added = np.where(own, precision - value + gain, -loss) / count
    others = np.maximum(called - 1, 1)
    above = np.r_[0.0, np.cumsum(precision * own)][first]
    without_own = above + below((hits - 1) / others) - (hits - 1) / others
    without = np.where(own, without_own / max(count - 1, 1), (above + below(hits / others)) / count)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    bias = (len(score) - 1) * (float(without.mean()) - value) if count > 1 else 0.0
    return AveragePrecision(value, np.asarray(positive, bool), precision[back], added[back], bias)


def average_precision_limits(found: AveragePrecision, score: np.ndarray, of_group: np.ndarray) -> Interval:
    """The mid-P interval of a share, of as many independent rows as have the average precision's variance.

    A mean of precisions, each between 0 and 1, varies over the positive rows at most as a share does (Boyd et al. 2013
    take that for its variance); these count for what they are worth by how alike the scores of a group are. It is
    scaled to the variance over groups that is observed (widened as Student's t is over the normal), where that is
    larger, and where it is smaller towards it, the more groups say so; an average precision of 1 is so no certainty.
    Few positive rows have too high values, since each counts itself: the lower end is that of the value without its
    bias, the upper one stays.
    """
    own = found.positive
    sizes = np.bincount(np.unique(of_group[own], return_inverse=True)[1])
    alone = sizes.max() == 1
    number = float(len(sizes)) if alone else max(1.0, effective_number(sizes, alike_scores(score[own], of_group[own])))
    few = max(1, len(np.unique(of_group)) - 1)
    variance = found.variance(of_group) * float(stdtrit(few, 0.975) / _NORMAL) ** 2
    expected = found.value * (1 - found.value) / number
    ratio = variance / expected if variance > 0 and expected > 0 else 1.0
    seen = len(np.unique(of_group[own & (found.precision < 1)]))
    worth = number / (ratio if ratio > 1 else (seen * ratio + _PRIOR) / (seen + _PRIOR))
    corrected = min(max(found.value - found.bias * float(own.sum()) / number, 0.0), 1.0)
    (low, high), (lower, _) = (mid_p(value * worth, worth) for value in (found.value, corrected))
    return min(low, lower), high
