"""Ridges of all folds and penalties from one decomposition of all rows.

A fold's ridge learns from all rows but some. It is the ridge of all rows where these have, for targets, what it would
give them itself: they then pull it nowhere (:mod:`heads.evaluation.ridge_smoother`). So nothing is fitted anew for a
fold, and 181 patients left out one by one cost little more than five folds.
"""

from __future__ import annotations

import copy
import numbers
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import joblib
import numpy as np
from sklearn.linear_model import Ridge, RidgeClassifier

from ..evaluation.ridge_smoother import RidgeSmoother, classifier_targets
from .cells import Cell, FittedCell, grouped
from .projectable_models import LEAST_PENALTY
from .ridge_sharing import shares_penalties

_SOLVERS = ("auto", "svd", "cholesky")  # those that solve, where others come near
_LEAST = 1e-8  # of the largest squared singular value: of a penalty below, rounding shows in the sixth digit
_ROUNDING = 64 * np.finfo(np.float64).eps
_DECOMPOSED = 10  # times as long as the rows' products takes a decomposition by singular values
_A_FIT = 1_000_000  # multiplications that sklearn's own checks before a fit last as long as
_AT_ONCE = 20_000_000  # numbers in the targets of so many folds as are solved for together

Fold = tuple[np.ndarray, np.ndarray]


def leaves_out(model: Any) -> bool:
    """Whether a model is a ridge that is solved exactly, and whose targets hang on no other row."""
    return (
        type(model) in (Ridge, RidgeClassifier)
        and model.solver in _SOLVERS
        and not model.positive
        and isinstance(model.alpha, numbers.Real)
        and getattr(model, "class_weight", None) is None
    )


def fit_without_folds(
    models: Mapping[Cell, Any],
    folds: Mapping[int, Fold],
    X: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None,
    on_train: bool,
) -> Iterator[FittedCell]:
    """Models as they would be if each were fitted on its fold; those for which that cannot be promised are left out.

    Parameters
    ----------
    models : unfitted ridges, see :func:`leaves_out`.
    folds : rows to learn from, and to score, by the numbers in the cells.
    X : array of shape (n, d).
    y : array of shape (n,) or (n, m).
    weight : array of shape (n,), or None.
    on_train : whether rows learnt from are scored, too.
    """
    known = np.isfinite(X).all() and (weight is None or (weight > 0).all())
    if not known or not (X.dtype == np.float64 or X.dtype.kind in "iub"):
        return  # float32 has a rounding of its own
    cells = sorted(models)
    for family in grouped(cells, lambda cell: joblib.hash([type(models[cell]), _but_for_the_penalty(models[cell])])):
        yield from _family({cell: models[cell] for cell in family}, folds, X, y, weight, on_train)


def _but_for_the_penalty(model: Any) -> dict[str, Any]:
    return {name: value for name, value in model.get_params().items() if name != "alpha"}


