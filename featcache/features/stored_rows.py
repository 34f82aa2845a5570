"""Rows that stay in the store until they are asked for, for features that do not fit in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, StoreError
from ..store.row_reader import Opened, gather_moving
from ..store.store import Store
from ..store.vouching import open_shards
from ..system import memory
from .pooling import pool, pooled

_BLOCK_BYTES = 128 << 20  # of one block at most: large beside what a block costs besides
_BLOCKS_IN_MEMORY = 64  # that many of them are free memory, several being held at a time, and much else


@dataclass(frozen=True)
class _Source:
    """One array of a feature set, and where its rows stand; shared by all selections from it."""

    cache: Path
    feature_set: str
    array: str
    pooling: str
    where: dict[bytes, tuple[str, int]]
    row_shape: tuple[int, ...]
    dtype: np.dtype
    block_bytes: int
    opened: dict[str, Opened]


def _opened(
    store: Store, feature_set: str, where: Mapping[bytes, tuple[str, int]], known: Iterable[str] = ()
) -> dict[str, Opened]:
    """What reading these rows takes, of the shards that are not known yet; workers get it with the rows."""
    return open_shards(store.index, store.features / feature_set, {name for name, _ in where.values()} - set(known))


class StoredRows:
    """Features of images, array-like of shape (n, d) or (n, h, w, c), read from the store when they are indexed.

    ``rows[index]`` reads those rows, ``rows.take(index)`` selects without reading, and ``numpy.asarray(rows)`` reads
    them all, where they fit in memory. Pickles as a reference to the cache folder.

    Parameters
    ----------
    store : Store
        The store; it may be closed afterwards.
    feature_set : str
        Id of the set.
    keys : sequence of bytes
        Its rows, in the wanted order.
    array : {"map", "avg"}
        Which of the set's arrays.
    pooling : {"flatten", "avg", "max", "map"}
        How a map becomes a row.

    Attributes
    ----------
    shape : tuple of int
        ``(n, …)``, as of the array that all rows would make.
    dtype : numpy.dtype
        Type of the values.

    Raises
    ------
    StoreError
        A row is not there; while reading, a shard is damaged or gone.

    Examples
    --------
    >>> from pathlib import Path
    >>> import featcache
    >>> from PIL import Image
    >>> for number, label in enumerate(["covid", "normal"] * 2):
    ...     Path("images", label).mkdir(parents=True, exist_ok=True)
    ...     Image.new("L", (16, 16), 40 * number).save(f"images/{label}/{number}.png")
    >>> _ = featcache.extract("images", "pixels", size=8)
    >>> rows = featcache.load("pixels", stream=True).X
    >>> rows.shape, rows[:2].shape, rows.take([3, 0]).shape
    ((4, 192), (2, 192), (2, 192))
    >>> [block.shape for block in rows.blocks(3)]
    [(3, 192), (1, 192)]
    """

    def __init__(self, store: Store, feature_set: str, keys: Sequence[bytes], array: str, pooling: str) -> None:
        where = store.rows(feature_set)
        if any(key not in where for key in keys):
            raise StoreError(f"{feature_set}: some of {len(keys)} rows are not there; extract them first")
        shape, dtype = store.shapes(feature_set)[array], np.dtype(store.spec(feature_set).dtype)
        places = {key: where[key] for key in keys}
        block = min(_BLOCK_BYTES, memory.available() // _BLOCKS_IN_MEMORY)
        opened = _opened(store, feature_set, places)
        self._source = _Source(store.cache, feature_set, array, pooling, places, shape, dtype, block, opened)
        self._keys = list(keys)
        like = pooled(shape, dtype, pooling)
        self.shape: tuple[int, ...] = (len(self._keys), *like.shape[1:])
        self.dtype: np.dtype = like.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that all rows would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {self._source.feature_set}, shape {self.shape}, {self.dtype}, in the store>"

    def __getitem__(self, rows: Any) -> np.ndarray:
        keys = [self._keys[i] for i in np.arange(len(self))[rows].reshape(-1)]
        return self._read(keys)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        free = memory.available()
        if self.nbytes > free:
            raise DataError(
                f"{len(self)} rows of {self._source.feature_set} take {self.nbytes / 1e9:.1f} GB, and "
                f"{free / 1e9:.1f} GB are free. What was asked for needs them in memory at once: take fewer rows or "
                "pooling avg; DenseHeadClassifier trains without"
            )
        whole = self._read(self._keys)
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def take(self, rows: np.ndarray | Sequence[int]) -> StoredRows:
        """Select rows, which stay in the store.

        Parameters
        ----------
        rows : array of int
            Positions, in the wanted order.

        Returns
        -------
        StoredRows
            These rows.
        """
        chosen = object.__new__(StoredRows)
        chosen._source, chosen.dtype = self._source, self.dtype
        chosen._keys = [self._keys[i] for i in rows]
        chosen.shape = (len(chosen._keys), *self.shape[1:])
        return chosen

    def concatenate(self, other: StoredRows) -> StoredRows:
        """Put the rows of another selection behind these.

        Parameters
        ----------
        other : StoredRows
            Rows of the same feature set, pooled in the same way.

        Returns
        -------
        StoredRows
            The rows of both.

        Raises
        ------
        DataError
            They are rows of another set, or pooled in another way.
        """
        mine, theirs = self._source, other._source
        if (mine.cache, mine.feature_set, mine.array, mine.pooling) != (
            theirs.cache,
            theirs.feature_set,
            theirs.array,
            theirs.pooling,
        ):
            raise DataError(f"{mine.feature_set} and {theirs.feature_set} hold different features; use rows of one set")
        joined = self.take(range(len(self)))
        if theirs is not mine:
            mine.where.update(theirs.where)
        joined._keys += other._keys
        joined.shape = (len(joined._keys), *self.shape[1:])
        return joined

    @property
    def identity(self) -> tuple[Any, ...]:
        """What tells these rows from others, wherever they stand; hashable, and the same in every process."""
        source = self._source
        return source.feature_set, source.array, source.pooling, tuple(self._keys)

    def block_rows(self, dtype: Any = None) -> int:
        """Say how many rows a block of :meth:`blocks` has.

        Parameters
        ----------
        dtype : numpy.dtype or None, optional
            Type that the values will be held in; None is the rows' own.

        Returns
        -------
        int
            One at least.
        """
        width = math.prod(self.shape[1:]) * np.dtype(dtype or self.dtype).itemsize
        return max(1, self._source.block_bytes // max(1, width))

    def blocks(self, rows: int | None = None) -> Iterator[np.ndarray]:
        """Read all rows in order, some at a time; the next block is read while this one is in use.

        Parameters
        ----------
        rows : int or None, optional
            How many a block; None is what :meth:`block_rows` says.

        Yields
        ------
        numpy.ndarray
            Shape (rows, …), the last block what is left.
        """
        rows = rows or self.block_rows()
        starts = range(0, len(self), rows)
        with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
            ahead = None
            for start in starts:
                current = ahead or reader.submit(self._read, self._keys[start : start + rows])
                after = self._keys[start + rows : start + 2 * rows]
                block = current.result()
                ahead = reader.submit(self._read, after) if after else None
                yield block

    # -- reading -------------------------------------------------------------------------------

    def _read(self, keys: Sequence[bytes]) -> np.ndarray:
        source = self._source
        if not keys:
            return pool(np.empty((0, *source.row_shape), source.dtype), source.pooling)

        def look_again(doubt: bool) -> dict[bytes, tuple[str, int]]:
            with Store(source.cache) as store:
                current = store.rows(source.feature_set, doubt)
                mine = {key: current[key] for key in source.where if key in current}
                source.opened.update(_opened(store, source.feature_set, mine, source.opened))
            source.where.update(mine)
            return current

        folder = source.cache / "features" / source.feature_set
        raw, _ = gather_moving(folder, source.array, keys, source.where, source.opened, look_again)
        return pool(raw, source.pooling)
