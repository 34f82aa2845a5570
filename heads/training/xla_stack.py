"""Epochs of a stack of heads by XLA, a step of all of them as one batched product.

A GPU spends most of a small head's step in starting its kernels, and heads one beside the other start one after the
other. On processors heads side by side are as quick, or quicker (``tests/benchmarks/test_stack_speed.py``).
"""

from __future__ import annotations

import functools
from typing import Any

from .architectures import HeadShape
from .xla_step import Batch, Kind, Setting, drawn, one_step, validate


def suits(tf: Any, shape: HeadShape) -> bool:
    """Whether stacks are computed so: on a GPU, and without normalisation.

    A bias under a normalisation has no gradient but rounding, which another order of adding makes another one, and Adam
    takes as large steps by it as by any: such a head would not be the head that is trained alone.
    """
    return not shape.batch_norm and bool(tf.config.list_logical_devices("GPU"))


@functools.lru_cache(maxsize=64)
def stack_program(shape: HeadShape, optimizer: str, dropping: bool, regularised: bool) -> Any:
    """The program for stacks of heads of this kind, compiled once for each size of the data and of the stack.

    It takes what :func:`heads.training.xla_program.training_program` takes, with an axis of heads before all but ``X``
    and ``y``; of ``y`` a number's head has its own unit, so it has that axis too. ``weights`` and ``slots`` are lists
    of each head's variables. Returns float32 numbers of shape (heads, epochs, 4). A head of which no place in a batch
    is present stays as it is.
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
        weights: list[list[Any]],
        slots: list[list[Any]],
    ) -> Any:
        heads, epochs, _, places = order.shape
        if shape.loss == "class":
            y = tf.cast(y[..., 0], tf.int32)
        steps = tf.reduce_sum(tf.cast(tf.reduce_sum(present[:, 0], axis=2) > 0, tf.int32), axis=1)  # of each head
        most = tf.reduce_max(steps)

        def one(given: tuple[Any, ...]) -> tuple[Any, ...]:
            batch, y, step, knob, seed, numbers, weights, slots = given
            made = one_step(kind, Setting(X, y, knob, seed), Batch(*batch), step, numbers, weights, slots)
            learns = tf.reduce_any(batch[2] > 0)
            keep = [tf.where(learns, new, old) for new, old in zip(made[0] + made[1], weights + slots, strict=True)]
            return keep[: len(weights)], keep[len(weights) :], tf.where(learns, made[2], 0.0)

        def judged(given: tuple[Any, ...]) -> Any:
            y, rows, filled, weights = given
            return validate(kind, weights, tf.gather(X, rows), tf.gather(y, rows), filled)

        def body(e: Any, curves: Any, weights: list[Any], slots: list[Any]) -> tuple[Any, ...]:
            def step_of_all(i: Any, sums: Any, weights: list[Any], slots: list[Any]) -> tuple[Any, ...]:
                at = start + e * steps + i
                # Drawn head by head: TensorFlow does not turn drawing into one product.
                numbers = [drawn(kind, places, places, seed[head], at[head]) for head in range(heads)]
                together = [tf.stack(layer) for layer in zip(*numbers, strict=True)]
                batch = order[:, e, i], weight[:, e, i], present[:, e, i]
                given = (batch, y, at, knob, seed, together, weights, slots)
                weights, slots, seen = tf.vectorized_map(one, given, fallback_to_while_loop=False)
                return i + 1, sums + seen, weights, slots

            begin = (tf.constant(0), tf.zeros((heads, 4)), weights, slots)
            _, sums, weights, slots = tf.while_loop(lambda i, *rest: i < most, step_of_all, begin)
            values = tf.fill((heads, 2), float("nan"))
            if val_rows.shape[1]:
                given = (y, val_rows, val_filled, weights)
                values = tf.vectorized_map(judged, given, fallback_to_while_loop=False)
            row = tf.concat([sums[:, :2] / sums[:, 2:], values], axis=1)
            return e + 1, tf.tensor_scatter_nd_update(curves, [[e]], [row]), weights, slots

        values = [[tf.stack(same) for same in zip(*variables, strict=True)] for variables in (weights, slots)]
        begin = (tf.constant(0), tf.zeros((epochs, heads, 4)), *values)
        _, curves, *made = tf.while_loop(lambda e, *rest: e < epochs, body, begin)
        for variables, stacked in zip((weights, slots), made, strict=True):
            for head, own in enumerate(variables):
                for variable, value in zip(own, stacked, strict=True):
                    variable.assign(value[head])
        return tf.transpose(curves, (1, 0, 2))

    return program
