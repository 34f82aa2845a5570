"""A step of a head in NumPy, from its first layer's product on: losses, gradients and optimisers by Keras' formulas.

Where the first kernel is passed over by itself (:mod:`heads.training.one_pass_program`), this is all that is left, and
small: calling another library's program would take longer than what is to be done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from .architectures import BN_EPSILON, BN_MOMENTUM, HeadShape
from .numpy_forward import activated, slope
from .train_spec import TrainSpec
from .weight_layout import LayerPlaces, NormPlaces, WeightLayout

# Keras' own defaults.
BETA1, BETA2, EPSILON = np.float32(0.9), np.float32(0.999), np.float32(1e-7)
Draw = Callable[[int, int, tuple[int, int]], np.ndarray]


@dataclass(frozen=True)
class _Layer:
    """What the way back needs of a hidden layer: its input, what entered the activation, and what came after it."""

    places: LayerPlaces
    x: np.ndarray
    before: np.ndarray
    kept: np.ndarray | None  # of dropout
    normal: np.ndarray | None  # of batch normalisation
    scale: np.ndarray | None


class NumPyHead:
    """A head without its first kernel's work.

    Parameters
    ----------
    shape, spec : what the head is, and how it is trained.
    weights : arrays in Keras' order, all but the first changed by each step.
    slots : what the optimiser keeps, for each weight that is trained, of shape (slots, ...).
    draw : callable
        ``draw(step, layer, shape)``: numbers from 0 to 1, by which dropout decides.
    """

    def __init__(
        self, shape: HeadShape, spec: TrainSpec, weights: list[np.ndarray], slots: list[np.ndarray], draw: Draw
    ) -> None:
        self._shape, self._spec, self._draw = shape, spec, draw
        self._weights, self._slots = weights, slots
        self._layout = WeightLayout.of(shape, as_in_keras=True)

    def step(self, product: np.ndarray, target: np.ndarray, weight: np.ndarray, before: int) -> tuple[np.ndarray, ...]:
        """Learn from a batch, after ``before`` other steps.

        Parameters
        ----------
        product : float32 array of shape (n, units), the rows times the first kernel.
        target, weight : their classes and sample weights.

        Returns
        -------
        The loss's gradient with respect to the product, float32 array of shape (n, units); and an array of two
        numbers: the loss without the first kernel's penalty, and how many rows were right.
        """
        layers, x = self._forward(product, before)
        logits = x @ self._weights[self._layout.output.kernel[0]] + self._weights[self._layout.output.bias]
        loss, right, delta = _losses(logits, target)
        share = (weight / len(target)).astype(np.float32)
        total = float(loss @ share)
        gradients: dict[int, np.ndarray] = {}
        delta = delta * share[:, None]
        delta = self._back(gradients, self._layout.output, x, delta)
        penalty = np.float32(2 * self._spec.l2)
        for layer in reversed(layers):
            delta = self._back_through(gradients, layer, delta)
            if layer is layers[0]:
                gradients[layer.places.bias] = delta.sum(axis=0)
                break
            kernel = self._weights[layer.places.kernel[0]]
            delta = self._back(gradients, layer.places, layer.x, delta)
            if self._spec.l2:
                total += self._spec.l2 * float(np.vdot(kernel, kernel))
                gradients[layer.places.kernel[0]] += penalty * kernel
        first_delta = np.ascontiguousarray(delta, np.float32)
        for place, slots in zip(self._layout.trainable[1:], self._slots[1:], strict=True):
            self._update(self._weights[place], slots, gradients[place], before)
        return first_delta, np.array([total, right.sum()])

    def judge(self, product: np.ndarray, target: np.ndarray) -> tuple[float, float]:
        """Loss and accuracy on rows whose product with the first kernel this is."""
        _, x = self._forward(product, None)
        logits = x @ self._weights[self._layout.output.kernel[0]] + self._weights[self._layout.output.bias]
        loss, right, _ = _losses(logits, target)
        return float(loss.mean()), float(right.mean())

    def adam_scale(self, before: int) -> np.float32:
        """Adam's step size with its correction; in float32, as Keras reckons it."""
        step = np.float32(before + 1)
        return np.float32(self._spec.learning_rate) * np.sqrt(1 - BETA2**step) / (1 - BETA1**step)

    def _forward(self, product: np.ndarray, before: int | None) -> tuple[list[_Layer], np.ndarray]:
        """The hidden layers, and what leaves the last; without a step it is inference."""
        layers, x = [], product
        rate = np.float32(self._spec.dropout)
        for number, places in enumerate(self._layout.hidden):
            entered = x
            if number:
                product = x @ self._weights[places.kernel[0]]
            preactivation = product + self._weights[places.bias]
            x, kept, normal, scale = activated(self._shape.activation, preactivation), None, None, None
            if places.norm is not None:
                x, normal, scale = self._normalised(places.norm, x, training=before is not None)
            elif before is not None and rate:
                kept = np.where(self._draw(before, number, x.shape) >= rate, 1 / (1 - rate), np.float32(0))
                x = x * kept
            layers.append(_Layer(places, entered, preactivation, kept, normal, scale))
        return layers, x

    def _normalised(self, norm: NormPlaces, x: np.ndarray, training: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What leaves a batch normalisation, what it was before gamma and beta, and what it was divided by, inverted.

        Training brings the moving statistics up to date.
        """
        mean, variance = self._weights[norm.mean], self._weights[norm.variance]
        if training:
            batch_mean = x.mean(axis=0)
            batch_variance = ((x - batch_mean) ** 2).mean(axis=0)
            for moving, now in ((mean, batch_mean), (variance, batch_variance)):
                moving *= np.float32(BN_MOMENTUM)
                moving += now * np.float32(1 - BN_MOMENTUM)
            mean, variance = batch_mean, batch_variance
        scale = 1 / np.sqrt(variance + np.float32(BN_EPSILON))
        normal = (x - mean) * scale
        return normal * self._weights[norm.gamma] + self._weights[norm.beta], normal, scale

    def _back(
        self, gradients: dict[int, np.ndarray], places: LayerPlaces, x: np.ndarray, delta: np.ndarray
    ) -> np.ndarray:
        """Through a dense product: gradients of its kernel and bias, and the one with respect to its input."""
        gradients[places.kernel[0]] = x.T @ delta
        gradients[places.bias] = delta.sum(axis=0)
        return delta @ self._weights[places.kernel[0]].T

    def _back_through(self, gradients: dict[int, np.ndarray], layer: _Layer, delta: np.ndarray) -> np.ndarray:
        """Through dropout or normalisation, and the activation."""
        if layer.kept is not None:
            delta = delta * layer.kept
        norm = layer.places.norm
        if norm is not None and layer.normal is not None and layer.scale is not None:
            gradients[norm.gamma] = (delta * layer.normal).sum(axis=0)
            gradients[norm.beta] = delta.sum(axis=0)
            delta = delta * self._weights[norm.gamma]
            along = (delta * layer.normal).mean(axis=0)
            delta = layer.scale * (delta - delta.mean(axis=0) - layer.normal * along)
        return delta * slope(self._shape.activation, layer.before)

    def _update(self, w: np.ndarray, slots: np.ndarray, gradient: np.ndarray, before: int) -> None:
        """One step of the optimiser, in place."""
        spec = self._spec
        rate = np.float32(spec.learning_rate)
        if spec.optimizer == "sgd":
            slots[0] = np.float32(spec.momentum) * slots[0] - rate * gradient
            w += slots[0]
            return
        m, v = slots
        m += (gradient - m) * (1 - BETA1)
        v += (gradient * gradient - v) * (1 - BETA2)
        if spec.optimizer == "adamw":
            w -= w * np.float32(spec.weight_decay) * rate
        w -= m * self.adam_scale(before) / (np.sqrt(v) + EPSILON)


def _losses(logits: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cross-entropy and correctness of each row, and the gradient of the former with respect to the logits."""
    if logits.shape[1] == 1:
        z = logits[:, 0]
        y = target.astype(np.float32)
        loss = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
        return loss, (z > 0) == (target == 1), (special.expit(z) - y)[:, None]
    shifted = logits - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    sums = powers.sum(axis=1, keepdims=True)
    rows = np.arange(len(target))
    loss = np.log(sums[:, 0]) - shifted[rows, target]
    delta = powers / sums
    delta[rows, target] -= 1
    return loss, logits.argmax(axis=1) == target, delta
