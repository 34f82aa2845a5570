"""Of several labels: calibrate each on the validation rows that know it, and choose its threshold on them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featcache.features.labelled_features import Features

from .calibration import calibrate, fit_calibration
from .decision import Settled
from .operating_point import choose_threshold, operating_point
from .splits import Partition

_log = logging.getLogger(__name__)
_LEAST = 10  # rows of either kind, for a calibration or a threshold to be learnt from
_EVEN = 0.5


def two_columns(p: np.ndarray) -> np.ndarray:
    """Probabilities of a label as those of two classes, not having it and having it; shape (n, 2)."""
    return np.stack([1 - p, p], axis=1)


def calibrate_labels(outputs: np.ndarray, calibration: Sequence[Mapping[str, Any] | None] | None) -> np.ndarray:
    """Mended probabilities, array of shape (n, n_labels); a label without a calibration stays as it is."""
    if calibration is None:
        return outputs
    columns = [calibrate(two_columns(p), one)[:, 1] for p, one in zip(outputs.T, calibration, strict=True)]
    return np.stack(columns, axis=1)


def settle_labels(
    features: Features, parts: Partition, outputs: np.ndarray, method: str | None, sensitivity: float | None
) -> Settled:
    """As :func:`heads.evaluation.decision.settle`, label by label.

    A label that is known of fewer than ten validation rows of either kind keeps its probabilities, and the threshold
    of 0.5; the warnings say which.
    """
    known = ~np.isnan(features.y)
    val = [parts.val[known[parts.val, label]] for label in range(outputs.shape[1])]
    few = [
        min(int((features.y[rows, label] == kind).sum()) for kind in (0, 1)) < _LEAST for label, rows in enumerate(val)
    ]
    left = ", ".join(name for name, less in zip(features.classes, few, strict=True) if less)
    warnings: list[str] = []
    calibration: list[dict[str, Any] | None] | None = None
    thresholds: list[dict[str, Any] | None] | None = None
    result: dict[str, Any] = {"calibration": None, "threshold": None}
    mended = outputs
    if method is not None:
        calibration = []
        for label, rows in enumerate(val):
            fitted: dict[str, Any] | None = None
            if not few[label]:
                given = two_columns(outputs[rows, label])
                fitted, more = fit_calibration(given, features.y[rows, label].astype(np.int64), method)
                warnings += [f"{features.classes[label]}: {text}" for text in more]
            calibration.append(fitted)
        mended = calibrate_labels(outputs, calibration)
        result["calibration"] = dict(zip(features.classes, calibration, strict=True))
        if left:
            warnings.append(f"calibration: fewer than {_LEAST} validation images with or without {left}: not mended")
    if sensitivity is not None:
        thresholds, points = [], {}
        for label, rows in enumerate(val):
            name, chosen = features.classes[label], None
            y, p = features.y[:, label], two_columns(mended[:, label])
            if not few[label]:
                chosen, more = choose_threshold(y[rows].astype(np.int64), p[rows], sensitivity, features.groups[rows])
                warnings += [f"{name}: {text}" for text in more]
                test = parts.test[known[parts.test, label]]
                point = None
                if len(test):
                    point = operating_point(y[test].astype(np.int64), p[test], features.groups[test], chosen["value"])
                points[name] = {"value": chosen["value"], "chosen_on_val": chosen, "test": point}
            thresholds.append(chosen)
        result["threshold"] = points
        if left:
            warnings.append(
                f"threshold: fewer than {_LEAST} validation images with or without {left}: labelled from {_EVEN} on"
            )
    for text in warnings:
        _log.warning("%s", text)
    return Settled(mended, calibration, thresholds, tuple(warnings), {**result, "warnings": warnings})
