"""Random weights that keep the signal's scale, worked out from the network alone: no image is looked at.

Keras draws kernels for training, where batch normalisation mends the scale. In a frozen network nothing does: the
signal of Xception fades to 1e-5. Here mean and variance of each channel are followed from the pixels to the last layer,
and what each layer draws or holds is set so that they stay near 1:

- kernels are uniform, their variance one over the variance they sum up (He et al. 2015), and sum to zero over their
  input channels at each tap (Qiao et al. 2019), so that a mean that all channels share is not passed on, at borders
  neither;
- batch normalisation takes the mean and variance that follow, in place of measured ones;
- what an activation takes in stands ``_LEAN`` deviations above zero, and of a residual block what runs past its layers
  or is added to the unchanged signal is scaled by ``_BRANCH``. A rectifier that cuts at the mean multiplies small
  differences between images by 1.2 in each layer, until all images are equally far apart and nothing is left to learn
  (Yang et al. 2019, A Mean Field Theory of Batch Normalization); that far up it is by 1.02, and a signal that grew or
  faded comes back. The first two layers do cut at the mean: there it is what turns texture into a level.

The same seed gives the same bits on any machine: draws are raw integers of PCG64, sums are of integers and thus exact,
and the rest are single operations that IEEE 754 rounds in one way. What takes ``exp`` is rounded to 1/4096.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

RECIPE = 1  # raise it with any change of what is drawn: it stands in the seed, and in the memo of the digest

_LEAN = 1.5  # deviations
_CUTTING = 2  # weighted layers whose activations cut at the mean
_BRANCH = 0.25  # a power of two, so that scaling is exact
_GRID = 4096.0
_MOST = 65535  # draws are odd integers from -65535 to 65535
_UNIT = np.sqrt(3.0) / 65536  # times a draw: uniform, with variance 1
_CENTRE = 2  # the middle tap of a depthwise kernel against the others: it keeps the signal in its place
# Neighbouring values, alike by so much: of pixels, and of maps.
_PIXEL_CORRELATION, _MAP_CORRELATION = 0.95, 0.5
# What pooling leaves of the variance, and how many deviations a maximum of neighbours lies above their mean.
_POOLED, _POOLED_GLOBALLY, _MAXIMUM = 0.75, 0.25, 0.5
_LEAST_VARIANCE = 1 / 64
# Mean and variance of preprocessed pixels, at 0.5 +- 0.25 of their range.
_PIXELS = {"caffe": (0.0, 4096.0), "tf": (0.0, 0.25), "torch": (0.0, 1.0), "builtin": (127.5, 4096.0)}

_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "relu6": lambda x: np.minimum(np.maximum(x, 0.0), 6.0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "hard_silu": lambda x: x * np.minimum(np.maximum(x + 3, 0.0), 6.0) / 6,
    "gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}
_GATES = ("", "linear", "sigmoid")  # what takes no lean


def _normal(count: int = 64) -> list[float]:
    """A standard normal variable by equally likely values, their variance 1."""
    values = [NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)]
    deviation = (sum(z * z for z in values) / count) ** 0.5
    return [round(z / deviation, 6) for z in values]


_NORMAL = _normal()


@dataclass(frozen=True)
class _Signal:
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


def set_random(model: Any, seed: int, preprocess: str) -> None:
    """Set all weights of a network of :data:`featcache.backbones.TABLE`, at any size of input.

    Parameters
    ----------
    model : keras.Model without its top.
    seed : 0 or more.
    preprocess : the backbone's own; says the range of its input.

    Raises
    ------
    TypeError
        The network has a layer of a type that no rule is known for.
    """
    mean, variance = _PIXELS[preprocess]
    _Setter(seed).network(model, _Signal(np.full(3, mean), np.full(3, variance)))


class _Setter:
    """One walk through a network, layer by layer in the order of computing; each draw has a stream of its own."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._drawn = 0

    def network(self, model: Any, entering: _Signal) -> _Signal:
        readers: dict[int, list[Any]] = {}
        for layer in model.operations:
            for tensor in _inputs(layer):
                readers.setdefault(id(tensor), []).append(layer)
        signals: dict[int, _Signal] = {}
        signal = entering
        for layer in model.operations:
            if _kind(layer) == "InputLayer":
                signal = entering
            else:
                following = readers.get(id(layer.output), [])
                activated = any(_function(reader) not in _GATES for reader in following)
                signal = self._layer(layer, [signals[id(tensor)] for tensor in _inputs(layer)], activated)
                if len(following) != 1:  # others take it as it is
                    signal = replace(signal, source=None)
            signals[id(layer.output)] = signal
        return signal

    def _layer(self, layer: Any, signals: list[_Signal], activated: bool) -> _Signal:
        """What a layer gives, its weights set; ``activated`` where an activation takes it in."""
        kind, signal = _kind(layer), signals[0]
        if kind in ("Conv2D", "Dense", "DepthwiseConv2D", "SeparableConv2D"):
            return self._weighted(layer, signal, activated)
        if kind == "BatchNormalization":
            return _batch_norm(layer, signal, activated)
        if kind == "LayerScale":
            layer.gamma.assign(np.full(layer.gamma.shape, _BRANCH, np.float32))
            return _times(signal, _BRANCH)
        if kind == "Sequential":
            for inner in layer.layers:
                signal = self._layer(inner, [signal], False)
            return signal
        if kind == "Functional":
            return self.network(layer, signal)
        if kind == "Add" and len(signals) > 1:
            return _add(signals, activated)
        return _unweighted(layer, signals)

    def _weighted(self, layer: Any, signal: _Signal, activated: bool) -> _Signal:
        kind, function = _kind(layer), _function(layer)
        if kind == "SeparableConv2D":
            out = self._dense(layer.pointwise_kernel, self._depthwise(layer.depthwise_kernel, signal))
        elif kind == "DepthwiseConv2D" or getattr(layer, "groups", 1) > 1:
            out = self._depthwise(layer.kernel, signal)
        elif len(signal.mean) == 3 and not signal.depth:
            out = self._stem(layer.kernel, signal)
        else:
            out = self._dense(layer.kernel, signal)
        if layer.use_bias:
            mean = np.full_like(out.mean, _lean(out.depth) if activated or function not in _GATES else 0.0)
            layer.bias.assign((mean - out.mean).astype(np.float32))
            out = replace(out, mean=mean)
        return replace(out, source=layer) if function == "linear" else _activate(out, function)

    def _draw(self, shape: Sequence[int]) -> np.ndarray:
        """Odd integers from -65535 to 65535, int32, from the raw bits, which NumPy never changes."""
        size = int(np.prod(shape))
        stream = np.random.PCG64(np.random.SeedSequence([RECIPE, self._seed, self._drawn]))
        self._drawn += 1
        bits = stream.random_raw((size + 3) // 4).astype("<u8", copy=False).view("<u2")[:size]
        return (bits.astype(np.int32) * 2 - _MOST).reshape(shape)

    def _stem(self, kernel: Any, signal: _Signal) -> _Signal:
        """A kernel over the pixels: in every other channel its taps sum to zero, so that it sees edges, not brightness."""
        draws = self._draw(kernel.shape)
        draws = draws.reshape(-1, *draws.shape[-2:]).astype(np.int64)
        taps, colours, outputs = draws.shape
        brightness = draws.sum(axis=1)  # radiographs are grey
        level = np.where(np.arange(outputs) % 2 == 1, brightness.sum(axis=0) / (taps * colours), 0.0)
        total, squares = np.zeros(outputs), np.zeros(outputs)
        for tap in brightness - level * colours:
            total, squares = total + tap, squares + tap * tap
        gain = 1 / np.sqrt(signal.variance[0] * _correlated(squares, total * total, _PIXEL_CORRELATION))
        kernel.assign(((draws - level) * gain).astype(np.float32).reshape(kernel.shape))
        return _Signal(_rounded(signal.mean[0] * total * gain), np.ones(outputs), 1)

    def _dense(self, kernel: Any, signal: _Signal) -> _Signal:
        draws = self._draw(kernel.shape)
        draws = draws.reshape(-1, *draws.shape[-2:])
        taps, inputs, outputs = draws.shape
        gain = _UNIT / np.sqrt(max(taps * np.sum(_rounded(signal.variance)), _LEAST_VARIANCE))
        centre = draws.sum(axis=1, dtype=np.int64) / inputs  # taps, outputs
        values = draws.astype(np.float32)
        values -= centre[:, None].astype(np.float32)
        values *= np.float32(gain)
        kernel.assign(values.reshape(kernel.shape))
        # Of the inputs' means what they do not share; in whole steps, whose sums are exact in any order.
        steps = np.rint(signal.mean * _GRID).astype(np.int64)
        sums = draws.sum(axis=0, dtype=np.int64)
        mean = (steps @ sums) - int(steps.sum()) * (sums.sum(axis=0) / inputs)
        return _Signal(_rounded(mean / _GRID * gain), np.ones(outputs), signal.depth + 1)

    def _depthwise(self, kernel: Any, signal: _Signal) -> _Signal:
        draws = self._draw(kernel.shape).astype(np.int64)
        high, wide = draws.shape[:2]
        draws[high // 2, wide // 2] *= _CENTRE
        taps = draws.reshape(high * wide, -1)
        gain = _UNIT / np.sqrt(high * wide - 1.0 + _CENTRE**2)
        kernel.assign((draws * gain).astype(np.float32))
        total = taps.sum(axis=0) * gain
        kept = _correlated((taps * taps).sum(axis=0) * gain * gain, total * total, _MAP_CORRELATION)
        return _Signal(_rounded(signal.mean * total), _rounded(signal.variance * kept), signal.depth + 1)


def _batch_norm(layer: Any, signal: _Signal, activated: bool) -> _Signal:
    mean = np.full_like(signal.mean, _lean(signal.depth) if activated else 0.0)
    layer.moving_mean.assign(signal.mean.astype(np.float32))
    layer.moving_variance.assign(np.maximum(signal.variance, _LEAST_VARIANCE).astype(np.float32))
    layer.beta.assign(mean.astype(np.float32))
    if layer.scale:
        layer.gamma.assign(np.ones(layer.gamma.shape, np.float32))
    return _Signal(mean, np.ones_like(mean), signal.depth, layer)


def _add(signals: list[_Signal], activated: bool) -> _Signal:
    """A residual sum: the lesser part scaled, and the sum moved above zero where an activation follows."""
    signals = sorted(signals, key=lambda signal: signal.depth)
    around, through = signals[-2:]
    # Where a layer of its own leads around the block, it sees one pixel in four: the block is to count.
    # Where nothing does, what the block adds is to be small.
    lesser = through if around.source is None else around
    if around.depth < through.depth and lesser.source is not None:
        for variable in _scale_and_shift(lesser.source):
            variable.assign(variable * np.float32(_BRANCH))
        signals = [replace(_times(s, _BRANCH), source=s.source) if s is lesser else s for s in signals]
    total = _sum(signals)
    if activated:
        missing = _rounded(np.maximum(_lean(total.depth) * np.sqrt(total.variance) - total.mean, 0.0))
        shifted = [signal.source for signal in signals if _kind(signal.source) == "BatchNormalization"]
        if shifted:
            shifted[0].beta.assign_add(missing.astype(np.float32))
            total = replace(total, mean=_rounded(total.mean + missing))
    return total


def _scale_and_shift(layer: Any) -> list[Any]:
    """The variables that the layer's output is proportional to."""
    if _kind(layer) == "BatchNormalization":
        return [layer.gamma, layer.beta]
    kernel = layer.pointwise_kernel if _kind(layer) == "SeparableConv2D" else layer.kernel
    return [kernel, layer.bias] if layer.use_bias else [kernel]


def _unweighted(layer: Any, signals: list[_Signal]) -> _Signal:
    kind, signal = _kind(layer), signals[0]
    mean, variance = signal.mean, signal.variance
    if kind in ("ZeroPadding2D", "Cropping2D", "Reshape", "Dropout", "StochasticDepth"):
        return signal
    if kind == "MaxPooling2D":
        mean = _rounded(mean + _MAXIMUM * np.sqrt(variance))
        return replace(signal, mean=mean, variance=_rounded(variance * _POOLED))
    if kind == "AveragePooling2D":
        return replace(signal, variance=_rounded(variance * _POOLED))
    if kind == "GlobalAveragePooling2D":
        return replace(signal, variance=_rounded(variance * _POOLED_GLOBALLY))
    if kind == "LayerNormalization":
        return _Signal(np.zeros_like(mean), np.ones_like(variance), signal.depth)
    if kind == "CustomScaleLayer":  # Inception-ResNet: the signal, and a share of the block's
        return _sum([signal, _times(signals[1], layer.scale)])
    if kind == "Add":  # of a constant: MobileNetV3 writes its sigmoid as relu6(x + 3) / 6
        return _Signal(mean + 3, variance, signal.depth)
    if kind == "Multiply" and len(signals) == 1:
        return _times(signal, 1 / 6)
    if kind == "Multiply":
        other = signals[1]
        product = variance * other.variance + variance * other.mean * other.mean + other.variance * mean * mean
        return _Signal(_rounded(mean * other.mean), _rounded(product), max(signal.depth, other.depth))
    if kind == "Concatenate":
        means, variances = [s.mean for s in signals], [s.variance for s in signals]
        return _Signal(np.concatenate(means), np.concatenate(variances), max(s.depth for s in signals))
    if kind == "Rescaling":
        return _Signal(_rounded(mean * layer.scale + layer.offset), variance * layer.scale * layer.scale)
    if kind == "Normalization":
        middle, spread = (np.ravel(np.asarray(values, np.float64)) for values in (layer.mean, layer.variance))
        return _Signal(_rounded((mean - middle) / np.sqrt(spread)), variance / spread)
    if _function(layer):
        return _activate(signal, _function(layer))
    raise TypeError(f"{layer.name}: no rule for random weights of a layer of type {kind}")


def _activate(signal: _Signal, name: str) -> _Signal:
    if name == "linear":
        return signal
    deviation = np.sqrt(signal.variance)
    mean, square = np.zeros_like(deviation), np.zeros_like(deviation)
    for z in _NORMAL:
        value = _FUNCTIONS[name](signal.mean + deviation * z)
        mean, square = mean + value, square + value * value
    mean, square = mean / len(_NORMAL), square / len(_NORMAL)
    return _Signal(_rounded(mean), _rounded(np.maximum(square - mean * mean, 0.0)), signal.depth)


def _lean(depth: int) -> float:
    return _LEAN if depth > _CUTTING else 0.0


def _correlated(squares: Any, square_of_sum: Any, correlation: float) -> Any:
    """Variance of a weighted sum of values of variance 1, each two of them correlated by so much."""
    return (1 - correlation) * squares + correlation * square_of_sum


def _sum(signals: list[_Signal]) -> _Signal:
    mean, variance = signals[0].mean, signals[0].variance
    for other in signals[1:]:
        mean, variance = mean + other.mean, variance + other.variance
    return _Signal(_rounded(mean), _rounded(variance), max(signal.depth for signal in signals))


def _times(signal: _Signal, factor: float) -> _Signal:
    return _Signal(_rounded(signal.mean * factor), _rounded(signal.variance * (factor * factor)), signal.depth)


def _rounded(values: Any) -> np.ndarray:
    """To whole 4096ths, so that sums of them are exact."""
    return np.rint(values * _GRID) / _GRID


def _kind(layer: Any) -> str:
    return type(layer).__name__


def _function(layer: Any) -> str:
    """Name of the activation that a layer is or ends with, "" of one that has none."""
    if _kind(layer) == "ReLU":
        return "relu6" if layer.max_value else "relu"
    return str(layer.activation.__name__) if hasattr(layer, "activation") else ""


def _inputs(layer: Any) -> list[Any]:
    if _kind(layer) == "InputLayer":
        return []
    return list(layer.input) if isinstance(layer.input, (list, tuple)) else [layer.input]
