"""Figures over groups drawn with replacement: what else the figures might have been (Efron & Tibshirani 1993)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

_DRAWS = 2000
_BLOCK = 1_000_000  # numbers drawn at a time
_AT_ONCE = 100_000  # weights of rows judged at a time: what a processor's cache holds


def group_codes(groups: Sequence[object] | np.ndarray | None, count: int) -> np.ndarray:
    """Groups counted from 0, int array of shape (count,); with None each row is its own."""
    return np.arange(count) if groups is None else np.unique(np.asarray(groups, str), return_inverse=True)[1]


def group_draws(count: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of ``count`` groups is drawn, 2,000 rows of ``count`` numbers, a bounded block at a time."""
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // count)
    for start in range(0, _DRAWS, block):
        yield rng.multinomial(count, np.full(count, 1 / count), size=min(block, _DRAWS - start))


def replicates(
    y: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray, of_group: np.ndarray, seed: int = 0
) -> dict[str, np.ndarray]:
    """Figures of one model in each draw of groups.

    The same groups and seed give the same draws, so that two models' figures may be subtracted draw by draw.

    Parameters
    ----------
    y, predicted : int arrays of shape (n,), classes counted from 0.
    probabilities : array of shape (n, n_classes).
    of_group : int array of shape (n,), groups counted from 0.

    Returns
    -------
    ``accuracy``, ``balanced_accuracy``, ``macro_f1`` and ``roc_auc``, arrays of shape (2000,); areas are NaN where the
    rows or a draw lack a class.
    """
    n_classes = probabilities.shape[1]
    count = of_group.max() + 1
    tables = np.zeros((count, n_classes, n_classes))
    np.add.at(tables, (of_group, y, predicted), 1)
    there = np.flatnonzero(np.bincount(y, minlength=n_classes))
    labels = () if len(there) < n_classes else (1,) if n_classes == 2 else there
    areas = [_Area(y == label, probabilities[:, label]) for label in labels]
    found: list[tuple[np.ndarray, ...]] = []
    for block in group_draws(count, seed):
        for drawn in np.array_split(block, max(1, len(block) * len(y) // _AT_ONCE)):
            table = (drawn @ tables.reshape(count, -1)).reshape(-1, n_classes, n_classes)
            true, taken, hit = table.sum(axis=2), table.sum(axis=1), np.diagonal(table, axis1=1, axis2=2)
            own = np.where(true > 0, true, np.nan)  # of a class that was not drawn there is no recall
            ranked = [area(drawn[:, of_group]) for area in areas] or [np.full(len(drawn), np.nan)]
            found.append(
                (hit.sum(axis=1) / true.sum(axis=1), np.nanmean(hit / own, axis=1),
                 np.nanmean(2 * hit / (own + taken), axis=1), np.mean(ranked, axis=0))
            )  # fmt: skip
    names = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc")
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*found, strict=True), strict=True)}


def percentile_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """The middle ``confidence`` of the draws."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


class _Area:
    """Area under the ROC curve of weighted rows; called with many weights, it sorts once."""

    def __init__(self, positive: np.ndarray, score: np.ndarray) -> None:
        self._order = np.argsort(score, kind="stable")
        ordered = score[self._order]
        self._starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # of runs of equal scores
        self._positive = positive[self._order]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Areas of some drawings, array of shape (n_draws,); ``weights`` is of shape (n_draws, n_rows)."""
        weights = weights[:, self._order]
        positive = np.add.reduceat(weights * self._positive, self._starts, axis=1)
        negative = np.add.reduceat(weights * ~self._positive, self._starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        total = positive.sum(axis=1) * negative.sum(axis=1)
        return np.divide((positive * below).sum(axis=1), total, out=np.full(len(weights), np.nan), where=total > 0)
