"""Pipelines whose transformers are fitted once for each fold, not once for each candidate; models that see rows through
inner products or distances alone, which get n coordinates (:mod:`heads.search.gram_projection`); and ridges of several
folds (:mod:`heads.search.ridge_folds`) or penalties (:mod:`heads.search.ridge_sharing`)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer

from ..training.checked_rows import rows_of
from ..training.label_wise import takes_groups
from .cells import Cell, FittedCell, OnFitted, Problem, else_left_to_sklearn, grouped
from .gram_projection import isometric
from .projectable_models import approximate, keeps_the_precision, made_ready, projects
from .projection_check import answers_alike
from .ridge_folds import fit_without_folds, leaves_out
from .ridge_sharing import fit_penalties, shares_penalties

_COPIES = 5  # of the rows as float64, that ridges of all folds hold at once


def _steps(model: Any) -> tuple[list[tuple[str, Any]], Any]:
    """Transformers and the last step."""
    return (model.steps[:-1], model.steps[-1][1]) if isinstance(model, Pipeline) else ([], model)


def fit_pipelines(problem: Problem, todo: Sequence[Cell], done: OnFitted) -> None:
    def transformers(cell: Cell) -> tuple[Any, int]:
        before, _ = _steps(problem.models[cell[0]])
        # Where none learns from rows, one projection serves all folds: it looks at no label, and keeps every product.
        fold = cell[1] if _learnt(before) else -1
        return joblib.hash([(name, type(step), step.get_params()) for name, step in before]), fold

    for group in grouped(todo, transformers):
        with else_left_to_sklearn():
            _after_transformers(problem, group, done)


def _learnt(before: Sequence[tuple[str, Any]]) -> bool:
    """Whether what stands before a model makes of a row hangs on other rows."""
    return any(type(step) is not Normalizer for _, step in before)


def _after_transformers(problem: Problem, group: Sequence[Cell], done: OnFitted) -> None:
    before, _ = _steps(problem.models[group[0][0]])
    since = time.perf_counter()
    ready: set[Cell] = set()
    if _learnt(before):
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
        for _, step in before:
            rows = _dense(clone(step).fit_transform(rows, problem.y))
        places = {fold: problem.folds[fold] for _, fold in group}

    def may_be_projected(model: Any) -> bool:
        exact = problem.by_label or not approximate(model)
        return projects(model) and exact and keeps_the_precision(model, rows)

    last = {cell: _steps(problem.models[cell[0]])[1] for cell in group}
    wide = rows.shape[1] > len(rows)
    projected = isometric(rows) if wide and any(may_be_projected(model) for model in last.values()) else None
    y, weight, groups = problem.y[order], problem.weights(order), problem.groups_of(order)
    room = problem.room > _COPIES * rows.size * np.dtype(np.float64).itemsize
    ridges = [] if _learnt(before) or not room else [cell for cell in group if leaves_out(last[cell])]
    for cells in grouped(ridges, lambda cell: may_be_projected(last[cell])):
        X = projected if projected is not None and may_be_projected(last[cells[0]]) else rows
        models = {cell: last[cell] for cell in cells}
        for fitted_cell in fit_without_folds(models, places, X, y, weight, problem.on_train):
            done(fitted_cell)
            ready.add(fitted_cell.cell)
    group = [cell for cell in group if cell not in ready]
    units = grouped(group, lambda cell: _fitted_with(cell, last[cell]))
    if not group or (projected is None and not before and len(units) == len(group)):
        return  # nothing to be won
    shared = (time.perf_counter() - since) / len(group)

    def fit(cells: Sequence[Cell]) -> list[FittedCell]:
        models = [_steps(problem.candidate(number))[1] for number, _ in cells]
        train, test = places[cells[0][1]]
        started = time.perf_counter()
        try:
            X = rows
            if projected is not None and may_be_projected(models[0]):
                X = projected if all(made_ready(model, rows, train) for model in models) else rows
            of_rows = None if weight is None else weight[train]
            if len(models) > 1:
                fit_penalties(models, X[train], y[train], of_rows)
            else:
                besides = {} if of_rows is None else {"sample_weight": of_rows}
                if groups is not None and takes_groups(models[0]):
                    besides["groups"] = groups[train]
                models[0].fit(X[train], y[train], **besides)
            judged = np.concatenate([train, test]) if problem.on_train else test
            if X is projected and not all(answers_alike(m, X, y, train, judged, of_rows) for m in models):
                return []
        except (ValueError, TypeError, ArithmeticError):
            return []
        seconds = (time.perf_counter() - started) / len(cells) + shared
        return [FittedCell(cell, model, X, train, test, seconds) for cell, model in zip(cells, models, strict=True)]

    # Threads: these fits spend their time in compiled code, and the rows need no copy in another process.
    for fitted in joblib.Parallel(problem.jobs_of(rows.nbytes), backend="threading", return_as="generator")(
        joblib.delayed(fit)(cells) for cells in units
    ):
        for fitted_cell in fitted:
            done(fitted_cell)


def _fitted_with(cell: Cell, model: Any) -> Any:
    """What is equal for cells whose last step is fitted at once; the cell itself where it is fitted alone."""
    if not shares_penalties(model):
        return cell
    return joblib.hash({**model.get_params(), "alpha": None}), cell[1]


def _dense(rows: Any) -> np.ndarray:
    array = np.asarray(rows)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise TypeError("not a table of numbers")
    return array
