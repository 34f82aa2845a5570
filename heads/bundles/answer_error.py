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

from ..evaluation.answer_margins import CERTAIN
from ..evaluation.task_metrics import TASK_METRICS, Threshold


def answer_error(
    estimator: Any,
    features: Features,
    calibration: Any,
    threshold: Threshold,
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
    of the length of float32's; ``answers``, the error of answers in log-odds (of numbers, in their own unit), or None
    where all of these answers are too certain to tell. None for features of float32, and where the rows of both are
    not to be had.
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
    measures = TASK_METRICS[features.task.kind]
    given, wanted = (measures.mended(measures.outputs(estimator, rows), calibration) for rows in pair)
    said = measures.answers(given, threshold)
    ours, theirs = (measures.margins(outputs, said, threshold) for outputs in (given, wanted))
    if ours is None or theirs is None:  # numbers: they differ by so much, in their own unit
        answers: float | None = float(np.abs(given - wanted).max())
    else:
        telling = np.minimum(np.abs(ours), np.abs(theirs)) < -np.log(CERTAIN)
        answers = float(np.abs(ours - theirs)[telling].max()) if telling.any() else None
    return {"images": len(error.keys), "median": error.median, "largest": error.largest, "answers": answers}


def close_calls(
    measured: Mapping[str, Any] | None, kind: str, outputs: np.ndarray, threshold: Threshold
) -> np.ndarray | None:
    """Which rows have an answer closer to another one than the error, bool array of shape (n,); None where that is not
    known, or no answer can become another one."""
    if measured is None or measured["answers"] is None:
        return None
    measures = TASK_METRICS[kind]
    distances = measures.margins(outputs, measures.answers(outputs, threshold), threshold)
    return None if distances is None else distances < measured["answers"]


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
