"""How near predicted numbers are to the true ones on rows a model has not seen, and how far that can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featcache.errors import DataError

from .clusters import group_codes
from .intervals import Interval, mean_interval
from .number_intervals import ABSOLUTES, SQUARES, positive_mean, r2_interval, rank_correlation


def scores_of_numbers(y: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Metrics of one set of rows, without intervals.

    Parameters
    ----------
    y, predicted : float arrays of shape (n,), in the number's own unit.

    Returns
    -------
    ``n``; ``mae`` and ``rmse``, the mean absolute error and the root of the mean square, in that unit; ``r2``, the
    share of the variance of these rows' y that is told, negative where their mean would be the better guess, None
    where they are all the same; ``spearman``, the rank correlation, None where y or the predictions are all the same;
    and ``mean_error``, predicted minus true, which is what all predictions are too high by.

    Raises
    ------
    DataError
        No rows, numbers that are not finite, or arrays that do not fit each other.
    """
    y, predicted = _checked(y, predicted)
    return _scores(y, predicted, np.arange(len(y)))[0]


def evaluate_numbers(
    y: np.ndarray, predicted: np.ndarray, groups: Sequence[object] | np.ndarray | None
) -> dict[str, Any]:
    """:func:`scores_of_numbers` with 95% intervals.

    Parameters
    ----------
    y, predicted : as of :func:`scores_of_numbers`.
    groups : n hashable values, or None where each row is its own.

    Returns
    -------
    The metrics of :func:`scores_of_numbers`, and a ``_ci`` pair beside each; None where nothing is to be said, as of
    one group, or of an error of 0 in every row.

    Raises
    ------
    DataError
        As :func:`scores_of_numbers`.
    """
    y, predicted = _checked(y, predicted)
    of_group = group_codes(groups, len(y))
    figures, ranks = _scores(y, predicted, of_group)
    error = predicted - y
    square = positive_mean(error**2, of_group, SQUARES)
    several = int(of_group.max()) > 0
    intervals: dict[str, Interval | None] = {
        "mae": positive_mean(np.abs(error), of_group, ABSOLUTES),
        "rmse": None if square is None else (square[0] ** 0.5, square[1] ** 0.5),
        "r2": r2_interval(y, predicted, of_group),
        "spearman": ranks,
        "mean_error": mean_interval(error, of_group) if several and np.ptp(error) > 0 else None,
    }
    told: dict[str, Any] = {"n": figures.pop("n")}
    for name, value in figures.items():
        interval = intervals[name]
        told |= {name: value, f"{name}_ci": None if interval is None or value is None else list(interval)}
    return told


def _scores(y: np.ndarray, predicted: np.ndarray, of_group: np.ndarray) -> tuple[dict[str, Any], Interval | None]:
    """The metrics, and the interval of the rank correlation, which comes with it."""
    error, total = predicted - y, float(((y - y.mean()) ** 2).sum())
    ranks = rank_correlation(y, predicted, of_group)
    figures = {
        "n": len(y),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "r2": 1 - float((error**2).sum()) / total if np.ptp(y) > 0 else None,
        "spearman": None if ranks is None else ranks.value,
        "mean_error": float(error.mean()),
    }
    return figures, None if ranks is None else ranks.interval


def _checked(y: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, predicted = np.asarray(y, np.float64), np.asarray(predicted, np.float64)
    if not len(y) or y.shape != predicted.shape or y.ndim != 1:
        raise DataError(
            f"found numbers of shape {y.shape} and predictions of shape {predicted.shape}; expected (n,) of both, and "
            "some"
        )
    if not (np.isfinite(y).all() and np.isfinite(predicted).all()):
        raise DataError(
            f"{int((~np.isfinite(y)).sum())} numbers and {int((~np.isfinite(predicted)).sum())} predictions are not "
            "finite; leave those images out"
        )
    return y, predicted
