"""Look after the store: list, verify, repair, compact."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import durable, salvage
from .errors import StoreError
from .shard import Rows, Shard
from .store import Store

_log = logging.getLogger(__name__)
_LEFTOVER_AGE = 3600  # seconds; no live writer takes that long over one shard
_TARGET_BYTES = 128 << 20
_TARGET_ROWS = 65_536


@dataclass(frozen=True)
class Damage:
    """One damaged shard."""

    feature_set: str
    shard: str
    reason: str


@dataclass
class Verification:
    """What :func:`verify` found."""

    feature_sets: int = 0
    shards: int = 0
    bytes: int = 0
    seconds: float = 0.0
    damaged: list[Damage] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)


def ls(store: Store) -> list[dict[str, Any]]:
    """Each feature set: id, backbone, weights, rows, shards, bytes, shape, and what computing it took."""
    found = []
    for name in store.feature_sets():
        spec = store.spec(name)
        shards = store.shards(name)
        shapes = store.shapes(name)
        found.append(
            {
                "feature_set": name,
                "backbone": spec.backbone,
                "weights": spec.weights,
                "layer": spec.layer,
                "preprocess": spec.preprocess,
                "keep": spec.keep,
                "dtype": spec.dtype,
                "rows": store.index.count(name),
                "shards": len(shards),
                "bytes": sum(size for size, _, _ in shards.values()),
                "shape": list(shapes[spec.arrays[0]]) if shapes else [],
                "seconds": round(sum(seconds for _, _, seconds in shards.values()), 1),
            }
        )
    return found


def verify(store: Store, feature_sets: Sequence[str] | None = None) -> Verification:
    """Prove every byte of every shard: its SHA-256 must be its name."""
    started = time.perf_counter()
    report = Verification()
    for name in _chosen(store, feature_sets):
        report.feature_sets += 1
        folder = store.features / name
        paths = [folder / shard for shard in store.on_disk(name)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for path, reason in zip(paths, pool.map(_fault, paths), strict=True):
                report.shards += 1
                report.bytes += path.stat().st_size if path.exists() else 0
                if reason:
                    report.damaged.append(Damage(name, path.name, reason))
        report.leftovers += [str(path) for path in folder.iterdir() if durable.is_leftover(path.name)]
    report.seconds = round(time.perf_counter() - started, 3)
    return report


def repair(store: Store, feature_sets: Sequence[str] | None = None) -> dict[str, Any]:
    """Drop just what is damaged: keep the sound rows of each damaged shard, delete the rest of it, remove
    what dead writers left, and forget the index, which is made anew."""
    report = verify(store, feature_sets)
    kept = lost = 0
    for damage in report.damaged:
        spec = store.spec(damage.feature_set)
        path = store.features / damage.feature_set / damage.shard
        before = store.index.shards(damage.feature_set).get(damage.shard)
        rows = salvage.sound_rows(path, spec)
        # Where every row was sound, what is written anew can have the damaged file's own name, in its place.
        written = store.commit(spec, rows) if rows is not None else None
        sound = len(rows) if rows is not None else 0
        kept += sound
        lost += before[1] - sound if before else 0
        if written != damage.shard:
            store.discard(damage.feature_set, damage.shard)
        _log.warning(
            "%s: dropped shard %s…, kept %d of its rows", damage.feature_set, damage.shard[:12],
            sound,
        )  # fmt: skip
    removed = 0
    for leftover in report.leftovers:
        with contextlib.suppress(FileNotFoundError):
            if time.time() - os.stat(leftover).st_mtime > _LEFTOVER_AGE:
                os.unlink(leftover)
                removed += 1
    for trash in store.features.glob(".trash-*"):  # of a removal that was killed
        shutil.rmtree(trash, ignore_errors=True)
    for name in _chosen(store, feature_sets):
        store.index.drop_shards(name, list(store.index.shards(name)))
        store.shards(name)
    return {
        "damaged": [vars(damage) for damage in report.damaged],
        "rows_kept": kept,
        "rows_lost": lost,
        "leftovers_removed": removed,
    }


def compact(store: Store, feature_sets: Sequence[str] | None = None) -> dict[str, Any]:
    """Merge small shards into larger ones and drop rows that stand twice. Safe beside readers and writers:
    a shard is deleted only after what it holds is committed elsewhere."""
    before = after = dropped = 0
    for name in _chosen(store, feature_sets):
        before += len(store.shards(name))
        dropped += _compact_set(store, name)
        after += len(store.shards(name))
    return {"shards_before": before, "shards_after": after, "rows_dropped": dropped}


def _compact_set(store: Store, feature_set: str) -> int:
    spec = store.spec(feature_set)
    seen: set[bytes] = set()
    dropped = 0
    for names in _groups(store, feature_set):
        parts: list[Rows] = []
        repeated = 0
        for name in names:
            path = store.features / feature_set / name
            reason = _fault(path)
            if reason:  # merging would give damaged bytes a good digest
                raise StoreError(f"{feature_set}: shard {name[:12]}… is damaged ({reason}): run 'cache repair' first")
            with Shard(path) as opened:
                keys = opened.keys()
                fresh = np.array([_unseen(key.tobytes(), seen) for key in keys], dtype=bool)
                repeated += int((~fresh).sum())
                arrays = {array: opened.read(array) for array in spec.arrays}
                if not fresh.all():
                    keys, arrays = keys[fresh], {array: rows[fresh] for array, rows in arrays.items()}
                compression = opened.compression
                parts.append(Rows(keys, arrays, opened.seconds, opened.runtime))
        if len(names) == 1 and not repeated:
            continue
        merged = Rows(
            np.concatenate([part.keys for part in parts]),
            {array: np.concatenate([part.arrays[array] for part in parts]) for array in spec.arrays},
            sum(part.seconds for part in parts),
            parts[0].runtime,
        )
        written = store.commit(spec, merged, compression) if len(merged) else None
        for name in names:
            if name != written:
                store.discard(feature_set, name)
        dropped += repeated
    return dropped


def _unseen(key: bytes, seen: set[bytes]) -> bool:
    if key in seen:
        return False
    seen.add(key)
    return True


def _groups(store: Store, feature_set: str) -> Iterator[list[str]]:
    """Shards to be merged into one, by what computed them; those of full size stand alone, and first."""
    by_origin: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
    for name, (size, rows, _) in store.shards(feature_set).items():
        with Shard(store.features / feature_set / name) as opened:
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


def _fault(path: Path) -> str:
    """Why a shard is not what it was when committed; empty where it is."""
    try:
        found = durable.sha256_file(path)
    except FileNotFoundError:  # compacted away meanwhile
        return ""
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if found == path.stem else f"its SHA-256 is {found[:12]}…, not its name"


def _chosen(store: Store, feature_sets: Sequence[str] | None) -> list[str]:
    known = store.feature_sets()
    for name in feature_sets or ():
        if name not in known:
            raise StoreError(f"no feature set {name!r} in {store.cache}; there are: {', '.join(known) or 'none'}")
    return list(feature_sets) if feature_sets else known
