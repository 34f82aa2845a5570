"""How a shard's arrays may be packed: HDF5's filters for gzip and zstd, and no others."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import h5py
import numpy as np

from ..errors import StoreError, UsageError

COMPRESSIONS = ("none", "gzip", "zstd")
MOST_PACKED = 1100  # bytes that one may hold: deflate reaches 1032 at best, and zstd on real maps far less
_ZSTD = 32015
# Registered HDF5 filter numbers: deflate, shuffle, fletcher32, zstd.
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, _ZSTD}
_CHUNK_BYTES = 1 << 20


class FilterMissingError(StoreError):
    """A shard is compressed by what this installation cannot read; that says nothing of the shard."""


def compression_options(array: np.ndarray, compression: str) -> dict[str, Any]:
    """What ``create_dataset`` takes to pack an array so, by rows.

    Raises :class:`UsageError` where the compression is unknown, :class:`FilterMissingError` where it is not installed.
    """
    if compression == "none" or not len(array):
        return {}
    per_row = max(1, array.nbytes // len(array))
    chunks = (max(1, min(len(array), _CHUNK_BYTES // per_row)), *array.shape[1:])
    if compression == "gzip":
        return {"chunks": chunks, "shuffle": True, "compression": "gzip", "compression_opts": 4}
    if compression == "zstd":
        _register_zstd()
        return {"chunks": chunks, "shuffle": True, "compression": _ZSTD, "compression_opts": (3,)}
    raise UsageError(f"compression {compression!r} is unknown; expected one of {', '.join(COMPRESSIONS)}")


def filters_of(plist: h5py.h5p.PropDCID) -> set[int]:
    """Numbers of the filters of a dataset, from the properties that it was created with."""
    return {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}


def compression_of(filters: Set[int]) -> str:
    """``none``, ``gzip`` or ``zstd``."""
    if _ZSTD in filters:
        return "zstd"
    return "gzip" if h5py.h5z.FILTER_DEFLATE in filters else "none"


def require_filters(filters: Set[int], what: str) -> None:
    """Refuse filters that no shard has, or that are not to be had here.

    Raises :class:`StoreError` or :class:`FilterMissingError`.
    """
    if filters - _FILTERS:
        raise StoreError(f"{what} uses unknown filters {sorted(filters - _FILTERS)}")
    if _ZSTD in filters:
        _register_zstd()
    lacking = [number for number in filters if not h5py.h5z.filter_avail(number)]
    if lacking:
        raise FilterMissingError(f"{what} is packed by filters that this HDF5 library lacks: {lacking}")


def _register_zstd() -> None:
    try:
        import hdf5plugin  # noqa: F401  (importing it registers the filter)
    except ImportError as error:
        raise FilterMissingError(
            f"zstd-compressed features need pip install 'featcache[zstd]' (hdf5plugin: {error})"
        ) from None
