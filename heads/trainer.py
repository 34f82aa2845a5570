"""The training engine: trains one head, or a stack of heads, on features in memory or in the store.

Keras' ``fit`` spends most of a small step outside the arithmetic. Here whole epochs, their shuffled batches and
the validation after each, are one XLA program (:mod:`heads.compiled`). A stack is heads of one shape that differ in
learning rate, dropout, seed, regularisation or rows (folds): they share the features, the compiled program and the
processor's cores, and each is computed by the very program that computes it alone. Features that stay in the store are
read some batches ahead, in the order in which the same batches would be taken from memory.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from featcache.accelerator import load_tensorflow
from featcache.errors import DataError, UsageError
from featcache.stored import StoredRows

from .architectures import HeadShape, initial_weights
from .compiled import arrange, restore, trainable_flags, training_program

OPTIMIZERS = ("adam", "adamw", "sgd")
_KNOBS = ("learning_rate", "dropout", "l2", "momentum", "weight_decay")
SMALL = 1_000_000  # parameters; a stack of smaller heads runs side by side
_Batches = tuple[np.ndarray, np.ndarray, np.ndarray]
_WORTH_LEAVING = 0.97
_STEPS_A_CALL = 1000  # where nothing has to be decided between epochs; an interrupt waits for so many


@dataclass(frozen=True)
class TrainSpec:
    """How one head is trained. See :class:`heads.DenseHeadClassifier` for the meanings."""

    learning_rate: float = 1e-3
    dropout: float = 0.25
    l2: float = 0.0
    optimizer: str = "adam"
    momentum: float = 0.0
    weight_decay: float = 0.004
    epochs: int = 40
    batch_size: int = 32
    shuffle: bool = True
    patience: int | None = None
    checkpoint: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        checks = (
            (self.optimizer in OPTIMIZERS, f"optimizer {self.optimizer!r}", f"one of {', '.join(OPTIMIZERS)}"),
            (self.learning_rate > 0, f"learning_rate {self.learning_rate!r}", "more than 0"),
            (0 <= self.dropout < 1, f"dropout {self.dropout!r}", "0 or more, and less than 1"),
            (self.l2 >= 0, f"l2 {self.l2!r}", "0 or more"),
            (self.epochs >= 1, f"epochs {self.epochs!r}", "at least 1"),
            (self.batch_size >= 1, f"batch_size {self.batch_size!r}", "at least 1"),
            (self.patience is None or self.patience >= 1, f"patience {self.patience!r}", "at least 1, or None"),
        )
        for good, found, expected in checks:
            if not good:
                raise UsageError(f"{found} is out of range; expected {expected}")

    @property
    def program(self) -> tuple[object, ...]:
        """What must be equal for heads to be trained in one stack."""
        return (self.optimizer, self.epochs, self.batch_size, self.patience, self.checkpoint)


@dataclass(frozen=True)
class Job:
    """One head to train.

    Attributes
    ----------
    spec : how.
    rows : int array, the rows of ``X`` it learns from.
    val_rows : int array, rows it is validated on after each epoch; may be empty.
    sample_weight : float32 array, a weight for each of ``rows``, or None.
    weights : initial weights in Keras' order; None draws them from the spec's seed.
    """

    spec: TrainSpec
    rows: np.ndarray
    val_rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    sample_weight: np.ndarray | None = None
    weights: list[np.ndarray] | None = None


@dataclass
class TrainedHead:
    """A trained head: its weights in Keras' order, its learning curves, and the epoch the weights are from."""

    weights: list[np.ndarray]
    history: dict[str, list[float]]
    epochs_run: int
    best_epoch: int


