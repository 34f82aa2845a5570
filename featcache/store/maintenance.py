"""Look after the store: list, verify, repair, compact, remove."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..system import atomic_files
from . import recovery
from .compaction import compact
from .integrity import State, prove
from .maintenance_lock import alone
from .shard import Shard, shard_name
from .store import ASIDE, Store

__all__ = ["Damage", "Verification", "compact", "ls", "remove", "repair", "survey", "verify"]

_log = logging.getLogger(__name__)
_LEFTOVER_AGE = 3600  # seconds; no live writer takes that long over one shard


@dataclass(frozen=True)
class Damage:
    """One shard that is damaged, or cannot be read."""

    feature_set: str
    shard: str
    reason: str


@dataclass
class Verification:
    """What :func:`verify` found.

    Attributes
    ----------
    damaged : shards whose bytes were read and are not those that were committed.
    unreadable : shards whose bytes could not be read, so that nothing is known of them.
    leftovers : temporary files of writers, dead or at work.
    set_aside : what :func:`repair` could save nothing from.
    """

    feature_sets: int = 0
    shards: int = 0
    bytes: int = 0
    seconds: float = 0.0
    damaged: list[Damage] = field(default_factory=list)
    unreadable: list[Damage] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)


def ls(store: Store) -> list[dict[str, Any]]:
    """Each feature set: id, backbone, weights, rows, shards, bytes, shape, and what computing it took."""
    return survey(store)[0]


def survey(store: Store) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """What :func:`ls` lists, and why some sets cannot be listed, by name."""
    rows: list[dict[str, Any]] = []
    unlisted: dict[str, str] = {}
    for name in store.feature_sets():
        try:
            rows.append(_described(store, name))
        except (StoreError, OSError) as error:
            if name in store.feature_sets():  # not removed in between
                unlisted[name] = str(error)
    return rows, unlisted


def _described(store: Store, name: str) -> dict[str, Any]:
    spec = store.spec(name)
    shards = store.shards(name)
    shapes = store.shapes(name)
    return {
        "feature_set": name,
        "backbone": spec.network,
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


def verify(store: Store, feature_sets: Sequence[str] | None = None) -> Verification:
    """Prove every byte of every shard: its SHA-256 must be its name."""
    started = time.perf_counter()
    verification = Verification()
    for name in store.chosen(feature_sets):
        verification.feature_sets += 1
        folder = store.features / name
        sizes = store.on_disk(name)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for shard, (state, reason) in zip(sizes, pool.map(prove, [folder / s for s in sizes]), strict=True):
                verification.shards += 1
                verification.bytes += sizes[shard]
                if state is State.DAMAGED:
                    verification.damaged.append(Damage(name, shard, reason))
                elif state is State.UNREADABLE:
                    verification.unreadable.append(Damage(name, shard, reason))
        with contextlib.suppress(FileNotFoundError):  # a set that is removed meanwhile
            verification.leftovers += [str(path) for path in folder.iterdir() if atomic_files.is_leftover(path.name)]
        verification.set_aside += map(str, _set_aside(folder))
    verification.seconds = round(time.perf_counter() - started, 3)
    return verification


def remove(store: Store, feature_sets: Sequence[str]) -> dict[str, int]:
    """Delete feature sets, once it is known of all of them that they can be; the bytes that were freed, by name."""
    names = list(dict.fromkeys(feature_sets))
    for name in names:
        store.removable(name)
    return {name: store.remove(name) for name in names}


def repair(store: Store, feature_sets: Sequence[str] | None = None) -> dict[str, Any]:
    """Replace damaged shards by their sound rows, remove what dead writers left, and make the index anew.

    A shard is removed only when it was read and found damaged, and what is sound in it is committed. One with nothing
    sound in it is set aside, in the set's folder ``.damaged``. What cannot be read, or not be replaced, stays as it is
    and is listed under ``refused``.
    """
    with alone(store.cache, "cache repair"):
        verification = verify(store, feature_sets)
        refused = [vars(shard) for shard in verification.unreadable]
        kept = lost = mended = 0
        for damage in verification.damaged:
            try:
                sound, rows = _mend(store, damage)
            except StoreError as error:
                refused.append(vars(damage) | {"reason": f"{damage.reason}; not replaced: {error}"})
                continue
            kept, lost, mended = kept + sound, lost + rows - sound, mended + 1
        removed = sum(_sweep(leftover) for leftover in verification.leftovers)
        for trash in store.features.glob(".trash-*"):  # of a removal that was killed
            if not trash.is_symlink():
                shutil.rmtree(trash, ignore_errors=True)
        for name in store.chosen(feature_sets):
            try:
                store.rows(name, doubt=True)
            except StoreError as error:
                if all(name != shard["feature_set"] for shard in refused):
                    refused.append(vars(Damage(name, "", str(error))))
        for shard in refused:
            _log.warning("%s: kept as it is: shard %s…: %s", shard["feature_set"], shard["shard"][:12], shard["reason"])
    return {
        "damaged": [vars(damage) for damage in verification.damaged],
        "mended": mended,
        "refused": refused,
        "set_aside": [str(path) for name in store.chosen(feature_sets) for path in _set_aside(store.features / name)],
        "rows_kept": kept,
        "rows_lost": lost,
        "leftovers_removed": removed,
    }


def _mend(store: Store, damage: Damage) -> tuple[int, int]:
    """Replace one shard that is proven to be damaged; how many of its rows are kept, of how many."""
    feature_set, name = damage.feature_set, damage.shard
    path = store.features / feature_set / name
    indexed = store.index.shards(feature_set).get(name)
    try:
        spec = store.spec(feature_set)
    except StoreError:
        spec = None
    saved = recovery.sound_rows(path, feature_set.rsplit("-", 1)[1], spec)
    rows = max(saved.rows, indexed[1] if indexed else 0)
    if not saved.sound:
        place = store.set_aside(feature_set, name)
        _log.warning(
            "%s: shard %s… is damaged and nothing in it can be saved (%s); it is moved to %s, and may be deleted there",
            feature_set,
            name[:12],
            saved.reason,
            place,
        )
        return 0, rows
    # Where every row was sound, what is written anew can have the damaged file's own name, in its place.
    written = shard_name(saved.data)
    with Shard(saved.data) as replacement:
        store.adopt(replacement.spec, written, saved.data)
    if written != name and prove(path)[0] is State.DAMAGED:
        store.discard(feature_set, name)
    _log.warning("%s: replaced shard %s…, kept %d of its %d rows", feature_set, name[:12], saved.sound, rows)
    return saved.sound, rows


def _sweep(leftover: str) -> bool:
    """Remove a temporary file that no live writer can be at work on."""
    with contextlib.suppress(OSError):
        if time.time() - os.stat(leftover).st_mtime > _LEFTOVER_AGE:
            os.unlink(leftover)
            return True
    return False


def _set_aside(folder: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted((folder / ASIDE).iterdir())
    return []
