"""How good a model of several labels is on rows that know some of them, and how far those numbers can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from featcache.errors import DataError

from .average_precisions import average_precision_limits, average_precision_of
from .clusters import group_codes
from .intervals import Interval, reach, share_interval
from .roc_areas import area_limits, area_of

FEWEST = 10  # rows that have a label, and rows that have not, from which on figures of it are told
TOO_FEW = "too few"
_UNSEEN = 0.5  # correlation of the figures of several labels in which no group differs
_FIGURES = ("roc_auc", "average_precision", "sensitivity", "specificity")


def scores_of_labels(
    y: np.ndarray, probabilities: np.ndarray, groups: Sequence[object] | np.ndarray | None = None
) -> dict[str, Any]:
    """Metrics of one set of rows, without intervals.

    Parameters
    ----------
    y : array of shape (n, n_labels): 1, 0, or NaN where it is not known.
    probabilities : array of shape (n, n_labels), each label's by itself.
    groups : n hashable values, or None where each row is its own.

    Returns
    -------
    ``n``; ``loss``, the binary cross-entropy, a mean over what is known; ``mean_roc_auc`` and
    ``mean_average_precision``, over the labels that :func:`enough` rows have and have not, None where there is none.

    Raises
    ------
    DataError
        No rows, nothing known, or arrays that do not fit each other.
    """
    y, p = _checked(y, probabilities)
    of_group = group_codes(groups, len(y))
    areas, precisions = [], []
    for label in range(y.shape[1]):
        rows = ~np.isnan(y[:, label])
        positive, score = y[rows, label] == 1, p[rows, label]
        if enough(positive, of_group[rows]):
            areas.append(float(roc_auc_score(positive, score)))
            precisions.append(float(average_precision_score(positive, score)))
    return {
        "n": len(y),
        "loss": _loss(y, p),
        "mean_roc_auc": float(np.mean(areas)) if areas else None,
        "mean_average_precision": float(np.mean(precisions)) if areas else None,
    }


def evaluate_labels(
    y: np.ndarray,
    probabilities: np.ndarray,
    groups: Sequence[object] | np.ndarray | None,
    names: Sequence[str],
    thresholds: Sequence[float | None] | None = None,
) -> dict[str, Any]:
    """:func:`scores_of_labels` with 95% intervals, and each label by itself, on the rows that know it.

    Parameters
    ----------
    y, probabilities, groups : as of :func:`scores_of_labels`.
    names : of the labels.
    thresholds : the probability from which on each label is called; None is 0.5.

    Returns
    -------
    The metrics of :func:`scores_of_labels`; ``mean_roc_auc_ci`` and ``mean_average_precision_ci``, pairs or None; and
    ``labels``: of each name ``roc_auc``, ``average_precision``, ``sensitivity``, ``specificity`` and ``prevalence``, a
    ``_ci`` pair beside each, ``threshold``, ``positives`` and ``n``. Where fewer rows (or groups) than :func:`enough`
    have the label or have it not, all but prevalence and counts is None, and ``note`` says ``too few``.

    Raises
    ------
    DataError
        As :func:`scores_of_labels`.
    """
    y, p = _checked(y, probabilities)
    of_group = group_codes(groups, len(y))
    count = int(of_group.max()) + 1
    mean_area, mean_precision = _Mean(count), _Mean(count)
    labels: dict[str, dict[str, Any]] = {}
    for label, name in enumerate(names):
        rows = np.flatnonzero(~np.isnan(y[:, label]))
        positive, score, own_groups = y[rows, label] == 1, p[rows, label], of_group[rows]
        given = None if thresholds is None else thresholds[label]
        about = labels[name] = {
            **{key: None for figure in _FIGURES for key in (figure, f"{figure}_ci")},
            "threshold": 0.5 if given is None else float(given),
            "prevalence": float(positive.mean()) if len(rows) else None,
            "prevalence_ci": list(share_interval(positive, own_groups)) if len(rows) else None,
            "positives": int(positive.sum()),
            "n": len(rows),
        }
        if not enough(positive, own_groups):
            about["note"] = TOO_FEW
            continue
        area, precision = area_of(positive, score), average_precision_of(positive, score)
        ends = area_limits(area, score, own_groups)
        about["roc_auc"], about["roc_auc_ci"] = area.value, list(ends)
        mean_area.add(area.value, ends, _sums(np.add(*area.sums(own_groups)), count))
        ends = average_precision_limits(precision, score, own_groups)
        about["average_precision"], about["average_precision_ci"] = precision.value, list(ends)
        mean_precision.add(precision.value, ends, _sums(np.bincount(own_groups, precision.added), count))
        called = score >= about["threshold"]
        for figure, of, right in (("sensitivity", positive, called), ("specificity", ~positive, ~called)):
            about[figure] = float(right[of].mean())
            about[f"{figure}_ci"] = list(share_interval(right[of], own_groups[of]))
    return {
        "n": len(y),
        "loss": _loss(y, p),
        "mean_roc_auc": mean_area.value,
        "mean_roc_auc_ci": mean_area.interval(),
        "mean_average_precision": mean_precision.value,
        "mean_average_precision_ci": mean_precision.interval(),
        "labels": labels,
    }


def area_influence(y: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """What each row adds to ``mean_roc_auc`` of :func:`scores_of_labels`, linearised, array of shape (n,).

    Parameters
    ----------
    y, probabilities : as of :func:`scores_of_labels`.
    """
    added, told = np.zeros(len(y)), 0
    for label in range(y.shape[1]):
        rows = np.flatnonzero(~np.isnan(y[:, label]))
        positive = y[rows, label] == 1
        if enough(positive, np.arange(len(rows))):
            added[rows] += area_of(positive, probabilities[rows, label]).added()
            told += 1
    return added / max(1, told)


def mean_area_interval(
    y: np.ndarray, probabilities: np.ndarray, groups: Sequence[object] | np.ndarray | None, tail: float
) -> Interval | None:
    """The interval of ``mean_roc_auc`` that leaves out ``tail`` on either side; parameters as of
    :func:`scores_of_labels`."""
    y, p = _checked(y, probabilities)
    of_group = group_codes(groups, len(y))
    mean = _Mean(int(of_group.max()) + 1)
    for label in range(y.shape[1]):
        rows = np.flatnonzero(~np.isnan(y[:, label]))
        positive, score = y[rows, label] == 1, p[rows, label]
        if enough(positive, of_group[rows]):
            area = area_of(positive, score)
            sums = _sums(np.add(*area.sums(of_group[rows])), int(of_group.max()) + 1)
            mean.add(area.value, area_limits(area, score, of_group[rows], tail), sums)
    found = mean.interval()
    return None if found is None else (found[0], found[1])


def enough(positive: np.ndarray, of_group: np.ndarray) -> bool:
    """Whether figures of a label are told: at least 10 rows of 2 groups have it, and as many have it not."""
    return all(own.sum() >= FEWEST and len(np.unique(of_group[own])) >= 2 for own in (positive, ~positive))


class _Mean:
    """A mean over labels and its interval: how far theirs reach, added with the correlations that the groups show.

    What groups add is summed label by label, since all labels' at once may not fit in memory.
    """

    def __init__(self, count: int) -> None:
        self._values: list[float] = []
        self._parts: list[np.ndarray] = []
        self._known: list[bool] = []
        self._together = np.zeros((2, count))

    def add(self, value: float, ends: Interval, sums: np.ndarray) -> None:
        part, length = np.abs(np.array(ends) - value), float(np.linalg.norm(sums))
        self._values.append(value)
        self._parts.append(part)
        self._known.append(length > 1e-12)
        if length > 1e-12:
            self._together += part[:, None] * sums / length

    @property
    def value(self) -> float | None:
        return float(np.mean(self._values)) if self._values else None

    def interval(self) -> list[float] | None:
        if self.value is None:
            return None
        parts, known, count = np.array(self._parts).T, np.array(self._known), len(self._values)
        low, high = (
            reach(part / count, whole / count, known, _UNSEEN)
            for part, whole in zip(parts, self._together, strict=True)
        )
        return [max(0.0, self.value - low), min(1.0, self.value + high)]


def _sums(of_groups: np.ndarray, count: int) -> np.ndarray:
    return np.pad(of_groups, (0, count - len(of_groups)))


def _checked(y: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, p = np.asarray(y, np.float64), np.asarray(probabilities)
    if not len(y) or y.shape != p.shape or y.ndim != 2:
        raise DataError(
            f"found labels of shape {y.shape} and probabilities of shape {p.shape}; expected (n, n_labels) of both, "
            "and some"
        )
    if np.isnan(y).all():
        raise DataError(f"of none of the {len(y)} images is any label known; expected some of 0 and 1")
    return y, p


def _loss(y: np.ndarray, p: np.ndarray) -> float:
    known = ~np.isnan(y)
    least = float(np.finfo(p.dtype).eps) if p.dtype.kind == "f" else 1e-15
    sure = np.clip(p[known].astype(np.float64), least, 1 - least)
    return float(-np.where(y[known] == 1, np.log(sure), np.log1p(-sure)).mean())
