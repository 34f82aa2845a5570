"""How a convolutional map becomes a row."""

from __future__ import annotations

import math

import numpy as np

POOLINGS = ("flatten", "avg", "max", "map", "cls")


def pool(maps: np.ndarray, pooling: str) -> np.ndarray:
    """Maps of shape (n, h, w, c) to rows: ``flatten`` (n, h*w*c), ``avg`` or ``max`` (n, c), ``map`` as they are.

    ``cls``, the class token, is kept beside the map, as a row.
    """
    if pooling == "map" or maps.ndim == 2:
        return maps
    if pooling == "flatten":
        return maps.reshape(len(maps), math.prod(maps.shape[1:]))
    if pooling == "max":
        return maps.max(axis=(1, 2))
    return maps.mean(axis=(1, 2), dtype=np.float32)


def pooled(shape: tuple[int, ...], dtype: str | np.dtype, pooling: str) -> np.ndarray:
    """What pooling makes of no maps at all of this shape: an array of shape (0, …), in the type of pooled rows."""
    return pool(np.empty((0, *shape), dtype), pooling)
