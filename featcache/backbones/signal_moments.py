"""Mean and variance of each channel, followed through the layers that have no random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

GRID = 4096.0
# What pooling leaves of the variance, and how many deviations a maximum of neighbours lies above their mean.
_POOLED, _POOLED_GLOBALLY, _MAXIMUM = 0.75, 0.25, 0.5

_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "relu6": lambda x: np.minimum(np.maximum(x, 0.0), 6.0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "hard_silu": lambda x: x * np.minimum(np.maximum(x + 3, 0.0), 6.0) / 6,
    "gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


def _normal(count: int = 64) -> list[float]:
    """A standard normal variable by equally likely values, their variance 1."""
    values = [NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)]
    deviation = (sum(z * z for z in values) / count) ** 0.5
    return [round(z / deviation, 6) for z in values]


_NORMAL = _normal()


@dataclass(frozen=True)
class Signal:
    """What is known of a tensor.

    Attributes
    ----------
    mean, variance : arrays of shape (channels,).
    depth : weighted layers on the longest way to it.
    source : the layer that still scales and shifts it, where only pooling and the like came after; else None.
    """

    mean: np.ndarray
    variance: np.ndarray
    depth: int = 0
    source: Any = None


def unweighted(layer: Any, signals: list[Signal]) -> Signal:
    kind, signal = kind_of(layer), signals[0]
    mean, variance = signal.mean, signal.variance
    if kind in ("ZeroPadding2D", "Cropping2D", "Reshape", "Dropout", "StochasticDepth"):
        return signal
    if kind == "MaxPooling2D":
        mean = rounded(mean + _MAXIMUM * np.sqrt(variance))
        return replace(signal, mean=mean, variance=rounded(variance * _POOLED))
    if kind == "AveragePooling2D":
        return replace(signal, variance=rounded(variance * _POOLED))
    if kind == "GlobalAveragePooling2D":
        return replace(signal, variance=rounded(variance * _POOLED_GLOBALLY))
    if kind == "LayerNormalization":
        return Signal(np.zeros_like(mean), np.ones_like(variance), signal.depth)
    if kind == "CustomScaleLayer":  # Inception-ResNet: the signal, and a share of the block's
        return added([signal, times(signals[1], layer.scale)])
    if kind == "Add":  # of a constant: MobileNetV3 writes its sigmoid as relu6(x + 3) / 6
        return Signal(mean + 3, variance, signal.depth)
    if kind == "Multiply" and len(signals) == 1:
        return times(signal, 1 / 6)
    if kind == "Multiply":
        other = signals[1]
        product = variance * other.variance + variance * other.mean * other.mean + other.variance * mean * mean
        return Signal(rounded(mean * other.mean), rounded(product), max(signal.depth, other.depth))
    if kind == "Concatenate":
        means, variances = [s.mean for s in signals], [s.variance for s in signals]
        return Signal(np.concatenate(means), np.concatenate(variances), max(s.depth for s in signals))
    if kind == "Rescaling":
        return Signal(rounded(mean * layer.scale + layer.offset), variance * layer.scale * layer.scale)
    if kind == "Normalization":
        middle, spread = (np.ravel(np.asarray(values, np.float64)) for values in (layer.mean, layer.variance))
        return Signal(rounded((mean - middle) / np.sqrt(spread)), variance / spread)
    if function_of(layer):
        return activate(signal, function_of(layer))
    raise TypeError(f"{layer.name}: no rule for random weights of a layer of type {kind}")


def activate(signal: Signal, name: str) -> Signal:
    if name == "linear":
        return signal
    deviation = np.sqrt(signal.variance)
    mean, square = np.zeros_like(deviation), np.zeros_like(deviation)
    for z in _NORMAL:
        value = _FUNCTIONS[name](signal.mean + deviation * z)
        mean, square = mean + value, square + value * value
    mean, square = mean / len(_NORMAL), square / len(_NORMAL)
    return Signal(rounded(mean), rounded(np.maximum(square - mean * mean, 0.0)), signal.depth)


def added(signals: list[Signal]) -> Signal:
    mean, variance = signals[0].mean, signals[0].variance
    for other in signals[1:]:
        mean, variance = mean + other.mean, variance + other.variance
    return Signal(rounded(mean), rounded(variance), max(signal.depth for signal in signals))


def times(signal: Signal, factor: float) -> Signal:
    return Signal(rounded(signal.mean * factor), rounded(signal.variance * (factor * factor)), signal.depth)


def rounded(values: Any) -> np.ndarray:
    """To whole 4096ths, so that sums of them are exact."""
    return np.rint(values * GRID) / GRID


def kind_of(layer: Any) -> str:
    return type(layer).__name__


def function_of(layer: Any) -> str:
    """Name of the activation that a layer is or ends with, "" of one that has none."""
    if kind_of(layer) == "ReLU":
        return "relu6" if layer.max_value else "relu"
    return str(layer.activation.__name__) if hasattr(layer, "activation") else ""


def inputs_of(layer: Any) -> list[Any]:
    if kind_of(layer) == "InputLayer":
        return []
    return list(layer.input) if isinstance(layer.input, (list, tuple)) else [layer.input]
