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

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .signal_moments import GRID, Signal, activate, added, function_of, inputs_of, kind_of, rounded, times, unweighted

DRAWING = 1  # raise it with any change of what is drawn: it stands in the seed, and in the memo of the digest

_LEAN = 1.5  # deviations
_CUTTING = 2  # weighted layers whose activations cut at the mean
_BRANCH = 0.25  # a power of two, so that scaling is exact
_MOST = 65535  # draws are odd integers from -65535 to 65535
_UNIT = np.sqrt(3.0) / 65536  # times a draw: uniform, with variance 1
_CENTRE = 2  # the middle tap of a depthwise kernel against the others: it keeps the signal in its place
# Neighbouring values, alike by so much: of pixels, and of maps.
_PIXEL_CORRELATION, _MAP_CORRELATION = 0.95, 0.5
_LEAST_VARIANCE = 1 / 64
# Mean and variance of preprocessed pixels, at 0.5 +- 0.25 of their range.
_PIXELS = {"caffe": (0.0, 4096.0), "tf": (0.0, 0.25), "torch": (0.0, 1.0), "builtin": (127.5, 4096.0)}

_GATES = ("", "linear", "sigmoid")  # what takes no lean


def set_random(model: Any, seed: int, preprocess: str) -> None:
    """Set all weights of a network of :data:`featcache.backbones.registry.TABLE`, at any size of input.

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
    _Setter(seed).network(model, Signal(np.full(3, mean), np.full(3, variance)))


class _Setter:
    """One walk through a network, layer by layer in the order of computing; each draw has a stream of its own."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._drawn = 0

    def network(self, model: Any, entering: Signal) -> Signal:
        readers: dict[int, list[Any]] = {}
        for layer in model.operations:
            for tensor in inputs_of(layer):
                readers.setdefault(id(tensor), []).append(layer)
        signals: dict[int, Signal] = {}
        signal = entering
        for layer in model.operations:
            if kind_of(layer) == "InputLayer":
                signal = entering
            else:
                following = readers.get(id(layer.output), [])
                activated = any(function_of(reader) not in _GATES for reader in following)
                signal = self._layer(layer, [signals[id(tensor)] for tensor in inputs_of(layer)], activated)
                if len(following) != 1:  # others take it as it is
                    signal = replace(signal, source=None)
            signals[id(layer.output)] = signal
        return signal

    def _layer(self, layer: Any, signals: list[Signal], activated: bool) -> Signal:
        """What a layer gives, its weights set; ``activated`` where an activation takes it in."""
        kind, signal = kind_of(layer), signals[0]
        if kind in ("Conv2D", "Dense", "DepthwiseConv2D", "SeparableConv2D"):
            return self._weighted(layer, signal, activated)
        if kind == "BatchNormalization":
            return _batch_norm(layer, signal, activated)
        if kind == "LayerScale":
            layer.gamma.assign(np.full(layer.gamma.shape, _BRANCH, np.float32))
            return times(signal, _BRANCH)
        if kind == "Sequential":
            for inner in layer.layers:
                signal = self._layer(inner, [signal], False)
            return signal
        if kind == "Functional":
            return self.network(layer, signal)
        if kind == "Add" and len(signals) > 1:
            return _add(signals, activated)
        return unweighted(layer, signals)

    def _weighted(self, layer: Any, signal: Signal, activated: bool) -> Signal:
        kind, function = kind_of(layer), function_of(layer)
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
        return replace(out, source=layer) if function == "linear" else activate(out, function)

    def _draw(self, shape: Sequence[int]) -> np.ndarray:
        """Odd integers from -65535 to 65535, int32, from the raw bits, which NumPy never changes."""
        size = int(np.prod(shape))
        stream = np.random.PCG64(np.random.SeedSequence([DRAWING, self._seed, self._drawn]))
        self._drawn += 1
        bits = stream.random_raw((size + 3) // 4).astype("<u8", copy=False).view("<u2")[:size]
        return (bits.astype(np.int32) * 2 - _MOST).reshape(shape)

    def _stem(self, kernel: Any, signal: Signal) -> Signal:
        """A kernel over the pixels: each output is scaled by itself, for what its taps sum to decides it."""
        draws = self._draw(kernel.shape)
        draws = draws.reshape(-1, *draws.shape[-2:]).astype(np.int64)
        brightness = draws.sum(axis=1)  # radiographs are grey
        whole, squares = brightness.sum(axis=0), (brightness * brightness).sum(axis=0)
        variance = signal.variance[0] * _correlated(squares, (whole * whole).astype(np.float64), _PIXEL_CORRELATION)
        gain = 1 / np.sqrt(variance)
        kernel.assign((draws * gain).astype(np.float32).reshape(kernel.shape))
        return Signal(rounded(signal.mean[0] * whole * gain), np.ones_like(gain), 1)

    def _dense(self, kernel: Any, signal: Signal) -> Signal:
        draws = self._draw(kernel.shape)
        draws = draws.reshape(-1, *draws.shape[-2:])
        taps, inputs, outputs = draws.shape
        gain = _UNIT / np.sqrt(max(taps * np.sum(rounded(signal.variance)), _LEAST_VARIANCE))
        centre = draws.sum(axis=1, dtype=np.int64) / inputs  # taps, outputs
        values = draws.astype(np.float32)
        values -= centre[:, None].astype(np.float32)
        values *= np.float32(gain)
        kernel.assign(values.reshape(kernel.shape))
        # Of the inputs' means what they do not share; in whole steps, whose sums are exact in any order.
        steps = np.rint(signal.mean * GRID).astype(np.int64)
        sums = draws.sum(axis=0, dtype=np.int64)
        mean = (steps @ sums) - int(steps.sum()) * (sums.sum(axis=0) / inputs)
        return Signal(rounded(mean / GRID * gain), np.ones(outputs), signal.depth + 1)

    def _depthwise(self, kernel: Any, signal: Signal) -> Signal:
        draws = self._draw(kernel.shape).astype(np.int64)
        high, wide = draws.shape[:2]
        draws[high // 2, wide // 2] *= _CENTRE
        taps = draws.reshape(high * wide, -1)
        gain = _UNIT / np.sqrt(high * wide - 1.0 + _CENTRE**2)
        kernel.assign((draws * gain).astype(np.float32))
        total = taps.sum(axis=0) * gain
        kept = _correlated((taps * taps).sum(axis=0) * gain * gain, total * total, _MAP_CORRELATION)
        return Signal(rounded(signal.mean * total), rounded(signal.variance * kept), signal.depth + 1)


def _batch_norm(layer: Any, signal: Signal, activated: bool) -> Signal:
    mean = np.full_like(signal.mean, _lean(signal.depth) if activated else 0.0)
    layer.moving_mean.assign(signal.mean.astype(np.float32))
    layer.moving_variance.assign(np.maximum(signal.variance, _LEAST_VARIANCE).astype(np.float32))
    layer.beta.assign(mean.astype(np.float32))
    if layer.scale:
        layer.gamma.assign(np.ones(layer.gamma.shape, np.float32))
    return Signal(mean, np.ones_like(mean), signal.depth, layer)


def _add(signals: list[Signal], activated: bool) -> Signal:
    """A residual sum: the lesser part scaled, and the sum moved above zero where an activation follows."""
    signals = sorted(signals, key=lambda signal: signal.depth)
    around, through = signals[-2:]
    # Where a layer of its own leads around the block, it sees one pixel in four: the block is to count.
    # Where nothing does, what the block adds is to be small.
    lesser = through if around.source is None else around
    if around.depth < through.depth and lesser.source is not None:
        for variable in _scale_and_shift(lesser.source):
            variable.assign(variable * np.float32(_BRANCH))
        signals = [replace(times(s, _BRANCH), source=s.source) if s is lesser else s for s in signals]
    total = added(signals)
    if activated:
        missing = rounded(np.maximum(_lean(total.depth) * np.sqrt(total.variance) - total.mean, 0.0))
        shifted = [signal.source for signal in signals if kind_of(signal.source) == "BatchNormalization"]
        if shifted:
            shifted[0].beta.assign_add(missing.astype(np.float32))
            total = replace(total, mean=rounded(total.mean + missing))
    return total


def _scale_and_shift(layer: Any) -> list[Any]:
    """The variables that the layer's output is proportional to."""
    if kind_of(layer) == "BatchNormalization":
        return [layer.gamma, layer.beta]
    kernel = layer.pointwise_kernel if kind_of(layer) == "SeparableConv2D" else layer.kernel
    return [kernel, layer.bias] if layer.use_bias else [kernel]


def _lean(depth: int) -> float:
    return _LEAN if depth > _CUTTING else 0.0


def _correlated(squares: Any, square_of_sum: Any, correlation: float) -> Any:
    """Variance of a weighted sum of values of variance 1, each two of them correlated by so much."""
    return (1 - correlation) * squares + correlation * square_of_sum
