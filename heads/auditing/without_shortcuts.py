"""What a model would score without what the shortcut probes know.

Classes that differ in what a probe sees can be told apart by it, so a model's score is made of two parts. Weights make
the classes alike in it (:mod:`heads.evaluation.overlap_weights`), as if the shortcut had been dealt out by chance; a
model that learns from rows so weighed gains nothing by it, and judged on them it is not rewarded for it either.

Taking out of the features what the probes' answers explain was tried, and is not used: where a shortcut goes with the
class it takes the class out as well, and where it is estimated beside the class, an imperfect probe leaves most of the
shortcut in (docs/coverage.md has both beside this).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..evaluation.held_out_ridge import held_out_labels, scaled, whole_group_folds
from ..evaluation.intervals import Shares, mean_recall, reach
from ..evaluation.overlap_weights import overlap
from ..evaluation.ridge_smoother import RidgeSmoother

_LEAST_PATIENTS = 10  # of each class, that the weighed ones are worth; of fewer nothing is said
_LEFT = 0.1  # of the way from chance to certainty, that the probes may still reach
_SMALL = 1e-3  # a probability below is taken for this: a forest has no finer ones


def without_shortcuts(
    X: np.ndarray, y: np.ndarray, of_group: np.ndarray, answers: Sequence[np.ndarray], seed: int = 0
) -> dict[str, Any]:
    """Balanced accuracy of a ridge classifier, and of one for which the probes' answers tell nothing.

    Parameters
    ----------
    X : array of shape (n, d): features.
    y : int array of shape (n,), classes counted from 0, each with rows of two groups.
    of_group : int array of shape (n,), groups counted from 0.
    answers : of each probe, what it gives rows that it did not learn from, array of shape (n, n_classes); NaN where it
        says nothing.
    seed : of folds.

    Returns
    -------
    ``plain plain_ci net net_ci difference difference_ci probes_reach effective_patients fewest_patients``; ``net`` and
    what hangs on it are None where the classes have hardly any patients alike in the probes' answers.
    """
    folds = whole_group_folds(y, of_group, seed)
    plain = held_out_labels(X, y, folds)
    weighed = overlap(np.column_stack([_log_shares(given) for given in answers]), y, of_group)
    found: dict[str, Any] = {
        "plain": _recall(y, plain, None),
        "plain_ci": list(mean_recall(y, plain, of_group)),
        "net": None,
        "net_ci": None,
        "difference": None,
        "difference_ci": None,
        "probes_reach": weighed.told,
        "effective_patients": weighed.total,
        "fewest_patients": float(weighed.worth.min()),
    }
    chance = 1 / len(weighed.worth)
    if weighed.worth.min() < _LEAST_PATIENTS or weighed.told > chance + _LEFT * (1 - chance):
        return found
    there = np.flatnonzero(weighed.weight)
    net = _net(X[there], y[there], weighed.weight[there], _within(folds, there))
    own, weight = of_group[there], weighed.weight[there]
    found |= {"net": _recall(y[there], net, weight), "net_ci": list(mean_recall(y[there], net, own, weight))}
    gap, interval = _gap((y, plain, of_group), (y[there], net, own), weight)
    return found | {"difference": gap, "difference_ci": interval}


def _log_shares(given: np.ndarray) -> np.ndarray:
    """Log odds of the classes against the first; a row of which nothing is said stands in the middle of the others."""
    logs = np.log(np.maximum(given, _SMALL))
    odds = logs[:, 1:] - logs[:, :1]
    return np.asarray(np.where(np.isnan(odds), np.nanmean(odds, axis=0), odds))


def _within(folds: Sequence[np.ndarray], rows: np.ndarray) -> list[np.ndarray]:
    """The folds of some rows, by their places among these."""
    fold_of = np.empty(sum(map(len, folds)), int)
    for number, held in enumerate(folds):
        fold_of[held] = number
    parts = (np.flatnonzero(fold_of[rows] == number) for number in range(len(folds)))
    return [part for part in parts if len(part)]


def _net(X: np.ndarray, y: np.ndarray, weight: np.ndarray, folds: Sequence[np.ndarray]) -> np.ndarray:
    """The class that a ridge classifier which learnt from weighed rows gives each, from the other folds."""
    per_class = np.bincount(y, weight)
    smoother = RidgeSmoother(scaled(X), weight * len(y) / per_class[y] / len(per_class))
    targets = np.eye(len(per_class))[y]
    return smoother.held_out(targets, folds, smoother.best_penalty(targets, folds)).argmax(axis=1)


def _recall(y: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None) -> float:
    right = np.bincount(y, (predicted == y) if weight is None else (predicted == y) * weight)
    return float((right / np.bincount(y, weight)).mean())


_Judged = tuple[np.ndarray, np.ndarray, np.ndarray]


def _gap(plain: _Judged, net: _Judged, weight: np.ndarray) -> tuple[float, list[float]]:
    """Plain minus net, and its interval: both have their own, and go together as the patients show (MOVER)."""
    (y_a, predicted_a, groups_a), (y_b, predicted_b, groups_b) = plain, net
    classes = int(y_a.max()) + 1
    parts = Shares(
        np.r_[predicted_a == y_a, predicted_b == y_b],
        np.r_[y_a, y_b + classes],
        np.r_[groups_a, groups_b],
        np.r_[np.ones(len(y_a)), weight],
    )
    sign = np.repeat([1.0, -1.0], classes)
    below, above = np.abs(parts.limits - parts.values) / classes
    down, up = (
        reach(part, parts.along(part * sign), parts.known, 0.0, 0.0)
        for part in (np.where(sign > 0, below, above), np.where(sign > 0, above, below))
    )
    gap = float(parts.values @ sign) / classes
    return gap, [max(-1.0, gap - down), min(1.0, gap + up)]
