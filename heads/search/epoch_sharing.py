"""Heads and networks that share a training: a short one is the beginning of a long one, and small heads of one shape
train in one stack."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featcache.features.stored_rows import StoredRows

from ..training import engine
from ..training.architectures import HeadShape
from ..training.checked_rows import rows_of
from ..training.cnn_classifier import OwnCNNClassifier
from ..training.epoch_estimator import EpochEstimator
from ..training.epoch_timing import training_seconds
from ..training.train_spec import Job, TrainedHead
from ..training.training_state import used_columns
from .cells import Cell, FittedCell, OnFitted, Problem, else_left_to_sklearn, grouped

# Epochs in all: a search of fewer is soon done, and timing a few of them would take a good part of it.
_WORTH_TIMING = 100


@dataclass(frozen=True)
class _Run:
    """One training, and the cells that are read from it, by epochs."""

    model: Any
    fold: int
    cells: Mapping[int, list[Cell]]


_Stack = list[tuple[_Run, Job]]


def fit_heads(problem: Problem, todo: Sequence[Cell], done: OnFitted) -> None:
    """Fit cells of dense heads."""
    stacks, targets = _stacks(problem, todo)
    stored = isinstance(problem.X, StoredRows)
    X = problem.X if stored else np.asarray(problem.X, dtype=np.float32)
    _announce(problem, [run for (shape, *_), stack in stacks.items() if shape.large for run, _ in stack])
    for (shape, *_), stack in stacks.items():
        large = shape.large
        engine.require_room(shape, problem.limit if problem.limited else None)
        # Those that read the store go one at a time: side by side they would read it as many times, and hold as many
        # blocks.
        at_once = 1 if large or stored else max(1, (problem.room - engine.COMPILER) // engine.bytes_of(shape))
        columns = _most_columns(X, stack) if large else 0
        for first in range(0, len(stack), at_once):
            with else_left_to_sklearn():
                _train_stack(problem, X, targets, shape, stack[first : first + at_once], columns, done)


def fit_networks(problem: Problem, todo: Sequence[Cell], done: OnFitted) -> None:
    """Fit cells of :class:`heads.OwnCNNClassifier`."""
    runs = _runs(problem, todo)
    _announce(problem, runs)
    for run in runs:
        train = problem.folds[run.fold][0]
        since = time.perf_counter()

        def on_stage(epochs: int, fitted: OwnCNNClassifier, run: _Run = run) -> None:
            nonlocal since
            _deliver(problem, run, epochs, fitted, time.perf_counter() - since, done)
            since = time.perf_counter()

        data = rows_of(problem.X, train), problem.y[train], problem.weights(train), problem.groups_of(train)
        with else_left_to_sklearn():
            run.model.fit_stages(*data, sorted(run.cells), on_stage)


def _runs(problem: Problem, todo: Sequence[Cell]) -> list[_Run]:
    runs = []
    for group in grouped(todo, lambda cell: problem.alike_but_for(cell, "epochs")):
        cells: dict[int, list[Cell]] = {}
        for cell in group:
            cells.setdefault(problem.models[cell[0]].epochs, []).append(cell)
        runs.append(_Run(problem.candidate(group[0][0]), group[0][1], cells))
    return runs


def _stacks(problem: Problem, todo: Sequence[Cell]) -> tuple[dict[Any, _Stack], np.ndarray]:
    """Trainings that may share a stack, by the heads' shape and what else decides their program; and what all rows are
    to be learnt as."""
    stacks: dict[Any, _Stack] = {}
    targets = np.empty(0)
    for run in _runs(problem, todo):
        train = problem.folds[run.fold][0]
        with else_left_to_sklearn():
            ready = run.model.prepare(
                rows_of(problem.X, train), problem.y[train], problem.weights(train), groups=problem.groups_of(train)
            )
            # Fails where a class is missing from the fold: the head has another shape then.
            targets = run.model.targets_of(problem.y)
            shape, job = run.model.job(ready, train)
            alike = (shape, replace(job.spec, epochs=1).program, bool(job.spec.dropout), bool(job.spec.l2))
            stacks.setdefault(alike, []).append((run, job))
    return stacks, targets


def _announce(problem: Problem, runs: Sequence[_Run]) -> None:
    """Say what these trainings will take, where they are worth timing one."""
    longest = [max(run.cells) for run in runs]
    if problem.on_estimate is None or sum(longest) < _WORTH_TIMING:
        return
    with else_left_to_sklearn():
        train = problem.folds[runs[0].fold][0]
        data = rows_of(problem.X, train), problem.y[train], problem.weights(train)
        once, epoch = training_seconds(runs[0].model, *data)
        counted = [*longest, max(longest)]  # the best is fitted once more
        problem.on_estimate(len(counted), max(longest), len(counted) * once + sum(counted) * epoch)


def _deliver(problem: Problem, run: _Run, epochs: int, fitted: EpochEstimator, seconds: float, done: OnFitted) -> None:
    train, test = problem.folds[run.fold]
    cells = run.cells.get(epochs, [])
    for cell in cells:
        done(FittedCell(cell, fitted, problem.X, train, test, seconds / len(cells)))


def _most_columns(X: np.ndarray | StoredRows, stack: _Stack) -> int:
    """Columns that the fold with the most of them uses."""
    by_fold = {run.fold: used_columns(X, [job]) for run, job in stack}
    return max(X.shape[1] if used is None else int(used.sum()) for used in by_fold.values())


def _train_stack(
    problem: Problem,
    X: np.ndarray | StoredRows,
    targets: np.ndarray,
    shape: HeadShape,
    stack: _Stack,
    columns: int,
    done: OnFitted,
) -> None:
    stages = sorted({epochs for run, _ in stack for epochs in run.cells})
    jobs = [replace(job, spec=replace(job.spec, epochs=stages[-1])) for _, job in stack]
    since, share = time.perf_counter(), 0.0

    def on_stage(number: int, epochs: int, head: TrainedHead) -> None:
        nonlocal since, share
        if number == 0:
            share = (time.perf_counter() - since) / len(stack)
        run = stack[number][0]
        fitted = copy.copy(run.model).set_params(epochs=epochs).adopt(head)
        _deliver(problem, run, epochs, fitted, share, done)
        since = time.perf_counter()

    engine.train(X, targets, shape, jobs, stages=stages, on_stage=on_stage, columns=columns)