def train(
    X: np.ndarray | StoredRows,
    y: np.ndarray,
    shape: HeadShape,
    jobs: Sequence[Job],
    on_epoch: Callable[[int, list[dict[str, float]]], None] | None = None,
    stages: Sequence[int] = (),
    on_stage: Callable[[int, int, TrainedHead], None] | None = None,
) -> list[TrainedHead]:
    """Train a stack of heads.

    Parameters
    ----------
    X : array of shape (n, n_features).
    y : int array of shape (n,), classes counted from 0.
    shape : the heads' shape; all of a stack share it.
    jobs : the heads; their specs agree in ``TrainSpec.program``.
    on_epoch : called after each epoch with its number, from 1, and each head's latest figures.
    stages, on_stage : after each of these numbers of epochs, ``on_stage(job, epochs, head)`` is called with what each
        job's head would be if it had been trained for so many: a shorter training is the beginning of a longer one.

    Returns
    -------
    A trained head for each job. With ``patience`` or ``checkpoint`` its weights are those of the epoch with
    the lowest validation loss, else of the last.

    Raises
    ------
    DataError
        Features that are not finite, or a head with nothing to learn from.
    UsageError
        Heads that cannot share a stack, or early stopping without validation rows.
    """
    _check(X, jobs)
    if len(jobs) > 1 and shape.parameters["total"] >= SMALL:
        # Large heads are bound by memory: side by side they would only hold more of it.
        alone: list[TrainedHead] = []
        for number, job in enumerate(jobs):
            report = None if on_stage is None else functools.partial(_as_job, on_stage, number)
            alone += train(X, y, shape, [job], on_epoch, stages, report)
        return alone
    tf, _ = load_tensorflow()
    stack = _Stack(tf, X, y, shape, jobs)
    spec = jobs[0].spec
    stepwise = on_epoch is not None or spec.patience is not None or spec.checkpoint
    done = 0
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="head") as pool:
        while done < spec.epochs and stack.running:
            until = min((stage for stage in stages if stage > done), default=spec.epochs)
            count = 1 if stepwise else stack.epochs_a_call(min(until, spec.epochs) - done)
            stack.run_epochs(done, count, pool)
            done += count
            if on_epoch:
                on_epoch(done, stack.latest())
            if on_stage and done in stages:
                for number in range(len(jobs)):
                    on_stage(number, done, stack.result(number))
    if on_stage:  # all stopped early: a longer training would not have gone on
        for stage in sorted(stage for stage in stages if stage > done):
            for number in range(len(jobs)):
                on_stage(number, stage, stack.result(number))
    return [stack.result(number) for number in range(len(jobs))]


def _as_job(
    on_stage: Callable[[int, int, TrainedHead], None], number: int, _: int, epochs: int, head: TrainedHead
) -> None:
    on_stage(number, epochs, head)


def _check(X: np.ndarray | StoredRows, jobs: Sequence[Job]) -> None:
    if not jobs:
        raise UsageError("no heads to train")
    if len({job.spec.program for job in jobs}) > 1:
        raise UsageError("heads of one stack must agree in optimizer, epochs, batch size, patience and checkpoint")
    for job in jobs:
        if not len(job.rows):
            raise DataError("a head has no rows to learn from")
        if (job.spec.patience is not None or job.spec.checkpoint) and not len(job.val_rows):
            raise UsageError("patience and checkpoint watch the validation loss: give validation rows")
    if not isinstance(X, StoredRows):
        _require_finite(X)


def _require_finite(X: np.ndarray) -> None:
    if not np.isfinite(X).all():
        raise DataError("the features hold NaN or infinite values; extract them again, or drop those rows")


class _Stack:
    """The state of a stack in training."""

    def __init__(
        self, tf: Any, X: np.ndarray | StoredRows, y: np.ndarray, shape: HeadShape, jobs: Sequence[Job]
    ) -> None:
        self._tf, self._jobs = tf, jobs
        given = [job.weights if job.weights is not None else initial_weights(shape, job.spec.seed) for job in jobs]
        self._used = _used_columns(X, jobs)
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
            _require_finite(block)
            X, y = np.zeros((size, block.shape[1]), np.float32), np.zeros(size, np.int32)
            X[: len(block)], y[: len(block)] = block, self._codes[rows[number * size :][: len(block)]]
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


def _used_columns(X: np.ndarray | StoredRows, jobs: Sequence[Job]) -> np.ndarray | None:
    """Which features are not zero in every row, where leaving the others out is worth it.

    A feature that is always zero gives its weights no gradient, so they stay what they were at the start; of VGG16's
    last map on a few hundred radiographs that is a tenth. Decay and penalties move weights all the same.
    """
    if isinstance(X, StoredRows) or any(job.spec.l2 or job.spec.optimizer == "adamw" for job in jobs):
        return None
    used = (X != 0).any(axis=0)
    return used if 0 < used.sum() < _WORTH_LEAVING * len(used) else None


def _padded(rows: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """A list of rows filled up to ``length``, int32, and which places are filled, float32."""
    index, filled = np.zeros(length, np.int32), np.zeros(length, np.float32)
    index[: len(rows)], filled[: len(rows)] = rows, 1
    return index, filled


def _rounded(count: int, least: int) -> int:
    """The next power of two: sizes that are alike share a compiled program, and padding costs next to nothing."""
    return max(least, 1 << max(0, count - 1).bit_length())
