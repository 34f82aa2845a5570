"""The store against a dict: whatever is committed is there, whatever happens in between."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from shards import EXTENDED, SPEC, flip, key, rows
from surroundings import GOLDEN

from featcache.errors import StoreError, UsageError
from featcache.store import maintenance, shard
from featcache.store.shard import Rows, Shard
from featcache.store.store import Store


class StoreMachine(RuleBasedStateMachine):
    """Random work on a store, with a dict as the truth."""

    shards = Bundle("shards")

    @initialize()
    def start(self):
        # Thousands of small commits, each waiting for the disk; what becomes of a disk is for test_faults to ask.
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.store = Store(self.folder)
        self.truth: dict[bytes, int] = {}

    def teardown(self):
        self.store.index.close()
        shutil.rmtree(self.folder)

    @rule(
        numbers=st.lists(st.integers(0, 60), min_size=1, max_size=6, unique=True),
        compression=st.sampled_from(["none", "gzip", "zstd"]),
    )
    def commit(self, numbers, compression):
        self.store.commit(SPEC, rows(*numbers), compression)
        self.truth |= {key(n): n for n in numbers}

    @rule()
    def reopen(self):
        self.store.index.close()
        self.store = Store(self.folder)

    @rule()
    def lose_the_index(self):
        self.store.index.close()
        (self.folder / "index.sqlite").unlink(missing_ok=True)
        self.store = Store(self.folder)

    @rule(junk=st.binary(min_size=1, max_size=200))
    def damage_the_index(self, junk):
        self.store.index.close()
        (self.folder / "index.sqlite").write_bytes(junk)
        self.store = Store(self.folder)

    @rule()
    def another_writer(self):
        with Store(self.folder) as other:
            other.commit(SPEC, rows(61, 62))
        self.truth |= {key(61): 61, key(62): 62}

    @rule()
    def compact(self):
        maintenance.compact(self.store)

    @rule(which=st.integers(0, 100), where=st.integers(0, 1 << 20), bit=st.integers(0, 7))
    def flip_and_repair(self, which, where, bit):
        names = self.store.feature_sets()
        if not names:
            return
        shards = sorted(self.store.on_disk(names[0]))
        if not shards:
            return
        name = shards[which % len(shards)]
        before = self.store.rows(names[0])
        flip(self.store.features / names[0] / name, where, bit)
        found = maintenance.verify(self.store)
        assert [damage.shard for damage in found.damaged] == [name]
        maintenance.repair(self.store)
        assert not maintenance.verify(self.store).damaged
        left = self.store.rows(names[0])
        lost = {k for k in before if k not in left}
        # Nothing is lost but what stood in the damaged shard and nowhere else.
        assert all(before[k][0] == name for k in lost)
        self.truth = {k: n for k, n in self.truth.items() if k not in lost}

    @rule()
    def remove(self):
        for name in self.store.feature_sets():
            self.store.remove(name)
        self.truth = {}

    @invariant()
    def holds_what_the_dict_holds(self):
        if not self.truth:
            return
        feature_set = self.store.find(SPEC)
        assert set(self.store.rows(feature_set)) == set(self.truth)
        keys = sorted(self.truth, reverse=True)
        wanted = np.concatenate([rows(self.truth[k]).arrays["map"] for k in keys])
        np.testing.assert_array_equal(self.store.read(feature_set, keys, "map"), wanted)


StoreMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
TestStoreMachine = StoreMachine.TestCase


def test_the_id_reads_as_designed():
    spec = replace(SPEC, weights="imagenet", size=224)
    assert spec.id == f"vgg16-imagenet-224-{spec.hex}"
    assert len(spec.hex) == 8


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("backbone", "vgg19"),
        ("layer", "block3_pool"),
        ("weights_digest", "11" * 32),
        ("size", 64),
        ("recipe", "decode-2"),
        ("preprocess", "rescale"),
        ("keep", "avg"),
        ("dtype", "float16"),
        ("precision", "float16"),
    ],
)
def test_all_that_decides_a_value_is_in_the_identity(field, value):
    assert replace(SPEC, **{field: value}).hex != SPEC.hex


def test_what_weights_are_called_is_not(tmp_path):
    with Store(tmp_path) as store:
        store.commit(SPEC, rows(1))
        assert store.find(replace(SPEC, weights="file")) == SPEC.id


def test_bfloat16_is_refused():
    with pytest.raises(UsageError, match="opaque"):
        replace(SPEC, dtype="bfloat16")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nothing_that_is_not_finite_is_committed(tmp_path, value):
    block = rows(1, 2)
    block.arrays["map"][1, 0, 0, 0] = value
    with Store(tmp_path) as store:
        with pytest.raises(StoreError, match="NaN or infinite"):
            store.commit(SPEC, block)
        assert store.feature_sets() == []


def test_float16_that_overflows_says_what_to_do(tmp_path):
    spec = replace(SPEC, dtype="float16")
    block = rows(1, spec=spec)
    block.arrays["map"][:] = np.inf
    with Store(tmp_path) as store, pytest.raises(StoreError, match="--dtype float32"):
        store.commit(spec, block)


def test_reading_in_any_order_and_more_than_once(tmp_path):
    with Store(tmp_path) as store:
        for start in range(0, 50, 10):
            store.commit(SPEC, rows(*range(start, start + 10)))
        wanted = [3, 49, 3, 20, 21, 22, 0]
        got = store.read(SPEC.id, [key(n) for n in wanted], "avg")
        np.testing.assert_array_equal(got[:, 0], wanted)
        with pytest.raises(StoreError, match="1 of 2 rows"):
            store.read(SPEC.id, [key(1), key(99)], "avg")


def test_a_shard_says_what_it_is(tmp_path):
    with Store(tmp_path) as store:
        name = store.commit(SPEC, rows(1, 2, 3))
    with h5py.File(tmp_path / "features" / SPEC.id / name) as file:
        assert file.attrs["format"] == "featcache-shard"
        assert json.loads(file.attrs["spec"])["backbone"] == "vgg16"
        assert json.loads(file.attrs["runtime"]) == {"name": "test"}
        assert file["keys"].shape == (3, 32)


def test_compact_merges_and_drops_repeats(tmp_path):
    with Store(tmp_path) as store:
        for start in range(0, 30, 3):
            store.commit(SPEC, rows(*range(start, start + 3)))
        store.commit(SPEC, rows(0, 1, 40))
        before = store.read(SPEC.id, [key(n) for n in range(30)], "map")
        done = maintenance.compact(store)
        assert done == {"shards_before": 11, "shards_after": 1, "rows_dropped": 2}
        np.testing.assert_array_equal(store.read(SPEC.id, [key(n) for n in range(30)], "map"), before)
        assert not maintenance.verify(store).damaged
        assert maintenance.compact(store)["rows_dropped"] == 0
        assert store.shards(SPEC.id)[next(iter(store.shards(SPEC.id)))][2] == pytest.approx(11.0)


def test_compact_never_gives_damaged_bytes_a_good_digest(tmp_path):
    with Store(tmp_path) as store:
        name = store.commit(SPEC, rows(1))
        store.commit(SPEC, rows(2))
        path = store.features / SPEC.id / name
        flip(path, path.stat().st_size - 3)
        with pytest.raises(StoreError, match="repair"):
            maintenance.compact(store)


def test_a_reader_survives_compaction_under_its_hands(tmp_path):
    with Store(tmp_path) as reader, Store(tmp_path) as other:
        for n in range(20):
            reader.commit(SPEC, rows(n))
        blocks = reader.blocks(SPEC.id, [key(n) for n in range(20)], "avg", rows=5)
        got = [next(blocks)]
        maintenance.compact(other)
        got += list(blocks)
        np.testing.assert_array_equal(np.concatenate(got)[:, 0], range(20))


def test_removing_what_is_not_there(tmp_path):
    with Store(tmp_path) as store:
        store.commit(SPEC, rows(1))
        with pytest.raises(StoreError, match=f"there are: {SPEC.id}"):
            store.remove("vgg17-imagenet")
        for escape in ("..", "../features", ""):
            with pytest.raises(StoreError):
                store.remove(escape)
        assert store.feature_sets() == [SPEC.id]


def test_the_spec_is_found_without_its_file(tmp_path):
    with Store(tmp_path) as store:
        name = store.commit(SPEC, rows(1))
        for text in (b"", b"{}", b"\xff", SPEC.to_json().replace("caffe", "torch").encode()):
            (store.features / SPEC.id / "spec.json").write_bytes(text)
            assert store.spec(SPEC.id) == SPEC
        store.discard(SPEC.id, name)
        with pytest.raises(StoreError, match="no readable spec"):
            store.spec(SPEC.id)


def test_repair_sweeps_what_a_killed_removal_left(tmp_path):
    with Store(tmp_path) as store:
        store.commit(SPEC, rows(1))
        (store.features / SPEC.id).rename(store.features / ".trash-1")
        assert store.feature_sets() == []
        maintenance.repair(store)
        assert list(store.features.iterdir()) == []


def test_a_read_only_cache_can_be_read(tmp_path, monkeypatch):
    with Store(tmp_path) as store:
        store.commit(SPEC, rows(1))
    # Root may write anywhere, so stand in for a read-only disk at the one call that would notice.
    real = sqlite3.connect
    monkeypatch.setattr(
        sqlite3,
        "connect",
        lambda path, **k: real(path if path == ":memory:" else f"file:{path}?mode=ro", uri=True, **k),
    )
    (tmp_path / "index.sqlite").unlink()
    with Store(tmp_path) as store:
        assert store.read(SPEC.id, [key(1)], "avg")[0, 0] == 1


def test_an_index_of_version_1_is_replaced_and_nothing_is_lost(tmp_path):
    """The layout of the first release: a row of the table for each row of a shard."""
    with Store(tmp_path) as store:
        name = store.commit(SPEC, rows(1, 2, 3))
        size = store.on_disk(SPEC.id)[name]
    path = tmp_path / "index.sqlite"
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(
            "CREATE TABLE files (path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, key BLOB) WITHOUT ROWID;"
            "CREATE TABLE memos (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"
            "CREATE TABLE shards (id INTEGER PRIMARY KEY, feature_set TEXT, name TEXT, bytes INTEGER, rows INTEGER,"
            " seconds REAL, UNIQUE (feature_set, name));"
            "CREATE TABLE rows (shard INTEGER, position INTEGER, key BLOB, PRIMARY KEY (shard, position)) "
            "WITHOUT ROWID;"
            "PRAGMA user_version=1;"
        )
        db.execute("INSERT INTO shards VALUES (1, ?, ?, ?, 3, 1.0)", (SPEC.id, name, size))
        db.executemany("INSERT INTO rows VALUES (1, ?, ?)", [(i, key(i + 1)) for i in range(3)])
        db.commit()
    with Store(tmp_path) as store:
        assert set(store.rows(SPEC.id)) == {key(1), key(2), key(3)}
        np.testing.assert_array_equal(store.read(SPEC.id, [key(3), key(1)], "avg")[:, 0], [3, 1])
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] > 1
        assert db.execute("SELECT name, rows FROM shards").fetchall() == [(name, 3)]


def test_opening_an_index_writes_nothing(tmp_path):
    with Store(tmp_path) as store:
        store.commit(SPEC, rows(1))
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as watcher:
        before = watcher.execute("PRAGMA data_version").fetchone()
        with Store(tmp_path) as store:
            assert len(store.rows(SPEC.id)) == 1
        assert watcher.execute("PRAGMA data_version").fetchone() == before


def test_a_row_that_stands_twice_is_listed_once(tmp_path):
    with Store(tmp_path) as store:
        store.commit(SPEC, rows(1, 2, 3))
        assert maintenance.ls(store)[0]["rows"] == 3
        store.commit(SPEC, rows(3, 4))
        assert (maintenance.ls(store)[0]["rows"], maintenance.ls(store)[0]["shards"]) == (4, 2)
        # Keys whose first bytes agree are still different rows.
        twins = rows(5, 5)
        twins.keys[1, 31] = 8
        store.commit(SPEC, twins)
        assert maintenance.ls(store)[0]["rows"] == 6


def test_shards_of_one_set_that_hold_rows_of_different_shapes(tmp_path):
    with Store(tmp_path) as store:
        store.commit(SPEC, rows(1))
        wide = np.ones((1, 2, 2, 8), np.float32)
        store.commit(SPEC, Rows(rows(2).keys, {"map": wide, "avg": wide.mean(axis=(1, 2))}, 1.0, {}))
        with pytest.raises(StoreError, match="cache verify"):
            store.read(SPEC.id, [key(1), key(2)], "map")


def test_golden_shard_of_version_1_is_read():
    """Written by the first release; never to be made anew."""
    path = GOLDEN / "shard-v1.h5"
    with Shard(path) as opened:
        assert opened.spec == SPEC
        assert opened.sound_rows().all()
        np.testing.assert_array_equal(opened.read("map"), rows(1, 2, 3).arrays["map"])
        np.testing.assert_array_equal(opened.keys(), rows(1, 2, 3).keys)
        assert opened.seconds == 1.0


def test_golden_shard_of_version_2_is_read():
    """With a class token, a framing and a scaling; never to be made anew."""
    with Shard(GOLDEN / "shard-v2.h5") as opened:
        assert opened.spec == EXTENDED
        assert opened.sound_rows().all()
        wanted = rows(1, 2, 3, spec=EXTENDED)
        assert set(wanted.arrays) == {"map", "avg", "cls"}
        for name, array in wanted.arrays.items():
            np.testing.assert_array_equal(opened.read(name), array)
    with h5py.File(GOLDEN / "shard-v2.h5") as file:
        assert file.attrs["version"] == 2
    with h5py.File(io.BytesIO(shard.encode(SPEC, rows(1, 2, 3)))) as file:
        assert file.attrs["version"] == 1  # what says nothing new is written as it always was


# -- files that were not written here --------------------------------------------------------------


def doctored(tmp_path: Path, change) -> Path:
    """A shard with something done to its HDF5."""
    path = tmp_path / "doctored.h5"
    path.write_bytes(shard.encode(SPEC, rows(1, 2, 3)))
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def _soft_link(file):
    del file["map"]
    file["map"] = h5py.SoftLink("/avg")


def _external_link(file):
    del file["map"]
    file["map"] = h5py.ExternalLink("/etc/passwd", "/map")


def _external_storage(file):
    del file["map"]
    file.create_dataset("map", (3, 2, 2, 4), "<f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def _virtual(file):
    del file["map"]
    layout = h5py.VirtualLayout((3, 2, 2, 4), "<f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "map", (3, 2, 2, 4))
    file.create_virtual_dataset("map", layout)


def _huge(file):
    for name, width in (("keys", 32), ("checksums", 16)):
        del file[name]
        file.create_dataset(name, (1 << 40, width), "u1", chunks=(1024, width))


def _other_filter(file):
    del file["map"]
    file.create_dataset("map", data=rows(1, 2, 3).arrays["map"], chunks=(1, 2, 2, 4), scaleoffset=2)


def _other_type(file):
    del file["map"]
    file.create_dataset("map", data=np.zeros((3, 2, 2, 4), "<f8"))


def _more(file):
    file.create_dataset("more", data=1)


def _fewer(file):
    del file["avg"]
    file.create_dataset("avg", data=np.zeros((2, 4), "<f4"))


def _not_a_shard(file):
    file.attrs["format"] = "something else"


def _newer(file):
    file.attrs["version"] = 99


@pytest.mark.parametrize(
    "change",
    [
        _soft_link,
        _external_link,
        _external_storage,
        _virtual,
        _huge,
        _other_filter,
        _other_type,
        _more,
        _fewer,
        _not_a_shard,
        _newer,
    ],
)
def test_hostile_files_are_refused(tmp_path, change):
    with pytest.raises(StoreError):
        Shard(doctored(tmp_path, change))
