"""The compiled program behind the training engine: epochs of mini-batches for a stack of heads, in XLA.

Its formulas are Keras' own: losses, optimisers and normalisation give the weights that ``keras.Model.fit`` gives
from the same start and order of batches.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from featcache.backbones.tensorflow_setup import load_tensorflow

from .architectures import BN_EPSILON, BN_MOMENTUM, HeadShape
from .weight_layout import NormPlaces, WeightLayout

# Keras' own defaults.
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-7


@dataclass(frozen=True)
class _Kind:
    """What heads of one program have in common, and what they are computed by."""

    tf: Any
    activation: Any
    layout: WeightLayout
    shape: HeadShape
    optimizer: str
    dropping: bool
    regularised: bool


@dataclass(frozen=True)
class _Batch:
    """Rows to learn from, their sample weights, and which of the places are filled; ``places`` is the size of a whole
    batch."""

    rows: Any
    weight: Any
    present: Any
    places: int


@dataclass(frozen=True)
class _Setting:
    """What all steps of a call share: data, what one head is trained with, and its seed."""

    X: Any
    y: Any
    knob: dict[str, Any]
    seed: Any


@functools.lru_cache(maxsize=64)
def training_program(shape: HeadShape, optimizer: str, dropping: bool, regularised: bool) -> Any:
    """The program for heads of this kind. It is compiled once for each size of the data it meets.

    ``program(X, y, order, weight, present, start, val_rows, val_filled, knob, seed, weights, slots)`` runs as many
    epochs as ``order`` of shape (epochs, steps, batch) has, changes the variables in ``weights`` and ``slots``, and
    returns float32 numbers of shape (epochs, 4): loss and what is measured besides, in training and in validation.
    ``y`` is float32 of shape (n, k): classes, labels or numbers.

    Weights, and what the optimiser keeps for them, are as :meth:`WeightLayout.arrange` gives them. ``start`` is the
    number of steps before these. Batches of which no place is present are skipped. Empty ``val_rows`` skip the
    validation; its numbers are then NaN.
    """
    tf, keras = load_tensorflow()
    activation = keras.activations.get(shape.activation)
    layout = WeightLayout.of(shape)
    kind = _Kind(tf, activation, layout, shape, optimizer, dropping, regularised)

    @tf.function(jit_compile=True, autograph=False)  # its loops are written as such
    def program(
        X: Any,
        y: Any,
        order: Any,
        weight: Any,
        present: Any,
        start: Any,
        val_rows: Any,
        val_filled: Any,
        knob: dict[str, Any],
        seed: Any,
        weights: list[Any],
        slots: list[Any],
    ) -> Any:
        epochs = order.shape[0]
        if shape.loss == "class":
            y = tf.cast(y[:, 0], tf.int32)
        own_steps = tf.reduce_sum(tf.cast(tf.reduce_sum(present[0], axis=1) > 0, tf.int32))
        val_X, val_y = tf.gather(X, val_rows), tf.gather(y, val_rows)
        setting = _Setting(X, y, knob, seed)

        def body(e: Any, curves: Any, weights: list[Any], slots: list[Any]) -> tuple[Any, ...]:
            batches = _Batch(order[e], weight[e], present[e], order.shape[2])
            before = start + e * own_steps
            loss, measure, weights, slots = _train_epoch(kind, setting, batches, own_steps, before, weights, slots)
            row = tf.stack([loss, measure, *_validate(kind, weights, val_X, val_y, val_filled)])
            return e + 1, tf.tensor_scatter_nd_update(curves, [[e]], [row]), weights, slots

        values = [[tf.identity(v) for v in variables] for variables in (weights, slots)]
        begin = (tf.constant(0), tf.zeros((epochs, 4)), *values)
        _, curves, new_weights, new_slots = tf.while_loop(lambda e, *rest: e < epochs, body, begin)
        for variable, value in zip(weights + slots, new_weights + new_slots, strict=True):
            variable.assign(value)
        return curves

    return program


def _train_epoch(
    kind: _Kind, setting: _Setting, batches: _Batch, steps: Any, start: Any, weights: list[Any], slots: list[Any]
) -> tuple[Any, ...]:
    """The first ``steps`` batches: a head with fewer rows than others of its stack has none at the end."""
    tf, places = kind.tf, batches.places

    def run(first: Any, last: Any, size: int, sums: Any, weights: list[Any], slots: list[Any]) -> Any:
        def body(i: Any, sums: Any, weights: list[Any], slots: list[Any]) -> tuple[Any, ...]:
            batch = _Batch(batches.rows[i][:size], batches.weight[i][:size], batches.present[i][:size], places)
            weights, slots, *seen = _one_step(kind, setting, batch, start + i, weights, slots)
            return i + 1, sums + tf.stack(seen), weights, slots

        return tf.while_loop(lambda i, *rest: i < last, body, (first, sums, weights, slots))[1:]

    # The last batch of an epoch is often short. Where its rows fit into a quarter of the places, it is computed on that
    # quarter: the same numbers, sooner (0.88 of the time of an epoch of 104 rows).
    quarter = places // 4
    short = tf.logical_and(steps > 0, tf.reduce_sum(batches.present[steps - 1]) <= quarter)
    whole = steps - tf.cast(short, tf.int32)
    sums, weights, slots = run(tf.constant(0), whole, places, tf.zeros(4), weights, slots)
    if quarter:
        sums, weights, slots = run(whole, steps, quarter, sums, weights, slots)
    return sums[0] / sums[2], sums[1] / sums[3], weights, slots


def _one_step(
    kind: _Kind, setting: _Setting, batch: _Batch, step: Any, weights: list[Any], slots: list[Any]
) -> tuple[Any, ...]:
    """One batch: new weights and slots, the sums of losses and of what is measured, and how many rows and known targets
    there were."""
    tf, layout, knob = kind.tf, kind.layout, setting.knob
    x, target = tf.gather(setting.X, batch.rows), tf.gather(setting.y, batch.rows)
    count = tf.reduce_sum(batch.present)
    watched = [weights[place] for place in layout.trainable]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        seed = tf.stack([setting.seed, step * 64])
        logits, updated = _forward(kind, weights, x, batch.present, knob["dropout"], seed, batch.places)
        loss, measure, known = _losses(kind, logits, target, knob["balance"])
        # As in Keras: weighted losses are divided by the number of rows, not by the sum of weights.
        total = tf.reduce_sum(loss * batch.weight * batch.present) / tf.maximum(count, 1.0)
        if kind.regularised:
            kernels = [weights[place] for place in layout.penalised]
            total += knob["l2"] * tf.add_n([tf.reduce_sum(k * k) for k in kernels])
    gradients = tape.gradient(total, watched)
    new_weights, new_slots = _update(kind, updated, slots, gradients, knob, tf.cast(step + 1, tf.float32))
    seen = (total * count, tf.reduce_sum(measure * batch.present), count, tf.reduce_sum(known * batch.present))
    return new_weights, new_slots, *seen


def _validate(kind: _Kind, weights: list[Any], X: Any, y: Any, filled: Any) -> list[Any]:
    """Loss and what is measured besides on rows to validate on; NaN where there are none."""
    tf = kind.tf
    if not X.shape[0]:
        return [tf.constant(float("nan"))] * 2
    logits, _ = _forward(kind, weights, X, filled, 0.0, None, 0)
    even = tf.ones((2, kind.shape.n_outputs))
    loss, measure, known = (tf.reduce_sum(values * filled) for values in _losses(kind, logits, y, even))
    return [loss / tf.reduce_sum(filled), measure / known]


def _forward(
    kind: _Kind, weights: list[Any], x: Any, present: Any, rate: Any, seed: Any | None, places: int
) -> tuple[Any, list[Any]]:
    """Logits, and the weights with moving statistics brought up to date; ``seed`` None is inference."""
    tf, layout = kind.tf, kind.layout
    updated = list(weights)
    for number, layer in enumerate(layout.hidden):
        product = tf.matmul(x, weights[layer.kernel[0]]) if number else _first_product(kind, weights, x)
        x = kind.activation(product + weights[layer.bias])
        if layer.norm is not None:
            x = _normalised(kind, weights, updated, layer.norm, x, None if seed is None else present)
        elif seed is not None and kind.dropping:
            x = tf.where(_drawn(tf, x, places, seed + tf.constant([0, number])) >= rate, x / (1 - rate), 0.0)
    return tf.matmul(x, weights[layout.output.kernel[0]]) + weights[layout.output.bias], updated


def _drawn(tf: Any, x: Any, places: int, seed: Any) -> Any:
    """Numbers from 0 to 1 in the shape of ``x``; a short batch draws what it would draw in a whole one.

    By ThreeFry, which XLA draws on a processor in a tenth of the time that its other generator takes; as a row of an
    even length, in which the order of the numbers is plain (:func:`heads.training.compiled_layers.uniform`).
    """
    rows, width = x.shape
    count = places * width
    numbers = tf.random.stateless_uniform((count + count % 2,), seed, alg="threefry")
    return tf.reshape(numbers[: rows * width], (rows, width))


def _first_product(kind: _Kind, weights: list[Any], x: Any) -> Any:
    """The input times the first kernel, by blocks."""
    tf, layout = kind.tf, kind.layout
    kernels = [weights[place] for place in layout.hidden[0].kernel]
    columns = [x[:, low:high] for low, high in layout.blocks]
    parts = [tf.matmul(kernel, part, transpose_b=True) for kernel, part in zip(kernels, columns, strict=True)]
    return tf.transpose(tf.add_n(parts))


def _normalised(
    kind: _Kind, weights: list[Any], updated: list[Any], norm: NormPlaces, x: Any, present: Any | None
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


def _losses(kind: _Kind, logits: Any, y: Any, balance: Any) -> tuple[Any, Any, Any]:
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
    kind: _Kind, weights: list[Any], slots: list[Any], gradients: list[Any], knob: dict[str, Any], step: Any
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
