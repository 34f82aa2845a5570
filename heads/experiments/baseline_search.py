"""A baseline's grid, searched by cross-validation, on rows in memory as they are, projected or reduced."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from featcache.features.labelled_features import Features
from featcache.features.stored_rows import StoredRows
from featcache.system import memory

from ..search.gram_projection import isometric
from ..search.streaming_pca import MOST_ROWS, Reduced, reduce_columns
from ..search.worker_processes import affordable_processes
from ..training.label_wise import takes_groups
from .baseline_models import Baseline, with_seed

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Searched:
    """A model with the best values of its grid.

    Attributes
    ----------
    best_params : dict of str to object
        They.
    cv_score, cv_std : float
        Mean score over the folds, and its deviation. That of a grid's best overestimates a little.
    search : GridSearchCV
        The fitted search.
    """

    best_params: dict[str, Any]
    cv_score: float
    cv_std: float
    search: GridSearchCV


def search(
    model: Any,
    grid: Mapping[str, Sequence[Any]],
    X: np.ndarray,
    y: np.ndarray,
    folds: Sequence[tuple[Any, Any]],
    scoring: Any = None,
    groups: np.ndarray | None = None,
) -> Searched:
    """Try a grid by cross-validation, all cores busy as far as memory allows, and fit the best on all rows; ``groups``
    of the rows are for models that leave them out whole within what they learn from."""
    jobs = side_by_side(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        space = {name: list(values) for name, values in grid.items()}
        searching = GridSearchCV(model, space, cv=folds, n_jobs=jobs, scoring=scoring)
        searching.fit(X, y, **fit_groups(model, groups))
    best = searching.best_index_
    results = searching.cv_results_
    score, std = float(results["mean_test_score"][best]), float(results["std_test_score"][best])
    return Searched(dict(searching.best_params_), score, std, searching)


def side_by_side(X: np.ndarray) -> int:
    """How many models may be fitted at once on such rows: one a core, as far as memory allows."""
    jobs = os.cpu_count() or 1
    return jobs if memory.limit() is None else affordable_processes(jobs, memory.available(), X.nbytes)


def fit_groups(model: Any, groups: np.ndarray | None) -> dict[str, np.ndarray]:
    """What ``fit`` of a model is given of groups."""
    last, step = (model.steps[-1][1], f"{model.steps[-1][0]}__") if isinstance(model, Pipeline) else (model, "")
    return {f"{step}groups": groups} if groups is not None and takes_groups(last) else {}


@dataclass(frozen=True)
class ModelRows:
    """The rows as models see them: in memory as they are or projected, or, of features in the store, reduced.

    Attributes
    ----------
    features : Features
        As the store has them.
    projected : array of shape (n, n), or None
        Where some model is isometric.
    reduced : Reduced or None
        Where the features stay in the store.
    """

    features: Features
    projected: np.ndarray | None
    reduced: Reduced | None

    @property
    def columns(self) -> int:
        """How many of them the models see; a projection counts as what it stands for."""
        return int((self.reduced.rows if self.reduced else self.features.X).shape[1])

    def seen_by(self, baseline: Baseline) -> np.ndarray:
        """All rows, for a search."""
        if self.reduced is not None:
            return self.reduced.rows
        return self.projected if baseline.isometric and self.projected is not None else np.asarray(self.features.X)

    def unfitted(self, baseline: Baseline, seed: int) -> Any:
        """The model for these rows."""
        model = with_seed(baseline.model, seed)
        return model if self.reduced is None else self.reduced.inner(model)

    def refitted(self, baseline: Baseline, searched: Searched, train: np.ndarray, seed: int) -> Any:
        """The best model, fitted, for features as the store has them: a bundle has no other rows to be projected
        with."""
        if self.reduced is not None:
            return self.reduced.whole(searched.search.best_estimator_)
        model = with_seed(baseline.model, seed).set_params(**searched.best_params)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            groups = fit_groups(model, self.features.groups[train])
            return model.fit(np.asarray(self.features.X)[train], self.features.y[train], **groups)


def model_rows(features: Features, train: np.ndarray, chosen: Sequence[Baseline], seed: int) -> ModelRows:
    """What these models are to see of these features; ``train`` are the rows that a reduction is learnt from."""
    if not isinstance(features.X, StoredRows):
        return ModelRows(features, isometric(features.X) if any(row.isometric for row in chosen) else None, None)
    reduced = reduce_columns(features.X, train, seed)
    about = reduced.about()
    _log.warning(
        "baselines: the features stay in the store; models learn from %d principal components of %d columns, which "
        "carry %.1f%% of the variance, and SVMs from %s rows at most",
        about["components"],
        about["of"],
        100 * about["variance"],
        f"{MOST_ROWS:,}",
    )
    return ModelRows(features, None, reduced)
