"""The compiled program behind the training engine: epochs of mini-batches for a stack of heads, in XLA.

Its formulas are Keras' own: losses, optimisers and normalisation give the weights that ``keras.Model.fit`` gives
from the same start and order of batches.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

from featcache.backbones.tensorflow_setup import load_tensorflow

from .architectures import BN_EPSILON, BN_MOMENTUM, HeadShape

# Keras' own defaults.
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-7


# Numbers in one block of the first kernel. Products, gradients and updates of one block overlap those of others,
# which took 0.88 of the time of one block of 25,088 x 256 (7 to 28 blocks alike).
_BLOCK = 450_000


def arrange(shape: HeadShape, weights: list[np.ndarray]) -> list[np.ndarray]:
    """Weights in Keras' order, as the program holds them.

    The first kernel is held transposed, of shape (units, n_features), which over a short batch and many features
    takes 0.8 of the time, and cut into blocks of features.
    """
    first, *others = weights
    return [*(np.ascontiguousarray(first[low:high].T) for low, high in _blocks(shape)), *others]


def restore(shape: HeadShape, arranged: list[np.ndarray]) -> list[np.ndarray]:
    """The inverse of :func:`arrange`."""
    blocks = _blocks(shape)
    first = np.empty((shape.n_features, shape.units[0]), np.float32)
    for (low, high), block in zip(blocks, arranged, strict=False):
        first[low:high] = block.T
    return [first, *arranged[len(blocks) :]]


def trainable_flags(shape: HeadShape) -> list[bool]:
    """Which of the arranged weights the optimiser changes."""
    flags = [True] * (len(_blocks(shape)) - 1)
    for position in range(len(shape.widths)):
        flags += [True, True]
        if shape.batch_norm and position < len(shape.units):
            flags += [True, True, False, False]
    return flags


def _blocks(shape: HeadShape) -> list[tuple[int, int]]:
    """First and last feature (exclusive) of each block."""
    count = max(1, shape.n_features * shape.units[0] // _BLOCK)
    bounds = [shape.n_features * i // count for i in range(count + 1)]
    return list(itertools.pairwise(bounds))


@functools.lru_cache(maxsize=64)
def training_program(shape: HeadShape, optimizer: str, dropping: bool, regularised: bool) -> Any:
    """The program for heads of this kind. It is compiled once for each size of the data it meets.

    ``program(X, y, order, weight, present, start, val_rows, val_filled, knob, seed, weights, slots)`` runs as many
    epochs as ``order`` of shape (epochs, steps, batch) has, changes the variables in ``weights`` and ``slots``, and
    returns float32 figures of shape (epochs, 4): loss and accuracy, in training and in validation.

    Weights, and what the optimiser keeps for them, are as :func:`arrange` gives them. ``start`` is the number of steps
    before these. Batches of which no place is present are skipped. Empty ``val_rows`` skip the validation; its figures
    are then NaN.
    """
    tf, keras = load_tensorflow()
    activation = keras.activations.get(shape.activation)
    trainable = trainable_flags(shape)
    per_layer = 6 if shape.batch_norm else 2
    blocks = _blocks(shape)
    shift = len(blocks) - 1  # of all that stands behind the first kernel

    def forward(
        weights: list[Any], x: Any, present: Any, rate: Any, seed: Any | None, places: int = 0
    ) -> tuple[Any, list[Any]]:
        """Logits, and the weights with moving statistics brought up to date; ``seed`` None is inference. ``places`` is
        the size of a whole batch."""
        updated = list(weights)
        for layer in range(len(shape.units)):
            at = layer * per_layer + shift
            if layer:
                product = tf.matmul(x, weights[at])
            else:
                parts = [tf.matmul(weights[i], x[:, a:b], transpose_b=True) for i, (a, b) in enumerate(blocks)]
                product = tf.transpose(tf.add_n(parts))
            x = activation(product + weights[at + 1])
            if shape.batch_norm:
                gamma, beta, mean, variance = weights[at + 2 : at + 6]
                if seed is not None:
                    share = present[:, None] / tf.reduce_sum(present)
                    batch_mean = tf.reduce_sum(x * share, axis=0)
                    batch_variance = tf.reduce_sum((x - batch_mean) ** 2 * share, axis=0)
                    updated[at + 4] = mean * BN_MOMENTUM + batch_mean * (1 - BN_MOMENTUM)
                    updated[at + 5] = variance * BN_MOMENTUM + batch_variance * (1 - BN_MOMENTUM)
                    mean, variance = batch_mean, batch_variance
                x = (x - mean) * tf.math.rsqrt(variance + BN_EPSILON) * gamma + beta
            elif seed is not None and dropping:
                draw = tf.random.stateless_uniform((places, x.shape[1]), seed + tf.constant([0, layer]))
                draw = draw[: x.shape[0]]  # a short batch draws what it would draw in a whole one
                x = tf.where(draw >= rate, x / (1 - rate), 0.0)
        at = len(shape.units) * per_layer + shift
        return tf.matmul(x, weights[at]) + weights[at + 1], updated

    def losses(logits: Any, y: Any) -> tuple[Any, Any]:
        """Cross-entropy and correctness of each row."""
        if shape.n_outputs == 1:
            z = logits[:, 0]
            loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(y, tf.float32), logits=z)
            right = tf.equal(tf.cast(z > 0, tf.int32), y)
        else:
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
            right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), y)
        return loss, tf.cast(right, tf.float32)

    def update(weights: list[Any], slots: list[Any], gradients: list[Any], knob: dict[str, Any], step: Any) -> Any:
        """One step of the optimiser, by Keras' formulas."""
        new_weights, new_slots = list(weights), []
        places = [i for i, flag in enumerate(trainable) if flag]
        rate = knob["learning_rate"]
        for number, (place, gradient) in enumerate(zip(places, gradients, strict=True)):
            w = weights[place]
            if optimizer == "sgd":
                velocity = knob["momentum"] * slots[number] - rate * gradient
                new_weights[place] = w + velocity
                new_slots.append(velocity)
                continue
            m, v = slots[2 * number], slots[2 * number + 1]
            m = m + (gradient - m) * (1 - _BETA1)
            v = v + (gradient * gradient - v) * (1 - _BETA2)
            scale = rate * tf.sqrt(1 - _BETA2**step) / (1 - _BETA1**step)
            if optimizer == "adamw":
                w = w - w * knob["weight_decay"] * rate
            new_weights[place] = w - m * scale / (tf.sqrt(v) + _EPSILON)
            new_slots += [m, v]
        return new_weights, new_slots

    def one_step(
        X: Any, y: Any, batch: list[Any], step: Any, knob: dict[str, Any], seed: Any, weights: list[Any],
        slots: list[Any], places: int,
    ) -> tuple[Any, ...]:  # fmt: skip
        rows, weight, present = batch
        x, target = tf.gather(X, rows), tf.gather(y, rows)
        count = tf.reduce_sum(present)
        watched = [w for w, flag in zip(weights, trainable, strict=True) if flag]
        with tf.GradientTape() as tape:
            tape.watch(watched)
            logits, updated = forward(weights, x, present, knob["dropout"], tf.stack([seed, step * 64]), places)
            loss, right = losses(logits, target)
            # As in Keras: weighted losses are divided by the number of rows, not by the sum of weights.
            total = tf.reduce_sum(loss * weight * present) / tf.maximum(count, 1.0)
            if regularised:
                deeper = [weights[layer * per_layer + shift] for layer in range(1, len(shape.units))]
                kernels = [*weights[: shift + 1], *deeper]
                total += knob["l2"] * tf.add_n([tf.reduce_sum(k * k) for k in kernels])
        gradients = tape.gradient(total, watched)
        new_weights, new_slots = update(updated, slots, gradients, knob, tf.cast(step + 1, tf.float32))
        return new_weights, new_slots, total * count, tf.reduce_sum(right * present), count

    def train_epoch(
        X: Any, y: Any, order: Any, weight: Any, present: Any, steps: Any, start: Any, knob: dict[str, Any], seed: Any,
        weights: list[Any], slots: list[Any],
    ) -> tuple[Any, ...]:  # fmt: skip
        """The first ``steps`` batches: a head with fewer rows than others of its stack has none at the end."""
        places = order.shape[1]

        def run(first: Any, last: Any, size: int, sums: Any, weights: list[Any], slots: list[Any]) -> Any:
            def body(i: Any, sums: Any, weights: list[Any], slots: list[Any]) -> tuple[Any, ...]:
                batch = [values[i][:size] for values in (order, weight, present)]
                weights, slots, *seen = one_step(X, y, batch, start + i, knob, seed, weights, slots, places)
                return i + 1, sums + tf.stack(seen), weights, slots

            return tf.while_loop(lambda i, *rest: i < last, body, (first, sums, weights, slots))[1:]

        # The last batch of an epoch is often short: where a quarter holds it, computing on a quarter gives the same
        # sooner (0.88 of the time of an epoch of 104 rows).
        quarter = places // 4
        short = tf.logical_and(steps > 0, tf.reduce_sum(present[steps - 1]) <= quarter)
        whole = steps - tf.cast(short, tf.int32)
        sums, weights, slots = run(tf.constant(0), whole, places, tf.zeros(3), weights, slots)
        if quarter:
            sums, weights, slots = run(whole, steps, quarter, sums, weights, slots)
        return sums[0] / sums[2], sums[1] / sums[2], weights, slots

    @tf.function(jit_compile=True)
    def program(
        X: Any, y: Any, order: Any, weight: Any, present: Any, start: Any, val_rows: Any, val_filled: Any,
        knob: dict[str, Any], seed: Any, weights: list[Any], slots: list[Any],
    ) -> Any:  # fmt: skip
        epochs = order.shape[0]
        own_steps = tf.reduce_sum(tf.cast(tf.reduce_sum(present[0], axis=1) > 0, tf.int32))
        val_X, val_y = tf.gather(X, val_rows), tf.gather(y, val_rows)

        def validate(weights: list[Any]) -> list[Any]:
            if not val_rows.shape[0]:
                return [tf.constant(float("nan"))] * 2
            logits, _ = forward(weights, val_X, val_filled, 0.0, None)
            return [tf.reduce_sum(v * val_filled) / tf.reduce_sum(val_filled) for v in losses(logits, val_y)]

        def body(e: Any, figures: Any, weights: list[Any], slots: list[Any]) -> tuple[Any, ...]:
            loss, right, weights, slots = train_epoch(
                X, y, order[e], weight[e], present[e], own_steps, start + e * own_steps, knob, seed, weights, slots
            )
            row = tf.stack([loss, right, *validate(weights)])
            return e + 1, tf.tensor_scatter_nd_update(figures, [[e]], [row]), weights, slots

        values = [[tf.identity(v) for v in variables] for variables in (weights, slots)]
        begin = (tf.constant(0), tf.zeros((epochs, 4)), *values)
        _, figures, new_weights, new_slots = tf.while_loop(lambda e, *rest: e < epochs, body, begin)
        for variable, value in zip(weights + slots, new_weights + new_slots, strict=True):
            variable.assign(value)
        return figures

    return program
