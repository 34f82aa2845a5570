"""A stack of heads in training, from memory or from the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.errors import DataError
from featcache.features.stored_rows import StoredRows

from . import compiled_program, xla_stack
from .architectures import HeadShape, initial_weights
from .flat_layout import FlatLayout
from .head_state import Batches, HeadState, padded
from .train_spec import Job, TrainedHead
from .weight_layout import WeightLayout
from .xla_program import training_program

_WORTH_LEAVING = 0.97
_STEPS_A_CALL = 1000  # where nothing has to be decided between epochs; an interrupt waits for so many
_LEAST_STEPS, _LEAST_VALIDATION = 8, 32
_TOGETHER = 250_000_000  # bytes of rows that heads of one product hold at a time


def require_finite(X: np.ndarray) -> None:
    """Raise :class:`DataError` where a number is NaN or infinite."""
    if not np.isfinite(X).all():
        raise DataError("the features hold NaN or infinite values; extract them again, or drop those rows")


class Stack:
    """The state of a stack in training: what its heads share, and a :class:`HeadState` for each."""

    def __init__(
        self,
        X: np.ndarray | StoredRows,
        y: np.ndarray,
        shape: HeadShape,
        jobs: Sequence[Job],
        columns: int = 0,
    ) -> None:
        given = [job.weights if job.weights is not None else initial_weights(shape, job.spec.seed) for job in jobs]
        spec = jobs[0].spec
        kind = spec.optimizer, any(job.spec.dropout for job in jobs), any(job.spec.l2 for job in jobs)
        compiled = compiled_program.suits(shape, X, jobs)
        tf: Any = None if compiled else load_tensorflow()[0]
        self._tf = tf
        used = _worth_taking(X, jobs, 0 if compiled else columns)
        if used is not None:
            X, shape = np.asarray(X)[:, used], replace(shape, n_features=int(used.sum()))
        self._stored = X if isinstance(X, StoredRows) else None
        self._X: Any = None
        if self._stored is None and tf is None:
            self._X = compiled_program.filled_up(np.asarray(X))
        elif self._stored is None:
            self._X = tf.constant(np.ascontiguousarray(X, np.float32))
        self._batch = spec.batch_size
        self._steps = _rounded(max(-(-len(job.rows) // spec.batch_size) for job in jobs), _LEAST_STEPS)
        longest = max(len(job.val_rows) for job in jobs)
        places = _rounded(longest, _LEAST_VALIDATION) if longest else 0
        layout: FlatLayout | WeightLayout
        if compiled:
            layout = FlatLayout.of(shape)
            self._program: Any = compiled_program.CompiledProgram(layout)
        else:
            layout, self._program = WeightLayout.of(shape), training_program(shape, *kind)
        self._as_one: Any = None
        if tf is not None and self._stored is None and len(jobs) > 1 and xla_stack.suits(tf, shape):
            self._as_one = xla_stack.stack_program(shape, *kind)
            self._heads_at_once = max(1, _TOGETHER // (4 * shape.n_features * max(places, self._batch)))
        self._targets: dict[Any, Any] = {unit: _in_unit(y, unit) for unit in {job.unit for job in jobs}}
        if self._stored is None and tf is not None:
            self._targets = {unit: tf.constant(targets) for unit, targets in self._targets.items()}
        self._heads = [
            HeadState.start(tf, job, shape, layout, weights, used, places)
            for job, weights in zip(jobs, given, strict=True)
        ]
        self._done = 0

    @property
    def running(self) -> bool:
        """Whether any head has not stopped early."""
        return any(head.stopped_at is None for head in self._heads)

    def epochs_a_call(self, left: int) -> int:
        """Epochs to run at once, of those that are left: calls of one size share a compiled program."""
        calls = -(-left // max(1, _STEPS_A_CALL // self._steps))
        return -(-left // calls)

    def run_epochs(self, start: int, count: int, pool: ThreadPoolExecutor) -> None:
        """Run ``count`` epochs of every head that is still running, and note what they gave."""
        self._done = start + count
        if self._as_one is not None:
            parts = -(-len(self._heads) // self._heads_at_once)
            for part in range(parts):
                self._run_as_one(self._heads[part::parts], start, count)
            return
        running = [head for head in self._heads if head.stopped_at is None]
        # The first alone, so that what others wait for is compiled once; then side by side.
        alone = 0 if self._tf is None else 1
        for head in running[:alone]:
            self._run_head(head, start, count)
        list(pool.map(lambda head: self._run_head(head, start, count), running[alone:]))

    def latest(self) -> list[dict[str, float]]:
        """The last values of each head's learning curves."""
        return [head.latest for head in self._heads]

    def result(self, number: int) -> TrainedHead:
        """A head as it stands."""
        return self._heads[number].result(self._done)

    def _run_head(self, head: HeadState, start: int, count: int) -> None:
        if self._stored is None:
            batches, y = head.batches(count, self._steps), self._targets[head.job.unit]
            curves = self._call(head, self._X, y, batches, start * head.own_steps, head.validation)
        else:
            curves = np.stack([self._run_stored_epoch(head, self._stored, start + epoch) for epoch in range(count)])
        head.note(curves, start + count)

    def _run_as_one(self, heads: list[HeadState], start: int, count: int) -> None:
        """Epochs of several heads as one product; heads that have stopped keep their places in it, and have no batches,
        so that as many are always one program."""
        stack, constant = self._tf.stack, self._tf.constant
        none = tuple(np.zeros((count, self._steps, self._batch), kind) for kind in (np.int32, np.float32, np.float32))
        batches = [head.batches(count, self._steps) if head.stopped_at is None else none for head in heads]
        y = stack([self._targets[head.job.unit] for head in heads])
        steps = constant([start * head.own_steps for head in heads])
        validation = zip(*(head.validation for head in heads), strict=True)
        data = (self._X, y, *map(stack, zip(*batches, strict=True)), steps, *map(stack, validation))
        knobs = {name: stack([head.knobs[name] for head in heads]) for name in heads[0].knobs}
        held = [head.weights for head in heads], [head.slots for head in heads]
        curves = self._as_one(*data, knobs, stack([head.seed for head in heads]), *held).numpy()
        for head, own in zip(heads, curves, strict=True):
            if head.stopped_at is None:
                head.note(own, start + count)

    def _call(
        self, head: HeadState, X: Any, y: Any, batches: Batches, steps: int, validation: tuple[np.ndarray, np.ndarray]
    ) -> Any:
        if self._tf is None:
            what = head.job.spec, head.balance, head.weights, head.slots
            return self._program(X, y, *batches, steps, *validation, *what)
        constant = self._tf.constant
        data = (X, y, *map(constant, batches), constant(steps), *map(constant, validation))
        return self._program(*data, head.knobs, head.seed, head.weights, head.slots).numpy()

    def _run_stored_epoch(self, head: HeadState, stored: StoredRows, epoch: int) -> np.ndarray:
        """One epoch and its validation, block by block; values of shape (4,)."""
        order, weight, present = (part.reshape(-1, self._batch) for part in head.batches(1, self._steps))
        rows = order.reshape(-1)[: len(head.job.rows)]
        # A power of two, so that blocks divide the epoch and are all of one shape.
        fits = max(1, stored.block_rows(np.float32) // self._batch)
        steps = min(self._steps, 1 << (fits.bit_length() - 1))
        places = np.arange(steps * self._batch, dtype=np.int32).reshape(1, steps, self._batch)
        none = np.zeros((1, steps, self._batch), np.float32)
        sums, seen = np.zeros(4), np.zeros(4)
        for block, X, y, counts in self._stored_blocks(head, stored, rows, steps * self._batch):
            first = block * steps
            batches = (places, weight[None, first : first + steps], present[None, first : first + steps])
            done = epoch * head.own_steps + first
            sums[:2] += self._call(head, X, y, batches, done, padded(np.empty(0, np.int64), 0))[0, :2] * counts
            seen[:2] += counts
        for _, X, y, counts in self._stored_blocks(head, stored, head.job.val_rows, steps * self._batch):
            validation = padded(np.arange(counts[0]), places.size)
            sums[2:] += self._call(head, X, y, (places, none, none), 0, validation)[0, 2:] * counts
            seen[2:] += counts
        return np.divide(sums, seen, out=np.full(4, np.nan), where=seen > 0)

    def _stored_blocks(
        self, head: HeadState, stored: StoredRows, rows: np.ndarray, size: int
    ) -> Iterator[tuple[int, Any, Any, np.ndarray]]:
        """Number, features and targets of each block of ``size`` rows, and how many rows and known targets it has."""
        targets = self._targets[head.job.unit]
        for number, block in enumerate(stored.take(rows).blocks(size)):
            require_finite(block)
            y = np.zeros((size, targets.shape[1]), np.float32)
            y[: len(block)] = targets[rows[number * size :][: len(block)]]
            counts = np.array([len(block), np.count_nonzero(~np.isnan(y[: len(block)]))])
            if self._tf is None:
                yield number, compiled_program.filled_up(block), y, counts
                continue
            X = block
            if len(block) < size or block.dtype != np.float32:
                X = np.zeros((size, block.shape[1]), np.float32)
                X[: len(block)] = block
            yield number, self._tf.constant(X), self._tf.constant(y), counts


def _in_unit(y: np.ndarray, unit: tuple[float, float] | None) -> np.ndarray:
    """What is to be learnt, float32 array of shape (n, k)."""
    y = np.asarray(y).reshape(len(y), -1)
    return np.ascontiguousarray(y if unit is None else (y - unit[0]) / unit[1], np.float32)


def used_columns(X: np.ndarray | StoredRows, jobs: Sequence[Job]) -> np.ndarray | None:
    """Which features are not zero in every row that the jobs use, bool array of shape (n_features,).

    None where all have to be taken. A feature that is always zero gives its weights no gradient, so they stay what they
    were at the start; of VGG16's last map on some hundred radiographs that is an eighth. Decay and penalties move
    weights all the same.
    """
    if isinstance(X, StoredRows) or any(job.spec.l2 or job.spec.optimizer == "adamw" for job in jobs):
        return None
    rows = np.unique(np.concatenate([part for job in jobs for part in (job.rows, job.val_rows)]))
    return (X[rows] != 0).any(axis=0)


def _worth_taking(X: np.ndarray | StoredRows, jobs: Sequence[Job], at_least: int) -> np.ndarray | None:
    """The used columns and, up to ``at_least``, some of the others; None where the few that are left out do not repay
    the copy."""
    used = used_columns(X, jobs)
    if used is None or not used.any():
        return None
    used[np.flatnonzero(~used)[: max(0, at_least - int(used.sum()))]] = True
    return used if used.sum() < _WORTH_LEAVING * len(used) else None


def _rounded(count: int, least: int) -> int:
    """The next power of two: sizes that are alike share a compiled program, and padding costs next to nothing."""
    return max(least, 1 << max(0, count - 1).bit_length())
