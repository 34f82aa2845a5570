"""Epochs of one head with a wide first layer, whose kernel is passed over once a step.

The kernel is numba's work (:mod:`heads.training.first_kernel`), the rest of a step, which is small, NumPy's
(:mod:`heads.training.numpy_step`). The last pass of an epoch also gives the product with the rows to validate on. Same
numbers as the program of :mod:`heads.training.xla_program`, but for the order in which they are added up; without
TensorFlow.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from featcache.backbones.tensorflow_setup import gpu_likely

from .architectures import HeadShape
from .numpy_step import NumPyHead
from .train_spec import OPTIMIZERS, TrainSpec

_log = logging.getLogger(__name__)
# Of numbers that are not zero: above it, what the zeros save is less than what XLA's product is quicker by.
_DENSE = 0.5
_PARTS = 2  # for each core, so that one which is busy with something else is not waited for
_NONE, _NO_DELTA = np.empty(0, np.int64), np.empty((0, 0), np.float32)


@functools.cache
def _available() -> bool:
    """Whether there is numba, and no GPU, for which XLA's own program is better."""
    if importlib.util.find_spec("numba") is None or gpu_likely():
        return False
    try:
        from . import first_kernel  # noqa: F401
    except Exception as error:  # noqa: BLE001 - of another release, or for another NumPy: XLA's program does as well
        _log.debug("numba is not used: %s", error)
        return False
    return True


def suits(shape: HeadShape, X: np.ndarray, rows: np.ndarray) -> bool:
    """Whether the program is the quicker one for a head that learns from these rows of ``X``."""
    if not _available():
        return False
    from .first_kernel import TILES

    if shape.units[0] % TILES[-1]:
        return False
    some = X[rows[:: max(1, len(rows) // 64)]]
    return bool(np.count_nonzero(some) <= _DENSE * some.size)


def filled_up(X: np.ndarray) -> np.ndarray:
    """The rows as the program takes them: float32, with columns of zeros up to a multiple of 32."""
    from .first_kernel import BLOCK

    rows = np.zeros((len(X), -(-X.shape[1] // BLOCK) * BLOCK), np.float32)
    rows[:, : X.shape[1]] = X
    return rows


class OnePassProgram:
    """Called as the program of :func:`heads.training.xla_program.training_program` is, with NumPy's arrays.

    ``X`` is of :func:`filled_up`. ``weights`` are in Keras' order, ``slots`` what the optimiser keeps for each that is
    trained, of shape (slots, ...); a call changes both.
    """

    def __init__(self, shape: HeadShape) -> None:
        self._shape = shape

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
        weights: list[np.ndarray],
        slots: list[np.ndarray],
    ) -> np.ndarray:
        counts = present.sum(axis=2).astype(int)
        batches = [at for at in np.ndindex(counts.shape) if counts[at]]
        rows = [order[at][: counts[at]].astype(np.int64) for at in batches]
        val = val_rows[: int(val_filled.sum())].astype(np.int64)
        curves = np.full((len(order), 4), np.nan, np.float32)
        sums, seen = np.zeros((len(order), 2)), counts.sum(axis=1)
        head = NumPyHead(self._shape, spec, weights, slots, functools.partial(_drawn, spec.seed % 2**31))
        with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="kernel") as pool:
            kernel = _Kernel(pool, X, weights[0], slots[0], spec)
            product, _ = kernel.step(_NONE, _NO_DELTA, rows[0] if rows else _NONE, np.float32(0))
            for number, (at, batch) in enumerate(zip(batches, rows, strict=True)):
                before, epoch = start + number, at[0]
                delta, values = head.step(product, y[batch], weight[at][: len(batch)], before)
                last = number + 1 == len(batches) or batches[number + 1][0] != epoch
                judging = val if last else _NONE
                following = rows[number + 1] if number + 1 < len(batches) else _NONE
                scale = head.adam_scale(before)
                product, squares = kernel.step(batch, delta, np.concatenate([judging, following]), scale)
                sums[epoch] += [(values[0] + spec.l2 * squares) * len(batch), values[1]]
                if last:
                    curves[epoch, :2] = sums[epoch] / seen[epoch]
                    if len(val):
                        curves[epoch, 2:] = head.judge(product[: len(val)], y[val])
                    product = product[len(judging) :]
        return curves


class _Kernel:
    """The first kernel, passed over by several threads, each some of its features."""

    def __init__(
        self, pool: ThreadPoolExecutor, X: np.ndarray, kernel: np.ndarray, slots: np.ndarray, spec: TrainSpec
    ) -> None:
        from .first_kernel import BLOCK

        self._pool, self._X, self._kernel, self._slots = pool, X, kernel, slots
        self._optimizer = OPTIMIZERS.index(spec.optimizer)
        self._knobs = spec.learning_rate, spec.momentum, spec.weight_decay, spec.l2
        blocks = -(-len(kernel) // BLOCK)
        parts = min(blocks, _PARTS * (os.cpu_count() or 1))
        self._bounds = [min(blocks * part // parts * BLOCK, len(kernel)) for part in range(parts + 1)]

    def step(
        self, rows: np.ndarray, delta: np.ndarray, following: np.ndarray, scale: np.float32
    ) -> tuple[np.ndarray, float]:
        """Learn from some rows; the new product with those that follow, and the sum of the squares of the weights
        before, which L2 penalises."""
        from .first_kernel import pass_over

        units = self._kernel.shape[1]
        products = np.zeros((len(self._bounds) - 1, len(following), units), np.float32)
        delta = delta if len(rows) else np.zeros((0, units), np.float32)
        knobs = np.array([scale, *self._knobs], np.float32)

        def part(number: int) -> float:
            given = (self._X, rows, delta, following, products[number], self._kernel, self._slots)
            return float(pass_over(*given, self._bounds[number], self._bounds[number + 1], self._optimizer, knobs))

        squares = sum(self._pool.map(part, range(len(products))))
        return products.sum(axis=0), squares


def _drawn(seed: int, step: int, layer: int, shape: tuple[int, int]) -> np.ndarray:
    """Dropout's numbers, as XLA's program draws them."""
    from .first_kernel import uniform

    return uniform(seed, step * 64 + layer, shape[0] * shape[1]).reshape(shape)
