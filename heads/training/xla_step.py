"""One step of a head in XLA, and its validation: what the programs of one head and of a stack are made of.

Its formulas are Keras' own: losses, optimisers and normalisation give the weights that ``keras.Model.fit`` gives
from the same start and order of batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featcache.backbones.tensorflow_setup import load_tensorflow

from .architectures import BN_EPSILON, BN_MOMENTUM, HeadShape
from .weight_layout import NormPlaces, WeightLayout

# Keras' own defaults.
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-7


@dataclass(frozen=True)
class Kind:
    """What heads of one program have in common, and what they are computed by."""

    tf: Any
    activation: Any
    layout: WeightLayout
    shape: HeadShape
    optimizer: str
    dropping: bool
    regularised: bool

    @classmethod
    def of(cls, shape: HeadShape, optimizer: str, dropping: bool, regularised: bool) -> Kind:
        """The kind of heads of a shape; normalisation stands in the place of dropout."""
        tf, keras = load_tensorflow()
        activation, layout = keras.activations.get(shape.activation), WeightLayout.of(shape)
        return cls(tf, activation, layout, shape, optimizer, dropping and not shape.batch_norm, regularised)


@dataclass(frozen=True)
class Batch:
    """Rows to learn from, their sample weights, and which of the places are filled."""

    rows: Any
    weight: Any
    present: Any


@dataclass(frozen=True)
class Setting:
    """What all steps of a call share: data, what one head is trained with, and its seed."""

    X: Any
    y: Any
    knob: dict[str, Any]
    seed: Any


def drawn(kind: Kind, rows: int, places: int, seed: Any, step: Any) -> list[Any]:
    """What decides about dropout in a step: for each hidden layer numbers from 0 to 1, of shape (rows, units).

    By ThreeFry, which XLA draws on a processor in a tenth of the time that its other generator takes; as a row of an
    even length, in which the order of the numbers is plain (:func:`heads.training.compiled_layers.uniform`). A short
    batch draws what it would draw in a whole one, of ``places`` rows.
    """
    if not kind.dropping:
        return []
    tf, layers = kind.tf, []
    for number, width in enumerate(kind.shape.units):
        count, at = places * width, tf.stack([seed, step * 64 + number])
        numbers = tf.random.stateless_uniform((count + count % 2,), at, alg="threefry")
        layers.append(tf.reshape(numbers[: rows * width], (rows, width)))
    return layers


def one_step(
    kind: Kind, setting: Setting, batch: Batch, step: Any, numbers: list[Any], weights: list[Any], slots: list[Any]
) -> tuple[Any, ...]:
    """One batch: new weights and slots, and the sums of losses and of what is measured with how many rows and known
    targets there were, shape (4,); ``numbers`` are :func:`drawn`."""
    tf, layout, knob = kind.tf, kind.layout, setting.knob
    x, target = tf.gather(setting.X, batch.rows), tf.gather(setting.y, batch.rows)
    count = tf.reduce_sum(batch.present)
    watched = [weights[place] for place in layout.trainable]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        logits, updated = _forward(kind, weights, x, batch.present, knob["dropout"], numbers)
        loss, measure, known = _losses(kind, logits, target, knob["balance"])
        # As in Keras: weighted losses are divided by the number of rows, not by the sum of weights.
        total = tf.reduce_sum(loss * batch.weight * batch.present) / tf.maximum(count, 1.0)
        if kind.regularised:
            kernels = [weights[place] for place in layout.penalised]
            total += knob["l2"] * tf.add_n([tf.reduce_sum(k * k) for k in kernels])
    gradients = tape.gradient(total, watched)
    new_weights, new_slots = _update(kind, updated, slots, gradients, knob, tf.cast(step + 1, tf.float32))
    measured, there = tf.reduce_sum(measure * batch.present), tf.reduce_sum(known * batch.present)
    return new_weights, new_slots, tf.stack([total * count, measured, count, there])


def validate(kind: Kind, weights: list[Any], X: Any, y: Any, filled: Any) -> Any:
    """Loss and what is measured besides on rows to validate on, shape (2,); NaN where there are none."""
    tf = kind.tf
    if not X.shape[0]:
        return tf.fill((2,), float("nan"))
    logits, _ = _forward(kind, weights, X)
    even = tf.ones((2, kind.shape.n_outputs))
    loss, measure, known = (tf.reduce_sum(values * filled) for values in _losses(kind, logits, y, even))
    return tf.stack([loss / tf.reduce_sum(filled), measure / known])


def _forward(
    kind: Kind, weights: list[Any], x: Any, present: Any = None, rate: Any = 0.0, numbers: Sequence[Any] = ()
) -> tuple[Any, list[Any]]:
    """Logits, and the weights with moving statistics brought up to date; without ``present`` it is inference."""
    tf, layout = kind.tf, kind.layout
    updated = list(weights)
    for number, layer in enumerate(layout.hidden):
        product = tf.matmul(x, weights[layer.kernel[0]]) if number else _first_product(kind, weights, x)
        x = kind.activation(product + weights[layer.bias])
        if layer.norm is not None:
            x = _normalised(kind, weights, updated, layer.norm, x, present)
        elif numbers:
            x = tf.where(numbers[number] >= rate, x / (1 - rate), 0.0)
    return tf.matmul(x, weights[layout.output.kernel[0]]) + weights[layout.output.bias], updated


def _first_product(kind: Kind, weights: list[Any], x: Any) -> Any:
    """The input times the first kernel, by blocks."""
    tf, layout = kind.tf, kind.layout
    kernels = [weights[place] for place in layout.hidden[0].kernel]
    columns = [x[:, low:high] for low, high in layout.blocks]
    parts = [tf.matmul(kernel, part, transpose_b=True) for kernel, part in zip(kernels, columns, strict=True)]
    return tf.transpose(tf.add_n(parts))


def _normalised(
    kind: Kind, weights: list[Any], updated: list[Any], norm: NormPlaces, x: Any, present: Any | None
) -> Any:
    """Batch normalisation; in training, where ``present`` is given, ``updated`` gets the new moving statistics."""
    tf = kind.tf
    mean, variance = weights[norm.mean], weights[norm.variance]
    if present is not None:
        share = present[:, None] / tf.reduce_sum(present)
        batch_mean = tf.reduce_sum(x * share, axis=0)
        batch_variance = tf.reduce_sum((x - batch_mean) ** 2 * share, axis=0)
        updated[norm.mean] = mean * BN_MOMENTUM + batch_mean * (1 - BN_MOMENTUM)
        updated[norm.variance] = variance * BN_MOMENTUM + batch_variance * (1 - BN_MOMENTUM)
        mean, variance = batch_mean, batch_variance
    return (x - mean) * tf.math.rsqrt(variance + BN_EPSILON) * weights[norm.gamma] + weights[norm.beta]


def _losses(kind: Kind, logits: Any, y: Any, balance: Any) -> tuple[Any, Any, Any]:
    """Loss, measure and known targets of each row, as :func:`heads.training.compiled_layers.losses` has them."""
    tf, loss = kind.tf, kind.shape.loss
    if loss == "labels":
        unknown = tf.math.is_nan(y)
        known, there = 1.0 - tf.cast(unknown, tf.float32), tf.where(unknown, 0.0, y)
        share = known * tf.where(tf.equal(y, 1.0), balance[1], balance[0]) / kind.shape.n_targets
        crossed = tf.nn.sigmoid_cross_entropy_with_logits(labels=there, logits=logits)
        right = tf.cast(tf.equal(tf.cast(logits > 0, tf.float32), y), tf.float32)  # never equal to NaN
        return tf.reduce_sum(share * crossed, 1), tf.reduce_sum(right, 1), tf.reduce_sum(known, 1)
    if loss != "class":
        error = logits[:, 0] - y[:, 0]
        size, one = tf.abs(error), tf.ones_like(error)
        if loss == "squared":
            return error * error, size, one
        return tf.where(size <= 1, 0.5 * error * error, size - 0.5), size, one
    if kind.shape.n_outputs == 1:
        z = logits[:, 0]
        crossed = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(y, tf.float32), logits=z)
        right = tf.equal(tf.cast(z > 0, tf.int32), y)
    else:
        crossed = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
        right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), y)
    return crossed, tf.cast(right, tf.float32), tf.ones_like(crossed)


def _update(
    kind: Kind, weights: list[Any], slots: list[Any], gradients: list[Any], knob: dict[str, Any], step: Any
) -> tuple[list[Any], list[Any]]:
    """One step of the optimiser, by Keras' formulas."""
    tf = kind.tf
    new_weights, new_slots = list(weights), []
    rate = knob["learning_rate"]
    for number, (place, gradient) in enumerate(zip(kind.layout.trainable, gradients, strict=True)):
        w = weights[place]
        if kind.optimizer == "sgd":
            velocity = knob["momentum"] * slots[number] - rate * gradient
            new_weights[place] = w + velocity
            new_slots.append(velocity)
            continue
        m, v = slots[2 * number], slots[2 * number + 1]
        m = m + (gradient - m) * (1 - _BETA1)
        v = v + (gradient * gradient - v) * (1 - _BETA2)
        scale = rate * tf.sqrt(1 - _BETA2**step) / (1 - _BETA1**step)
        if kind.optimizer == "adamw":
            w = w - w * knob["weight_decay"] * rate
        new_weights[place] = w - m * scale / (tf.sqrt(v) + _EPSILON)
        new_slots += [m, v]
    return new_weights, new_slots
