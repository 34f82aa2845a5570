"""How good a classifier is on rows it has not seen, and how far that figure can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import beta
from sklearn import metrics

from featcache.errors import DataError

_DRAWS = 2000


def scores(y: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Plain figures of one set of rows.

    Parameters
    ----------
    y : int array of shape (n,), classes counted from 0.
    probabilities : array of shape (n, n_classes).

    Returns
    -------
    ``accuracy``, ``loss`` (cross-entropy), ``balanced_accuracy``, ``macro_f1``, ``roc_auc`` (of several classes, one
    against the rest, averaged) and ``n``. ``roc_auc`` is None where a class has no rows.

    Raises
    ------
    DataError
        No rows, or arrays that do not fit each other.
    """
    n_classes = probabilities.shape[1]
    if not len(y) or len(y) != len(probabilities):
        raise DataError(f"found {len(y)} labels and {len(probabilities)} predictions; expected as many, and some")
    labels = np.arange(n_classes)
    predicted = probabilities.argmax(axis=1)
    every_class = len(np.unique(y)) == n_classes
    if n_classes == 2:
        area = metrics.roc_auc_score(y, probabilities[:, 1]) if every_class else None
    else:
        area = metrics.roc_auc_score(y, probabilities, multi_class="ovr", labels=labels) if every_class else None
    recalls = metrics.recall_score(y, predicted, labels=np.unique(y), average=None, zero_division=0)
    return {
        "accuracy": float(metrics.accuracy_score(y, predicted)),
        "loss": float(metrics.log_loss(y, probabilities, labels=labels)),
        "balanced_accuracy": float(np.mean(recalls)),
        "macro_f1": float(metrics.f1_score(y, predicted, labels=np.unique(y), average="macro", zero_division=0)),
        "roc_auc": None if area is None else float(area),
        "n": len(y),
    }


def accuracy_interval(
    right: np.ndarray, groups: Sequence[object] | np.ndarray | None = None, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval of an accuracy, by bootstrap over groups.

    Whole groups (patients) are drawn with replacement, 2,000 times, and the percentiles of the accuracy taken
    (Efron & Tibshirani 1993): five pictures of one patient are not five times the evidence. Where every group is all
    right or all wrong alike, draws cannot differ; the exact binomial interval over groups (Clopper & Pearson 1934)
    stands in, so that 62 of 62 reads 0.94 to 1, not 1 to 1.

    Parameters
    ----------
    right : bool array of shape (n,).
    groups : n hashable values, or None where each row is its own.
    """
    right = np.asarray(right, dtype=float)
    of_group = np.arange(len(right)) if groups is None else np.unique(np.asarray(groups, str), return_inverse=True)[1]
    correct, rows = np.bincount(of_group, right), np.bincount(of_group).astype(float)
    count = len(rows)
    tail = (1 - confidence) / 2
    if correct.sum() in (0, rows.sum()):
        hits = count if correct.sum() else 0
        low = beta.ppf(tail, hits, count - hits + 1) if hits else 0.0
        high = beta.ppf(1 - tail, hits + 1, count - hits) if hits < count else 1.0
        return float(low), float(high)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=_DRAWS)
    low, high = np.quantile((drawn @ correct) / (drawn @ rows), [tail, 1 - tail])
    return float(low), float(high)


def evaluate(
    y: np.ndarray, probabilities: np.ndarray, groups: Sequence[object] | np.ndarray | None = None
) -> dict[str, Any]:
    """:func:`scores` with ``accuracy_ci`` and ``confusion`` (rows are true classes, columns predicted ones)."""
    found = scores(y, probabilities)
    predicted = probabilities.argmax(axis=1)
    found["accuracy_ci"] = list(accuracy_interval(predicted == y, groups))
    labels = np.arange(probabilities.shape[1])
    found["confusion"] = metrics.confusion_matrix(y, predicted, labels=labels).tolist()
    return found
