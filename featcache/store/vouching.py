"""What the index vouches for: shards that were proven since they were last written.

A shard is proven whole, by its digest, when it is committed, or else when its rows are first read. What reading its
rows takes is then noted in the index beside the file's stamp (:mod:`featcache.system.file_stamps`), and while the stamp
stays nothing of the shard is checked again: a file that is written, replaced or moved gets another one. Where the file
system keeps no stamps, every process proves what it reads. Bytes that change on the device change no stamp, and are
what ``cache verify`` is for.

A note is sealed with a digest over all that it rests on, so that an index that is damaged or out of step is not
believed. Who writes an index on purpose could seal what he likes; he would have to know the inode and the change time
that this machine's file system deals out. Even so nothing is read beyond the file's end.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from ..errors import StoreError
from ..system import file_stamps
from ..system.interrupts import reading
from .compression import MOST_PACKED
from .index import Index
from .row_reader import MovedError, Opened, learn, proven

_SEAL = 32  # bytes of a digest
_Size = Annotated[int, Meta(ge=1, le=1 << 40)]


class _Note(msgspec.Struct):
    """What is noted of a shard: its stamp, and an :class:`featcache.store.row_reader.Opened` without its keys."""

    stamp: bytes
    dtype: Literal["float32", "float16", "uint8"]
    shapes: dict[str, Annotated[tuple[_Size, ...], Meta(min_length=1, max_length=3)]]
    offsets: dict[str, Annotated[int, Meta(ge=0)] | None]


def open_shards(index: Index, folder: Path, names: Iterable[str]) -> dict[str, Opened]:
    """What reading rows of these shards takes: as the index vouches for it, else once they are proven.

    Parameters
    ----------
    index : where it is noted, and what is proven now is remembered.
    folder : the feature set's.
    names : the shards; those that are gone are left out.

    Raises
    ------
    StoreError
        A shard is damaged, or cannot be read.
    """
    wanted = sorted(names)
    if not wanted:
        return {}
    looked = time.time_ns()
    stamper = file_stamps.Stamper()
    noted = index.notes(folder.name)
    opened: dict[str, Opened] = {}
    unproven: list[tuple[str, bytes]] = []
    for name in wanted:
        try:
            status = os.stat(folder / name)
        except FileNotFoundError:
            continue
        stamp = stamper.stamp(str(folder), status)
        believed = _believed(*noted[name], name, stamp, status.st_size) if name in noted else None
        if believed is None:
            unproven.append((name, stamp))
        else:
            opened[name] = believed
    if not unproven:
        return opened
    with reading(os.cpu_count(), "prove") as pool:
        found = zip(unproven, pool.map(_proven, [folder / name for name, _ in unproven]), strict=True)
        fresh = {name: (stamp, of) for (name, stamp), of in found if of is not None}
    index.note(
        folder.name,
        {
            name: _written(of, name, stamp)
            for name, (stamp, of) in fresh.items()
            if file_stamps.settled(stamp, looked) and stamp == _stamp(stamper, folder / name)
        },
    )
    return opened | {name: of for name, (_, of) in fresh.items()}


def note_of(path: Path) -> bytes:
    """The note of a shard that this process has just committed, read back and compared; empty where none can be made.

    Nobody else writes to a file whose name has only now come to be, so that it need not settle first.
    """
    try:
        stamp = _stamp(file_stamps.Stamper(), path)
        return _written(learn(path), path.name, stamp) if stamp != file_stamps.UNKNOWN else b""
    except (MovedError, StoreError, OSError):  # taken away already: whoever reads it next will know
        return b""


def _proven(path: Path) -> Opened | None:
    try:
        return proven(path)
    except MovedError:
        return None


def _stamp(stamper: file_stamps.Stamper, path: Path) -> bytes:
    try:
        return stamper.stamp(str(path.parent), os.stat(path))
    except OSError:
        return file_stamps.UNKNOWN


def _written(opened: Opened, name: str, stamp: bytes) -> bytes:
    note = _Note(stamp, opened.dtype.name, opened.shapes, opened.offsets)  # type: ignore[arg-type]
    body = msgspec.json.encode(note)
    return _seal(body, name, opened.keys.tobytes()) + body


def _seal(body: bytes, name: str, keys: bytes) -> bytes:
    digest = hashlib.sha256(name.encode())
    digest.update(body)
    digest.update(keys)
    return digest.digest()


def _believed(note: bytes, keys: bytes, name: str, stamp: bytes, size: int) -> Opened | None:
    """What a note says of a shard that has this stamp and size now; None where it is not to be believed."""
    body = note[_SEAL:]
    if stamp == file_stamps.UNKNOWN or note[:_SEAL] != _seal(body, name, keys):
        return None
    try:
        said = msgspec.json.decode(body, type=_Note)
    except msgspec.MsgspecError:
        return None
    stored, dtype = np.frombuffer(keys, np.uint8).reshape(-1, 32), np.dtype(said.dtype)
    if said.stamp != stamp or said.shapes.keys() != said.offsets.keys():
        return None
    for array, shape in said.shapes.items():
        promised, offset = len(stored) * math.prod(shape) * dtype.itemsize, said.offsets[array]
        if promised > size * MOST_PACKED if offset is None else offset + promised > size:
            return None
    return Opened(stored, dict(said.shapes), dtype, dict(said.offsets))
