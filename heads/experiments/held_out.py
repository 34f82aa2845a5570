"""What a model gives rows that it did not learn from: by folds, or one site after the other."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from featcache.data.tasks import Kind
from featcache.errors import DataError, UsageError
from featcache.features.labelled_features import Features

from ..evaluation.judgement import Views, judged
from ..evaluation.splits import Fold, group_folds, set_aside
from ..evaluation.task_metrics import TASK_METRICS
from ..training.checked_rows import rows_of
from .baseline_search import fit_groups

_log = logging.getLogger(__name__)
_MOST_SITES = 50


def cross_validated(
    estimator: Any, features: Features, cv: int, seed: int, views: Views | None = None
) -> tuple[dict[str, Any], np.ndarray]:
    """Metrics of outputs that models gave rows which they did not learn from, every row of the data once.

    Parameters
    ----------
    estimator : EpochEstimator
        Unfitted; each fold fits a copy.
    features : Features
        All rows, of whatever part.
    cv : int
        Folds, groups whole.
    seed : int
        Of the folds.
    views : Views, optional
        What else the rows are looked at by.

    Returns
    -------
    dict
        ``folds``, and ``test``, metrics with intervals over groups. They are of ``cv`` models, each of which learnt
        from the less.
    outputs : numpy.ndarray
        What they give each row.

    Raises
    ------
    DataError
        A class has fewer groups than folds.
    """
    classes = features.classes if features.task.kind == "classes" else None
    folds = group_folds(features.strata, features.groups, classes, cv, seed)
    outputs = _outputs(estimator, features, folds, seed)
    return {"folds": cv, "test": judged(features, np.arange(len(features)), outputs, None, views)}, outputs


def each_left_out(estimator: Any, features: Features, column: str, seed: int) -> dict[str, Any]:
    """Metrics on each site in turn, of a model that learnt from all the others.

    Parameters
    ----------
    estimator : EpochEstimator
        Unfitted.
    features : Features
        All rows, of whatever part.
    column : str
        Of their metadata: which site, device or ward an image is of. Rows where it is not known are learnt from, and
        not judged by. Patients with images of the site that is left out are left out with it.
    seed : int
        Of the rows that are set aside to stop early by.

    Returns
    -------
    dict
        ``column``; ``sites``, a list of ``site``, ``n``, ``patients`` and ``test``, the metrics there, with ``why`` in
        place of ``test`` where there can be none; and ``worst``, the site where the headline metric is worst.

    Raises
    ------
    UsageError
        No such column, or one of too few or too many values.
    DataError
        Of no site can anything be said.
    """
    if column not in features.metadata_columns:
        there = ", ".join(features.metadata_columns) or "none"
        raise UsageError(f"--leave-out {column}: no such column of metadata; there are: {there}")
    values = features.metadata_columns[column]
    known = ~np.isnan(values) if values.dtype != object else np.array([value is not None for value in values])
    sites = sorted(set(values[known]))
    if not 2 <= len(sites) <= _MOST_SITES:
        raise UsageError(
            f"--leave-out {column}: found {len(sites):,} different values; expected 2 to {_MOST_SITES}, such as "
            "hospitals or devices"
        )
    measures = TASK_METRICS[features.task.kind]
    rows: list[dict[str, Any]] = []
    for site in sites:
        own = np.flatnonzero(known & (values == site))
        name = str(site) if values.dtype == object else f"{site:g}"
        about = {"site": name, "n": len(own), "patients": len(set(features.groups[own]))}
        learnt = np.flatnonzero(~np.isin(features.groups, list(set(features.groups[own]))))
        try:
            outputs = _outputs(estimator, features, [(learnt, own)], seed)[own]
        except (DataError, ValueError) as error:
            rows.append({**about, "test": None, "why": str(error)})
            continue
        test = measures.evaluate(features.y[own], outputs, features.groups[own], features.classes)
        rows.append({**about, "test": test, "why": None})
        _log.info("without %s %s: %s", column, name, measures.headline(test))
    judged = [row for row in rows if row["test"] is not None and measures.headline(row["test"]).value is not None]
    if not judged:
        raise DataError(f"--leave-out {column}: of no site can anything be said; {rows[0]['why'] or 'too few images'}")
    sign = -1 if measures.lower_is_better else 1
    worst = min(judged, key=lambda row: sign * float(measures.headline(row["test"]).value or 0))
    return {"column": column, "sites": rows, "worst": worst["site"]}


def _outputs(estimator: Any, features: Features, folds: Sequence[Fold], seed: int) -> np.ndarray:
    """What copies of a model give the rows of each fold that it did not learn from; NaN for rows of none."""
    outputs: np.ndarray | None = None
    for learnt, held in folds:
        model = clone(estimator)
        kept, aside = learnt, np.empty(0, np.int64)
        if model.patience is not None or model.checkpoint:
            kept, aside = set_aside(features, learnt, model.validation_fraction, seed)
        watched = (rows_of(features.X, aside), features.y[aside]) if len(aside) else None
        require_all(features, kept)
        model.fit(rows_of(features.X, kept), features.y[kept], validation_data=watched)
        given = TASK_METRICS[features.task.kind].outputs(model, rows_of(features.X, held))
        if outputs is None:
            outputs = np.full((len(features), *given.shape[1:]), np.nan)
        outputs[held] = given
    assert outputs is not None
    return outputs


def outputs_of_folds(
    model: Any, X: Any, y: np.ndarray, groups: np.ndarray, folds: Sequence[Fold], kind: Kind
) -> np.ndarray:
    """What a model's copies give the rows of each fold that they did not learn from.

    Parameters
    ----------
    model : estimator
        With the settings that it has in the end; copies of it are fitted, and warn of no limit that they reach.
    X, y, groups : the rows that the folds are of.
    folds : sequence of (learnt from, held out)
        Every row is held out once.
    kind : of the task.
    """
    given: list[np.ndarray] = []
    for learnt, held in folds:
        copy = clone(model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            copy.fit(rows_of(X, learnt), y[learnt], **fit_groups(copy, groups[learnt]))
        given.append(np.asarray(TASK_METRICS[kind].outputs(copy, rows_of(X, held)), np.float64))
    order = np.argsort(np.concatenate([held for _, held in folds]))
    return np.concatenate(given)[order]


def require_all(features: Features, rows: np.ndarray) -> None:
    """Raise :class:`DataError` where a model could not learn all classes or labels from these rows."""
    counts = features.task.counts(features.y[rows], features.classes)
    missing = [name for name, count in counts.items() if not count]
    if missing and features.task.kind == "classes":
        raise DataError(f"there is no {', '.join(missing)} among the images to learn from")
