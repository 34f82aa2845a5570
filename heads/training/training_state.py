"""The state of heads in training: their weights, batches and learning curves, from memory or from the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from featcache.errors import DataError
from featcache.features.stored_rows import StoredRows

from .architectures import HeadShape, initial_weights
from .train_spec import Job, TrainedHead
from .xla_program import arrange, restore, trainable_flags, training_program

_KNOBS = ("learning_rate", "dropout", "l2", "momentum", "weight_decay")
_WORTH_LEAVING = 0.97
_STEPS_A_CALL = 1000  # where nothing has to be decided between epochs; an interrupt waits for so many
_Batches = tuple[np.ndarray, np.ndarray, np.ndarray]


def require_finite(X: np.ndarray) -> None:
    """Raise :class:`DataError` where a number is NaN or infinite."""
    if not np.isfinite(X).all():
        raise DataError("the features hold NaN or infinite values; extract them again, or drop those rows")


class Stack:
    """The state of a stack in training."""

    def __init__(
        self,
        tf: Any,
        X: np.ndarray | StoredRows,
        y: np.ndarray,
        shape: HeadShape,
        jobs: Sequence[Job],
        columns: int = 0,
    ) -> None:
        self._tf, self._jobs = tf, jobs
        given = [job.weights if job.weights is not None else initial_weights(shape, job.spec.seed) for job in jobs]
        self._used = _worth_taking(X, jobs, columns)
        self._unused = [weights[0] for weights in given] if self._used is not None else []
        if self._used is not None:
            X, shape = np.asarray(X)[:, self._used], replace(shape, n_features=int(self._used.sum()))
            given = [[weights[0][self._used], *weights[1:]] for weights in given]
        self._shape = shape
        self._stored = X if isinstance(X, StoredRows) else None
        self._X = None if isinstance(X, StoredRows) else tf.constant(np.ascontiguousarray(X, np.float32))
        self._codes = np.asarray(y, np.int32)
        self._y = tf.constant(self._codes)
        spec = jobs[0].spec
        self._batch = spec.batch_size
        self._steps = _rounded(max(-(-len(job.rows) // spec.batch_size) for job in jobs), least=8)
        starts = [arrange(shape, weights) for weights in given]
        trainable = trainable_flags(shape)
        slots = {"adam": 2, "adamw": 2, "sgd": 1}[spec.optimizer]
        self._weights = [[tf.Variable(w) for w in start] for start in starts]
        self._slots = [
            [tf.Variable(tf.zeros_like(w)) for w, t in zip(start, trainable, strict=True) if t for _ in range(slots)]
            for start in starts
        ]
        longest = max(len(job.val_rows) for job in jobs)
        longest = _rounded(longest, least=32) if longest else 0
        self._val = [_padded(job.val_rows, longest) for job in jobs]
        self._rng = [np.random.default_rng([job.spec.seed, 1]) for job in jobs]
        self._knobs = [{name: tf.constant(getattr(job.spec, name), tf.float32) for name in _KNOBS} for job in jobs]
        self._program = training_program(
            shape, spec.optimizer, any(job.spec.dropout for job in jobs), any(job.spec.l2 for job in jobs)
        )
        self._best = [np.inf] * len(jobs)
        self._best_epoch = [0] * len(jobs)
        self._kept: list[list[np.ndarray] | None] = [None] * len(jobs)
        self._stopped_at: list[int | None] = [None] * len(jobs)
        self._history: list[dict[str, list[float]]] = [
            {name: [] for name in (_TRAIN + _VAL if len(job.val_rows) else _TRAIN)} for job in jobs
        ]
        self._done = 0

    @property
    def running(self) -> bool:
        """Whether any head has not stopped early."""
        return any(stopped is None for stopped in self._stopped_at)

    def epochs_a_call(self, left: int) -> int:
        """Epochs to run at once, of those that are left: calls of one size share a compiled program."""
        calls = -(-left // max(1, _STEPS_A_CALL // self._steps))
        return -(-left // calls)

    def run_epochs(self, start: int, count: int, pool: ThreadPoolExecutor) -> None:
        """Run ``count`` epochs of every head that is still running, and note what they gave."""
        running = [head for head, stopped in enumerate(self._stopped_at) if stopped is None]
        # The first alone, so that what others wait for is compiled once; then side by side.
        self._run_head(running[0], start, count)
        list(pool.map(lambda head: self._run_head(head, start, count), running[1:]))
        self._done = start + count

    def _run_head(self, head: int, start: int, count: int) -> None:
        if self._stored is None:
            steps = start * self._own_steps(head)
            figures = self._call(head, self._X, self._y, self._batches(head, count), steps, self._val[head])
        else:
            figures = np.stack([self._run_stored_epoch(head, start + epoch) for epoch in range(count)])
        for position, values in enumerate(self._history[head].values()):
            values += figures[:, position].tolist()
        self._watch(head, self._jobs[head], start + count)

    def _call(
        self, head: int, X: Any, y: Any, batches: _Batches, steps: int, val: tuple[np.ndarray, np.ndarray]
    ) -> Any:
        tf = self._tf
        return self._program(
            X, y, *map(tf.constant, batches), tf.constant(steps), *map(tf.constant, val), self._knobs[head],
            tf.constant(self._jobs[head].spec.seed % 2**31), self._weights[head], self._slots[head],
        ).numpy()  # fmt: skip

    def _run_stored_epoch(self, head: int, epoch: int) -> np.ndarray:
        """One epoch and its validation, block by block; figures of shape (4,)."""
        job, stored = self._jobs[head], self._stored
        assert stored is not None
        order, weight, present = (part.reshape(-1, self._batch) for part in self._batches(head, 1))
        rows = order.reshape(-1)[: len(job.rows)]
        # A power of two, so that blocks divide the epoch and are all of one shape.
        fits = max(1, stored.block_rows(np.float32) // self._batch)
        steps = min(self._steps, 1 << (fits.bit_length() - 1))
        places = np.arange(steps * self._batch, dtype=np.int32).reshape(1, steps, self._batch)
        none = np.zeros((1, steps, self._batch), np.float32)
        sums, seen = np.zeros(4), np.zeros(4)
        for block, X, y, count in self._stored_blocks(rows, steps * self._batch):
            first = block * steps
            batches = (places, weight[None, first : first + steps], present[None, first : first + steps])
            done = epoch * self._own_steps(head) + first
            sums[:2] += self._call(head, X, y, batches, done, _padded(np.empty(0, np.int64), 0))[0, :2] * count
            seen[:2] += count
        for _, X, y, count in self._stored_blocks(job.val_rows, steps * self._batch):
            val = _padded(np.arange(count), places.size)
            sums[2:] += self._call(head, X, y, (places, none, none), 0, val)[0, 2:] * count
            seen[2:] += count
        return np.divide(sums, seen, out=np.full(4, np.nan), where=seen > 0)

    def _stored_blocks(self, rows: np.ndarray, size: int) -> Iterator[tuple[int, Any, Any, int]]:
        """Number, features, classes and filled places of each block of ``size`` rows."""
        assert self._stored is not None
        for number, block in enumerate(self._stored.take(rows).blocks(size)):
            require_finite(block)
            X, y = block, np.zeros(size, np.int32)
            y[: len(block)] = self._codes[rows[number * size :][: len(block)]]
            if len(block) < size or block.dtype != np.float32:
                X = np.zeros((size, block.shape[1]), np.float32)
                X[: len(block)] = block
            yield number, self._tf.constant(X), self._tf.constant(y), len(block)

    def latest(self) -> list[dict[str, float]]:
        """The last figures of each head."""
        return [{name: values[-1] for name, values in history.items()} for history in self._history]

    def result(self, head: int) -> TrainedHead:
        """A head as it stands."""
        kept = self._kept[head]
        ran = self._stopped_at[head] or self._done
        history = {name: list(values) for name, values in self._history[head].items()}
        return TrainedHead(
            kept if kept is not None else self._current(head), history, ran, self._best_epoch[head] or ran
        )

    def _current(self, head: int) -> list[np.ndarray]:
        """The weights as they stand, in Keras' order."""
        weights = restore(self._shape, [w.numpy() for w in self._weights[head]])
        if self._used is not None:
            first = self._unused[head].copy()
            first[self._used] = weights[0]
            weights[0] = first
        return weights

    def _watch(self, head: int, job: Job, epoch: int) -> None:
        """Keep the best weights, and stop where patience has run out."""
        if not (job.spec.patience is not None or job.spec.checkpoint):
            return
        loss = self._history[head]["val_loss"][-1]
        if loss < self._best[head]:
            self._best[head], self._best_epoch[head] = loss, epoch
            self._kept[head] = self._current(head)
        elif job.spec.patience is not None and epoch - self._best_epoch[head] >= job.spec.patience:
            self._stopped_at[head] = epoch

    def _own_steps(self, head: int) -> int:
        """Steps in an epoch of a head; shorter than ``_steps``, which all of a stack share."""
        return -(-len(self._jobs[head].rows) // self._batch)

    def _batches(self, head: int, epochs: int) -> _Batches:
        """Rows, sample weights and presence of each place in each batch, arrays of shape (epochs, steps, batch).

        The last batch of an epoch is short, as in Keras: its empty places point at row 0 and are not present.
        """
        job, count = self._jobs[head], len(self._jobs[head].rows)
        size = (epochs, self._steps * self._batch)
        order, weight, present = np.zeros(size, np.int32), np.zeros(size, np.float32), np.zeros(size, np.float32)
        for epoch in range(epochs):
            shuffled = self._rng[head].permutation(count) if job.spec.shuffle else np.arange(count)
            order[epoch, :count] = job.rows[shuffled]
            weight[epoch, :count] = 1 if job.sample_weight is None else job.sample_weight[shuffled]
        present[:, :count] = 1
        parts = (epochs, self._steps, self._batch)
        return order.reshape(parts), weight.reshape(parts), present.reshape(parts)


_TRAIN = ("loss", "accuracy")
_VAL = ("val_loss", "val_accuracy")


def used_columns(X: np.ndarray | StoredRows, jobs: Sequence[Job]) -> np.ndarray | None:
    """Which features are not zero in every row that the jobs use, bool array of shape (n_features,); None where all
    have to be taken.

    A feature that is always zero gives its weights no gradient, so they stay what they were at the start; of VGG16's
    last map on some hundred radiographs that is an eighth. Decay and penalties move weights all the same.
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


def _padded(rows: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """A list of rows filled up to ``length``, int32, and which places are filled, float32."""
    index, filled = np.zeros(length, np.int32), np.zeros(length, np.float32)
    index[: len(rows)], filled[: len(rows)] = rows, 1
    return index, filled


def _rounded(count: int, least: int) -> int:
    """The next power of two: sizes that are alike share a compiled program, and padding costs next to nothing."""
    return max(least, 1 << max(0, count - 1).bit_length())
