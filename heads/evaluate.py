"""How good a classifier is on rows it has not seen, and how far that figure can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import beta
from sklearn import metrics

from featcache.errors import DataError

from .bootstrap import group_codes, group_draws, percentile_interval, replicates
from .reliability import calibration_figures, reliability


def labels_of(probabilities: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """The label given to each row, int array of shape (n,).

    It is the most probable class, or, with a threshold on the second of two classes, that one from the threshold on.
    """
    if threshold is None:
        return probabilities.argmax(axis=1)
    return (probabilities[:, 1] >= threshold).astype(np.int64)


def scores(y: np.ndarray, probabilities: np.ndarray, threshold: float | None = None) -> dict[str, Any]:
    """Plain figures of one set of rows.

    Parameters
    ----------
    y : int array of shape (n,), classes counted from 0.
    probabilities : array of shape (n, n_classes).
    threshold : as in :func:`labels_of`.

    Returns
    -------
    ``accuracy``, ``loss`` (cross-entropy), ``balanced_accuracy``, ``macro_f1``, ``roc_auc`` (of several classes, one
    against the rest, averaged), ``brier`` (Brier 1950; of two classes half of it, 0 to 1, as is usual; of several 0 to
    2), ``ece`` (see :func:`heads.reliability.reliability`) and ``n``. ``roc_auc`` is None where a class has no rows.

    Raises
    ------
    DataError
        No rows, or arrays that do not fit each other.
    """
    n_classes = probabilities.shape[1]
    if not len(y) or len(y) != len(probabilities):
        raise DataError(f"found {len(y)} labels and {len(probabilities)} predictions; expected as many, and some")
    labels = np.arange(n_classes)
    predicted = labels_of(probabilities, threshold)
    every_class = len(np.unique(y)) == n_classes
    if n_classes == 2:
        area = metrics.roc_auc_score(y, probabilities[:, 1]) if every_class else None
    else:
        area = metrics.roc_auc_score(y, probabilities, multi_class="ovr", labels=labels) if every_class else None
    recalls = metrics.recall_score(y, predicted, labels=np.unique(y), average=None, zero_division=0)
    return {
        "accuracy": float(metrics.accuracy_score(y, predicted)),
        "loss": float(metrics.log_loss(y, probabilities, labels=labels)),
        "balanced_accuracy": float(np.mean(recalls)),
        "macro_f1": float(metrics.f1_score(y, predicted, labels=np.unique(y), average="macro", zero_division=0)),
        "roc_auc": None if area is None else float(area),
        "brier": float(metrics.brier_score_loss(y, probabilities, labels=labels)),
        "ece": reliability(y, probabilities).error,
        "n": len(y),
    }


def accuracy_interval(
    right: np.ndarray, groups: Sequence[object] | np.ndarray | None = None, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval of an accuracy, by bootstrap over groups.

    Whole groups (patients) are drawn with replacement, 2,000 times, and the percentiles of the accuracy taken
    (Efron & Tibshirani 1993): five pictures of one patient are not five times the evidence. Where every group is all
    right or all wrong alike, draws cannot differ; the exact binomial interval over groups (Clopper & Pearson 1934)
    stands in, so that 62 of 62 reads 0.94 to 1, not 1 to 1.

    Parameters
    ----------
    right : bool array of shape (n,).
    groups : n hashable values, or None where each row is its own.
    """
    right = np.asarray(right, dtype=float)
    of_group = group_codes(groups, len(right))
    correct, rows = np.bincount(of_group, right), np.bincount(of_group).astype(float)
    count = len(rows)
    if correct.sum() in (0, rows.sum()):
        return exact_interval(count if correct.sum() else 0, count, confidence)
    accuracies = [(drawn @ correct) / (drawn @ rows) for drawn in group_draws(count, seed)]
    return percentile_interval(np.concatenate(accuracies), confidence)


def exact_interval(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a proportion, by Clopper & Pearson (1934)."""
    tail = (1 - confidence) / 2
    low = beta.ppf(tail, hits, count - hits + 1) if hits else 0.0
    high = beta.ppf(1 - tail, hits + 1, count - hits) if hits < count else 1.0
    return float(low), float(high)


def evaluate(
    y: np.ndarray,
    probabilities: np.ndarray,
    groups: Sequence[object] | np.ndarray | None = None,
    classes: Sequence[str] | None = None,
    threshold: float | None = None,
) -> dict[str, Any]:
    """:func:`scores` with 95% intervals and the errors told apart.

    Returns
    -------
    The figures of :func:`scores`; ``accuracy_ci``, ``balanced_accuracy_ci``, ``macro_f1_ci`` and ``roc_auc_ci``, pairs
    (the last None where there is no area); ``ece_bins`` and ``ece_by_chance`` (see
    :func:`heads.reliability.calibration_figures`); ``confusion`` (rows are true classes, columns predicted ones); and
    with ``classes``, their names, ``recall`` and ``recall_ci`` of each (of two: specificity and sensitivity).
    """
    found = scores(y, probabilities, threshold)
    found.update(calibration_figures(y, probabilities))
    predicted = labels_of(probabilities, threshold)
    right = predicted == y
    found["accuracy_ci"] = list(accuracy_interval(right, groups))
    found.update(_other_intervals(y, probabilities, predicted, group_codes(groups, len(y)), found))
    labels = np.arange(probabilities.shape[1])
    found["confusion"] = metrics.confusion_matrix(y, predicted, labels=labels).tolist()
    if classes is not None:
        groups = None if groups is None else np.asarray(groups)
        found["recall"], found["recall_ci"] = {}, {}
        for label, name in enumerate(classes):
            own = y == label
            if own.any():
                found["recall"][name] = float(right[own].mean())
                found["recall_ci"][name] = list(accuracy_interval(right[own], None if groups is None else groups[own]))
    return found


def least_share(y: np.ndarray, of_group: np.ndarray) -> float:
    """Lower bound of a share that was 1 in every draw, from the groups of the rarest class.

    So many pairs of one group of each class can be formed that share none, and each was ranked rightly. Of a share that
    was 0 in every draw, the upper bound is 1 less this.
    """
    rarest = min(len(np.unique(of_group[y == label])) for label in np.unique(y))
    return exact_interval(rarest, rarest)[0]


def _other_intervals(
    y: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray, of_group: np.ndarray, found: dict[str, Any]
) -> dict[str, Any]:
    """Intervals of what is no plain proportion, from the same draws of groups.

    Where draws cannot differ, all being right, the exact interval of :func:`least_share` stands in. Where they cannot
    differ since some classes are all right and others all wrong, the exact bounds of both are weighed by the figure.
    """
    least = least_share(y, of_group)
    intervals: dict[str, Any] = {}
    for name, draws in replicates(y, probabilities, predicted, of_group).items():
        if name == "accuracy":
            continue
        kept = draws[np.isfinite(draws)]
        if found[name] is None or not len(kept):
            intervals[f"{name}_ci"] = None
        else:
            value = found[name]
            exact = [value * least, value + (1 - value) * (1 - least)]
            intervals[f"{name}_ci"] = exact if np.ptp(kept) < 1e-12 else list(percentile_interval(kept))
    return intervals
