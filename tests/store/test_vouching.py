"""What the index vouches for is believed as long as the file is the one that was proven, and no longer."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import psutil
import pytest
from shards import SPEC, flip, key, rows

from featcache.errors import StoreError
from featcache.store import integrity, maintenance, row_reader, vouching
from featcache.store.store import Store
from featcache.system import file_stamps

WANTED = [key(3), key(1), key(2)]


@pytest.fixture
def shard(tmp_path) -> Path:
    """A committed shard of three rows, in a cache at ``tmp_path``."""
    with Store(tmp_path) as store:
        return store.features / SPEC.id / store.commit(SPEC, rows(1, 2, 3))


@pytest.fixture
def proven(monkeypatch) -> list[str]:
    """Names of the shards whose bytes are read to prove them, as it happens."""
    names: list[str] = []
    monkeypatch.setattr(row_reader, "prove", lambda path: names.append(path.name) or integrity.prove(path))
    return names


def read(cache: Path) -> list[float]:
    """The rows in the wanted order, by a store that has opened nothing yet."""
    with Store(cache) as store:
        return store.read(SPEC.id, WANTED, "map")[:, 0, 0, 0].tolist()


def settle(shard: Path) -> None:
    """Have the file's times lie back far enough to be believed."""
    os.utime(shard, (1e9, 1e9))
    time.sleep(0.1)


def test_what_was_committed_here_is_neither_proven_nor_opened_again(tmp_path, shard, proven, monkeypatch):
    monkeypatch.setattr(row_reader, "Shard", None)  # no HDF5 at all
    assert read(tmp_path) == [3, 1, 2]
    assert proven == []


@pytest.mark.parametrize("restored", [False, True], ids=["written over", "and its time restored"])
def test_a_flip_is_found_by_the_next_load(tmp_path, shard, restored):
    assert read(tmp_path) == [3, 1, 2]
    before = os.stat(shard)
    flip(shard, shard.read_bytes().index(rows(2).arrays["map"].tobytes()) + 2)
    if restored:
        os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert os.stat(shard).st_mtime_ns == before.st_mtime_ns
    with pytest.raises(StoreError, match=r"SHA-256 is .*, not its name. Run 'cache verify'"):
        read(tmp_path)
    with Store(tmp_path) as store:
        maintenance.repair(store)
        assert store.read(SPEC.id, [key(3), key(1)], "map")[:, 0, 0, 0].tolist() == [3, 1]


@pytest.mark.parametrize("change", ["copied", "index lost", "of another release"])
def test_what_is_not_vouched_for_is_proven_once(tmp_path, shard, proven, change):
    if change == "copied":
        data = shard.read_bytes()
        shard.unlink()
        shard.write_bytes(data)
    elif change == "index lost":
        (tmp_path / "index.sqlite").unlink()
    else:
        with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as db:
            db.execute("PRAGMA user_version = 3")
    settle(shard)
    for _ in range(3):
        assert read(tmp_path) == [3, 1, 2]
    assert proven == [shard.name]


def test_a_file_that_has_not_settled_is_not_remembered(tmp_path, shard, proven):
    settle(shard)
    os.utime(shard)
    for _ in range(2):
        assert read(tmp_path) == [3, 1, 2]
    assert len(proven) == 2


def test_where_the_file_system_keeps_no_stamps_every_process_proves(tmp_path, proven, monkeypatch):
    Mount = namedtuple("Mount", "mountpoint fstype")
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [Mount("/", "fuse.sshfs")])
    with Store(tmp_path) as store:
        path = store.features / SPEC.id / store.commit(SPEC, rows(1, 2, 3))
        for _ in range(2):
            store.read(SPEC.id, WANTED, "map")
    settle(path)
    assert len(proven) == 1
    assert read(tmp_path) == read(tmp_path) == [3, 1, 2]
    assert len(proven) == 3


def test_verify_reads_every_byte_whatever_is_vouched_for(tmp_path, shard, monkeypatch):
    """As where a device gives back other bytes: the file's stamp is what it was."""
    stamp = file_stamps.Stamper().stamp(str(tmp_path), os.stat(shard))
    monkeypatch.setattr(file_stamps.Stamper, "stamp", lambda self, path, status: stamp)
    flip(shard, shard.read_bytes().index(rows(2).arrays["map"].tobytes()) + 2)
    assert read(tmp_path) != [3, 1, 2]
    with Store(tmp_path) as store:
        assert [damage.shard for damage in maintenance.verify(store).damaged] == [shard.name]


@pytest.mark.parametrize(
    "change",
    [
        "note = x'00'",
        "note = 'text'",
        "note = NULL",
        "note = substr(note, 1, 32) || replace(substr(note, 33), 'map', 'avg')",
        "note = zeroblob(32) || substr(note, 33)",
        f"keys = x'{(key(2) + key(1) + key(3)).hex()}'",
    ],
)
def test_a_note_that_is_not_as_it_was_written_is_not_believed(tmp_path, shard, proven, change):
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as db:
        db.execute(f"UPDATE shards SET {change}")
        db.commit()
    assert read(tmp_path) == [3, 1, 2]
    assert proven == [shard.name]


@pytest.mark.parametrize(
    "change",
    [
        {"offsets": {"map": 1 << 40, "avg": 0}},
        {"offsets": {"map": -1, "avg": 0}},
        {"offsets": {"map": 0}},
        {"shapes": {"map": (1 << 20, 1 << 20, 1 << 20), "avg": (4,)}},
        {"shapes": {"map": (1 << 20, 1 << 20, 1 << 20), "avg": (4,)}, "offsets": {"map": None, "avg": None}},
        {"shapes": {"map": (0, 2, 4), "avg": (4,)}},
        {"dtype": np.dtype("float64")},
    ],
)
def test_a_forged_note_leads_nowhere_outside_the_file(tmp_path, shard, proven, change):
    """Sealed, and with the right stamp: as its writer could make it who knew inode and change time."""
    opened = dataclasses.replace(row_reader.learn(shard), **change)
    note = vouching._written(opened, shard.name, file_stamps.Stamper().stamp(str(shard), os.stat(shard)))
    with Store(tmp_path) as store:
        store.index.note(SPEC.id, {shard.name: note})
        np.testing.assert_array_equal(store.read(SPEC.id, WANTED, "map")[:, 0, 0, 0], [3, 1, 2])
    assert proven == [shard.name]
