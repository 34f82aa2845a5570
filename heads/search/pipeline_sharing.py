"""Pipelines whose transformers are fitted once for each fold, not once for each candidate; and models that see rows
through inner products or distances alone, which get n coordinates (:mod:`heads.search.gram_projection`)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from ..training.checked_rows import rows_of
from ..training.epoch_estimator import EpochEstimator
from .cells import Cell, FittedCell, OnFitted, Problem, else_left_to_sklearn, grouped
from .gram_projection import isometric
from .projection_check import answers_alike


def projects(model: Any) -> bool:
    """Whether a model sees rows through inner products or distances alone.

    Where ties or a solver's last step could decide a label, :mod:`heads.search.projection_check` looks at each fit
    besides. Newton's conjugate gradients take another path in other coordinates, and NuSVC has many solutions where
    rows are copies: these go the ordinary way.
    """
    if type(model) is CalibratedClassifierCV:
        inner = model.estimator
        return type(inner) in (SVC, RidgeClassifier) and model.method == "sigmoid" and projects(inner)
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
    """Whether probabilities and decisions of the projected model differ by more than rounding.

    Those of a solver that stops near its solution do, and those of neighbours, which weigh the nearest without end.
    """
    return isinstance(model, LogisticRegression | KNeighborsClassifier)


def _steps(model: Any) -> tuple[list[tuple[str, Any]], Any]:
    """Transformers and the last step."""
    return (model.steps[:-1], model.steps[-1][1]) if isinstance(model, Pipeline) else ([], model)


def fit_pipelines(problem: Problem, todo: Sequence[Cell], done: OnFitted) -> None:
    def transformers(cell: Cell) -> tuple[Any, int]:
        before, _ = _steps(problem.models[cell[0]])
        # Without transformers one projection serves all folds: it looks at no label, and keeps every product.
        return joblib.hash([(name, type(step), step.get_params()) for name, step in before]), cell[1] if before else -1

    for group in grouped(todo, transformers):
        with else_left_to_sklearn():
            _after_transformers(problem, group, done)


def _after_transformers(problem: Problem, group: Sequence[Cell], done: OnFitted) -> None:
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
    projected = isometric(rows) if wide and any(projects(_steps(problem.models[c])[1]) for c, _ in group) else None
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
            if projected is not None and projects(model) and (problem.by_label or not _approximate(model)):
                X = projected
                _fix_gamma(model, rows, train)
            besides = {} if weight is None else {"sample_weight": weight[train]}
            if groups is not None and isinstance(model, EpochEstimator):
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
