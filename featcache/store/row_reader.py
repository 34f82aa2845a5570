"""Rows out of shards, in the order that is asked for: the one way the store is read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import StoreError
from .integrity import State, prove
from .shard import Shard

_TRIES = 10  # a compaction may move rows many times while a large block is read


class MovedError(Exception):
    """A row is not where it was said to be: a shard is gone, or holds other rows."""


@dataclass(frozen=True)
class Opened:
    """What a shard's first reader learnt of it; a committed shard never changes.

    Attributes
    ----------
    keys : uint8 array of shape (n, 32).
    shapes : shape of a row of each array.
    dtype : of the arrays.
    offsets : where in the file each array's first byte stands; None where it is compressed.
    """

    keys: np.ndarray
    shapes: dict[str, tuple[int, ...]]
    dtype: np.dtype
    offsets: dict[str, int | None]


def learn(path: Path) -> Opened:
    """Open a shard, with all of its checks, and keep what reading its rows takes.

    Raises :class:`MovedError` where it is gone, :class:`StoreError` where it is damaged.
    """
    try:
        shard = Shard(path)
    except FileNotFoundError as error:
        raise MovedError(path.name) from error
    with shard:
        shapes = shard.shapes
        return Opened(shard.keys(), shapes, np.dtype(shard.spec.dtype), {name: shard.offset(name) for name in shapes})


def proven(path: Path) -> Opened:
    """:func:`learn`, of a shard whose bytes are proven to be those that were committed; raises the same."""
    state, reason = prove(path)
    if state is State.GONE:
        raise MovedError(path.name)
    if state is not State.SOUND:
        raise StoreError(
            f"shard {path.name}: {reason}. Run 'cache verify' to see what is damaged, 'cache repair' to drop just "
            "that, and extract again."
        )
    return learn(path)


def gather(
    folder: Path, array: str, keys: Sequence[bytes], where: Mapping[bytes, tuple[str, int]], opened: dict[str, Opened]
) -> np.ndarray:
    """Rows of one array of a feature set.

    Parameters
    ----------
    folder : the feature set's.
    array : ``map`` or ``avg``.
    keys : the rows, one at least, in the wanted order.
    where : ``row key -> (shard, position)``.
    opened : shards that were opened before, by name; others are proven, opened and added.

    Returns
    -------
    Array of shape (len(keys), …), in the set's dtype.

    Raises
    ------
    MovedError
        A row is not where it was said to be.
    StoreError
        A shard is damaged, or does not keep the array.
    """
    parts = list(_by_shard(keys, where))
    # Every shard is opened before the first row is read: rows fill the processor's caches, and HDF5 would have to be
    # fetched into them again for each shard.
    for name, targets, positions in parts:
        if name not in opened:
            opened[name] = proven(folder / name)
        shard = opened[name]
        if array not in shard.shapes:
            raise StoreError(f"{folder.name} keeps {' and '.join(shard.shapes)}, not {array!r}")
        _require_keys(name, shard.keys, positions, keys, targets)
    first = opened[parts[0][0]]
    out = np.empty((len(keys), *first.shapes[array]), first.dtype)
    for name, targets, positions in parts:
        shard = opened[name]
        if (shard.shapes[array], shard.dtype) != (out.shape[1:], out.dtype):
            raise StoreError(f"{name} holds rows of {shard.shapes[array]}, others {out.shape[1:]}; run 'cache verify'")
        offset = shard.offsets[array]
        if offset is None:
            _unpack(folder / name, array, out, targets, positions)
        else:
            _read_runs(folder / name, offset, out, targets, positions)
    return out


def gather_moving(
    folder: Path,
    array: str,
    keys: Sequence[bytes],
    where: Mapping[bytes, tuple[str, int]],
    opened: dict[str, Opened],
    look_again: Callable[[bool], Mapping[bytes, tuple[str, int]]],
) -> tuple[np.ndarray, Mapping[bytes, tuple[str, int]]]:
    """As :func:`gather`, beside a process that merges shards.

    ``look_again`` says where the rows stand now; it is told whether the index itself has to be doubted. Returns the
    rows, and where they stood.
    """
    for tried in range(1, _TRIES + 1):
        try:
            return gather(folder, array, keys, where, opened), where
        except MovedError as moved:
            if tried == _TRIES:
                raise StoreError(
                    f"{folder.name}: shard {moved} changed under the reader, or is damaged: run 'cache verify'"
                ) from moved
            where = look_again(tried > 1)
            missing = sum(key not in where for key in keys)
            if missing:
                raise StoreError(
                    f"{folder.name}: {missing} of {len(keys)} rows are gone with shard {moved}: run 'cache verify', "
                    "and extract again"
                ) from moved
    raise AssertionError


def _by_shard(
    keys: Sequence[bytes], where: Mapping[bytes, tuple[str, int]]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Shard by shard: its name, places in ``keys``, and positions in the shard."""
    found = [where[key] for key in keys]
    positions = np.array([position for _, position in found])
    wanted: dict[str, list[int]] = {}
    for target, (name, _) in enumerate(found):
        wanted.setdefault(name, []).append(target)
    for name, targets in wanted.items():
        yield name, np.array(targets), positions[targets]


def _require_keys(
    name: str, stored: np.ndarray, positions: np.ndarray, keys: Sequence[bytes], targets: np.ndarray
) -> None:
    """Raise :class:`MovedError` unless the shard's keys at ``positions`` are the wanted ones."""
    if positions.max() >= len(stored) or stored[positions].tobytes() != b"".join([keys[t] for t in targets]):
        raise MovedError(name)


def _read_runs(path: Path, offset: int, out: np.ndarray, targets: np.ndarray, positions: np.ndarray) -> None:
    """``out[targets] = file[positions]``, one read for each run of neighbours, straight into place.

    Through HDF5 a row takes some ten times as long, nearly all of it opening the shard. One thread
    reads as fast as memory takes it; others would wait for the interpreter.
    """
    width = out[0].nbytes
    flat = out.reshape(len(out), -1).view(np.uint8)
    cuts = np.flatnonzero((np.diff(targets) != 1) | (np.diff(positions) != 1)) + 1
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115
    except FileNotFoundError as error:
        raise MovedError(path.name) from error
    with file:
        for start, stop in itertools.pairwise([0, *cuts.tolist(), len(targets)]):
            first = int(targets[start])
            into = flat[first : first + stop - start].reshape(-1).data
            file.seek(offset + int(positions[start]) * width)
            while into:
                got = file.readinto(into)
                if not got:
                    raise StoreError(f"shard {path.name} ends too soon; run 'cache verify', then 'cache repair'")
                into = into[got:]


def _unpack(path: Path, array: str, out: np.ndarray, targets: np.ndarray, positions: np.ndarray) -> None:
    """``out[targets] = shard[positions]`` of a compressed array, in one read, straight into place where it lines up."""
    low, high, first = int(positions.min()), int(positions.max()) + 1, int(targets[0])
    lines_up = (np.diff(targets) == 1).all() and (np.diff(positions) == 1).all()
    try:
        with Shard(path) as shard:
            if lines_up:
                shard.read(array, out[first : first + len(targets)], low, high)
            else:
                out[targets] = shard.read(array, start=low, stop=high)[positions - low]
    except FileNotFoundError as error:
        raise MovedError(path.name) from error
