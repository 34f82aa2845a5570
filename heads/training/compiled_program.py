"""Epochs of heads by numba's code: TensorFlow is not loaded, and nothing is compiled that was compiled before.

A small head trains on one thread, and others beside it. A large one trains alone: its first kernel is passed over by
several threads, once a step, and the last pass of an epoch also gives the product with the rows to validate on. Same
numbers as the program of :mod:`heads.training.xla_program`, but for the order in which they are added up.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from featcache.backbones.tensorflow_setup import gpu_likely
from featcache.features.stored_rows import StoredRows

from .architectures import ACTIVATIONS, LOSSES, HeadShape
from .flat_layout import FlatLayout
from .train_spec import OPTIMIZERS, Job, TrainSpec

_log = logging.getLogger(__name__)
# Of numbers that are not zero: above it, what the zeros save is less than what XLA's product is quicker by.
_DENSE = 0.5
# Batches of the data: a head that trains alone on more of them, and on one thread, would take longer than XLA's program
# on all with its start. Neither other heads of the stack nor the number of epochs decide: a head is one and the same.
_FEW = 500
_FEW_ROWS = 32_000  # large batches are bound by arithmetic, so that rows decide, and not batches
_SAMPLED = 16  # rows at least, whose zeros are counted
_PARTS = 2  # for each core, so that one which is busy with something else is not waited for
_NONE, _NO_DELTA = np.empty(0, np.int64), np.empty((0, 0), np.float32)


@functools.cache
def _available() -> bool:
    """Whether there is numba, and no GPU, for which XLA's own program is better."""
    if gpu_likely():
        return False
    try:
        from . import compiled_step  # noqa: F401
    except Exception as error:  # noqa: BLE001 - not there, or for another NumPy: XLA's program does as well
        _log.debug("numba is not used: %s", error)
        return False
    return True


