"""What computing features in less than float32 may do to a model's answers, measured on images with rows in both.

An answer is as sure as its margin: the log-odds of the label that is given over the next one, or over the threshold
where a model has one. The error of answers is the largest change of that margin between an image's two rows. In
log-odds, since probabilities near 0 and 1 hide what would move an answer near the threshold.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from featcache.extraction.precision_error import recorded
from featcache.features.labelled_features import Features
from featcache.features.pooled_rows import read_pooled
from featcache.spec import FORMER_PRECISIONS
from featcache.store.store import Store

from ..evaluation.calibration import calibrate
from ..evaluation.metrics import labels_of

_CERTAIN = 1e-6  # of float32 probabilities closer to 0 or 1 than this, the digits that are left say nothing


def answer_error(
    estimator: Any,
    features: Features,
    calibration: Mapping[str, Any] | None,
    threshold: float | None,
    cache: str | os.PathLike[str],
) -> dict[str, Any] | None:
    """Measure the error of a model's answers.

    Parameters
    ----------
    estimator : fitted on the features.
    features : say from which set, and pooled how.
    calibration, threshold : of the model, as bundles have them.
    cache : holds the rows of both precisions.

    Returns
    -------
    ``images``, on how many it is measured; ``median`` and ``largest``, the distance between their two rows as a share
    of the length of float32's; ``answers``, the error of answers in log-odds, or None where all of these answers are
    too certain to tell. None for features of float32, and where the rows of both are not to be had.
    """
    spec = features.spec
    if spec.precision == "float32" or spec.precision in FORMER_PRECISIONS:
        return None
    with Store(cache) as store:
        error = recorded(store, features.feature_set)
        if error is None:
            return None
        pair = [
            read_pooled(store, name, error.keys, features.pooling) for name in (features.feature_set, error.reference)
        ]
    given, wanted = (calibrate(np.asarray(estimator.predict_proba(rows)), calibration) for rows in pair)
    labels = labels_of(given, threshold)
    ours, theirs = (margins(probabilities, labels, threshold) for probabilities in (given, wanted))
    telling = np.minimum(np.abs(ours), np.abs(theirs)) < -np.log(_CERTAIN)
    answers = float(np.abs(ours - theirs)[telling].max()) if telling.any() else None
    return {"images": len(error.keys), "median": error.median, "largest": error.largest, "answers": answers}


def margins(probabilities: np.ndarray, labels: np.ndarray, threshold: float | None) -> np.ndarray:
    """How far each answer is from becoming another one, in log-odds; negative where it is not this model's own.

    Parameters
    ----------
    probabilities : array of shape (n, n_classes).
    labels : int array of shape (n,).
    threshold : on the second of two classes' probability; None gives the most probable class.

    Returns
    -------
    float64 array of shape (n,).
    """
    logs = np.log(np.clip(probabilities.astype(np.float64), _CERTAIN, 1.0))
    if threshold is not None:
        even = min(max(threshold, _CERTAIN), 1 - _CERTAIN)
        over = logs[:, 1] - logs[:, 0] - np.log(even / (1 - even))
        return np.where(labels == 1, over, -over)
    rows = np.arange(len(logs))
    own = logs[rows, labels]
    logs[rows, labels] = -np.inf
    return own - logs.max(axis=1, initial=-np.inf)


def close_calls(
    measured: Mapping[str, Any] | None, probabilities: np.ndarray, labels: np.ndarray, threshold: float | None
) -> np.ndarray | None:
    """Which answers are closer to another one than the error, bool array of shape (n,); None where it is not known."""
    if measured is None or measured["answers"] is None:
        return None
    return margins(probabilities, labels, threshold) < measured["answers"]


def told(
    precision: str, measured: Mapping[str, Any] | None, close: np.ndarray | None, answers: int
) -> dict[str, Any] | None:
    """What a result says of the precision: what was measured, and how many of so many answers are ``close``."""
    if precision == "float32" or precision in FORMER_PRECISIONS:
        return None
    nothing = {"images": 0, "median": None, "largest": None, "answers": None}
    return {
        "precision": precision,
        **(measured or nothing),
        "close": None if close is None else int(close.sum()),
        "of": answers,
    }
