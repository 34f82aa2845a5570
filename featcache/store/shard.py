"""The shard: one immutable HDF5 file of rows, self-describing. This docstring is the format.

Version 2. A shard MUST hold, at its root:

==============  =======================  ======================================================
attribute       type                     meaning
==============  =======================  ======================================================
``format``      string                   ``featcache-shard``
``version``     integer                  1, or 2 (see below)
``spec``        string                   canonical JSON of the feature spec
``runtime``     string                   JSON: what computed the rows; no part of their identity
``seconds``     float                    time that computing the rows took
==============  =======================  ======================================================

==============  =======================  ======================================================
dataset         shape, type              meaning
==============  =======================  ======================================================
``keys``        (n, 32) uint8            row key: SHA-256 of the image file's bytes
``checksums``   (n, 16) uint8            first half of SHA-256 over key, then each array's row, in
                                         the order map, avg, cls, as little-endian bytes
``map``         (n, h, w, c) spec dtype  the layer's output; present where the spec keeps it
``avg``         (n, c) spec dtype        its mean over h and w, or the output of a flat layer
``cls``         (n, c) spec dtype        the layer's class token; present where the spec has one
==============  =======================  ======================================================

Arrays are contiguous, or chunked by rows with gzip or zstd. A reader MUST refuse links other than
hard ones, external storage, virtual datasets, other filters, other types, and arrays that promise
more bytes than the file can hold. The file's name is the SHA-256 of its bytes; that name is the commit.

Version 2 added ``cls``, and to specs ``framing``, ``scaling`` and ``class_token``. A shard that has none of these is
written as version 1, byte for byte what earlier releases wrote.

To change the format: raise ``VERSION``, keep reading the older ones, and add a shard of each older
version to the tests.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import StoreError
from ..spec import FeatureSpec
from ..system import schema
from .compression import MOST_PACKED, compression_of, compression_options, filters_of, require_filters

FORMAT = "featcache-shard"
VERSION = 2
ARRAYS = ("map", "avg", "cls")
_TYPES = {"float32": "<f4", "float16": "<f2", "uint8": "|u1"}
_AXES = {"keys": 2, "checksums": 2, "map": 4, "avg": 2, "cls": 2}
_NAME = re.compile(r"[0-9a-f]{64}\.h5")
_RUNTIME = dict[schema.Line, schema.Line | bool | int | float | None]


@dataclass
class Rows:
    """Rows on their way into or out of a shard.

    Attributes
    ----------
    keys : uint8 array of shape (n, 32).
    arrays : ``map`` of shape (n, h, w, c), ``avg`` and ``cls`` of shape (n, c), as the spec has them, in its dtype.
    seconds : time that computing them took.
    runtime : what computed them.
    """

    keys: np.ndarray
    arrays: dict[str, np.ndarray]
    seconds: float
    runtime: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.keys)


def checksums(keys: np.ndarray, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """A checksum for each row, uint8 array of shape (n, 16)."""
    parts = [np.ascontiguousarray(keys)] + [np.ascontiguousarray(arrays[n]) for n in ARRAYS if n in arrays]
    flat = [part.reshape(len(keys), -1).view(np.uint8) for part in parts]
    out = np.empty((len(keys), 16), np.uint8)
    for row in range(len(keys)):
        digest = hashlib.sha256()
        for part in flat:
            digest.update(part[row].data)
        out[row] = np.frombuffer(digest.digest()[:16], np.uint8)
    return out


def encode(spec: FeatureSpec, rows: Rows, compression: str = "none") -> memoryview:
    """Build a shard in memory.

    Raises
    ------
    StoreError
        Arrays are missing, of the wrong type or length, or hold NaN or infinite values.
    """
    kind = np.dtype(_TYPES[spec.dtype])
    for name in spec.arrays:
        array = rows.arrays.get(name)
        if array is None or len(array) != len(rows) or array.dtype != kind:
            given = "nothing" if array is None else f"{array.dtype}{array.shape}"
            raise StoreError(f"{spec.id}: array {name!r} is {given}, expected {kind.name} with {len(rows)} rows")
        if kind.kind == "f" and not np.isfinite(array).all():
            advice = "Check the weights; with a mixed precision, try --precision float32."
            if kind.itemsize == 2:
                advice = "Values beyond 65,504 do not fit float16: use --dtype float32."
            raise StoreError(
                f"{spec.id}: {name!r} holds NaN or infinite values, nothing of this block was kept. {advice}"
            )
    arrays = {name: rows.arrays[name] for name in spec.arrays}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION if spec.extended else 1
        file.attrs["spec"] = spec.to_json()
        file.attrs["runtime"] = json.dumps(dict(rows.runtime), sort_keys=True)
        file.attrs["seconds"] = float(rows.seconds)
        file.create_dataset("keys", data=rows.keys)
        file.create_dataset("checksums", data=checksums(rows.keys, arrays))
        for name, array in arrays.items():
            file.create_dataset(name, data=array.astype(kind, copy=False), **compression_options(array, compression))
    return buffer.getbuffer()


class Shard:
    """A shard opened for reading, its structure checked. Close it, or use it in a ``with``.

    Parameters
    ----------
    source : the file, or its bytes.
    spec : read the arrays by this spec, whatever the file's own attributes say; for recovery alone.

    Raises
    ------
    StoreError
        The file is damaged, or is no shard.
    """

    def __init__(self, source: Path | bytes, spec: FeatureSpec | None = None) -> None:
        self.runtime: dict[str, Any] = {}
        self.seconds = 0.0
        self._datasets: dict[str, h5py.Dataset] = {}  # opened once: finding one by its name is most of a small read
        self.name = source.name if isinstance(source, Path) else "<bytes>"
        self.size = source.stat().st_size if isinstance(source, Path) else len(source)
        with self._explained():
            self._file = h5py.File(source if isinstance(source, Path) else io.BytesIO(source), "r")
        try:
            with self._explained():
                if spec is None:
                    self._read_attributes()
                else:
                    self.spec = spec
                self._check_arrays()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Shard:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return int(self._datasets["keys"].shape[0])

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one row of each array."""
        return {name: tuple(self._datasets[name].shape[1:]) for name in self.spec.arrays}

    @property
    def compression(self) -> str:
        """``none``, ``gzip`` or ``zstd``."""
        plists = (self._datasets[name].id.get_create_plist() for name in self.spec.arrays)
        return compression_of({number for plist in plists for number in filters_of(plist)})

    def keys(self) -> np.ndarray:
        """Row keys, uint8 array of shape (n, 32)."""
        with self._explained():
            return self._datasets["keys"][:]

    def read(self, name: str, out: np.ndarray | None = None, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows ``start`` to ``stop`` of an array, read in one go, into ``out`` where it is given."""
        stop = len(self) if stop is None else stop
        dataset = self._datasets[name]
        if out is None:
            out = np.empty((stop - start, *dataset.shape[1:]), dataset.dtype)
        with self._explained():
            if stop > start:
                dataset.read_direct(out, np.s_[start:stop])
        return out

    def offset(self, name: str) -> int | None:
        """Where in the file an array's first byte stands; None where it is compressed."""
        with self._explained():
            offset = self._datasets[name].id.get_offset()
        return None if offset is None else int(offset)

    def stored_checksums(self) -> np.ndarray:
        """The checksum that each row was committed with, uint8 array of shape (n, 16)."""
        with self._explained():
            return self._datasets["checksums"][:]

    def rows(self) -> tuple[Rows, np.ndarray]:
        """All rows, and which of them agree with their checksum, bool array of shape (n,)."""
        rows = Rows(self.keys(), {name: self.read(name) for name in self.spec.arrays}, self.seconds, self.runtime)
        return rows, (self.stored_checksums() == checksums(rows.keys, rows.arrays)).all(axis=1)

    def sound_rows(self) -> np.ndarray:
        """Which rows agree with their checksum, bool array of shape (n,)."""
        return self.rows()[1]

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except (OSError, LookupError, ArithmeticError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            raise StoreError(
                f"shard {self.name} cannot be read ({error}). Run 'cache verify' to see what is damaged, "
                "'cache repair' to drop just that, and extract again."
            ) from error

    def _read_attributes(self) -> None:
        attributes = self._file.attrs
        if attributes.get("format") != FORMAT:
            raise StoreError(f"{self.name} is no featcache shard")
        version = int(attributes["version"])
        if version > VERSION:
            raise StoreError(f"{self.name} has format version {version}, this release reads up to {VERSION}: upgrade")
        self.spec = FeatureSpec.from_json(attributes["spec"])
        self.runtime = schema.read(attributes["runtime"], _RUNTIME, f"shard {self.name}, runtime", "Extract again.")
        self.seconds = float(attributes["seconds"])
        if not 0 <= self.seconds < math.inf:
            raise StoreError(f"shard {self.name}: found {self.seconds} seconds, expected how long its rows took")

    def _check_arrays(self) -> None:
        wanted = {"keys": "|u1", "checksums": "|u1"} | dict.fromkeys(self.spec.arrays, _TYPES[self.spec.dtype])
        extra = {name.decode(errors="replace") for name in self._file.id} - set(wanted)
        if extra:
            raise StoreError(f"{self.name} holds {sorted(extra)}, which no shard has")
        count = None
        for name, kind in wanted.items():
            shape = self._check_dataset(name, np.dtype(kind))
            if len(shape) != _AXES[name]:
                raise StoreError(f"{self.name}: {name} has shape {shape}, expected {_AXES[name]} axes")
            if count is None:
                count = shape[0]
            if shape[0] != count or (name in ("keys", "checksums") and shape != (count, 32 if name == "keys" else 16)):
                raise StoreError(f"{self.name}: {name} has shape {shape}, expected {count} rows")

    def _check_dataset(self, name: str, kind: np.dtype) -> tuple[int, ...]:
        """Refuse what a file that was not written here could use against the reader."""
        if self._file.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise StoreError(f"{self.name}: {name} is a link, which no shard has")
        # The low-level calls: through the others, checking a small shard takes longer than reading it.
        opened = h5py.h5o.open(self._file.id, name.encode())
        if not isinstance(opened, h5py.h5d.DatasetID):
            raise StoreError(f"{self.name}: {name} is no dataset")
        self._datasets[name] = h5py.Dataset(opened)
        plist = opened.get_create_plist()
        if plist.get_external_count() or plist.get_layout() == h5py.h5d.VIRTUAL:
            raise StoreError(f"{self.name}: {name} keeps its data in other files, which no shard does")
        filters = filters_of(plist)
        require_filters(filters, f"{self.name}: {name}")
        if opened.dtype != kind:
            raise StoreError(f"{self.name}: {name} is {opened.dtype}, expected {kind}")
        shape = opened.shape
        promised = math.prod(shape) * kind.itemsize
        if promised > self.size * (MOST_PACKED if filters else 1):
            raise StoreError(f"{self.name}: {name} promises {promised:,} bytes, the file has {self.size:,}")
        return tuple(shape)


def shard_name(data: bytes | memoryview) -> str:
    """The name that commits these bytes."""
    return hashlib.sha256(data).hexdigest() + ".h5"


def is_shard_name(name: str) -> bool:
    """Whether a file of this name is a committed shard."""
    return _NAME.fullmatch(name) is not None
