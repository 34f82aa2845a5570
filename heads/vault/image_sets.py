"""Sets of images by the digests of their bytes: which set it is, and what two sets share, whatever files are called.

``<SHA-256 of the keys>.keys`` holds the row keys of a set, sorted, each once, 32 bytes each. Its name proves it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from featcache.errors import StoreError
from featcache.system import atomic_files

_KEY = 32  # bytes
_MOST = 1 << 30  # bytes of all sets of a cache


def digest_of(keys: Sequence[bytes]) -> str:
    """SHA-256, hex, of the keys, sorted, each once: the same wherever the images lie and whatever they are called."""
    return hashlib.sha256(_joined(keys)).hexdigest()


def codes_of(keys: Sequence[bytes]) -> np.ndarray:
    """The first eight bytes of each key as a number, in the order of the keys, uint64 array of shape (n,)."""
    return np.frombuffer(b"".join(key[:8] for key in keys), ">u8").astype(np.uint64)


def keep_set(folder: Path, keys: Sequence[bytes]) -> str:
    """Keep a set of images where it is not kept yet, or damaged; returns its digest.

    Raises :class:`StoreError` where it cannot be written, or all sets would take more than 1 GiB.
    """
    digest, data = digest_of(keys), _joined(keys)
    place = folder / f"{digest}.keys"
    if read_set(folder, digest) is not None:
        return digest
    held = sum(entry.stat().st_size for entry in os.scandir(folder)) if folder.is_dir() else 0
    if held + len(data) > _MOST:
        raise StoreError(f"{folder}: its sets of images take {held >> 20} MB, and no more than {_MOST >> 20} are kept")
    atomic_files.write_bytes(place, data)
    return digest


def read_set(folder: Path, digest: str) -> np.ndarray | None:
    """The images of a kept set as :func:`codes_of` has them; None where it is not there, or not what its name says."""
    place = folder / f"{digest}.keys"
    try:
        if not place.is_file() or place.stat().st_size > _MOST:
            return None
        data = place.read_bytes()
    except OSError:
        return None
    if not data or len(data) % _KEY or hashlib.sha256(data).hexdigest() != digest:
        return None
    return np.frombuffer(data, ">u8")[:: _KEY // 8].astype(np.uint64)


def _joined(keys: Sequence[bytes]) -> bytes:
    return b"".join(sorted(set(keys)))