def _family(
    models: Mapping[Cell, Any],
    folds: Mapping[int, Fold],
    X: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None,
    on_train: bool,
) -> Iterator[FittedCell]:
    """Cells of models that differ in their penalty alone."""
    first = next(iter(models.values()))
    penalties = {float(model.alpha) for model in models.values()}
    left_out = {number: _left_out(first, folds[number][0], y) for number in {fold for _, fold in models}}
    fits = _DECOMPOSED if shares_penalties(first) else len(penalties)
    without = _that_pay(
        {fold: rows for fold, rows in left_out.items() if rows is not None}, X.shape, len(penalties), fits
    )
    targets = _targets(first, y)
    if not without or targets is None:
        return
    started = time.perf_counter()
    smoother = RidgeSmoother(X, weight, intercept=first.fit_intercept)
    weak = max(_LEAST * smoother.largest, LEAST_PENALTY * float(np.square(X, dtype=np.float64).sum()))
    left = [cell for cell in models if cell[1] in without and float(models[cell].alpha) > weak]
    if not left:
        return
    example = _example(models[min(left, key=lambda cell: float(models[cell].alpha))], X, y, weight)
    if not _agrees(smoother, example, X, targets):
        return
    shared = (time.perf_counter() - started) / len(left)
    for cells in grouped(left, lambda cell: float(models[cell].alpha)):
        penalty = float(models[cells[0]].alpha)
        columns = targets.reshape(len(targets), -1).shape[1]
        for some in _portions(cells, max(1, _AT_ONCE // (len(X) * columns))):
            started = time.perf_counter()
            slopes, levels = _solved(smoother, targets, [without[fold] for _, fold in some], penalty)
            ready = []
            for place, (number, fold) in enumerate(some):
                model = copy.copy(example).set_params(**models[number, fold].get_params())
                model.coef_ = slopes[place].reshape(np.shape(example.coef_))
                if model.fit_intercept:
                    model.intercept_ = levels[place].reshape(np.shape(example.intercept_))[()]
                train, test = folds[fold]
                if _certain(model, X, np.concatenate([train, test]) if on_train else test, smoother.largest):
                    ready.append(((number, fold), model, train, test))
            seconds = (time.perf_counter() - started) / len(some) + shared
            for cell, model, train, test in ready:
                yield FittedCell(cell, model, X, train, test, seconds)


def _left_out(model: Any, train: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """The rows that a fold does not learn from; None where it is not all others, once each, and all classes of them."""
    there = np.zeros(len(y), bool)
    there[train] = True
    if len(train) < 2 or there.sum() != len(train) or there.all():
        return None
    if isinstance(model, RidgeClassifier) and len(np.unique(y[train])) < len(np.unique(y)):
        return None
    return np.flatnonzero(~there)


def _that_pay(
    without: Mapping[int, np.ndarray], shape: tuple[int, ...], penalties: int, fits: int
) -> dict[int, np.ndarray]:
    """The folds whose left-out rows are solved for sooner than the others are fitted, for so many penalties, by
    multiplications; none where that does not make up for the decomposition."""
    n, d = shape

    def saved(count: int) -> float:
        rest = n - count
        ordinary = fits * rest * d * min(rest, d) + penalties * _A_FIT
        return ordinary - penalties * count**2 * (min(n, d) + count / 3)

    paying = {fold: rows for fold, rows in without.items() if saved(len(rows)) > 0}
    decomposition = n * d * min(n, d) + _DECOMPOSED * min(n, d) ** 3
    return paying if sum(saved(len(rows)) for rows in paying.values()) > decomposition else {}


def _targets(model: Any, y: np.ndarray) -> np.ndarray | None:
    """What a ridge regresses on, float64 of shape (n,) or (n, m); None where it is not known how."""
    if isinstance(model, Ridge):
        numeric = y.dtype.kind in "fiub" and y.ndim in (1, 2) and bool(np.isfinite(y).all())
        return y.astype(np.float64) if numeric else None
    if y.ndim != 1:
        return None
    classes, labels = np.unique(y, return_inverse=True)
    return None if len(classes) < 2 else classifier_targets(labels, len(classes))


def _example(model: Any, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> Any:
    """A ridge of sklearn's own of all rows: what else a fitted one has, and a proof of ours."""
    example = copy.copy(model).set_params(solver="cholesky").fit(X, y, sample_weight=weight)
    if hasattr(example, "solver_"):
        example.solver_ = "svd" if model.solver == "svd" else "cholesky"
    return example


def _agrees(smoother: RidgeSmoother, example: Any, X: np.ndarray, targets: np.ndarray) -> bool:
    """Whether the ridge of all rows is sklearn's."""
    slopes, levels = smoother.model(targets, float(example.alpha))
    ours = X @ slopes + levels
    theirs = X @ np.atleast_2d(example.coef_).T + example.intercept_
    return bool(np.abs(ours - theirs).max() <= 1e-5 * np.abs(targets).max())


def _portions(cells: Sequence[Cell], size: int) -> list[Sequence[Cell]]:
    return [cells[start : start + size] for start in range(0, len(cells), size)]


def _solved(
    smoother: RidgeSmoother, targets: np.ndarray, without: Sequence[np.ndarray], penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes, of shape (folds, m, d), and intercepts, (folds, m), of models that did not learn from some rows."""
    known = targets.reshape(len(targets), -1)
    changed = np.repeat(known[:, None], len(without), axis=1)
    for fold, given in enumerate(smoother.left_out(known, without, penalty)):
        changed[without[fold], fold] = given
    slopes, levels = smoother.model(changed.reshape(len(known), -1), penalty)
    shape = len(without), known.shape[1]
    return np.ascontiguousarray(slopes.T).reshape(*shape, -1), levels.reshape(shape)


def _certain(model: Any, X: np.ndarray, judged: np.ndarray, largest: float) -> bool:
    """Whether no label of these rows hangs on rounding, as where two classes have as much for them."""
    if isinstance(model, Ridge):
        return True
    decisions = X[judged] @ np.atleast_2d(model.coef_).T + model.intercept_
    if decisions.shape[1] == 1:
        margins = np.abs(decisions[:, 0])
    else:
        highest = np.sort(decisions, axis=1)
        margins = highest[:, -1] - highest[:, -2]
    return bool((margins > _ROUNDING * (1 + largest / float(model.alpha))).all())
