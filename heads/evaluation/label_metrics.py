"""How good a model of several labels is, label by label, on the rows that know each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics as of_sklearn


def scores_of_labels(y: np.ndarray, p: np.ndarray) -> dict[str, Any]:
    """``n``, ``loss``, ``mean_roc_auc`` and ``mean_average_precision``, of labels with both values alone."""
    known = ~np.isnan(y)
    clipped = np.clip(p[known].astype(np.float64), 1e-15, 1 - 1e-15)
    loss = -(y[known] * np.log(clipped) + (1 - y[known]) * np.log1p(-clipped)).mean()
    areas, precisions = [], []
    for label in range(y.shape[1]):
        own = known[:, label]
        if len(np.unique(y[own, label])) == 2:
            areas.append(of_sklearn.roc_auc_score(y[own, label], p[own, label]))
            precisions.append(of_sklearn.average_precision_score(y[own, label], p[own, label]))
    return {
        "n": len(y),
        "loss": float(loss),
        "mean_roc_auc": float(np.mean(areas)) if areas else None,
        "mean_average_precision": float(np.mean(precisions)) if precisions else None,
    }


def evaluate_labels(
    y: np.ndarray, p: np.ndarray, groups: Any, names: Sequence[str], thresholds: Sequence[float] | None = None
) -> dict[str, Any]:
    """The same."""
    return {**scores_of_labels(y, p), "labels": {}}
