"""Ensembles that share their trees: the first trees of a large forest or boosting are a small one."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
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
from xgboost import XGBClassifier, XGBModel, XGBRegressor

from ..training.checked_rows import rows_of
from ..training.label_wise import LabelWiseClassifier
from . import sklearn_hooks
from .cells import Cell, FittedCell, OnFitted, Problem, else_left_to_sklearn, grouped

_FORESTS = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
_BOOSTED = (GradientBoostingClassifier, GradientBoostingRegressor)
_HISTOGRAM = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_XGBOOST = (XGBClassifier, XGBRegressor)
_WITHIN = "estimator__"  # of a classifier for each label
SIZED = (*_FORESTS, *_BOOSTED, *_HISTOGRAM, *_XGBOOST)


def size_name(model: Any) -> str:
    """The parameter of an ensemble, or of one for each label, that says how many trees it has; empty where fewer trees
    are another model."""
    if type(model) is LabelWiseClassifier:
        inner = size_name(model.estimator)
        return f"{_WITHIN}{inner}" if inner else ""
    if type(model) in _HISTOGRAM:
        # With early stopping the number of trees is not what the parameter says.
        return "max_iter" if model.early_stopping is False and not model.warm_start and _seeded(model) else ""
    if type(model) in _XGBOOST:
        plain = model.early_stopping_rounds is None and model.booster in (None, "gbtree")
        return "n_estimators" if plain and model.n_estimators is not None else ""
    if type(model) not in (*_FORESTS, *_BOOSTED) or model.warm_start:
        return ""
    if getattr(model, "oob_score", False) or getattr(model, "n_iter_no_change", None) is not None:
        return ""
    return "n_estimators" if _seeded(model) else ""


def shared_trees(problem: Problem, cell: Cell) -> Any:
    """What is equal for cells that differ in the number of their trees alone."""
    model = problem.models[cell[0]]
    name = size_name(model)
    if name.startswith(_WITHIN):
        return type(model.estimator), problem.alike_but_for(cell, name, "estimator")
    return problem.alike_but_for(cell, name)


def fit_ensembles(problem: Problem, todo: Sequence[Cell], done: OnFitted) -> None:
    """Fit cells that differ in the number of trees by the largest of them."""
    for group in grouped(todo, lambda cell: shared_trees(problem, cell)):
        with else_left_to_sklearn():
            _largest_first(problem, group, done)


def _seeded(model: Any) -> bool:
    return isinstance(model.random_state, int | np.integer)


def _largest_first(problem: Problem, group: Sequence[Cell], done: OnFitted) -> None:
    models = {cell: problem.candidate(cell[0]) for cell in group}
    name = size_name(next(iter(models.values())))
    sizes = {cell: model.get_params()[name] for cell, model in models.items()}
    largest = models[max(group, key=sizes.__getitem__)]
    train, test = problem.folds[group[0][1]]
    since = time.perf_counter()
    largest.fit(rows_of(problem.X, train), problem.y[train], sample_weight=problem.weights(train))
    seconds = (time.perf_counter() - since) / sum(sizes.values())
    for cell, size in sizes.items():
        done(FittedCell(cell, _first_trees(largest, name, size), problem.X, train, test, seconds * size))


def _first_trees(largest: Any, name: str, size: int) -> Any:
    """The ensemble of the first ``size`` trees."""
    if isinstance(largest, LabelWiseClassifier):
        inner = name.removeprefix(_WITHIN)
        return LabelWiseClassifier.of(
            [model if isinstance(model, float) else _first_trees(model, inner, size) for model in largest.models_]
        )
    smaller = copy.copy(largest).set_params(**{name: size})
    if isinstance(largest, XGBModel):
        smaller = clone(smaller)
        smaller.load_model(largest.get_booster()[:size].save_raw())
    elif type(largest) in _HISTOGRAM:
        sklearn_hooks.keep_first_trees(smaller, size)
    else:
        smaller.estimators_ = largest.estimators_[:size]
        if hasattr(largest, "n_estimators_"):
            smaller.n_estimators_ = size
    return smaller
