"""How good a classifier is on rows it has not seen, and how far those numbers can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics as of_sklearn

from featcache.errors import DataError

from .clusters import group_codes
from .intervals import mean_f1, mean_recall, share_interval
from .reliability import calibration_metrics, reliability_bins
from .roc_areas import area_interval


def labels_of(probabilities: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """The label given to each row, int array of shape (n,).

    It is the most probable class, or, with a threshold on the second of two classes, that one from the threshold on.
    """
    if threshold is None:
        return probabilities.argmax(axis=1)
    return (probabilities[:, 1] >= threshold).astype(np.int64)


def scores(y: np.ndarray, probabilities: np.ndarray, threshold: float | None = None) -> dict[str, Any]:
    """Metrics of one set of rows, without intervals.

    Parameters
    ----------
    y : int array of shape (n,), classes counted from 0.
    probabilities : array of shape (n, n_classes).
    threshold : as in :func:`labels_of`.

    Returns
    -------
    ``accuracy``, ``loss`` (cross-entropy), ``balanced_accuracy``, ``macro_f1``, ``roc_auc`` (of several classes, one
    against the rest, averaged), ``brier`` (Brier 1950; of two classes half of it, 0 to 1, as is usual; of several 0 to
    2), ``ece`` (see :func:`heads.evaluation.reliability.reliability_bins`) and ``n``. ``roc_auc`` is None where a class
    has no rows.

    Raises
    ------
    DataError
        No rows, or arrays that do not fit each other.
    """
    n_classes = probabilities.shape[1]
    if not len(y) or len(y) != len(probabilities):
        raise DataError(f"found {len(y)} labels and {len(probabilities)} predictions; expected as many, and some")
    labels = np.arange(n_classes)
    predicted = labels_of(probabilities, threshold)
    every_class = len(np.unique(y)) == n_classes
    if n_classes == 2:
        area = of_sklearn.roc_auc_score(y, probabilities[:, 1]) if every_class else None
    else:
        area = of_sklearn.roc_auc_score(y, probabilities, multi_class="ovr", labels=labels) if every_class else None
    recalls = of_sklearn.recall_score(y, predicted, labels=np.unique(y), average=None, zero_division=0)
    return {
        "accuracy": float(of_sklearn.accuracy_score(y, predicted)),
        "loss": float(of_sklearn.log_loss(y, probabilities, labels=labels)),
        "balanced_accuracy": float(np.mean(recalls)),
        "macro_f1": float(of_sklearn.f1_score(y, predicted, labels=np.unique(y), average="macro", zero_division=0)),
        "roc_auc": None if area is None else float(area),
        "brier": float(of_sklearn.brier_score_loss(y, probabilities, labels=labels)),
        "ece": reliability_bins(y, probabilities).error,
        "n": len(y),
    }


def evaluate(
    y: np.ndarray,
    probabilities: np.ndarray,
    groups: Sequence[object] | np.ndarray | None = None,
    classes: Sequence[str] | None = None,
    threshold: float | None = None,
) -> dict[str, Any]:
    """:func:`scores` with 95% intervals and the errors told apart.

    Returns
    -------
    The metrics of :func:`scores`; ``accuracy_ci``, ``balanced_accuracy_ci``, ``macro_f1_ci`` and ``roc_auc_ci``, pairs
    (the last None where there is no area); ``ece_bins`` and ``ece_by_chance`` (see
    :func:`heads.evaluation.reliability.calibration_metrics`); ``confusion`` (rows are true classes, columns predicted
    ones); and with ``classes``, their names, ``recall`` and ``recall_ci`` of each (of two: specificity and
    sensitivity).
    """
    metrics = scores(y, probabilities, threshold)
    metrics.update(calibration_metrics(y, probabilities))
    predicted = labels_of(probabilities, threshold)
    right, of_group = predicted == y, group_codes(groups, len(y))
    metrics["accuracy_ci"] = list(share_interval(right, of_group))
    metrics["balanced_accuracy_ci"] = list(mean_recall(y, predicted, of_group))
    metrics["macro_f1_ci"] = list(mean_f1(y, predicted, of_group))
    area = metrics["roc_auc"] is not None
    metrics["roc_auc_ci"] = list(area_interval(y, probabilities, of_group)) if area else None
    labels = np.arange(probabilities.shape[1])
    metrics["confusion"] = of_sklearn.confusion_matrix(y, predicted, labels=labels).tolist()
    if classes is not None:
        metrics["recall"], metrics["recall_ci"] = {}, {}
        for label, name in enumerate(classes):
            own = y == label
            if own.any():
                metrics["recall"][name] = float(right[own].mean())
                metrics["recall_ci"][name] = list(share_interval(right[own], of_group[own]))
    return metrics
