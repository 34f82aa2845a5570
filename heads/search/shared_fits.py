"""Exact ways to fit the cells of a search sooner than one by one.

Each way takes the cells that it can share work between, and hands over models that score as the candidates fitted alone
do: heads and networks (:mod:`heads.search.epoch_sharing`), ensembles (:mod:`heads.search.ensemble_sharing`), pipelines
and the projection (:mod:`heads.search.pipeline_sharing`). What a way cannot do, or fails at, it leaves for sklearn to
do in the ordinary way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from ..training.cnn_classifier import OwnCNNClassifier
from ..training.dense_head import DenseHead
from ..training.epoch_estimator import EpochEstimator
from ..training.label_wise import LabelWiseClassifier
from .cells import Cell, OnFitted, Problem, grouped
from .ensemble_sharing import SIZED, fit_ensembles, shared_trees, size_name
from .epoch_sharing import fit_heads, fit_networks
from .pipeline_sharing import fit_pipelines
from .projectable_models import projects


def fit_cells(problem: Problem, todo: Iterable[Cell], on_fitted: OnFitted) -> None:
    """Fit those of the cells that some way can; ``on_fitted`` gets each as it is ready."""
    for cells in grouped(sorted(todo), lambda cell: _way(problem.models[cell[0]])):
        way = _way(problem.models[cells[0][0]])
        if way is not None and (problem.transparent or way is not fit_pipelines):
            way(problem, cells, on_fitted)


def portions(problem: Problem, todo: Iterable[Cell], count: int) -> list[list[Cell]]:
    """The cells cut into at most ``count`` portions for as many processes; cells that share a fit stay together."""

    def shares(cell: Cell) -> Any:
        model = problem.models[cell[0]]
        if isinstance(model, EpochEstimator):
            return problem.alike_but_for(cell, "epochs")
        if size_name(model):
            return shared_trees(problem, cell)
        return cell[1] if _way(model) is fit_pipelines else cell

    parts: list[list[Cell]] = [[] for _ in range(count)]
    for group in sorted(grouped(sorted(todo), shares), key=len, reverse=True):
        min(parts, key=len).extend(group)
    return [sorted(cells) for cells in parts if cells]


def may_have_a_way(estimator: Any, search: Any) -> bool:
    """Whether some candidates may be fitted sooner, asked before they are known."""
    grids = getattr(search, "param_grid", None) or getattr(search, "param_distributions", None) or {}
    values = [v for grid in ([grids] if isinstance(grids, Mapping) else grids) for v in dict(grid).values()]
    models = any(isinstance(v, list | tuple) and any(isinstance(m, BaseEstimator) for m in v) for v in values)
    inner = estimator.estimator if isinstance(estimator, LabelWiseClassifier) else estimator
    by_itself = type(inner) in SIZED or isinstance(estimator, Pipeline) or hasattr(inner, "kernel")
    return models or by_itself or _way(estimator) is not None


def _way(model: Any) -> Callable[[Problem, Sequence[Cell], OnFitted], None] | None:
    """The way for a model, or None."""
    if isinstance(model, DenseHead):
        return fit_heads
    if isinstance(model, OwnCNNClassifier):
        return fit_networks
    if size_name(model):
        return fit_ensembles
    if isinstance(model, Pipeline):
        steps = [step for _, step in model.steps]
        plain = model.memory is None and all(hasattr(step, "fit") for step in steps)
        return fit_pipelines if plain and (len(steps) > 1 or projects(steps[-1])) else None
    return fit_pipelines if projects(model) else None
