"""What each patient's images do to a ridge: what it says of others when it did not learn from them, without a refit.

A ridge that did not learn from a patient is that of all rows in which the patient's have, for targets, what it would
give them (:mod:`heads.evaluation.ridge_smoother`). What other rows are given then follows from the products of these
rows with those learnt from, for each patient in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .clusters import group_codes, rows_of_groups
from .metric_titles import TITLES
from .ridge_smoother import RidgeSmoother

_MOST = 10


@dataclass(frozen=True)
class _Measure:
    """How a ridge learns a target, and what its answers are measured by."""

    metric: str
    targets: Callable[[np.ndarray], np.ndarray]  # of rows: (n, m)
    of: Callable[[np.ndarray, np.ndarray], float]  # gets what is true, and what the ridge gives, (k, m)


def _signs(y: np.ndarray) -> np.ndarray:
    """1 in the column of a row's class, and -1 in the others."""
    return np.where(y[:, None] == np.arange(int(y.max()) + 1), 1.0, -1.0)


# Several labels are not among them: each is learnt from other rows.
_MEASURES = {
    "classes": _Measure("accuracy", _signs, lambda y, given: float((given.argmax(axis=1) == y).mean())),
    "number": _Measure(
        "mae", lambda y: y[:, None].astype(np.float64), lambda y, given: float(np.abs(given[:, 0] - y).mean())
    ),
}


def patient_influence(
    kind: str,
    learnt: tuple[np.ndarray, np.ndarray, Sequence[object] | np.ndarray],
    judged: tuple[np.ndarray, np.ndarray],
    penalty: float,
) -> dict[str, Any] | None:
    """What a metric on some rows becomes where a patient, or other group, is left out of those learnt from.

    Parameters
    ----------
    kind : ``classes`` or ``number``; of other tasks nothing is said.
    learnt : rows of shape (n, d), classes counted from 0 or numbers, (n,), and groups, (n,).
    judged : rows of shape (k, d), and what is true of them, (k,).
    penalty : of the ridge, above 0, whoever is left out.

    Returns
    -------
    ``metric``, ``accuracy`` or ``mae``, and ``value``, what it is when all are learnt from; ``squared_error``, the mean
    over rows and targets (1 and -1 of each class); ``range``, the least and the greatest metric without one of the
    groups; ``patients``, for each group ``group images change change_of_squared_error``, those first whose leaving out
    changes the squared error most: unlike an accuracy it moves without steps. None where there are no two groups.
    """
    measure = _MEASURES.get(kind)
    names = np.asarray(learnt[2])
    codes = group_codes(names, len(names))
    if measure is None or len(np.unique(codes)) < 2:
        return None
    smoother = RidgeSmoother(learnt[0])
    both = measure.targets(np.concatenate([learnt[1], judged[1]]))
    targets, truth = both[: len(names)], both[len(names) :]
    answers = smoother.answers(judged[0], penalty)
    given = answers @ targets

    def measured(outputs: np.ndarray) -> tuple[float, float]:
        return measure.of(judged[1], outputs), float(np.square(outputs - truth).mean())

    value, error = measured(given)
    patients: list[dict[str, Any]] = []
    values = []
    groups = rows_of_groups(codes)
    for rows, own in zip(groups, smoother.left_out(targets, groups, penalty), strict=True):
        without, error_without = measured(given + answers[:, rows] @ (own - targets[rows]))
        values.append(without)
        patients.append(
            {
                "group": str(names[rows[0]]),
                "images": len(rows),
                "change": without - value,
                "change_of_squared_error": error_without - error,
            }
        )
    patients.sort(key=lambda patient: -abs(patient["change_of_squared_error"]))
    about = {"metric": measure.metric, "value": value, "squared_error": error, "range": [min(values), max(values)]}
    return {**about, "patients": patients}


def shortened(influence: dict[str, Any]) -> dict[str, Any]:
    """The same with the first ten patients; ``groups`` says how many there were, and ``most`` is the one of all whose
    leaving out changes the metric most."""
    patients = influence["patients"]
    most = max(patients, key=lambda patient: abs(patient["change"]))
    return {**influence, "groups": len(patients), "most": most, "patients": patients[:_MOST]}


def influence_sentence(influence: Mapping[str, Any]) -> str:
    """It in one sentence."""
    among = f"{influence['groups']} patients or groups"
    metric = TITLES[influence["metric"]]
    most, value = influence["most"], influence["value"]
    images = "1 image" if most["images"] == 1 else f"{most['images']} images"
    if not most["change"]:
        return f"ridge: without any one of {among} in training, its {metric} on test is the same"
    return (
        f"ridge: without {most['group']} ({images}) in training, its {metric} on test would be "
        f"{value + most['change']:.3f} in place of {value:.3f}; no other one of {among} changes it more"
    )