def suits(shape: HeadShape, X: np.ndarray | StoredRows, jobs: Sequence[Job]) -> bool:
    """Whether the program is the quicker one for heads on rows of ``X``."""
    if not _available():
        return False
    if shape.large:
        rows = jobs[0].rows
        some = np.asarray(X[rows[:: max(1, len(rows) // _SAMPLED)]])
        return bool(np.count_nonzero(some) <= _DENSE * some.size)
    return len(X) <= _FEW_ROWS and -(-len(X) // jobs[0].spec.batch_size) <= _FEW


def filled_up(X: np.ndarray) -> np.ndarray:
    """The rows as the program takes them: float32, with columns of zeros up to a multiple of 32."""
    from .first_kernel import BLOCK

    rows = np.zeros((len(X), -(-X.shape[1] // BLOCK) * BLOCK), np.float32)
    rows[:, : X.shape[1]] = X
    return rows


class CompiledProgram:
    """Called as the program of :func:`heads.training.xla_program.training_program` is, with NumPy's arrays.

    ``X`` is of :func:`filled_up`; ``weights`` and ``slots`` are as :class:`heads.training.flat_layout.FlatLayout`
    arranges them, and a call changes both.
    """

    def __init__(self, layout: FlatLayout) -> None:
        self._shape, self._table = layout.shape, layout.table

    def __call__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        order: np.ndarray,
        weight: np.ndarray,
        present: np.ndarray,
        start: int,
        val_rows: np.ndarray,
        val_filled: np.ndarray,
        spec: TrainSpec,
        balance: np.ndarray,
        weights: list[np.ndarray],
        slots: list[np.ndarray],
    ) -> np.ndarray:
        from . import compiled_layers, compiled_step

        counts = present.sum(axis=2).astype(np.int64)
        val = val_rows[: int(val_filled.sum())].astype(np.int64)
        numbers = (0, spec.learning_rate, spec.momentum, spec.weight_decay, spec.l2, spec.dropout)
        knobs, seed = np.array(numbers, np.float32), spec.seed % 2**31
        if self._shape.batch_norm:
            knobs[compiled_layers.DROPOUT] = 0  # normalisation stands in its place
        shape = self._shape
        kinds = OPTIMIZERS.index(spec.optimizer), ACTIVATIONS.index(shape.activation), LOSSES.index(shape.loss)
        head = (self._table, weights[1], slots[1], kinds)
        if not self._shape.large:
            data = (X, y, order, weight, counts, start, val)
            return compiled_step.epochs(*data, weights[0], slots[0], *head, knobs, balance, seed)
        batches = [at for at in np.ndindex(counts.shape) if counts[at]]
        rows = [order[at][: counts[at]].astype(np.int64) for at in batches]
        curves, sums = np.full((len(order), 4), np.nan), np.zeros((len(order), 3))
        judged = (*head, knobs, np.ones_like(balance), seed, -1)
        with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="kernel") as pool:
            kernel = _Kernel(pool, X, weights[0], slots[0], kinds[0])
            product, _ = kernel.step(_NONE, _NO_DELTA, rows[0] if rows else _NONE, knobs)
            for number, (at, batch) in enumerate(zip(batches, rows, strict=True)):
                before, epoch = start + number, at[0]
                now, delta = compiled_layers.knobs_at(knobs, before), np.empty_like(product)
                given = product, y[batch], weight[at][: len(batch)]
                loss, measure, known = compiled_step.rest_of_step(*given, *head, now, balance, seed, before, delta)
                last = number + 1 == len(batches) or batches[number + 1][0] != epoch
                judging = val if last else _NONE
                following = rows[number + 1] if number + 1 < len(batches) else _NONE
                product, squares = kernel.step(batch, delta, np.concatenate([judging, following]), now)
                sums[epoch] += (loss + spec.l2 * squares) * len(batch), measure, known
                if last:
                    curves[epoch, :2] = sums[epoch, :2] / (counts[epoch].sum(), sums[epoch, 2])
                    if len(val):
                        given = product[: len(val)], y[val], np.ones(len(val), np.float32)
                        loss, measure, known = compiled_step.rest_of_step(*given, *judged, delta)
                        curves[epoch, 2:] = loss, measure / known
                    product = product[len(judging) :]
            if len(val) and not batches:
                given = kernel.step(_NONE, _NO_DELTA, val, knobs)[0], y[val], np.ones(len(val), np.float32)
                loss, measure, known = compiled_step.rest_of_step(*given, *judged, np.empty_like(given[0]))
                curves[:, 2:] = loss, measure / known
        return curves


class _Kernel:
    """The first kernel, passed over by several threads, each some of its features."""

    def __init__(
        self, pool: ThreadPoolExecutor, X: np.ndarray, kernel: np.ndarray, slots: np.ndarray, optimizer: int
    ) -> None:
        from .first_kernel import BLOCK

        self._pool, self._X, self._kernel, self._slots = pool, X, kernel, slots
        self._optimizer = optimizer
        blocks = -(-len(kernel) // BLOCK)
        parts = min(blocks, _PARTS * (os.cpu_count() or 1))
        self._bounds = [min(blocks * part // parts * BLOCK, len(kernel)) for part in range(parts + 1)]

    def step(
        self, rows: np.ndarray, delta: np.ndarray, following: np.ndarray, knobs: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Learn from some rows; the new product with those that follow, and the sum of the squares of the weights
        before, which L2 penalises."""
        from .first_kernel import pass_over

        units = self._kernel.shape[1]
        products = np.zeros((len(self._bounds) - 1, len(following), units), np.float32)
        delta = delta if len(rows) else np.zeros((0, units), np.float32)

        def part(number: int) -> float:
            given = (self._X, rows, delta, following, products[number], self._kernel, self._slots)
            return float(pass_over(*given, self._bounds[number], self._bounds[number + 1], self._optimizer, knobs))

        squares = sum(self._pool.map(part, range(len(products))))
        return products.sum(axis=0), squares
