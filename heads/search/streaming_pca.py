"""Fewer columns, so that models which learn from all rows at once can, where the features do not fit in memory.

The columns are principal components of the training rows, each row scaled to unit length before, as most baselines do
anyway. What they leave out can count: of 440 radiographs of four classes, components with 95% of the variance took
nothing of the accuracy on test (124 images) from logistic regression, a linear SVM and LDA, and 0.04 from an RBF SVM;
with 58 to 87%, up to 0.06. Heads train on all columns from the store.

They come from a few passes over the store by block subspace iteration (Halko, Martinsson & Tropp 2011, section
4.5), which holds nothing but the components and their scores. sklearn's ``IncrementalPCA`` would do; on 25,088 columns
it held 1.9 GB, since it computes in float64, and took ten times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer

from featcache.errors import UsageError
from featcache.features.stored_rows import StoredRows
from featcache.system import memory

MOST_ROWS = 5000  # of models whose cost grows with the square of the rows
_MOST_COMPONENTS = 512
_STEP = 16  # components come in such steps, so that some free memory more or less changes nothing
_MORE = 10  # directions that are followed and not kept, as Halko et al. advise
_PASSES = 2
_BLOCK = 256  # rows; the same whatever memory is free, so that a search finds the very rows of the last one


@dataclass(frozen=True)
class Reduced:
    """Rows in fewer columns.

    Attributes
    ----------
    rows : float32 array of shape (n, k), all rows.
    components : what makes them of rows, of unit length where those are scaled, fitted.
    variance : share of the training rows' variance that they carry.
    """

    rows: np.ndarray
    components: PCA
    variance: float

    def about(self) -> dict[str, Any]:
        """What was done, as JSON values."""
        return {
            "components": self.rows.shape[1],
            "of": self.components.n_features_in_,
            "variance": round(self.variance, 4),
        }

    def caution(self) -> str:
        """What must stand beside the scores of models that learnt from these rows."""
        about = self.about()
        return (
            f"components: the features do not fit in memory; learnt from {about['components']} principal components of "
            f"{about['of']:,} columns ({about['variance']:.1%} of the variance)"
        )

    def inner(self, model: Any) -> Any:
        """A model that is to see these rows, without its scaling, which was done."""
        if not isinstance(model, Pipeline):
            return clone(model)
        steps = [(name, step) for name, step in model.steps if not isinstance(step, Normalizer)]
        return clone(Pipeline(steps))

    def whole(self, fitted: Any) -> Pipeline:
        """The same model, fitted, on features as the store has them."""
        steps = fitted.steps if isinstance(fitted, Pipeline) else [("model", fitted)]
        scale = Normalizer().fit(np.zeros((1, self.components.n_features_in_)))
        return Pipeline([("scale", scale), ("components", self.components), *steps])


def reduce_columns(
    X: StoredRows, train: np.ndarray, seed: int = 0, most: int = _MOST_COMPONENTS, unit: bool = True
) -> Reduced:
    """Principal components of rows in the store, as many as fit in half of the memory that is free.

    Parameters
    ----------
    X : rows of shape (n, d).
    train : positions of the rows to learn the components from. Labels play no part.
    seed : of the directions to start from.
    most : components at most.
    unit : whether each row is scaled to unit length before.

    Raises
    ------
    UsageError
        Not even 16 components fit.
    """
    n, d = X.shape
    k = _components(len(train), n, d, most)
    prepared = _unit if unit else _plain
    directions = np.random.default_rng(seed).standard_normal((d, min(k + _MORE, d)), dtype=np.float32)
    mean, squares = np.zeros(d), 0.0
    for _ in range(_PASSES):
        directions = linalg.qr(directions, mode="economic", overwrite_a=True, check_finite=False)[0]
        total, squares = np.zeros(d), 0.0
        onto = np.zeros_like(directions)
        for block in X.take(train).blocks(_BLOCK):
            rows = prepared(block)
            total += rows.sum(axis=0, dtype=np.float64)
            squares += float(np.square(rows).sum(dtype=np.float64))
            onto += rows.T @ (rows @ directions)
        mean = total / len(train)
        centre = mean.astype(np.float32)
        onto -= len(train) * np.outer(centre, centre @ directions)
        directions = onto
    directions = linalg.qr(directions, mode="economic", overwrite_a=True, check_finite=False)[0]
    scores = np.empty((n, directions.shape[1]), np.float32)
    for number, block in enumerate(X.blocks(_BLOCK)):
        np.matmul(prepared(block), directions, out=scores[number * _BLOCK :][: len(block)])
    scores -= centre @ directions
    variances, turns = linalg.eigh(np.cov(scores[train], rowvar=False).reshape(scores.shape[1], -1))
    order = np.argsort(variances)[::-1][:k]
    turns = np.ascontiguousarray(turns[:, order], dtype=np.float32)
    spread = (squares - len(train) * float(mean @ mean)) / max(1, len(train) - 1)
    variance = np.maximum(variances[order], 0)
    model = _fitted(np.ascontiguousarray((directions @ turns).T), mean, variance, spread, len(train))
    return Reduced(scores @ turns, model, float(variance.sum() / spread) if spread > 0 else 1.0)


def sampled(
    y: np.ndarray, folds: Sequence[tuple[np.ndarray, np.ndarray]], seed: int
) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """At most 5,000 rows, classes in proportion, and the folds among them.

    Returns
    -------
    Positions in ``y``, sorted, and folds as positions among these.
    """
    if len(y) <= MOST_ROWS:
        return np.arange(len(y)), list(folds)
    rows, _ = train_test_split(np.arange(len(y)), train_size=MOST_ROWS, stratify=y, random_state=seed)
    place = np.full(len(y), -1)
    place[np.sort(rows)] = np.arange(len(rows))
    return np.sort(rows), [(place[a][place[a] >= 0], place[b][place[b] >= 0]) for a, b in folds]


def _components(train: int, n: int, d: int, most: int) -> int:
    # Components: directions, what they are multiplied to, and three copies in passing. Scores: as they are, turned, and
    # what models make of them in float64.
    each = 4 * (5 * d + 4 * n)
    fit = memory.available() // 2 // each // _STEP * _STEP
    if fit < _STEP:
        raise UsageError(
            f"memory: {n} rows of {d} features do not fit, nor {_STEP} principal components of them "
            f"({4 * _STEP * each / 1e6:,.0f} MB would have to be free, {memory.available() / 1e6:,.0f} MB are). "
            "Allow more, or take pooling avg"
        )
    return min(fit, most, d, max(1, train - 1))


def _plain(block: np.ndarray) -> np.ndarray:
    return block.reshape(len(block), -1).astype(np.float32)


def _unit(block: np.ndarray) -> np.ndarray:
    rows = _plain(block)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def _fitted(components: np.ndarray, mean: np.ndarray, variance: np.ndarray, spread: float, rows: int) -> PCA:
    """What sklearn's own fit would have left, signs aside."""
    model = PCA(len(components))
    model.components_, model.mean_ = components, mean.astype(np.float32)
    model.explained_variance_ = variance
    model.explained_variance_ratio_ = variance / spread if spread > 0 else np.zeros_like(variance)
    model.singular_values_ = np.sqrt(variance * max(1, rows - 1))
    model.noise_variance_ = max(0.0, spread - float(variance.sum())) / max(1, components.shape[1] - len(components))
    model.n_components_, model.n_features_in_, model.n_samples_ = len(components), components.shape[1], rows
    return model
