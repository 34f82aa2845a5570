"""t-SNE (van der Maaten & Hinton 2008) by openTSNE, and the places of new rows on a map that is there.

openTSNE interpolates the repulsion between points on a grid (Linderman et al. 2019), so that a step costs in proportion
to the rows, and it places new rows without moving a point (Poličar, Stražar & Zupan 2023); sklearn's t-SNE can do
neither. Neighbours are found exactly, by sklearn: the approximate search of openTSNE gives other maps with another
number of threads, and beside the steps an exact one is short. So one seed is one map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from featcache.errors import DataError, UsageError
from featcache.features.stored_rows import StoredRows

from ..search.gram_projection import isometric
from ..search.streaming_pca import reduce_columns
from ..training.checked_rows import blocks

EXACT = 2000  # rows; up to here every distance is kept
_COMPONENTS = 50  # beyond, as van der Maaten & Hinton do
# Threads wait for each other in every step. For few rows they gain little, and lose much where another process holds a
# core.
_FEW = 2000
_GRID = 5000  # rows from which on the grid is faster than the tree
_EARLY, _STEPS, _STEPS_OF_MANY = 250, 750, 600
_EXAGGERATION = 12.0
# openTSNE's own rate, n after the exaggeration, left small maps less trustworthy than sklearn's: 0.917 against 0.922 on
# 440 radiographs, where 50 gives 0.927. Maps of many rows are more so with it, in fewer steps: of 20,000
# 0.9830 in 52 s after 600 steps, 0.9826 in 38 s after 500, where sklearn's takes 69 s for 0.9827.
_LEAST_RATE = 50.0
# Of new rows, as Poličar et al. do: each by itself, over few neighbours, in small steps from between them.
_NEW_PERPLEXITY, _NEW_STEPS = 5.0, 250


@dataclass(frozen=True)
class Projection:
    """What rows went through before t-SNE, where there were many.

    Attributes
    ----------
    mean : float32 array of shape (d,).
    components : float32 array of shape (k, d).
    """

    mean: np.ndarray
    components: np.ndarray

    def __call__(self, X: Any) -> np.ndarray:
        """Rows of shape (n, d), in memory or in the store, in k columns."""
        turn, centre = self.components.T, self.components @ self.mean
        return np.concatenate([block.reshape(len(block), -1) @ turn - centre for block in blocks(X)])


@dataclass(frozen=True)
class Embedding:
    """A map of rows in two dimensions.

    Attributes
    ----------
    points : float64 array of shape (n, 2).
    projection : what the rows went through before; None where every distance was kept.
    """

    points: np.ndarray
    projection: Projection | None

    @property
    def before(self) -> str:
        """What was done before t-SNE, in words."""
        if self.projection is None:
            return "all distances kept"
        return f"first {len(self.projection.components)} principal components"


def embed(X: Any, perplexity: float = 30.0, seed: int = 0) -> Embedding:
    """t-SNE in two dimensions, begun from the principal components.

    Parameters
    ----------
    X : array or :class:`featcache.StoredRows` of shape (n, d)
        The rows. Of more than 2,000, and of those in the store, the first 50 principal components are taken.
    perplexity : float, optional
        Lowered to (n - 1) / 3 where there are few rows.
    seed : int, optional
        The same seed gives the same map, whatever the number of threads.

    Returns
    -------
    Embedding
        The map.

    Raises
    ------
    DataError
        Fewer than 4 rows.
    UsageError
        openTSNE is not installed.
    """
    count = len(X)
    if count < 4:
        raise DataError(f"found {count} row(s); t-SNE needs at least 4")
    _require_library()
    from openTSNE import TSNEEmbedding, affinity

    rows, projection = _prepared(X, seed)
    threads = _threads(count)
    perplexity = min(perplexity, (count - 1) / 3)
    with threadpool_limits(threads, user_api="openmp"):
        distances, neighbours = (
            NearestNeighbors(algorithm="brute").fit(rows).kneighbors(n_neighbors=min(count - 1, int(3 * perplexity)))
        )
    shares = affinity.joint_probabilities_nn(neighbours, distances, [perplexity], n_jobs=threads)
    points = TSNEEmbedding(
        _start(rows, projection, seed),
        affinity.PrecomputedAffinities(shares, normalize=False),
        negative_gradient_method=_method(count),
        n_jobs=threads,
    )
    rate = max(_LEAST_RATE, count / _EXAGGERATION)  # as Belkina et al. (2019) advise
    points = points.optimize(_EARLY, exaggeration=_EXAGGERATION, momentum=0.5, learning_rate=rate, inplace=True)
    steps, later = (_STEPS_OF_MANY, count) if count >= _GRID else (_STEPS, rate)
    points = points.optimize(steps, momentum=0.8, learning_rate=later, inplace=True)
    return Embedding(np.array(points), projection)


def place(new: np.ndarray, rows: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where new rows stand on a map: each by itself, among its neighbours; no point of the map moves.

    Parameters
    ----------
    new : array of shape (m, d)
        The new rows, through whatever the map's own went through.
    rows : array of shape (n, d)
        The map's.
    points : array of shape (n, 2)
        The map.

    Returns
    -------
    float64 array of shape (m, 2).

    Raises
    ------
    UsageError
        openTSNE is not installed.
    """
    if not len(new):
        return np.empty((0, 2))
    _require_library()
    from openTSNE import PartialTSNEEmbedding, TSNEEmbedding, affinity, initialization
    from scipy.sparse import csr_matrix

    threads = _threads(max(len(new), len(rows)))
    with threadpool_limits(threads, user_api="openmp"):
        distances, neighbours = (
            NearestNeighbors(algorithm="brute", n_neighbors=min(len(rows), int(3 * _NEW_PERPLEXITY)))
            .fit(rows)
            .kneighbors(new)
        )
    shares = affinity.joint_probabilities_nn(
        neighbours,
        distances,
        [min(_NEW_PERPLEXITY, neighbours.shape[1] / 3)],
        symmetrize=False,
        normalization="point-wise",
        n_reference_samples=len(rows),
        n_jobs=threads,
    )
    # The grid wants its middle at zero.
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    none = affinity.PrecomputedAffinities(csr_matrix((len(rows), len(rows))), normalize=False)
    reference = TSNEEmbedding(points - middle, none)
    placed = PartialTSNEEmbedding(
        initialization.median(np.asarray(reference), neighbours),
        reference,
        shares,
        negative_gradient_method=_method(len(rows)),
        n_jobs=threads,
    )
    placed.optimize(_NEW_STEPS, learning_rate=0.1, exaggeration=1.5, momentum=0.8, max_grad_norm=0.25, inplace=True)
    return np.array(placed) + middle


