"""Many fits of one recipe on rows of the same features: heads in one stack, classical models side by side."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning

from featcache.features.labelled_features import Features
from featcache.features.stored_rows import StoredRows
from featcache.system import memory

from ..evaluation.task_metrics import TASK_METRICS
from ..training import engine
from ..training.architectures import HeadShape
from ..training.checked_rows import rows_of
from ..training.dense_head import DenseHead
from ..training.train_spec import Job
from ..training.training_state import used_columns
from .baseline_search import fit_groups


@dataclass(frozen=True)
class Fit:
    """A model to fit, and to ask about rows that it does not learn from.

    Attributes
    ----------
    model : estimator
        Unfitted, with its seed.
    learnt, judged : int arrays
        Positions of the rows.
    watched : int array, optional
        Rows that a head is validated on after each epoch; with None it sets aside its own where it needs some.
    """

    model: Any
    learnt: np.ndarray
    judged: np.ndarray
    watched: np.ndarray | None = None


def head_outputs(features: Features, fits: Sequence[Fit]) -> list[np.ndarray]:
    """What each head gives the rows that it is judged on.

    Dense heads of one shape and program are trained in one stack, as far as memory allows; large ones, those on rows in
    the store, and networks one after the other. Each is what it would be if it were fitted by itself.
    """
    outputs: list[Any] = [None] * len(fits)
    of = TASK_METRICS[features.task.kind].outputs

    def done(number: int, model: Any) -> None:
        outputs[number] = of(model, rows_of(features.X, fits[number].judged))

    dense = [number for number, fit in enumerate(fits) if isinstance(fit.model, DenseHead)]
    _fit_dense(features, fits, dense, done)
    for number in sorted(set(range(len(fits))) - set(dense)):
        fit = fits[number]
        watched = None if fit.watched is None else (rows_of(features.X, fit.watched), features.y[fit.watched])
        X, y, groups = rows_of(features.X, fit.learnt), features.y[fit.learnt], features.groups[fit.learnt]
        done(number, fit.model.fit(X, y, groups=groups, validation_data=watched))
    return outputs


def _fit_dense(
    features: Features, fits: Sequence[Fit], chosen: Sequence[int], done: Callable[[int, Any], None]
) -> None:
    stored = isinstance(features.X, StoredRows)
    X = features.X if stored else np.asarray(features.X, dtype=np.float32)
    stacks: dict[Any, list[tuple[int, Any, Job]]] = {}
    targets = np.empty(0)
    for number in chosen:
        fit = fits[number]
        model = copy.copy(fit.model)
        watched = None if fit.watched is None else (rows_of(X, fit.watched), features.y[fit.watched])
        ready = model.prepare(
            rows_of(X, fit.learnt), features.y[fit.learnt], None, watched, groups=features.groups[fit.learnt]
        )
        targets = model.targets_of(features.y)
        rows = fit.learnt if fit.watched is None else np.concatenate([fit.learnt, fit.watched])
        shape, job = model.job(ready, rows)
        alike = (shape, job.spec.program, bool(job.spec.dropout), bool(job.spec.l2))
        stacks.setdefault(alike, []).append((number, model, job))
    for (shape, *_), stack in stacks.items():
        engine.require_room(shape, memory.limit())
        at_once = 1 if shape.large or stored else max(1, (_room() - engine.COMPILER) // engine.bytes_of(shape))
        columns = _most_columns(X, [job for _, _, job in stack]) if shape.large else 0
        for first in range(0, len(stack), at_once):
            _train(X, targets, shape, stack[first : first + at_once], columns, done)


def _train(
    X: Any,
    targets: np.ndarray,
    shape: HeadShape,
    stack: Sequence[tuple[int, Any, Job]],
    columns: int,
    done: Callable[[int, Any], None],
) -> None:
    heads = engine.train(X, targets, shape, [job for _, _, job in stack], columns=columns)
    for (number, model, _), head in zip(stack, heads, strict=True):
        done(number, model.adopt(head))


def _room() -> int:
    limit = memory.limit()
    return memory.available() // 2 if limit is None else max(0, limit - memory.resident())


def _most_columns(X: Any, jobs: Sequence[Job]) -> int:
    """Columns that the head with the most of them uses: all then share a program."""
    used = (used_columns(X, [job]) for job in jobs)
    return max(X.shape[1] if own is None else int(own.sum()) for own in used)


def model_outputs(X: np.ndarray, features: Features, fits: Sequence[Fit], jobs: int) -> list[np.ndarray]:
    """What each classical model gives the rows that it is judged on, so many of them fitted side by side; ``X`` are the
    features as the model sees them."""
    y, groups, kind = features.y, features.groups, features.task.kind
    fitted = Parallel(n_jobs=min(jobs, max(1, len(fits))))(
        delayed(_fitted_output)(X, y, groups, kind, fit) for fit in fits
    )
    return list(fitted)


def _fitted_output(X: np.ndarray, y: np.ndarray, groups: np.ndarray, kind: str, fit: Fit) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit.model.fit(X[fit.learnt], y[fit.learnt], **fit_groups(fit.model, groups[fit.learnt]))
        return TASK_METRICS[kind].outputs(fit.model, X[fit.judged])
