"""What several models say of every image, each time by one that did not learn from it nor from its patient."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.data.tasks import Task
from featcache.errors import UsageError
from featcache.features.labelled_features import Features

from ..evaluation.judgement import judged
from ..evaluation.splits import Fold, group_folds, merged
from ..search.streaming_pca import MOST_ROWS, sampled
from .baseline_models import TABLES, Baseline, short_names
from .baseline_search import ModelRows, search
from .head_models import head_model
from .held_out import cross_validated, outputs_of_folds, require_all
from .search_scores import SCORES

_log = logging.getLogger(__name__)
_HEAD = "dense"


@dataclass(frozen=True)
class HeldOutModel:
    """One model's outputs on all images.

    Attributes
    ----------
    name : as it is asked for.
    outputs : array of shape (n, n_classes), or of several labels (n, n_labels).
    test : its metrics on all images, with intervals over groups.
    best_params : of its grid; empty of the head.
    seconds : that it took.
    """

    name: str
    outputs: np.ndarray
    test: dict[str, Any]
    best_params: dict[str, Any]
    seconds: float


def chosen_models(models: Sequence[str], task: Task) -> tuple[list[Baseline], bool]:
    """Baselines by name, and whether ``dense``, the head, is among the names.

    Raises :class:`UsageError` for a name that is neither, one that is there twice, and for none at all.
    """
    table = TABLES[task.kind]
    unknown = [name for name in models if name not in table and name != _HEAD]
    if unknown or not models or len(set(models)) < len(models):
        wrong = f"{', '.join(unknown)} unknown" if unknown else "none, or one of them twice"
        raise UsageError(f"models: {wrong}; expected some of {_HEAD}, {', '.join(table)}")
    return [table[name] for name in models if name != _HEAD], _HEAD in models


def out_of_fold(
    seen: ModelRows,
    of_head: Features,
    models: Sequence[str],
    cv: int,
    seed: int,
    on_model: Callable[[HeldOutModel], None],
) -> list[HeldOutModel]:
    """Fit each model on all folds but one, in turn, and keep what it gives that one.

    Parameters
    ----------
    seen : ModelRows
        All images, of whatever part, as baselines see them.
    of_head : Features
        The same images as the head sees them, which may be pooled otherwise.
    models : sequence of str
        As :func:`chosen_models` takes them.
    cv : int
        Folds, groups whole.
    seed : int
        Of folds and models.
    on_model : callable
        Called with each as it is done.

    Returns
    -------
    list of HeldOutModel
        In the order of ``models``.

    Raises
    ------
    DataError
        A class has fewer groups than folds.
    """
    features = seen.features
    classes = features.classes if features.task.kind == "classes" else None
    folds = group_folds(features.strata, features.groups, classes, cv, seed)
    for learnt, _ in folds:
        require_all(features, learnt)
    done = []
    for name in models:
        started = time.perf_counter()
        params: dict[str, Any] = {}
        if name == _HEAD:
            found, outputs = cross_validated(head_model(features.task, _HEAD, seed, {}), of_head, cv, seed)
            test = found["test"]
        else:
            outputs, params = _of_baseline(TABLES[features.task.kind][name], seen, folds, seed)
            test = judged(features, np.arange(len(features)), outputs)
        done.append(HeldOutModel(name, outputs, test, params, round(time.perf_counter() - started, 2)))
        on_model(done[-1])
    return done


def _of_baseline(
    baseline: Baseline, seen: ModelRows, folds: Sequence[Fold], seed: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Outputs of a baseline with the best of its grid, which the same folds choose.

    That choice has seen every label once, as one of a handful of candidates: too little to learn one by heart.
    """
    features = seen.features
    X, y, groups, kind = seen.seen_by(baseline), features.y, features.groups, features.task.kind
    rows, inner = np.arange(len(y)), folds
    if baseline.quadratic:
        rows, inner = sampled(merged(features.strata, np.arange(len(y)), 2), folds, seed)
    scoring, unfitted = SCORES[kind].scoring, seen.unfitted(baseline, seed)
    searched = search(unfitted, baseline.grid, X[rows], y[rows], inner, scoring, groups[rows])
    if baseline.quadratic:
        folds = [(_some(features, learnt, seed), held) for learnt, held in folds]
    outputs = outputs_of_folds(searched.search.best_estimator_, X, y, groups, folds, kind)
    return outputs, short_names(searched.best_params)


def _some(features: Features, rows: np.ndarray, seed: int) -> np.ndarray:
    """As many rows as a model is given whose cost grows with their square."""
    if len(rows) <= MOST_ROWS:
        return rows
    return rows[sampled(merged(features.strata[rows], np.arange(len(rows)), 2), [], seed)[0]]
