"""Scores of patients that a model did not learn from, from which its sets are calibrated.

A head has its validation part. It did not learn from that, but may have chosen by it when to stop, and what mends the
probabilities. For the latter each patient's probabilities are mended by what the other patients say; what the former
costs was measured (docs/coverage.md). Classical models and searches learn from the validation part too, so that there
each patient is judged by a model of the same settings that learnt from the other folds. Test patients play no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold

from featcache.data.tasks import Kind
from featcache.features.labelled_features import Features

from ..evaluation.calibration import fit_calibration
from ..evaluation.clusters import group_codes
from ..evaluation.conformal_sets import SETS
from ..evaluation.decision import Settled
from ..evaluation.held_out_scores import HeldOutScores
from ..evaluation.label_decision import two_columns
from ..evaluation.splits import Fold, merged
from ..evaluation.task_metrics import TASK_METRICS, Threshold
from ..search.streaming_pca import sampled
from .baseline_models import Baseline
from .baseline_search import ModelRows, Searched
from .held_out import outputs_of_folds

_FOLDS = 10  # of patients, by whose others probabilities are mended


def scores_of_rows(
    features: Features, rows: np.ndarray, outputs: np.ndarray, threshold: Threshold = None
) -> HeldOutScores:
    """Scores of some rows, patients being groups.

    Parameters
    ----------
    features : Features
        What is true, and of whom.
    rows : int array of shape (m,)
        Positions.
    outputs : array
        What a model that did not learn from them gives these, m rows.
    threshold : optional
        As in :mod:`heads.evaluation.task_metrics`.
    """
    kind, patients = features.task.kind, group_codes(features.groups[rows], len(rows))
    answers = TASK_METRICS[kind].answers(outputs, threshold)
    return SETS[kind].scores(features.y[rows], outputs, answers, patients).of_few()


def scores_of_validation(features: Features, rows: np.ndarray, raw: np.ndarray, settled: Settled) -> HeldOutScores:
    """Scores of the validation rows of a head.

    Parameters
    ----------
    features : Features
        What is true, and of whom.
    rows : int array of shape (m,)
        Positions of the validation part.
    raw : array
        What the head gives every row, not mended.
    settled : Settled
        What was settled on these rows.
    """
    kind = features.task.kind
    mended = mended_by_others(kind, features.y[rows], raw[rows], features.groups[rows], settled.calibration)
    return scores_of_rows(features, rows, mended, settled.value)


def mended_by_others(
    kind: Kind, y: np.ndarray, outputs: np.ndarray, groups: np.ndarray, calibration: Any
) -> np.ndarray:
    """Outputs, mended as ``calibration`` does, but learnt anew from the images of other patients.

    Parameters
    ----------
    kind, y, outputs, groups : of the rows that the calibration was learnt from.
    calibration : as :mod:`heads.evaluation.task_metrics` mends by.
    """
    measures, patients = TASK_METRICS[kind], group_codes(groups, len(y))
    number = int(patients.max()) + 1
    if calibration is None or number < 2:
        return measures.mended(outputs, calibration)
    mended = np.empty(outputs.shape)
    for learnt, held in GroupKFold(min(_FOLDS, number)).split(y, groups=patients):
        again = _REFITTED[kind](y[learnt], outputs[learnt], calibration)
        mended[held] = measures.mended(outputs[held], again)
    return mended


def _classes_again(y: np.ndarray, outputs: np.ndarray, calibration: Any) -> Any:
    """The same calibration learnt from these rows; where they cannot say, as it is."""
    if calibration is None or len(np.unique(y)) < outputs.shape[1]:
        return calibration
    return fit_calibration(outputs, y, calibration["method"])[0] or calibration


def _labels_again(y: np.ndarray, outputs: np.ndarray, calibration: Any) -> Any:
    again = []
    for label, one in enumerate(calibration):
        known = ~np.isnan(y[:, label])
        again.append(_classes_again(y[known, label].astype(np.int64), two_columns(outputs[known, label]), one))
    return again


_REFITTED: dict[str, Any] = {"classes": _classes_again, "labels": _labels_again}


def scores_of_baseline(
    baseline: Baseline, searched: Searched, seen: ModelRows, train: np.ndarray, folds: Sequence[Fold], seed: int
) -> HeldOutScores:
    """Scores of the rows that a baseline learnt from, each by a model of the values found that learnt from other folds.

    Parameters
    ----------
    baseline, searched : of which values were found.
    seen : ModelRows
        The rows as models see them.
    train : int array of shape (m,)
        Positions of those to learn from.
    folds : sequence of (learnt from, held out)
        Positions within ``train``.
    seed : int
        Of models and samples.
    """
    features = seen.features
    if baseline.quadratic and seen.reduced is not None:
        taken, folds = sampled(merged(features.strata[train], np.arange(len(train)), 2), folds, seed)
        train = train[taken]
    model = seen.unfitted(baseline, seed).set_params(**searched.best_params)
    X, y, groups = seen.seen_by(baseline)[train], features.y[train], features.groups[train]
    return scores_of_rows(features, train, outputs_of_folds(model, X, y, groups, folds, features.task.kind))