def _prepared(X: Any, seed: int) -> tuple[np.ndarray, Projection | None]:
    """The rows in fewer columns, and how they came into them where distances are not all kept."""
    if isinstance(X, StoredRows):
        reduced = reduce_columns(X, np.arange(len(X)), seed, most=_COMPONENTS, unit=False)
        components = reduced.components
        return reduced.rows, Projection(components.mean_, components.components_)
    rows = np.asarray(X).reshape(len(X), -1)
    if len(rows) <= EXACT:
        return isometric(rows), None
    found = PCA(min(_COMPONENTS, rows.shape[1]), random_state=seed).fit(rows)
    projection = Projection(found.mean_.astype(np.float32), found.components_.astype(np.float32))
    return projection(rows), projection


def _start(rows: np.ndarray, projection: Projection | None, seed: int) -> np.ndarray:
    """The first two principal components, small; where there are none, chance."""
    count = len(rows)
    start = np.zeros((count, 2))
    if projection is not None:
        start[:, : rows.shape[1]] = rows[:, :2]
    elif not (rows[:1] == rows).all():  # equal rows have no components
        found = PCA(min(2, rows.shape[1]), svd_solver="full").fit_transform(rows)
        start[:, : found.shape[1]] = found
    spread = float(np.std(start[:, 0]))
    if not spread > 0:
        return np.random.default_rng(seed).normal(0, 1e-4, (count, 2))
    return np.asarray(start * (1e-4 / spread))


def _method(count: int) -> str:
    return "fft" if count >= _GRID else "bh"


def _threads(count: int) -> int:
    return 1 if count <= _FEW else int(joblib.cpu_count())


def _require_library() -> None:
    try:
        import openTSNE  # noqa: F401
    except ImportError as error:
        raise UsageError("t-SNE needs openTSNE, which is not installed: pip install opentsne") from error
