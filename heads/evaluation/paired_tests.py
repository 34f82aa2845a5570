"""Which of two models is better on the same groups: a permutation test, and intervals that agree with it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from .intervals import Shares, mean_interval, reach
from .roc_areas import area_limits, area_of

_EXACT = 13  # groups that differ; of so many all ways to swap the models are tried, of more a random part
_DRAWS = 9999
_AT_ONCE = 2_000_000  # signs drawn at a time
_LEVEL = 0.05
_DOUBT = 4  # groups that the areas of two models being independent is worth, against what the groups show


@dataclass(frozen=True)
class Difference:
    """A metric of A minus that of B.

    Attributes
    ----------
    value : the difference.
    ci : its 95% interval; it holds 0 where ``p`` is 0.05 or more, and does not where ``p`` is below.
    p : of the permutation test over groups.
    """

    value: float
    ci: tuple[float, float]
    p: float


def differences(
    y: np.ndarray,
    p_a: np.ndarray,
    p_b: np.ndarray,
    predicted_a: np.ndarray,
    predicted_b: np.ndarray,
    of_group: np.ndarray,
) -> dict[str, Difference | None]:
    """Differences of accuracy, balanced accuracy and ROC area.

    The test asks how often the difference would be as large if in each group the two models changed places by the
    toss of a coin (:func:`swapped`): equally good models are told apart in 5% of cases or fewer, however few the
    groups. The intervals add up what the limits of each part leave open (:func:`heads.evaluation.intervals.reach`): for
    shares, those of the rows that A alone and B alone judges rightly, class by class; for areas, those of either
    model's.

    Parameters
    ----------
    y, predicted_a, predicted_b : int arrays of shape (n,), classes counted from 0.
    p_a, p_b : arrays of shape (n, n_classes).
    of_group : int array of shape (n,), groups counted from 0.

    Returns
    -------
    ``accuracy``, ``balanced_accuracy`` and ``roc_auc``, the last None where a class has no rows.
    """
    right_a, right_b = predicted_a == y, predicted_b == y
    there = len(np.unique(y)) == p_a.shape[1]
    return {
        "accuracy": _of_shares(right_a, right_b, np.zeros_like(y), of_group),
        "balanced_accuracy": recall_difference(y, predicted_a, predicted_b, of_group),
        "roc_auc": _of_areas(y, p_a, p_b, of_group) if there else None,
    }


def recall_difference(
    y: np.ndarray,
    predicted_a: np.ndarray,
    predicted_b: np.ndarray,
    of_group: np.ndarray,
    tosses: int = _DRAWS,
    widened: float = 1.0,
) -> Difference:
    """The difference of balanced accuracies alone; ``tosses`` and ``widened`` as in :func:`swapped`."""
    of_class = np.unique(y, return_inverse=True)[1]
    return _of_shares(predicted_a == y, predicted_b == y, of_class, of_group, tosses, widened)


def swapped(gains: np.ndarray, seed: int = 0, tosses: int = _DRAWS, widened: float = 1.0) -> float:
    """The two-sided p-value of a sum over groups, were the sign of each group's gain a coin's (Fisher 1935).

    Exact for up to 13 groups that gain or lose; of more, so many tosses, the actual one counted in (Phipson & Smyth
    2010). With one image a group and accuracies it is McNemar's exact test.

    ``widened`` is how much farther the sum may stray than the coins say, where groups are judged by models that learnt
    from each other's.
    """
    gains = gains[np.abs(gains) > 1e-12]
    if not len(gains):
        return 1.0
    least = abs(gains.sum()) / widened - 1e-9 * np.abs(gains).sum()
    if len(gains) <= _EXACT:
        signs = np.array(list(itertools.product((1, -1), repeat=len(gains) - 1)))
        return float(np.mean(np.abs(gains[0] + signs @ gains[1:]) >= least))
    if np.ptp(np.abs(gains)) <= 1e-12 * np.abs(gains).max():
        fewest = int(np.ceil((len(gains) + least / np.abs(gains).max()) / 2))  # on one side, to stray as far
        return min(1.0, 2 * float(binom.sf(fewest - 1, len(gains), 0.5)))
    rng, reached = np.random.default_rng(seed), 0
    block = max(1, _AT_ONCE // len(gains))
    for start in range(0, tosses, block):
        signs = rng.integers(0, 2, (min(block, tosses - start), len(gains)), np.int8)
        reached += int((np.abs(2 * (signs @ gains) - gains.sum()) >= least).sum())
    return (1 + reached) / (1 + tosses)


def _of_shares(
    right_a: np.ndarray,
    right_b: np.ndarray,
    of_class: np.ndarray,
    of_group: np.ndarray,
    tosses: int = _DRAWS,
    widened: float = 1.0,
) -> Difference:
    """The difference of shares of rows that are right, in the mean over classes."""
    only_a, only_b = right_a & ~right_b, right_b & ~right_a
    classes = int(of_class.max()) + 1
    weight = (1.0 / (np.bincount(of_class) * classes))[of_class]
    gains = np.bincount(of_group, (only_a.astype(float) - only_b) * weight)
    value = float(gains.sum())
    parts = Shares(np.r_[only_a, only_b], np.r_[of_class, of_class + classes], np.r_[of_group, of_group])
    sign = np.repeat([1.0, -1.0], classes)
    below, above = np.abs(parts.limits - parts.values) / classes
    down, up = (
        widened * reach(part, parts.along(part * sign), parts.known, 0.0, 0.0)
        for part in (np.where(sign > 0, below, above), np.where(sign > 0, above, below))
    )
    return _agreeing(
        value, (max(-1.0, value - down), min(1.0, value + up)), swapped(gains, tosses=tosses, widened=widened)
    )


def _of_areas(y: np.ndarray, p_a: np.ndarray, p_b: np.ndarray, of_group: np.ndarray) -> Difference:
    """The difference of areas, of several classes of their means, one against the rest."""
    labels = [1] if p_a.shape[1] == 2 else list(range(p_a.shape[1]))
    return area_difference([_Ranked(y == label, p_a[:, label], p_b[:, label], of_group) for label in labels])


@dataclass(frozen=True)
class _Ranked:
    """Rows that two models rank: which should have the higher scores, the scores, and groups counted from 0."""

    positive: np.ndarray
    score_a: np.ndarray
    score_b: np.ndarray
    of_group: np.ndarray


def area_difference(rankings: Sequence[_Ranked]) -> Difference:
    """The difference of the mean of the areas of some rankings, of rows of the same groups."""
    count, many = max(int(one.of_group.max()) for one in rankings) + 1, len(rankings)
    value, gains = 0.0, np.zeros(count)
    together, apart, unknown = np.zeros((2, count)), np.zeros(2), np.zeros(2)
    for one in rankings:
        own, of_group = one.positive, one.of_group
        share = sum(np.bincount(of_group[rows], minlength=count) / rows.sum() for rows in (own, ~own)) / 2
        groups = len(np.unique(of_group))
        for sign, score in ((1, one.score_a), (-1, one.score_b)):
            area = area_of(own, score)
            added = np.zeros(count)
            for part in area.sums(of_group):
                added[: len(part)] += part
            length = float(np.linalg.norm(added))
            parts = np.abs(np.array(area_limits(area, score, of_group)) - area.value)[::sign] / many
            apart += parts**2
            if length > 1e-12:
                together += sign * parts[:, None] * added / length
            else:
                unknown += parts**2
            value += sign * area.value / many
            # What a group adds: its deviation, widened as a variance is for a mean not known, and its share of the
            # whole.
            gains += sign * (added * np.sqrt(groups / max(1, groups - 1)) + area.value * share) / many
    believed = count / (count + _DOUBT)
    low, high = np.sqrt(believed * ((together**2).sum(axis=1) + unknown) + (1 - believed) * apart)
    return _agreeing(value, (max(-1.0, value - low), min(1.0, value + high)), swapped(gains))


def label_differences(
    y: np.ndarray, p_a: np.ndarray, p_b: np.ndarray, of_group: np.ndarray
) -> tuple[Difference | None, list[Difference | None]]:
    """Differences of ROC areas of several labels: of their mean, and of each on the rows that know it.

    Parameters
    ----------
    y : float array of shape (n, n_labels): 1, 0, or NaN where it is not known.
    p_a, p_b : arrays of shape (n, n_labels).
    of_group : int array of shape (n,), groups counted from 0.

    Returns
    -------
    The first is None where no label has an area, those of the second where their label has none.
    """
    rankings: list[_Ranked | None] = []
    for label in range(y.shape[1]):
        known = ~np.isnan(y[:, label])
        own = y[known, label] == 1
        ranked = _Ranked(own, p_a[known, label], p_b[known, label], of_group[known])
        rankings.append(ranked if 0 < own.sum() < len(own) else None)
    there = [one for one in rankings if one is not None]
    mean = area_difference(there) if there else None
    return mean, [None if one is None else area_difference([one]) for one in rankings]


def error_difference(y: np.ndarray, given_a: np.ndarray, given_b: np.ndarray, of_group: np.ndarray) -> Difference:
    """The difference of mean absolute errors of numbers, negative where A is the nearer; two groups or more.

    Its interval is Student's t over groups (:func:`heads.evaluation.intervals.mean_interval`).
    """
    more = np.abs(given_a - y) - np.abs(given_b - y)
    gains = np.bincount(of_group, more) / len(more)
    return _agreeing(float(more.mean()), mean_interval(more, of_group), swapped(gains))


def _agreeing(value: float, interval: tuple[float, float], p: float) -> Difference:
    """The interval, with 0 taken in or left out as the test says."""
    low, high = interval
    if p >= _LEVEL:
        low, high = min(low, 0.0), max(high, 0.0)
    elif value > 0:
        low = max(low, 0.0)
    else:
        high = min(high, 0.0)
    return Difference(value, (low, high), p)
