"""After the fit: calibrate on the validation rows, choose the threshold on them, and judge both on the test rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.features.labelled_features import Features

from .calibration import calibrate, check_method, fit_calibration
from .metrics import scores
from .operating_point import check_sensitivity, choose_threshold, operating_point
from .splits import Partition

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settled:
    """What was settled.

    Attributes
    ----------
    probabilities : array of shape (n, n_classes), calibrated where asked.
    calibration, threshold : for the bundle; of several labels a list, None for a label without.
    warnings : what must be said of them.
    result : ``calibration``, ``threshold`` and ``warnings`` as a verb's result has them, with what test says.
    """

    probabilities: np.ndarray
    calibration: Any
    threshold: Any
    warnings: tuple[str, ...]
    result: Mapping[str, Any]

    @property
    def value(self) -> Any:
        """The threshold itself, of several labels one for each, or None."""
        return threshold_value(self.threshold)


def threshold_value(threshold: Any) -> Any:
    """Where a label begins, out of what was chosen: of several labels one for each, 0.5 where none could be chosen."""
    if isinstance(threshold, list):
        return [0.5 if one is None else float(one["value"]) for one in threshold]
    return None if threshold is None else float(threshold["value"])


def check_wishes(calibration: str | None, sensitivity: float | None, n_classes: int = 2) -> None:
    """Raise :class:`UsageError` for what cannot be had, before time is spent on a fit."""
    if calibration is not None:
        check_method(calibration)
    if sensitivity is not None:
        check_sensitivity(sensitivity, n_classes)


def settle(
    features: Features, parts: Partition, probabilities: np.ndarray, method: str | None, sensitivity: float | None
) -> Settled:
    """Calibrate and choose the threshold, each where asked.

    Parameters
    ----------
    features, parts : the rows; the validation part decides, the test part judges, where it has rows.
    probabilities : array of shape (n, n_classes), the model's own.
    method : see :func:`heads.evaluation.calibration.fit_calibration`.
    sensitivity : see :func:`heads.evaluation.operating_point.choose_threshold`.
    """
    y, val, test = features.y, parts.val, parts.test
    calibration, threshold = None, None
    result: dict[str, Any] = {"calibration": None, "threshold": None}
    warnings: tuple[str, ...] = ()
    mended = probabilities
    if method is not None:
        calibration, warnings = fit_calibration(probabilities[val], y[val], method)
        mended = calibrate(probabilities, calibration)
        if calibration is not None and not len(test):
            result["calibration"] = {**calibration, "test_before": None}
        elif calibration is not None:
            before, after = (scores(y[test], p[test]) for p in (probabilities, mended))
            if after["loss"] > before["loss"]:
                warnings += (
                    f"calibration: on the {len(test)} test images it made the probabilities worse (loss "
                    f"{before['loss']:.3f} to {after['loss']:.3f}); the {len(val)} validation images it was learnt "
                    "from are not like them",
                )
            kept = {name: before[name] for name in ("loss", "brier", "ece")}
            result["calibration"] = {**calibration, "test_before": kept}
    if sensitivity is not None:
        threshold, more = choose_threshold(y[val], mended[val], sensitivity, features.groups[val])
        warnings += more
        point = None
        if len(test):
            point = operating_point(y[test], mended[test], features.groups[test], threshold["value"])
        result["threshold"] = {"value": threshold["value"], "chosen_on_val": threshold, "test": point}
    for text in warnings:
        _log.warning("%s", text)
    return Settled(mended, calibration, threshold, warnings, {**result, "warnings": list(warnings)})
