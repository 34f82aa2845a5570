"""The threshold that finds a wanted share of the positives, chosen on validation rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from featcache.errors import DataError, UsageError

from .intervals import share_interval
from .metrics import labels_of


def choose_threshold(
    y: np.ndarray,
    probabilities: np.ndarray,
    sensitivity: float,
    groups: Sequence[object] | np.ndarray | None = None,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The highest threshold on the second class's probability that finds at least the wanted share of its rows.

    None has the better specificity on these rows. It stands halfway to the next lower probability among them, so that
    no row of theirs hangs on the last digits.

    Parameters
    ----------
    y : int array of shape (n,), 0 and 1 present; rows that the model did not learn from.
    probabilities : array of shape (n, 2).
    sensitivity : the wanted share, more than 0 and at most 1.
    groups : n hashable values, or None where each row is its own.

    Returns
    -------
    ``value``, ``wanted``, and on these rows ``positives``, ``negatives``, ``sensitivity``, ``sensitivity_ci`` and
    ``specificity``; and warnings.

    Raises
    ------
    UsageError
        A share out of range, or a task of other than two classes.
    DataError
        Rows of one class alone.
    """
    check_sensitivity(sensitivity, probabilities.shape[1])
    given, positive = probabilities[:, 1], y == 1
    positives = int(positive.sum())
    if positives in (0, len(y)):
        raise DataError("the validation images are all of one class; a threshold needs some of both")
    wanted_hits = math.ceil(round(sensitivity * positives, 9))
    at = np.sort(given[positive])[::-1][wanted_hits - 1]
    below = given[given < at]
    value = float((at + below.max()) / 2) if len(below) else float(at)
    if not below.size or value <= below.max():  # neighbours in floating point
        value = float(at)
    called = given >= value
    hits = int((called & positive).sum())
    low, high = share_interval(called[positive], None if groups is None else np.asarray(groups)[positive])
    warnings = (
        f"threshold: chosen on {positives} positive validation images, {hits} of which it finds: on others like them "
        f"the sensitivity may be as low as {low:.2f}, {sensitivity:g} being wanted",
    )
    about = {
        "value": value,
        "wanted": float(sensitivity),
        "positives": positives,
        "negatives": len(y) - positives,
        "sensitivity": hits / positives,
        "sensitivity_ci": [low, high],
        "specificity": float(1 - called[~positive].mean()),
    }
    return about, warnings if low < sensitivity - 0.05 else ()


def operating_point(
    y: np.ndarray, probabilities: np.ndarray, groups: Sequence[object] | np.ndarray | None, threshold: float
) -> dict[str, Any]:
    """Sensitivity and specificity at a threshold, and beside them those of the even one, which tell what it cost.

    Returns
    -------
    ``sensitivity`` and ``specificity`` with ``_ci`` pairs, groups heeded (None where the rows lack the class),
    and ``at_half``: the same at a threshold of 0.5.
    """
    return {
        "value": threshold,
        **_rates(y, labels_of(probabilities, threshold), groups),
        "at_half": _rates(y, labels_of(probabilities), groups),
    }


def check_sensitivity(sensitivity: float, n_classes: int) -> None:
    """Raise :class:`UsageError` for a share out of range, or a task of other than two classes."""
    if not 0 < sensitivity <= 1:
        raise UsageError(f"--sensitivity {sensitivity:g}: expected a share more than 0 and at most 1, such as 0.95")
    if n_classes != 2:
        raise UsageError(
            f"--sensitivity is for two classes, the second of which is looked for; the task has {n_classes}"
        )


def check_threshold(threshold: Any, n_classes: int) -> None:
    """Raise ValueError, TypeError or KeyError unless this is what :func:`choose_threshold` gives."""
    if threshold is None:
        return
    low, high = threshold["sensitivity_ci"]
    names = {"value", "wanted", "positives", "negatives", "sensitivity", "specificity"}
    numbers = [threshold[name] for name in names] + [low, high]
    if set(threshold) != names | {"sensitivity_ci"} or not all(type(number) in (int, float) for number in numbers):
        raise ValueError("what is said of the threshold is not what this package writes")
    if n_classes != 2 or not 0 <= threshold["value"] <= 1:
        raise ValueError(f"a threshold of {threshold['value']} on {n_classes} classes")


def _rates(y: np.ndarray, predicted: np.ndarray, groups: Sequence[object] | np.ndarray | None) -> dict[str, Any]:
    rates: dict[str, Any] = {}
    groups = None if groups is None else np.asarray(groups)
    for name, label in (("sensitivity", 1), ("specificity", 0)):
        own = y == label
        right = predicted[own] == label
        rates[name] = float(right.mean()) if own.any() else None
        rates[f"{name}_ci"] = (
            list(share_interval(right, None if groups is None else groups[own])) if own.any() else None
        )
    return rates
