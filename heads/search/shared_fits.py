"""Exact ways to fit the cells of a search sooner than one by one.

A cell is one candidate on one fold. Each way takes the cells that it can share work between, and hands over models that
score as the candidates fitted alone do:

- heads and networks: one training serves all numbers of epochs; small heads of one shape train in one stack.
- ensembles: the largest forest or boosting holds the smaller ones.
- pipelines: transformers are fitted once for each fold, not once for each candidate.
- projection: models that see rows through inner products or distances alone get n coordinates (:mod:`heads.search.gram_projection`).

What a way cannot do, or fails at, it leaves for sklearn to do in the ordinary way.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from xgboost import XGBClassifier, XGBModel, XGBRegressor

from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.features.stored_rows import StoredRows
from featcache.system import memory

from ..training import engine
from ..training.cnn_classifier import OwnCNNClassifier
from ..training.dense_head_classifier import DenseHeadClassifier
from ..training.epoch_classifier import EpochClassifier, rows_of
from ..training.epoch_timing import training_seconds
from ..training.train_spec import Job, TrainedHead
from ..training.training_state import used_columns
from .gram_projection import isometric
from .projection_check import answers_alike

_log = logging.getLogger(__name__)
Cell = tuple[int, int]  # numbers of the candidate and the fold
_WORTH_TIMING = (
    100  # epochs in all; a search of fewer is soon done, and timing a few of them would take a good part of it
)


OnEstimate = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Problem:
    """What a search asks.

    Attributes
    ----------
    estimator, candidates : the model, and values for its parameters.
    X, y : the data.
    folds : (train, test) positions.
    weight : sample weights, or None.
    groups : group of each row, for models that set rows aside to validate on; or None.
    limit : bytes that this process may hold at its peak.
    limited : whether someone asked for that limit, and must be told where it cannot be kept.
    jobs : models fitted side by side, where a way does not fill the cores by itself.
    transparent : whether scores depend on predictions and labels alone, not on the rows' coordinates.
    by_label : whether they depend on the labels predicted alone, not on how sure they are.
    on_train : whether the rows learnt from are scored, too.
    on_estimate : called before large heads or networks are trained, with how many trainings there are, how many epochs
        each has at most, and the seconds that all will take if none stops early, the refit counted in.
    """

    estimator: BaseEstimator
    candidates: Sequence[Mapping[str, Any]]
    X: Any
    y: np.ndarray
    folds: Sequence[tuple[np.ndarray, np.ndarray]]
    weight: np.ndarray | None
    limit: int
    jobs: int
    transparent: bool = True
    limited: bool = False
    by_label: bool = True
    on_train: bool = False
    on_estimate: OnEstimate | None = None
    groups: np.ndarray | None = None

    @functools.cached_property
    def models(self) -> list[Any]:
        """The candidates as models, to look at; :meth:`candidate` gives one to fit."""
        return [self.candidate(number) for number in range(len(self.candidates))]

    def candidate(self, number: int) -> Any:
        """The model with a candidate's values, unfitted."""
        return clone(self.estimator).set_params(**clone(dict(self.candidates[number]), safe=False))

    def jobs_of(self, size: int) -> int:
        """How many fits may run side by side where each takes ``size`` bytes."""
        return max(1, min(self.jobs, self.room // max(1, size)))

    @property
    def room(self) -> int:
        """Bytes that are left below the limit."""
        return max(0, self.limit - memory.resident())

    def weights(self, index: np.ndarray) -> np.ndarray | None:
        """Weights of these rows."""
        return None if self.weight is None else self.weight[index]

    def groups_of(self, index: np.ndarray) -> np.ndarray | None:
        """Groups of these rows."""
        return None if self.groups is None else self.groups[index]


@dataclass(frozen=True)
class FittedCell:
    """A fitted cell: score ``model`` on the rows ``test`` of ``X``, and on ``train`` where that is wanted.

    ``seconds`` is the cell's share of the time that its fit took.
    """

    cell: Cell
    model: Any
    X: Any
    train: np.ndarray
    test: np.ndarray
    seconds: float


OnCell = Callable[[FittedCell], None]


def fit_cells(problem: Problem, todo: Iterable[Cell], on_cell: OnCell) -> None:
    """Fit those of the cells that some way can; ``on_cell`` gets each as it is ready."""
    for cells in _by(sorted(todo), lambda cell: _way(problem.models[cell[0]])):
        way = _way(problem.models[cells[0][0]])
        if way is not None and (problem.transparent or way is not _shared):
            way(problem, cells, on_cell)


def portions(problem: Problem, todo: Iterable[Cell], count: int) -> list[list[Cell]]:
    """The cells cut into at most ``count`` portions for as many processes; cells that share a training stay together."""

    def shares(cell: Cell) -> Any:
        model = problem.models[cell[0]]
        if isinstance(model, EpochClassifier):
            return _without(problem, cell, "epochs")
        if size := _size_name(model):
            return _without(problem, cell, size)
        return cell[1] if _way(model) is _shared else cell

    found: list[list[Cell]] = [[] for _ in range(count)]
    for group in sorted(_by(sorted(todo), shares), key=len, reverse=True):
        min(found, key=len).extend(group)
    return [sorted(cells) for cells in found if cells]


def may_have_a_way(estimator: Any, search: Any) -> bool:
    """Whether some candidates may be fitted sooner, asked before they are known."""
    grids = getattr(search, "param_grid", None) or getattr(search, "param_distributions", None) or {}
    values = [v for grid in ([grids] if isinstance(grids, Mapping) else grids) for v in dict(grid).values()]
    models = any(isinstance(v, list | tuple) and any(isinstance(m, BaseEstimator) for m in v) for v in values)
    sized = type(estimator) in (*_ENSEMBLES, *_HISTOGRAM, XGBClassifier, XGBRegressor)
    return (
        models
        or sized
        or isinstance(estimator, Pipeline)
        or _way(estimator) is not None
        or hasattr(estimator, "kernel")
    )


def _way(model: Any) -> Callable[[Problem, Sequence[Cell], OnCell], None] | None:
    """The way for a model, or None."""
    if isinstance(model, DenseHeadClassifier):
        return _heads
    if isinstance(model, OwnCNNClassifier):
        return _networks
    if _size_name(model):
        return _ensembles
    if isinstance(model, Pipeline):
        steps = [step for _, step in model.steps]
        plain = model.memory is None and all(hasattr(step, "fit") for step in steps)
        return _shared if plain and (len(steps) > 1 or _projects(steps[-1])) else None
    return _shared if _projects(model) else None


@contextlib.contextmanager
def _else_left_to_sklearn() -> Iterator[None]:
    """What fails here is left to sklearn, which says what is wrong in its own terms."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        _log.debug("left to sklearn: %s", error)


def _by(todo: Sequence[Cell], key: Callable[[Cell], Any]) -> list[list[Cell]]:
    """Cells in groups of equal keys, in order of appearance."""
    groups: dict[Any, list[Cell]] = {}
    for cell in todo:
        groups.setdefault(key(cell), []).append(cell)
    return list(groups.values())


def _without(problem: Problem, cell: Cell, *names: str) -> tuple[Any, int]:
    """What is equal for cells that differ in these parameters alone."""
    params = problem.models[cell[0]].get_params()
    return joblib.hash({name: value for name, value in params.items() if name not in names}), cell[1]


# -- heads and networks: a short training is the beginning of a long one -----------------------------


@dataclass(frozen=True)
class _Run:
    """One training, and the cells that are read from it, by epochs."""

    model: Any
    fold: int
    cells: Mapping[int, list[Cell]]


def _runs(problem: Problem, todo: Sequence[Cell]) -> list[_Run]:
    runs = []
    for group in _by(todo, lambda cell: _without(problem, cell, "epochs")):
        cells: dict[int, list[Cell]] = {}
        for cell in group:
            cells.setdefault(problem.models[cell[0]].epochs, []).append(cell)
        runs.append(_Run(problem.candidate(group[0][0]), group[0][1], cells))
    return runs


def _estimate(problem: Problem, runs: Sequence[_Run]) -> None:
    """Say what these trainings will take, where they are worth timing one."""
    longest = [max(run.cells) for run in runs]
    if problem.on_estimate is None or sum(longest) < _WORTH_TIMING:
        return
    with _else_left_to_sklearn():
        train = problem.folds[runs[0].fold][0]
        once, epoch = training_seconds(
            runs[0].model, rows_of(problem.X, train), problem.y[train], problem.weights(train)
        )
        counted = [*longest, max(longest)]  # the best is fitted once more
        problem.on_estimate(len(counted), max(longest), len(counted) * once + sum(counted) * epoch)


def _deliver(problem: Problem, run: _Run, epochs: int, fitted: EpochClassifier, seconds: float, done: OnCell) -> None:
    train, test = problem.folds[run.fold]
    cells = run.cells.get(epochs, [])
    for cell in cells:
        done(FittedCell(cell, fitted, problem.X, train, test, seconds / len(cells)))


def _heads(problem: Problem, todo: Sequence[Cell], done: OnCell) -> None:
    classes, codes = np.unique(problem.y, return_inverse=True)
    stacks: dict[Any, list[tuple[_Run, Job]]] = {}

    for run in _runs(problem, todo):
        train = problem.folds[run.fold][0]
        with _else_left_to_sklearn():
            ready = run.model.prepare(
                rows_of(problem.X, train), problem.y[train], problem.weights(train), groups=problem.groups_of(train)
            )
            if not np.array_equal(run.model.classes_, classes):
                continue  # a class is missing from the fold, and the head has another shape
            shape, job = run.model.job(ready, train)
            alike = (shape, replace(job.spec, epochs=1).program, bool(job.spec.dropout), bool(job.spec.l2))
            stacks.setdefault(alike, []).append((run, job))
    stored = isinstance(problem.X, StoredRows)
    X = problem.X if stored else np.asarray(problem.X, dtype=np.float32)
    load_tensorflow()  # which takes room, too
    _estimate(problem, [run for (shape, *_), stack in stacks.items() if _large(shape) for run, _ in stack])
    for (shape, *_), stack in stacks.items():
        large = _large(shape)
        engine.require_room(shape, problem.limit if problem.limited else None)
        # Those that read the store one at a time: side by side they would read it as many times, and hold as many blocks.
        at_once = 1 if large or stored else max(1, (problem.room - engine.COMPILER) // engine.bytes_of(shape))
        columns = _most_columns(X, stack) if large else 0
        for first in range(0, len(stack), at_once):
            with _else_left_to_sklearn():
                _train_stack(problem, X, codes, shape, stack[first : first + at_once], columns, done)


def _large(shape: Any) -> bool:
    return bool(shape.parameters["total"] >= engine.SMALL)


def _most_columns(X: np.ndarray | StoredRows, stack: Sequence[tuple[_Run, Job]]) -> int:
    """Columns that the fold with the most of them uses."""
    by_fold = {run.fold: used_columns(X, [job]) for run, job in stack}
    return max(X.shape[1] if used is None else int(used.sum()) for used in by_fold.values())


def _train_stack(
    problem: Problem, X: np.ndarray | StoredRows, codes: np.ndarray, shape: Any, stack: Sequence[tuple[_Run, Job]], columns: int,
    done: OnCell,
) -> None:  # fmt: skip
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

    engine.train(X, codes, shape, jobs, stages=stages, on_stage=on_stage, columns=columns)


def _networks(problem: Problem, todo: Sequence[Cell], done: OnCell) -> None:
    runs = _runs(problem, todo)
    _estimate(problem, runs)
    for run in runs:
        train = problem.folds[run.fold][0]
        since = time.perf_counter()

        def on_stage(epochs: int, fitted: OwnCNNClassifier, run: _Run = run) -> None:
            nonlocal since
            _deliver(problem, run, epochs, fitted, time.perf_counter() - since, done)
            since = time.perf_counter()

        data = rows_of(problem.X, train), problem.y[train], problem.weights(train), problem.groups_of(train)
        with _else_left_to_sklearn():
            run.model.fit_stages(*data, sorted(run.cells), on_stage)


# -- ensembles: the first trees of a large one are a small one ---------------------------------------

_ENSEMBLES = (
    RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor,
    GradientBoostingClassifier, GradientBoostingRegressor,
)  # fmt: skip
_HISTOGRAM = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)


def _size_name(model: Any) -> str:
    """The parameter of an ensemble that says how many trees it has; empty where fewer trees are another model."""
    if type(model) in _HISTOGRAM:
        # With early stopping the number of trees is not what the parameter says.
        return "max_iter" if model.early_stopping is False and not model.warm_start and _seeded(model) else ""
    if type(model) in (XGBClassifier, XGBRegressor):
        plain = model.early_stopping_rounds is None and model.booster in (None, "gbtree")
        return "n_estimators" if plain and model.n_estimators is not None else ""
    if type(model) not in _ENSEMBLES or model.warm_start:
        return ""
    if getattr(model, "oob_score", False) or getattr(model, "n_iter_no_change", None) is not None:
        return ""
    return "n_estimators" if _seeded(model) else ""


def _seeded(model: Any) -> bool:
    return isinstance(model.random_state, int | np.integer)


def _ensembles(problem: Problem, todo: Sequence[Cell], done: OnCell) -> None:
    for group in _by(todo, lambda cell: _without(problem, cell, "n_estimators", "max_iter")):
        with _else_left_to_sklearn():
            _largest_first(problem, group, done)


def _largest_first(problem: Problem, group: Sequence[Cell], done: OnCell) -> None:
    models = {cell: problem.candidate(cell[0]) for cell in group}
    name = _size_name(next(iter(models.values())))
    sizes = {cell: getattr(model, name) for cell, model in models.items()}
    largest = models[max(group, key=sizes.__getitem__)]
    train, test = problem.folds[group[0][1]]
    since = time.perf_counter()
    largest.fit(rows_of(problem.X, train), problem.y[train], sample_weight=problem.weights(train))
    seconds = (time.perf_counter() - since) / sum(sizes.values())
    for cell, size in sizes.items():
        done(FittedCell(cell, _first_trees(largest, name, size), problem.X, train, test, seconds * size))


def _first_trees(largest: Any, name: str, size: int) -> Any:
    """The ensemble of the first ``size`` trees."""
    smaller = copy.copy(largest).set_params(**{name: size})
    if isinstance(largest, XGBModel):
        smaller = clone(smaller)
        smaller.load_model(largest.get_booster()[:size].save_raw())
    elif type(largest) in _HISTOGRAM:
        smaller._predictors = largest._predictors[:size]
        if smaller.n_iter_ != size:
            raise RuntimeError("this release of sklearn keeps its trees elsewhere")
    else:
        smaller.estimators_ = largest.estimators_[:size]
        if hasattr(largest, "n_estimators_"):
            smaller.n_estimators_ = size
    return smaller


# -- pipelines and the projection --------------------------------------------------------------------


def _projects(model: Any) -> bool:
    """Whether a model sees rows through inner products or distances alone; where ties or a solver's last step could
    decide a label, :mod:`heads.search.projection_check` looks at each fit besides. Newton's conjugate gradients take another path in
    other coordinates, and NuSVC has many solutions where rows are copies: these go the ordinary way."""
    if type(model) is CalibratedClassifierCV:
        inner = model.estimator
        return type(inner) in (SVC, RidgeClassifier) and model.method == "sigmoid" and _projects(inner)
    if type(model) is LogisticRegression:
        by_norm = getattr(model, "penalty", "l2") in ("l2", "deprecated") and not getattr(model, "l1_ratio", None)
        return by_norm and model.solver == "lbfgs" and not model.warm_start
    if type(model) is SVC:
        return model.kernel in ("linear", "rbf", "poly", "sigmoid")
    if type(model) is RidgeClassifier:
        return model.solver in ("auto", "cholesky", "svd") and not model.positive
    if type(model) is KNeighborsClassifier:
        euclidean = model.metric == "euclidean" or (model.metric == "minkowski" and model.p == 2)
        return euclidean and not model.metric_params and model.weights in ("uniform", "distance")
    return False


def _approximate(model: Any) -> bool:
    """Whether probabilities and decisions of the projected model differ by more than rounding: those of a solver that stops
    near its solution, and of neighbours, which weigh the nearest without end."""
    return isinstance(model, LogisticRegression | KNeighborsClassifier)


def _steps(model: Any) -> tuple[list[tuple[str, Any]], Any]:
    """Transformers and the last step."""
    return (model.steps[:-1], model.steps[-1][1]) if isinstance(model, Pipeline) else ([], model)


def _shared(problem: Problem, todo: Sequence[Cell], done: OnCell) -> None:
    def transformers(cell: Cell) -> tuple[Any, int]:
        before, _ = _steps(problem.models[cell[0]])
        # Without transformers one projection serves all folds: it looks at no label, and keeps every product.
        return joblib.hash([(name, type(step), step.get_params()) for name, step in before]), cell[1] if before else -1

    for group in _by(todo, transformers):
        with _else_left_to_sklearn():
            _after_transformers(problem, group, done)


def _after_transformers(problem: Problem, group: Sequence[Cell], done: OnCell) -> None:
    before, _ = _steps(problem.models[group[0][0]])
    since = time.perf_counter()
    if before:
        train, test = problem.folds[group[0][1]]
        order = np.concatenate([train, test])
        parts = [rows_of(problem.X, train), rows_of(problem.X, test)]
        for _, step in before:
            fitted = clone(step)
            parts[0] = fitted.fit_transform(parts[0], problem.y[train])
            parts[1] = fitted.transform(parts[1])
        rows = np.concatenate([_dense(part) for part in parts])
        places = {group[0][1]: (np.arange(len(train)), np.arange(len(train), len(order)))}
    else:
        order = np.arange(len(problem.y))
        rows = _dense(problem.X)
        places = {fold: problem.folds[fold] for _, fold in group}
    wide = rows.shape[1] > len(rows)
    projected = isometric(rows) if wide and any(_projects(_steps(problem.models[c])[1]) for c, _ in group) else None
    if projected is None and not before:
        return  # nothing to be won
    shared = (time.perf_counter() - since) / len(group)
    y, weight, groups = problem.y[order], problem.weights(order), problem.groups_of(order)

    def fit(cell: Cell) -> FittedCell | None:
        model = _steps(problem.candidate(cell[0]))[1]
        train, test = places[cell[1]]
        started = time.perf_counter()
        X = rows
        try:
            if projected is not None and _projects(model) and (problem.by_label or not _approximate(model)):
                X = projected
                _fix_gamma(model, rows, train)
            besides = {} if weight is None else {"sample_weight": weight[train]}
            if groups is not None and isinstance(model, EpochClassifier):
                besides["groups"] = groups[train]
            model.fit(X[train], y[train], **besides)
            judged = np.concatenate([train, test]) if problem.on_train else test
            if X is projected and not answers_alike(
                model, X, y, train, judged, None if weight is None else weight[train]
            ):
                return None
        except (ValueError, TypeError, ArithmeticError):
            return None
        return FittedCell(cell, model, X, train, test, time.perf_counter() - started + shared)

    # Threads: these fits spend their time in compiled code, and the rows need no copy in another process.
    for ready in joblib.Parallel(problem.jobs_of(rows.nbytes), backend="threading", return_as="generator")(
        joblib.delayed(fit)(cell) for cell in group
    ):
        if ready is not None:
            done(ready)


def _dense(rows: Any) -> np.ndarray:
    array = np.asarray(rows)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise TypeError("not a table of numbers")
    return array


def _fix_gamma(model: Any, rows: np.ndarray, train: np.ndarray) -> None:
    """Where a kernel's width follows from the columns, take it from the real ones."""
    inner = model.estimator if isinstance(model, CalibratedClassifierCV) else model
    if getattr(inner, "kernel", None) == "linear":
        return
    if getattr(inner, "gamma", None) == "auto":
        inner.set_params(gamma=1 / rows.shape[1])
    elif getattr(inner, "gamma", None) == "scale":
        if isinstance(model, CalibratedClassifierCV):
            raise TypeError("the inner folds have widths of their own")
        variance = float(rows[train].var())
        inner.set_params(gamma=1 / (rows.shape[1] * variance) if variance else 1.0)
