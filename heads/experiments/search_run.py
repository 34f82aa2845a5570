"""A search of ``grid`` at work: the rows that it learns from, what it tells as it runs, and the nested estimate."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featcache.errors import DataError
from featcache.features.labelled_features import Features
from featcache.features.stored_rows import StoredRows
from featcache.system.throughput_log import duration

from ..evaluation.splits import Fold, group_folds, merged
from ..evaluation.task_metrics import TASK_METRICS
from ..search.candidate_checks import naming_candidates
from ..search.search_cv import Progress
from ..search.streaming_pca import Reduced, reduce_columns, sampled
from ..training.checked_rows import rows_of
from .baseline_models import TABLES, short_names
from .search_plan import SearchPlan
from .search_results import write_partial_results
from .training_data import TrainingData

_log = logging.getLogger(__name__)
_HALVING_ROWS = 500


@dataclass(frozen=True)
class SearchRows:
    """What a search learns from.

    Attributes
    ----------
    every : array of shape (n, d) or (n, h, w, c), or StoredRows
        All rows, as the model sees them.
    train : int array of shape (m,)
        Positions of those to learn from.
    X, y, groups, strata
        These rows, their targets and groups, and what folds keep in proportion.
    folds : list of (learnt from, held out)
        Positions within ``train``.
    reduced : Reduced or None
        What was done to features that do not fit in memory.
    """

    every: Any
    train: np.ndarray
    X: Any
    y: np.ndarray
    groups: np.ndarray
    strata: np.ndarray
    folds: list[Fold]
    reduced: Reduced | None


def search_rows(learnt_from: TrainingData, model: str, cv: int, seed: int) -> SearchRows:
    """The training rows and their folds; for a baseline on features in the store, principal components of them."""
    features = learnt_from.features
    train, folds = learnt_from.folds(cv, seed)
    every, reduced = features.X, None
    baseline = TABLES[features.task.kind].get(model)
    if baseline is not None and isinstance(every, StoredRows):
        reduced = reduce_columns(every, train, seed)
        every = reduced.rows
        if baseline.quadratic:
            taken, folds = sampled(merged(features.strata[train], np.arange(len(train)), 2), folds, seed)
            train = train[taken]
    targets = features.y[train], features.groups[train], features.strata[train]
    return SearchRows(every, train, rows_of(every, train), *targets, folds, reduced)


def require_rows_for_halving(plan: SearchPlan, rows: SearchRows) -> None:
    """Raise :class:`DataError` where a halving search would drop candidates by chance."""
    if plan.method == "halving" and len(rows.y) < _HALVING_ROWS:
        raise DataError(
            f"{len(rows.y)} training rows are too few for halving: with folds so small, what leads after a few epochs "
            f"is chance (expected at least {_HALVING_ROWS}). Search exactly, or insist with --force"
        )


@dataclass
class SearchLog:
    """What a search tells as it runs.

    Attributes
    ----------
    shape : tuple of int
        Of a row, as the store has it.
    on_cell : callable or None
        Called with each finished cell, too.
    cells : list of Progress
        Those that are finished.
    estimates : list of float
        Seconds that trainings were estimated to take.
    """

    shape: tuple[int, ...]
    on_cell: Callable[[Progress], None] | None
    cells: list[Progress] = field(default_factory=list)
    estimates: list[float] = field(default_factory=list)

    def note(self, progress: Progress) -> None:
        """A cell is finished."""
        self.cells.append(progress)
        if self.on_cell is not None:
            self.on_cell(progress)

    def estimate(self, trainings: int, epochs: int, seconds: float) -> None:
        """How long trainings will take, measured before they begin."""
        self.estimates.append(seconds)
        _log.info(
            "grid: %d trainings of at most %d epochs on %s columns; measured on a few epochs: some %s, less where they "
            "stop early",
            trainings,
            epochs,
            f"{math.prod(self.shape):,}",
            duration(max(1.0, seconds)),
        )


def run_search(
    plan: SearchPlan, rows: SearchRows, log: SearchLog, folder: Path, options: Mapping[str, Any], restart: bool
) -> Any:
    """Fit the search, the best refitted on all training rows; an interrupt leaves a table of what was done."""
    search = plan.search(rows.folds)
    search.set_params(**options, restart=restart, on_cell=log.note)
    search.on_estimate = log.estimate
    try:
        with naming_candidates():
            search.fit(rows.X, rows.y, groups=rows.groups)
    except KeyboardInterrupt:
        write_partial_results(folder, log.cells)
        raise
    return search


def nested_estimate(
    plan: SearchPlan, rows: SearchRows, features: Features, cv: int, log: SearchLog, options: Mapping[str, Any]
) -> dict[str, Any]:
    """A search within each outer fold, judged on what that fold held back: all rows once, by models that were chosen
    without them."""
    y, groups, strata = rows.y, rows.groups, rows.strata
    measures, names = TASK_METRICS[features.task.kind], features.classes
    classes = names if features.task.kind == "classes" else None
    folds = group_folds(strata, groups, classes, cv, plan.seed + 1)
    parts, best_params = [], []
    for train, test in folds:
        inner = group_folds(strata[train], groups[train], classes, cv, plan.seed, "inner folds (--nested)")
        search = plan.search(inner).set_params(**options, on_cell=log.note)
        with naming_candidates():
            search.fit(rows_of(rows.X, train), y[train], groups=groups[train])
        parts.append(measures.outputs(search, rows_of(rows.X, test)))
        best_params.append(short_names(search.best_params_))
    outputs = np.concatenate(parts)[np.argsort(np.concatenate([test for _, test in folds]))]
    return {**measures.evaluate(y, outputs, groups, names), "best_params": best_params}
