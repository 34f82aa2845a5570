"""How good a classifier is on rows it has not seen, and how far that figure can be trusted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.stats import beta
from sklearn import metrics

from featcache.errors import DataError

_DRAWS = 2000
_BLOCK = 5_000_000  # numbers drawn at a time


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
    of_group = _codes(groups, len(right))
    correct, rows = np.bincount(of_group, right), np.bincount(of_group).astype(float)
    count = len(rows)
    if correct.sum() in (0, rows.sum()):
        return exact_interval(count if correct.sum() else 0, count, confidence)
    accuracies = [(drawn @ correct) / (drawn @ rows) for drawn in _draws(count, seed)]
    return _percentiles(np.concatenate(accuracies), confidence)


def exact_interval(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a proportion, by Clopper & Pearson (1934)."""
    tail = (1 - confidence) / 2
    low = beta.ppf(tail, hits, count - hits + 1) if hits else 0.0
    high = beta.ppf(1 - tail, hits + 1, count - hits) if hits < count else 1.0
    return float(low), float(high)


def evaluate(
    y: np.ndarray,
    probabilities: np.ndarray,
    groups: Sequence[object] | np.ndarray | None = None,
    classes: Sequence[str] | None = None,
) -> dict[str, Any]:
    """:func:`scores` with 95% intervals and the errors told apart.

    Returns
    -------
    The figures of :func:`scores`; ``accuracy_ci``, ``balanced_accuracy_ci``, ``macro_f1_ci`` and ``roc_auc_ci``, pairs
    (the last None where there is no area); ``confusion`` (rows are true classes, columns predicted ones); and with
    ``classes``, their names, ``recall`` and ``recall_ci`` of each (of two: sensitivity and specificity).
    """
    found = scores(y, probabilities)
    n_classes = probabilities.shape[1]
    right = probabilities.argmax(axis=1) == y
    found["accuracy_ci"] = list(accuracy_interval(right, groups))
    found.update(_other_intervals(y, probabilities, _codes(groups, len(y)), found))
    labels = np.arange(n_classes)
    found["confusion"] = metrics.confusion_matrix(y, probabilities.argmax(axis=1), labels=labels).tolist()
    if classes is not None:
        groups = None if groups is None else np.asarray(groups)
        found["recall"], found["recall_ci"] = {}, {}
        for label, name in enumerate(classes):
            own = y == label
            if own.any():
                found["recall"][name] = float(right[own].mean())
                found["recall_ci"][name] = list(accuracy_interval(right[own], None if groups is None else groups[own]))
    return found


def _other_intervals(
    y: np.ndarray, probabilities: np.ndarray, of_group: np.ndarray, found: dict[str, Any]
) -> dict[str, Any]:
    """Intervals of what is no plain proportion, from the same draws of groups.

    Where draws cannot differ, all being right, the exact interval over the groups of the rarest class stands in: so
    many pairs of one group of each class can be formed that share none, and each was ranked rightly. Where they cannot
    differ since some classes are all right and others all wrong, the exact bounds of both are weighed by the figure.
    """
    n_classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    count = of_group.max() + 1
    tables = np.zeros((count, n_classes, n_classes))
    np.add.at(tables, (of_group, y, predicted), 1)
    there = np.flatnonzero(np.bincount(y, minlength=n_classes))
    rarest = min(len(np.unique(of_group[y == label])) for label in there)
    least = exact_interval(rarest, rarest)[0]  # of a share that is 1; of one that is 0, at most 1 - least
    values: dict[str, list[Any]] = {"balanced_accuracy": [], "macro_f1": [], "roc_auc": []}
    areas = [_Area(y == label, probabilities[:, label]) for label in (there[1:] if n_classes == 2 else there)]
    for drawn in itertools.chain.from_iterable(_draws(count, 0)):
        table = np.tensordot(drawn, tables, 1)
        true, taken, hit = table.sum(axis=1), table.sum(axis=0), np.diagonal(table)
        there_now = true > 0
        values["balanced_accuracy"].append(np.mean(hit[there_now] / true[there_now]))
        values["macro_f1"].append(np.mean(2 * hit[there_now] / (true + taken)[there_now]))
        if found["roc_auc"] is not None:
            values["roc_auc"].append(np.mean([area(drawn[of_group]) for area in areas]))
    intervals: dict[str, Any] = {}
    for name, draws in values.items():
        kept = np.array(draws)[np.isfinite(draws)]
        if found[name] is None or not len(kept):
            intervals[f"{name}_ci"] = None
        else:
            value = found[name]
            exact = [value * least, value + (1 - value) * (1 - least)]
            intervals[f"{name}_ci"] = exact if np.ptp(kept) < 1e-12 else list(_percentiles(kept, 0.95))
    return intervals


class _Area:
    """Area under the ROC curve of weighted rows; called with many weights, it sorts once."""

    def __init__(self, positive: np.ndarray, score: np.ndarray) -> None:
        self._order = np.argsort(score, kind="stable")
        ordered = score[self._order]
        self._starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # of runs of equal scores
        self._positive = positive[self._order]

    def __call__(self, weight: np.ndarray) -> float:
        weight = weight[self._order]
        positive = np.add.reduceat(weight * self._positive, self._starts)
        negative = np.add.reduceat(weight * ~self._positive, self._starts)
        below = np.cumsum(negative) - negative / 2
        total = positive.sum() * negative.sum()
        return float(positive @ below / total) if total else np.nan


def _codes(groups: Sequence[object] | np.ndarray | None, count: int) -> np.ndarray:
    """Groups counted from 0, int array of shape (count,)."""
    return np.arange(count) if groups is None else np.unique(np.asarray(groups, str), return_inverse=True)[1]


def _draws(count: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of ``count`` groups is drawn, 2,000 rows of ``count`` numbers, a bounded block at a time."""
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // count)
    for start in range(0, _DRAWS, block):
        yield rng.multinomial(count, np.full(count, 1 / count), size=min(block, _DRAWS - start))


def _percentiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
