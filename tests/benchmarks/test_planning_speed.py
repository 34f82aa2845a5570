"""What knowing files by inode and change time, too, costs a plan, side by side with size and modification time alone.

    pytest tests/benchmarks/test_planning_speed.py -s

Empty files on a local disk, whose keys are made up and remembered; ``row_keys`` of all of them, in turn with the
code of the former layout of the index (version 2: the path as text, size and modification time as numbers), which is
kept here.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from featcache.data import filesystems
from featcache.data.dataset import open_dataset
from featcache.extraction.planning import plan
from featcache.spec import FeatureSpec
from featcache.store.store import Store

FILES = int(float(os.environ.get("FEATCACHE_FILES", "1e5")))
ROUNDS = int(os.environ.get("FEATCACHE_ROUNDS", "15"))
SPEC = FeatureSpec("mobilenet", "", "random0", "00" * 32, 224, "decode-1", "caffe", "avg", "float32", "float32")


def former_stat(paths: Sequence[str]) -> tuple[list[int], list[int]]:
    """Size and modification time of each file, as ``locations.stat`` gave them."""
    sizes, times = [-1] * len(paths), [-1] * len(paths)
    failed: dict[int, str] = {}
    for i, location in enumerate(paths):
        if filesystems.is_url(location):
            continue
        try:
            status = os.stat(location)
        except OSError as error:
            failed[i] = f"cannot be read: {error.strerror}"
        else:
            sizes[i], times[i] = status.st_size, status.st_mtime_ns
    return sizes, times


def former_keys(db: sqlite3.Connection, paths: Sequence[str]) -> list[bytes | None]:
    """The keys of files whose size and modification time are unchanged, as the index gave them."""
    sizes, times = former_stat(paths)
    keys: list[bytes | None] = [None] * len(paths)
    place = {path: i for i, path in enumerate(paths)}
    root = os.path.commonprefix([min(paths), max(paths)])  # noqa: RUF071 - a range of strings
    for path, size, mtime, key in db.execute(
        "SELECT path, size, mtime, key FROM files WHERE path >= ? AND path < ?", (root, root + "\U0010ffff")
    ):
        i = place.get(path)
        if i is not None and size == sizes[i] and mtime == times[i]:
            keys[i] = key
    return keys


def write_files(folder: Path) -> None:
    """Empty files in folders of a thousand, an hour old."""
    hour_ago = time.time() - 3600
    for number in range(FILES):
        path = folder / "ab"[number // 1000 % 2] / f"{number // 1000:04d}" / f"{number:09d}_000.png"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (hour_ago, hour_ago))


def test_planning(tmp_path):
    write_files(tmp_path / "images")
    paths = open_dataset(tmp_path / "images").paths
    keys = [number.to_bytes(32, "big") for number in range(len(paths))]
    sizes, times = former_stat(paths)
    taken: dict[str, list[float]] = {"former": [], "ours": [], "a whole plan": []}
    with contextlib.closing(sqlite3.connect(tmp_path / "former.sqlite", isolation_level=None)) as db:
        db.execute("CREATE TABLE files (path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, key BLOB) WITHOUT ROWID")
        db.execute("BEGIN")
        db.executemany("INSERT INTO files VALUES (?, ?, ?, ?)", zip(paths, sizes, times, keys, strict=True))
        db.execute("COMMIT")
        with Store(tmp_path / "cache") as store:
            found, _ = filesystems.stat(paths)
            store.index.remember_files(zip(paths, found, keys, strict=True), time.time_ns() + 10**9)
            for _ in range(ROUNDS):
                for name in taken:
                    begun = time.perf_counter()
                    if name == "former":
                        assert former_keys(db, paths) == keys
                    elif name == "ours":
                        stamps, _ = filesystems.stat(paths)
                        assert store.index.known_keys(paths, stamps) == keys
                    else:
                        plan(store, SPEC, open_dataset(tmp_path / "images").paths)
                    taken[name].append(time.perf_counter() - begun)
    # Of rounds side by side the differences, since the machine's pace changes between them.
    more = statistics.median(b - a for a, b in zip(taken["former"], taken["ours"], strict=True))
    for how, of in (("median", statistics.median), ("least", min)):
        former, ours, whole = (of(seconds) for seconds in taken.values())
        print(  # noqa: T201
            f"\n{FILES:,} files, {how} of {ROUNDS}: keys by size and time {former:.3f} s, by inode and change time, "
            f"too, {ours:.3f} s, a whole plan {whole:.3f} s; {(ours - former) / (whole - ours + former):+.1%} of a plan"
        )
    print(f"median of the differences: {more * 1000:.0f} ms, {more / (whole - more):+.1%} of the least plan")  # noqa: T201
