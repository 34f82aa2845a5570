"""Whether an image is unlike those that a model learnt from, by its distance to the nearest of them.

After Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors": vectors of unit length, and the
distance to the k-th nearest training image. The vector is the average of the last map, whatever the model's own
pooling; for a model on pixels, a small grey thumbnail, its mean taken off.

It tells what is unlike every training image: a photo, noise, another kind of scan. It does not tell an image that looks
like training images of a class it is not of: of 40 adult normal radiographs that a head trained on children's all calls
covid, it flags two, since they lie among the adults with covid. No flag is no promise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from featcache.features.pooled_rows import pooled_blocks
from featcache.store.store import Store

_NEIGHBOURS = 5
_MOST_ROWS = 5000
_LEVEL = 0.99
_SIDE = 16
_BLOCK = 512


@dataclass(frozen=True)
class Novelty:
    """What it takes to tell.

    Attributes
    ----------
    reference : float16 array of shape (rows, width), vectors of training images, of unit length.
    neighbours : k.
    threshold : a distance above it is unlike training.
    false_alarm : share of images like the training ones that it flags, by its making.
    """

    reference: np.ndarray
    neighbours: int
    threshold: float
    false_alarm: float

    def distances(self, vectors: np.ndarray) -> np.ndarray:
        """Distance to the k-th nearest training image, 0 to 2, array of shape (n,).

        Raises ValueError for vectors of another width.
        """
        if not len(vectors):
            return np.empty(0)
        search = NearestNeighbors(n_neighbors=self.neighbours, algorithm="brute")
        search.fit(self.reference.astype(np.float32))
        return np.asarray(search.kneighbors(vectors)[0][:, -1], dtype=np.float64)

    def about(self) -> dict[str, Any]:
        """All but the vectors, as JSON values."""
        return {
            "neighbours": self.neighbours,
            "threshold": self.threshold,
            "false_alarm": self.false_alarm,
            "rows": len(self.reference),
        }


def fit_novelty(vectors: np.ndarray, groups: Sequence[object] | np.ndarray, seed: int = 0) -> Novelty | None:
    """Learn how far apart training images are.

    The distance of each to the 5th nearest of those of other groups is what a new patient's image of the same kind
    would have. The threshold is their 99th percentile, rounded up to the next of them and counting the new image (so a
    share of 1/100 is flagged, on average over training sets, or 1/(n + 1) where n < 99 rows cannot say).

    Parameters
    ----------
    vectors : array of shape (n, width), as :func:`image_vectors` gives.
    groups : n hashable values. Of more than 5,000 rows a random 5,000 are kept.
    seed : of the choice.

    Returns
    -------
    None where a row has fewer than five of other groups.
    """
    rows = sample_rows(len(vectors), seed)
    reference = vectors[rows].astype(np.float16)
    of_group = np.unique(np.asarray(groups, str)[rows], return_inverse=True)[1]
    if not len(rows) or len(rows) - np.bincount(of_group).max() < _NEIGHBOURS:
        return None
    kept = reference.astype(np.float32)
    squares = np.square(kept).sum(axis=1)
    apart = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        between = squares[part, None] + squares - 2 * kept[part] @ kept.T
        between[of_group[part, None] == of_group] = np.inf
        apart[part] = np.partition(between, _NEIGHBOURS - 1, axis=1)[:, _NEIGHBOURS - 1]
    count = len(rows)
    place = min(count, math.ceil(_LEVEL * (count + 1)))
    threshold = math.sqrt(max(0.0, float(np.sort(apart)[place - 1])))
    return Novelty(reference, _NEIGHBOURS, threshold, (count + 1 - place) / (count + 1))


def sample_rows(count: int, seed: int = 0) -> np.ndarray:
    """Which of ``count`` rows :func:`fit_novelty` keeps: all, or a random 5,000, sorted."""
    rows = np.arange(count)
    return rows if count <= _MOST_ROWS else np.sort(np.random.default_rng(seed).choice(rows, _MOST_ROWS, replace=False))


def image_vectors(store: Store, feature_set: str, keys: Sequence[bytes]) -> np.ndarray:
    """What kept images are compared by, float32 array of shape (n, width), rows of unit length.

    Raises
    ------
    StoreError
        Some of them are not kept.
    """
    pixels = store.spec(feature_set).backbone == "pixels"
    blocks = pooled_blocks(store, feature_set, keys, "map" if pixels else "avg", _BLOCK)
    parts = [_thumbnails(block) if pixels else block.reshape(len(block), -1).astype(np.float32) for block in blocks]
    vectors = np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def read_novelty(about: Any, tensors: Sequence[np.ndarray]) -> Novelty:
    """What :meth:`Novelty.about` and the vectors say.

    Raises ValueError, TypeError or KeyError where they are anything else.
    """
    (reference,) = tensors
    novelty = Novelty(reference, about["neighbours"], about["threshold"], about["false_alarm"])
    lengths = np.linalg.norm(reference.astype(np.float32), axis=-1)  # 0 for an image without any feature
    sound = (
        set(about) == set(novelty.about())
        and reference.ndim == 2
        and reference.dtype == np.float16
        and type(about["neighbours"]) is int
        and 1 <= about["neighbours"] <= len(reference) == about["rows"] <= _MOST_ROWS
        and all(type(about[name]) in (int, float) and 0 <= about[name] <= 2 for name in ("threshold", "false_alarm"))
        and bool(((np.abs(lengths - 1) < 0.01) | (lengths == 0)).all())
    )
    if not sound:
        raise ValueError("the vectors of training images, or what is said of them, are none that this package writes")
    return novelty


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """Grey thumbnails of at most 16 x 16 minus their mean, rows of shape (n, width)."""
    grey = images.mean(axis=-1, dtype=np.float32)
    for axis in (1, 2):
        length = grey.shape[axis]
        side = min(_SIDE, length)
        starts = np.arange(side) * length // side
        sizes = np.diff([*starts, length]).astype(np.float32)
        grey = np.add.reduceat(grey, starts, axis=axis) / (sizes[:, None] if axis == 1 else sizes)
    flat = grey.reshape(len(grey), -1)
    return flat - flat.mean(axis=1, keepdims=True)
