"""95% intervals of what is said of predicted numbers, over rows that come in groups.

How often they hold the truth is measured by ``tests/benchmarks/coverage.py``; the table is in ``docs/coverage.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv, ndtri, polygamma, stdtrit
from scipy.stats import rankdata

from .clusters import alike_scores, effective_number
from .intervals import Interval

_PRIOR = 8  # groups that the variance of normal errors is worth, against a smaller one that is observed
_DOUBT = 0.3  # by so much the variance of R2's logarithm is taken to be more, where all of it is seen in one group
_NORMAL = float(ndtri(0.975))
# Variances of the mean of one normal number's square, and of its absolute value, in squares of these means.
SQUARES, ABSOLUTES = 2.0, float(np.pi / 2 - 1)


def positive_mean(values: np.ndarray, of_group: np.ndarray, spread: float, tail: float = 0.025) -> Interval | None:
    """Interval of the mean of numbers that are not negative: that of a gamma variable's scale (Satterthwaite 1946).

    Of independent normal errors' squares it is the exact one. Its variance is what the groups show, or what normal
    errors would have, see :func:`_settled`; where they show more, it is taken to be still more by as much as few groups
    have large errors, since a few more of those would be the rule among others (compare Johnson's t, 1978).

    Parameters
    ----------
    values : array of shape (n,), not negative.
    of_group : int array of shape (n,), groups counted from 0.
    spread : what normal errors' variance is of the squared mean, :data:`SQUARES` or :data:`ABSOLUTES`.
    tail : what it leaves out on either side.

    Returns
    -------
    None where there are fewer than two groups, or all values are 0: nothing says then how far others may be from it.
    """
    count, mean = int(of_group.max()) + 1, float(values.mean())
    if count < 2 or mean <= 0:
        return None
    added = np.bincount(of_group, values - mean)
    seen = _over_groups(values - mean, of_group)
    lost = 3 if spread == SQUARES else 2
    skewed = max(0.0, _by_few(added))
    expected = spread * mean**2 / _worth(values, of_group)
    shape = mean**2 / _settled(seen, expected, count, lost, 1 + skewed, tail)
    low, high = (mean * shape / float(gammaincinv(shape, end)) for end in (1 - tail, tail))
    return min(low, mean), max(high, mean)


def r2_interval(y: np.ndarray, predicted: np.ndarray, of_group: np.ndarray) -> Interval | None:
    """Interval of R2, of the logarithm of the share of the variance that is left, linearised over groups.

    The variance of y is taken without the part that its mean, estimated over the same groups, takes away.

    Returns
    -------
    None where there are fewer than two groups, no variance, or no errors.
    """
    count = int(of_group.max()) + 1
    errors, deviations = (y - predicted) ** 2, y - y.mean()
    left, total = float(errors.mean()), float((deviations**2).mean())
    if count < 2 or left <= 0 or total <= 0:
        return None
    differences = errors / left - deviations**2 / total
    seen = _over_groups(differences, of_group)
    added = np.abs(np.bincount(of_group, differences))
    few = _by_few(added)
    # What both logarithms vary by where errors and y are normal, and how alike the two are.
    parts = [
        float(polygamma(1, max(_worth(values, of_group) - lost, 1.0) / 2))
        for values, lost in ((errors, 0), (deviations**2, 1))
    ]
    shared = np.corrcoef(y - predicted, y)[0, 1] ** 2 if np.ptp(y - predicted) > 0 else 0.0
    expected = sum(parts) - 2 * float(shared) * float(np.sqrt(parts[0] * parts[1]))
    reached = _NORMAL * float(np.sqrt((1 + _DOUBT * few) * _settled(seen, expected, count, lost=4)))
    whole = total + _over_groups(deviations, of_group)
    plain, centre = np.log(left / total), np.log(left / whole)
    return float(1 - np.exp(max(plain, centre + reached))), float(1 - np.exp(min(plain, centre - reached)))


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's correlation and its interval, None where there are fewer than three groups."""

    value: float
    interval: Interval | None


def rank_correlation(y: np.ndarray, predicted: np.ndarray, of_group: np.ndarray) -> RankCorrelation | None:
    """Spearman's correlation, ties with their mean rank, and the interval of its inverse hyperbolic tangent.

    The correlation is linearised over groups with what each row adds to the ranks of all others; of independent normal
    rows its variance is Bonett and Wright's (2000).

    Returns
    -------
    None where y or the predictions are all the same.
    """
    if np.ptp(y) == 0 or np.ptp(predicted) == 0:
        return None
    ranks = [(rankdata(values) - 0.5) / len(y) for values in (y, predicted)]
    a, b = ((one - one.mean()) / one.std() for one in ranks)
    value = float(np.clip((a * b).mean(), -1, 1))
    count = int(of_group.max()) + 1
    if count < 3:
        return RankCorrelation(value, None)
    most = 1 - 12 / (count * (count**2 - 1))  # perfect order is taken for one with two neighbours' places changed
    middle = float(np.clip(value, -most, most))
    short = 1 - middle**2
    # Each row moves the covariance of the ranks, and, where there are ties, their variances.
    (own, of_other), (of_own, other) = (
        [_mean_above(values, weights) / one.std() for weights in (a, b)]
        for values, one in zip((y, predicted), ranks, strict=True)
    )
    added = a * b + of_own + of_other - value * ((a**2 + b**2) / 2 + own + other)
    seen = _over_groups(added - added.mean(), of_group) / short**2
    expected = (1 + middle**2 / 2) / max(_worth(a * b, of_group) - 3, 1.0)
    reached = _NORMAL * float(np.sqrt(_settled(seen, expected, count, lost=2)))
    low, high = (float(np.tanh(np.arctanh(middle) + step)) for step in (-reached, reached))
    return RankCorrelation(value, (min(low, value), max(high, value)))


def _mean_above(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each row, the mean over all rows of the weights of those with higher values, ties by half."""
    order = np.argsort(values, kind="stable")
    sums, ranked = np.r_[0.0, np.cumsum(weights[order])], values[order]
    below, up_to = (sums[np.searchsorted(ranked, values, side=side)] for side in ("left", "right"))
    return np.asarray((sums[-1] - (below + up_to) / 2) / len(values))


def _over_groups(deviations: np.ndarray, of_group: np.ndarray) -> float:
    """Variance of a mean whose rows deviate so from it, over groups (Cochran 1977)."""
    sums = np.bincount(of_group, deviations) / len(deviations)
    return float(sums @ sums) * len(sums) / (len(sums) - 1)


def _by_few(added: np.ndarray) -> float:
    """The third moment of what groups add, in units of their spread: 1 where all hangs on one group."""
    spread = float((added**2).sum())
    return float((added**3).sum()) / spread**1.5 if spread > 0 else 0.0


def _worth(values: np.ndarray, of_group: np.ndarray) -> float:
    """How many independent rows these are worth."""
    sizes = np.bincount(of_group)
    return float(len(sizes)) if sizes.max() == 1 else max(1.0, effective_number(sizes, alike_scores(values, of_group)))


def _settled(seen: float, expected: float, count: int, lost: int, beyond: float = 1.0, tail: float = 0.025) -> float:
    """The variance to be believed: the one seen, widened as Student's t is over the normal; if it is smaller than the
    one expected of normal errors, between the two, the nearer to it the more groups there are.

    ``lost`` is by how many the degrees of freedom fall short of the groups: one for a mean, as in Student's t, and more
    the more skewed is what is averaged, but no more than two fifths. ``beyond`` multiplies what is larger than
    expected. Which holds was found by trying: ``docs/coverage.md``.
    """
    freedom = max(1.0, count - lost, 0.6 * (count - 1))
    ratio = seen * float(stdtrit(freedom, 1 - tail) / ndtri(1 - tail)) ** 2 / expected
    return expected * (ratio * beyond if ratio > 1 else (count * ratio + _PRIOR) / (count + _PRIOR))
