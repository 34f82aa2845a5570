"""Merge small shards into larger ones.

Writers go on beside it: they only add shards. What removes shards does so one at a time
(:mod:`featcache.store.maintenance_lock`), and a shard is removed only once each of its rows is known to stand in
another one that was proven in the same run and is still there. A kill at any step leaves rows that stand twice, which
is harmless, and the next compaction drops them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import StoreError
from .integrity import State, prove
from .maintenance_lock import alone
from .shard import Rows, Shard
from .store import Store

_TARGET_BYTES = 128 << 20
_TARGET_ROWS = 65_536


def compact(store: Store, feature_sets: Sequence[str] | None = None) -> dict[str, Any]:
    """Merge small shards into larger ones and drop rows that stand twice. Safe beside readers and writers.

    Raises
    ------
    StoreError
        A shard is damaged or cannot be read, or another process is at work on the store; what was merged before stays
        so.
    """
    before = after = dropped = 0
    with alone(store.cache, "cache compact"):
        for name in store.chosen(feature_sets):
            before += len(store.shards(name))
            dropped += _Compaction(store, name).run()
            after += len(store.shards(name))
    return {"shards_before": before, "shards_after": after, "rows_dropped": dropped}


class _Compaction:
    """One compaction of one feature set."""

    def __init__(self, store: Store, feature_set: str) -> None:
        self._store, self._set = store, feature_set
        self._stands: dict[bytes, str] = {}  # row key -> a shard that was proven to hold it and is to stay

    def run(self) -> int:
        """Merge what there is; the number of repeated rows that were dropped."""
        return sum(self._merge(names) for names in self._groups())

    def _merge(self, names: Sequence[str]) -> int:
        parts: list[Rows] = []
        held: dict[str, list[bytes]] = {}
        new: set[bytes] = set()
        compression = "none"
        for name in names:
            rows, compression = self._read(name)
            held[name] = [key.tobytes() for key in rows.keys]
            fresh = np.zeros(len(rows), bool)
            for row, key in enumerate(held[name]):
                if key not in self._stands and key not in new:
                    fresh[row] = True
                    new.add(key)
            parts.append(rows if fresh.all() else _take(rows, fresh))
        repeated = sum(map(len, held.values())) - len(new)
        if len(names) == 1 and not repeated:
            self._stands.update(dict.fromkeys(new, names[0]))
            return 0
        if new:
            spec = self._store.spec(self._set)
            # Committing reads the shard back and compares its bytes before they count.
            written = self._store.commit(spec, _joined(parts, spec.arrays), compression)
            self._stands.update(dict.fromkeys(new, written))
        for name in names:
            self._discard(name, held[name])
        return repeated

    def _read(self, name: str) -> tuple[Rows, str]:
        """All rows of a shard, proven, and its compression; merging others would give damaged bytes a good digest."""
        path = self._store.features / self._set / name
        state, reason = prove(path)
        if state is State.DAMAGED:
            raise StoreError(f"{self._set}: shard {name[:12]}… is damaged ({reason}): run 'cache repair' first")
        if state is not State.SOUND:
            raise StoreError(f"{self._set}: shard {name[:12]}… {reason or 'is gone'}; nothing of it was merged")
        with Shard(path) as opened:
            rows, sound = opened.rows()
            if not sound.all():
                raise StoreError(f"{self._set}: shard {name[:12]}… reads otherwise than it did: run 'cache verify'")
            return rows, opened.compression

    def _discard(self, name: str, keys: Sequence[bytes]) -> None:
        """Delete a shard whose every row stands elsewhere; one that was written again under its own name stays."""
        elsewhere = {self._stands[key] for key in keys}
        if name in elsewhere:
            return
        gone = [other for other in sorted(elsewhere) if not (self._store.features / self._set / other).is_file()]
        if gone:
            raise StoreError(
                f"{self._set}: shard {gone[0][:12]}… vanished while shards were merged; {name[:12]}…, which holds the "
                "same rows, is kept. Run 'cache verify'"
            )
        self._store.discard(self._set, name)

    def _groups(self) -> Iterator[list[str]]:
        """Shards to be merged into one, by what computed them; those of full size stand alone, and first."""
        by_origin: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
        for name, (size, rows, _) in self._store.shards(self._set).items():
            with Shard(self._store.features / self._set / name) as opened:
                origin = (repr(sorted(opened.runtime.items())), opened.compression)
            by_origin.setdefault(origin, []).append((name, size, rows))
        for members in by_origin.values():
            group: list[str] = []
            size_so_far = rows_so_far = 0
            for name, size, rows in sorted(members, key=lambda member: -member[1]):
                if group and (size_so_far + size > _TARGET_BYTES or rows_so_far + rows > _TARGET_ROWS):
                    yield group
                    group, size_so_far, rows_so_far = [], 0, 0
                group.append(name)
                size_so_far += size
                rows_so_far += rows
            if group:
                yield group


def _take(rows: Rows, chosen: np.ndarray) -> Rows:
    arrays = {name: array[chosen] for name, array in rows.arrays.items()}
    return Rows(rows.keys[chosen], arrays, rows.seconds, rows.runtime)


def _joined(parts: Sequence[Rows], arrays: Sequence[str]) -> Rows:
    return Rows(
        np.concatenate([part.keys for part in parts]),
        {array: np.concatenate([part.arrays[array] for part in parts]) for array in arrays},
        sum(part.seconds for part in parts),
        parts[0].runtime,
    )
