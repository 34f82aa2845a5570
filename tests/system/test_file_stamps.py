"""When a file that was read before counts as unchanged."""

from __future__ import annotations

import logging
import os
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import psutil
import pytest
from pictures import age
from PIL import Image

import featcache
from featcache.data.dataset import open_dataset
from featcache.extraction import planning
from featcache.extraction.planning import row_keys
from featcache.store.store import Store
from featcache.system import file_stamps


@pytest.fixture
def bitmaps(tmp_path) -> Path:
    """Eight bitmaps of two classes, all of one size and time."""
    for number in range(8):
        path = tmp_path / "images" / ("covid", "normal")[number % 2] / f"{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16), 30 * number, np.uint8)).save(path)
    for path in (tmp_path / "images").rglob("*.bmp"):
        os.utime(path, (1e9, 1e9))
    time.sleep(0.1)
    return tmp_path / "images"


def colours(images: Path, cache: Path) -> dict[str, float]:
    """What the loaded features say of each file."""
    featcache.extract(images, "pixels", size=16, cache=cache)
    found = featcache.load("pixels", task="binary", pooling="avg", data=images, cache=cache)
    return {Path(path).name: float(row[0]) for path, row in zip(found.paths, found.X, strict=True)}


def swap(one: Path, other: Path) -> None:
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


def test_two_files_that_swap_names_swap_features(tmp_path, bitmaps):
    before = colours(bitmaps, tmp_path / "cache")
    assert before["0.bmp"] == 0
    swap(bitmaps / "covid" / "0.bmp", bitmaps / "normal" / "7.bmp")
    after = colours(bitmaps, tmp_path / "cache")
    assert after == before | {"0.bmp": before["7.bmp"], "7.bmp": before["0.bmp"]}


def test_a_file_that_is_written_over_with_its_old_time_is_noticed(tmp_path, bitmaps):
    before = colours(bitmaps, tmp_path / "cache")
    path = bitmaps / "covid" / "0.bmp"
    with open(path, "r+b") as file:
        file.write((bitmaps / "normal" / "7.bmp").read_bytes())
    os.utime(path, (1e9, 1e9))
    assert colours(bitmaps, tmp_path / "cache") == before | {"0.bmp": before["7.bmp"]}


def test_what_is_believed_is_not_read_and_a_moved_folder_is(tmp_path, bitmaps, monkeypatch):
    read = []
    real = planning._file_key
    monkeypatch.setattr(planning, "_file_key", lambda path: read.append(path) or real(path))
    with Store(tmp_path / "cache") as store:
        for expected in (8, 0):
            read.clear()
            row_keys(store, open_dataset(bitmaps).paths)
            assert len(read) == expected
        bitmaps.rename(tmp_path / "moved")
        row_keys(store, open_dataset(tmp_path / "moved").paths)
        assert len(read) == 8


@pytest.mark.parametrize("kind", ["fuse.sshfs", "fuseblk", "vfat", "exfat", "cifs", "smb3", "9p", ""])
def test_where_the_file_system_keeps_no_identity_files_are_read_again(tmp_path, bitmaps, monkeypatch, caplog, kind):
    Mount = namedtuple("Mount", "mountpoint fstype")
    mounts = [Mount("/", "ext4"), Mount(str(bitmaps), kind)]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    monkeypatch.setattr(file_stamps, "_said", set())
    with caplog.at_level(logging.WARNING, "featcache"):
        before = colours(bitmaps, tmp_path / "cache")
        # As such a file system might have it: nothing tells the two apart.
        real = os.stat

        def alike(path, *more, **options):
            found = real(path, *more, **options)
            if not str(path).endswith(".bmp"):
                return found
            return os.stat_result([*found[:1], 1, *found[2:10]], {"st_mtime_ns": 10**18, "st_ctime_ns": 10**18})

        monkeypatch.setattr(os, "stat", alike)
        swap(bitmaps / "covid" / "0.bmp", bitmaps / "normal" / "7.bmp")
        after = colours(bitmaps, tmp_path / "cache")
    assert after == before | {"0.bmp": before["7.bmp"], "7.bmp": before["0.bmp"]}
    said = [record.message for record in caplog.records if "no inode and change time" in record.message]
    assert len(said) == 1
    assert str(bitmaps) in said[0]
    assert (kind or "unknown kind") in said[0]


def test_the_mount_that_counts_is_the_innermost_of_the_file_itself(tmp_path, monkeypatch):
    Mount = namedtuple("Mount", "mountpoint fstype")
    mounts = [
        Mount("/", "ext4"),
        Mount("/data", "nfs4"),
        Mount("/data/x", "fuse.a"),
        Mount("/data/x", "xfs"),
        Mount("/data/xy", "vfat"),
    ]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    monkeypatch.setattr(os.path, "realpath", lambda path: path.replace("/link/", "/data/xy/"))
    kinds = {
        path: file_stamps.file_system(path)[1]
        for path in ("/a.png", "/data/a.png", "/data/x/a.png", "/data/xy/a.png", "/link/a.png")
    }
    assert kinds == {
        "/a.png": "ext4",
        "/data/a.png": "nfs4",
        "/data/x/a.png": "xfs",
        "/data/xy/a.png": "vfat",
        "/link/a.png": "vfat",
    }


def test_this_machine_tells_what_its_file_systems_are(tmp_path):
    mount, kind = file_stamps.file_system(str(tmp_path))
    assert kind
    assert str(tmp_path.resolve()).startswith(mount)


def test_a_file_must_have_settled_before_it_was_looked_at(tmp_path):
    """Hashing many files takes long: what counts is how old a file was before that."""
    path = tmp_path / "a.bmp"
    path.write_bytes(b"x")
    now = time.time_ns()
    os.utime(path, ns=(now - 3_000_000_000, now - 3_000_000_000))
    changed = os.stat(path).st_ctime_ns
    stamp = file_stamps.Stamper().stamp(str(path), os.stat(path))
    assert file_stamps.settled(stamp, changed + 60_000_000)
    assert not file_stamps.settled(stamp, changed + 1_000_000)  # within the clock's grain of its last change
    os.utime(path, ns=(now, now))
    assert not file_stamps.settled(file_stamps.Stamper().stamp(str(path), os.stat(path)), now + 1_000_000_000)
    assert not file_stamps.settled(file_stamps.UNKNOWN, now)


def test_age_makes_files_settle(images):
    path = next(images.rglob("*.png"))
    assert file_stamps.settled(file_stamps.Stamper().stamp(str(path), os.stat(path)), time.time_ns())
    age(images)
