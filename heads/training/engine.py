"""The training engine: trains one head, or a stack of heads, on features in memory or in the store.

Keras' ``fit`` spends most of a small step outside the arithmetic. Here whole epochs, their shuffled batches and
the validation after each, are one call of compiled code: numba's (:mod:`heads.training.compiled_program`), or an XLA
program (:mod:`heads.training.xla_program`) where that is quicker. A stack is heads of one shape that differ in learning
rate, dropout, seed, regularisation or rows (folds): they share the features and the processor's cores, and each is
computed by the very code that computes it alone. Features that stay in the store are read some batches ahead, in the
order in which the same batches would be taken from memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from featcache.errors import DataError, UsageError
from featcache.features.stored_rows import StoredRows
from featcache.system import memory

from .architectures import HeadShape
from .train_spec import Job, TrainedHead
from .training_state import Stack, require_finite

COMPILER = 300_000_000  # bytes that compiling and running a training program takes besides the heads
# Shapes that were trained in this process before. It has not given back the memory of the first, so another head of the
# shape takes no more than the process already holds.
_trained: set[HeadShape] = set()


def bytes_of(shape: HeadShape) -> int:
    """Bytes that a head takes while it is trained.

    Six times its weights: the weights themselves, what the optimiser keeps for them, the best so far, and copies on the
    way. Of a large head twice that, since more copies of it are there while it is handed over.
    """
    return (12 if shape.large else 6) * 4 * shape.parameters["total"]


def require_room(shape: HeadShape, limit: int | None) -> None:
    """Raise :class:`UsageError` where a head does not fit below a limit in bytes; with None nothing is asked."""
    if limit is None or shape in _trained:
        return
    held, more = memory.resident(), bytes_of(shape) + COMPILER
    if limit - held < more:
        raise UsageError(
            f"memory: {limit / 1e6:,.0f} MB are too little; the process holds {held / 1e6:,.0f} MB with the data in "
            f"it, and one of these heads takes {more / 1e6:,.0f} MB more. Allow more, or take fewer features (pooling "
            "avg) or units"
        )


def train(
    X: np.ndarray | StoredRows,
    y: np.ndarray,
    shape: HeadShape,
    jobs: Sequence[Job],
    on_epoch: Callable[[int, list[dict[str, float]]], None] | None = None,
    stages: Sequence[int] = (),
    on_stage: Callable[[int, int, TrainedHead], None] | None = None,
    columns: int = 0,
) -> list[TrainedHead]:
    """Train a stack of heads.

    Parameters
    ----------
    X : array of shape (n, n_features).
    y : what is to be learnt: int array of shape (n,), classes counted from 0; float32 array of shape (n, n_labels), 1,
        0 or NaN where a label is not known; or float64 array of shape (n,), numbers.
    shape : the heads' shape; all of a stack share it.
    jobs : the heads; their specs agree in ``TrainSpec.program``.
    on_epoch : called after each epoch with its number, from 1, and the latest values of each head's curves.
    stages, on_stage : after each of these numbers of epochs, ``on_stage(job, epochs, head)`` is called with what each
        job's head would be if it had been trained for so many: a shorter training is the beginning of a longer one.
        With it nothing is returned: the heads of the last stage were handed over already.
    columns : columns to train on at least, though fewer are used; trainings of as many columns share a program.

    Returns
    -------
    A trained head for each job. With ``patience`` or ``checkpoint`` its weights are those of the epoch with
    the lowest validation loss, else of the last.

    Raises
    ------
    DataError
        Features that are not finite, or a head with nothing to learn from.
    UsageError
        Heads that cannot share a stack, early stopping without validation rows, or targets of another kind than the
        heads'.
    """
    _check(X, jobs)
    _check_targets(y, shape)
    if len(jobs) > 1 and shape.large:
        # Large heads are bound by memory: side by side they would only hold more of it.
        alone: list[TrainedHead] = []
        for number, job in enumerate(jobs):

            def numbered(_: int, epochs: int, head: TrainedHead, number: int = number) -> None:
                assert on_stage is not None
                on_stage(number, epochs, head)

            alone += train(X, y, shape, [job], on_epoch, stages, numbered if on_stage else None, columns)
        return alone
    _trained.add(shape)
    stack = Stack(X, y, shape, jobs, columns)
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
        return []
    return [stack.result(number) for number in range(len(jobs))]


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
        require_finite(X)


def _check_targets(y: np.ndarray, shape: HeadShape) -> None:
    """Compiled code looks up classes and labels by their numbers, and does not look whether they are there."""
    columns = y.shape[1] if y.ndim == 2 else 1
    if columns != shape.target_columns:
        raise UsageError(f"targets of {columns} column(s); heads of {shape.target_columns} expect as many")
    if shape.loss == "class" and len(y) and not 0 <= y.min() <= y.max() < shape.n_targets:
        raise UsageError(f"classes from {y.min()} to {y.max()}; expected positions in {shape.n_targets} classes")
