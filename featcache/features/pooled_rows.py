"""Rows of a feature set out of the store, pooled: read at once, block by block, or left there."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..errors import DataError, StoreError
from ..spec import FeatureSpec
from ..store.store import Store
from ..system import memory
from .pooling import pool, pooled
from .stored_rows import StoredRows

_log = logging.getLogger(__name__)
_LIBRARIES = 1_000_000_000  # bytes that TensorFlow and a compiled training of one head take, at most


def read_or_stay(
    store: Store, feature_set: str, keys: Sequence[bytes], pooling: str, stream: bool | None = None
) -> np.ndarray | StoredRows:
    """Rows of a set in the order of ``keys``, pooled: read, or left in the store where memory is short.

    ``stream`` decides it, where it is not None.
    """
    spec = store.spec(feature_set)
    array = array_for(spec, feature_set, pooling)
    shape = store.shapes(feature_set).get(array)
    if shape is None:
        raise StoreError(f"{feature_set}: there are no rows in it")
    if stream is None and keys:
        like = pooled(shape, spec.dtype, pooling)
        need, free = len(keys) * math.prod(like.shape[1:]) * like.itemsize, memory.available()
        # Within a limit, TensorFlow and the programs it compiles have to fit as well.
        stream = need > (free if memory.limit() is None else free - _LIBRARIES) / 4
        if stream:
            message = "%s: %d rows take %.1f GB, and %.1f GB are free: they are read from the store as they are used"
            _log.warning(message, feature_set, len(keys), need / 1e9, free / 1e9)
    if stream and keys:
        return StoredRows(store, feature_set, keys, array, pooling)
    return _read(store, feature_set, keys, array, pooling)


def read_pooled(store: Store, feature_set: str, keys: Sequence[bytes], pooling: str) -> np.ndarray:
    """Rows of a set in the order of ``keys``, pooled; array of shape (n, d), or of maps."""
    return _read(store, feature_set, keys, array_for(store.spec(feature_set), feature_set, pooling), pooling)


def _read(store: Store, feature_set: str, keys: Sequence[bytes], array: str, pooling: str) -> np.ndarray:
    if pooling == "max":  # block by block: maps are some 50 times the rows that are wanted
        return np.concatenate([pool(block, pooling) for block in store.blocks(feature_set, keys, array, 1024)])
    return pool(store.read(feature_set, keys, array), pooling)


def pooled_blocks(
    store: Store, feature_set: str, keys: Sequence[bytes], pooling: str, rows: int
) -> Iterator[np.ndarray]:
    """The same, ``rows`` rows at a time."""
    for block in store.blocks(feature_set, keys, array_for(store.spec(feature_set), feature_set, pooling), rows):
        yield pool(block, pooling)


def array_for(spec: FeatureSpec, feature_set: str, pooling: str) -> str:
    """Which of a set's arrays a pooling starts from.

    Raises :class:`DataError` where the set keeps averages alone and more is asked for.
    """
    if pooling == "cls":
        if not spec.class_token:
            raise DataError(f"{feature_set} has no class token; take another pooling")
        return "cls"
    if spec.keep == "vector":
        return "avg"
    if "map" not in spec.arrays and pooling != "avg" and not spec.layer:
        raise DataError(f"{feature_set} keeps only the average; for pooling {pooling!r} extract again with --keep map")
    return "avg" if "avg" in spec.arrays and (pooling == "avg" or "map" not in spec.arrays) else "map"
