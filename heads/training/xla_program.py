"""Epochs of one head by XLA: its mini-batches, and the validation after each."""

from __future__ import annotations

import functools
from typing import Any

from .architectures import HeadShape
from .xla_step import Batch, Kind, Setting, drawn, one_step, validate


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
    kind = Kind.of(shape, optimizer, dropping, regularised)
    tf = kind.tf

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
        setting = Setting(X, y, knob, seed)

        def body(e: Any, curves: Any, weights: list[Any], slots: list[Any]) -> tuple[Any, ...]:
            batches = Batch(order[e], weight[e], present[e])
            before = start + e * own_steps
            trained, weights, slots = _train_epoch(kind, setting, batches, own_steps, before, weights, slots)
            row = tf.concat([trained, validate(kind, weights, val_X, val_y, val_filled)], 0)
            return e + 1, tf.tensor_scatter_nd_update(curves, [[e]], [row]), weights, slots

        values = [[tf.identity(v) for v in variables] for variables in (weights, slots)]
        begin = (tf.constant(0), tf.zeros((epochs, 4)), *values)
        _, curves, new_weights, new_slots = tf.while_loop(lambda e, *rest: e < epochs, body, begin)
        for variable, value in zip(weights + slots, new_weights + new_slots, strict=True):
            variable.assign(value)
        return curves

    return program


def _train_epoch(
    kind: Kind, setting: Setting, batches: Batch, steps: Any, start: Any, weights: list[Any], slots: list[Any]
) -> tuple[Any, ...]:
    """The first ``steps`` batches: a head with fewer rows than others of its stack has none at the end."""
    tf, places = kind.tf, batches.rows.shape[1]

    def run(first: Any, last: Any, size: int, sums: Any, weights: list[Any], slots: list[Any]) -> Any:
        def body(i: Any, sums: Any, weights: list[Any], slots: list[Any]) -> tuple[Any, ...]:
            batch = Batch(batches.rows[i][:size], batches.weight[i][:size], batches.present[i][:size])
            numbers = drawn(kind, size, places, setting.seed, start + i)
            weights, slots, seen = one_step(kind, setting, batch, start + i, numbers, weights, slots)
            return i + 1, sums + seen, weights, slots

        return tf.while_loop(lambda i, *rest: i < last, body, (first, sums, weights, slots))[1:]

    # The last batch of an epoch is often short. Where its rows fit into a quarter of the places, it is computed on that
    # quarter: the same numbers, sooner (0.88 of the time of an epoch of 104 rows).
    quarter = places // 4
    short = tf.logical_and(steps > 0, tf.reduce_sum(batches.present[steps - 1]) <= quarter)
    whole = steps - tf.cast(short, tf.int32)
    sums, weights, slots = run(tf.constant(0), whole, places, tf.zeros(4), weights, slots)
    if quarter:
        sums, weights, slots = run(whole, steps, quarter, sums, weights, slots)
    return sums[:2] / sums[2:], weights, slots
