"""Calibration as operations of OpenVINO.

It works on logarithms of probabilities, which keep the digits that probabilities near 0 and 1 lose in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..evaluation.calibration import LEAST
from .graph_parts import add, row

_FAR = np.float32(-1e30)  # what is added to leave a class out of a sum of powers


def calibrated(given: Any, calibration: Mapping[str, Any] | None) -> Any:
    """Probabilities of scores, mended as :func:`heads.evaluation.calibration.calibrate` does; shape (1, n_classes)."""
    from openvino import opset13 as ops

    if calibration is None:
        return ops.softmax(given, 1)
    logs = ops.maximum(ops.log_softmax(given, 1), row(np.log(LEAST)))
    if calibration["method"] == "temperature":
        return ops.softmax(ops.multiply(logs, row(calibration["inverse_temperature"])), 1)
    n_classes = int(logs.get_output_shape(0)[1])
    odds = _odds(logs, n_classes)
    if calibration["method"] == "sigmoid":
        line = add(ops.multiply(odds, row(calibration["slope"])), calibration["intercept"])
        shares = ops.sigmoid(ops.negative(line))
    else:
        curves = [
            _curve(ops.gather(odds, np.array([column]), np.array(1)), x, share)
            for column, (x, share) in enumerate(zip(calibration["logits"], calibration["shares"], strict=True))
        ]
        shares = ops.concat(curves, 1) if len(curves) > 1 else curves[0]
    if n_classes == 2:
        return ops.concat([ops.subtract(row(1), shares), shares], 1)
    total = ops.reduce_sum(shares, np.array([1]), True)
    even = ops.broadcast(row(1 / n_classes), np.array([1, n_classes]))
    divided = ops.divide(shares, ops.maximum(total, row(np.finfo(np.float32).tiny)))
    return ops.select(ops.greater(total, row(0)), divided, even)


def _odds(logs: Any, n_classes: int) -> Any:
    """Log-odds of each class against the others, of logarithms of probabilities; (1, 1) for the second of two."""
    from openvino import opset13 as ops

    if n_classes == 2:
        first, second = (ops.gather(logs, np.array([column]), np.array(1)) for column in (0, 1))
        return ops.subtract(second, first)
    others = ops.add(logs, np.eye(n_classes, dtype=np.float32) * _FAR)  # row k: all classes but k
    largest = ops.reduce_max(others, np.array([1]), True)
    summed = ops.reduce_sum(ops.exp(ops.subtract(others, largest)), np.array([1]), True)
    against = ops.reshape(ops.add(ops.log(summed), largest), np.array([1, n_classes]), False)
    return ops.subtract(logs, against)


def _curve(x: Any, places: list[float], heights: list[float]) -> Any:
    """A rising curve through points, level beyond its ends, as ``numpy.interp`` draws it; x of shape (1, 1)."""
    from openvino import opset13 as ops

    at, height = np.asarray(places, np.float64), np.asarray(heights, np.float64)
    if len(at) == 1:
        return ops.add(ops.multiply(x, row(0)), row(height[0]))
    width = np.maximum(np.diff(at), 1e-7)  # where it jumps: the narrowest slope that float32 holds
    part = ops.clamp(ops.divide(add(x, -at[:-1]), row(width)), 0.0, 1.0)
    return add(ops.reduce_sum(ops.multiply(part, row(np.diff(height))), np.array([1]), True), height[:1])
