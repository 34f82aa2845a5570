"""Maintenance takes nothing away that it has not proven and replaced, whoever else is at work and whatever is there."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from pictures import age, write_images
from shards import SPEC, flip, key, rows
from surroundings import ROOT

import featcache
from featcache.errors import StoreError
from featcache.store import compaction, maintenance, maintenance_lock, recovery, set_folder, shard
from featcache.store.shard import Rows, Shard
from featcache.store.store import Store
from featcache.system import atomic_files

FAULTY = ROOT / "tests" / "support" / "faulty.py"


@pytest.fixture
def extracted(tmp_path, images) -> Path:
    """The folder of a set of 24 rows in three shards, extracted from ``images`` into ``cache``."""
    result = featcache.extract(images, "pixels", size=16, cache=tmp_path / "cache", commit_rows=8, batch_size=8)
    return tmp_path / "cache" / "features" / result.feature_set


def damage_a_row(path: Path, row: int = 3) -> None:
    """Flip one bit of one row's map."""
    with Shard(path) as opened:
        start = opened.offset("map") + row * opened.read("map")[row].nbytes
    flip(path, start + 5)


def run(cache: Path, *arguments: str, before=None, **env: str) -> subprocess.CompletedProcess[str]:
    """A verb on the cache, with something done to the process first."""
    return subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "cache", *arguments, "--cache", str(cache)],
        capture_output=True,
        text=True,
        preexec_fn=before,
        env={**os.environ, **env},
        check=False,
    )


def heed_modes() -> None:
    """Have the mode of files hold for root, too."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)


# -- repair keeps what it has not replaced ---------------------------------------------------------


def test_what_may_not_be_read_is_no_damage(tmp_path, extracted):
    victim = sorted(extracted.glob("*.h5"))[0]
    victim.chmod(0)
    verified = run(tmp_path / "cache", "verify", "--json", before=heed_modes)
    assert verified.returncode == 5
    assert '"damaged": []' in verified.stdout
    assert "Permission denied" in verified.stdout
    repaired = run(tmp_path / "cache", "repair", before=heed_modes)
    assert victim.exists()
    assert repaired.returncode == 5, repaired.stdout
    assert "KEPT AS IT IS" in repaired.stdout
    assert victim.name in repaired.stdout
    victim.chmod(0o644)
    assert run(tmp_path / "cache", "verify").returncode == 0
    with Store(tmp_path / "cache") as store:
        assert len(store.rows(extracted.name)) == 24


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE], ids=errno.errorcode.get)
def test_a_device_that_fails_is_no_damage(tmp_path, extracted, monkeypatch, number):
    victim = sorted(extracted.glob("*.h5"))[1]
    real = atomic_files.sha256_file

    def failing(path, *more, **options):
        if Path(path) == victim:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *more, **options)

    monkeypatch.setattr(atomic_files, "sha256_file", failing)
    with Store(tmp_path / "cache") as store:
        verification = maintenance.verify(store)
        done = maintenance.repair(store)
        assert len(store.rows(extracted.name)) == 24
    assert victim.exists()
    assert (verification.damaged, [found.shard for found in verification.unreadable]) == ([], [victim.name])
    assert [found["shard"] for found in done["refused"]] == [victim.name]


def test_a_fault_of_the_moment_is_no_damage(tmp_path, extracted, monkeypatch):
    """A wrong digest counts only when it is found twice."""
    victim = sorted(extracted.glob("*.h5"))[1]
    real, asked = atomic_files.sha256_file, []

    def faltering(path, *more, **options):
        asked.append(path)
        return "0" * 64 if asked.count(victim) == 1 and Path(path) == victim else real(path, *more, **options)

    monkeypatch.setattr(atomic_files, "sha256_file", faltering)
    with Store(tmp_path / "cache") as store:
        assert not maintenance.verify(store).damaged
    assert asked.count(victim) == 2


def test_packed_by_a_filter_that_is_not_installed_is_no_damage(tmp_path):
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "hdf5plugin.py").write_text("raise ImportError('not installed')")
    cache = tmp_path / "cache"
    with Store(cache) as store:
        victim = store.features / SPEC.id / store.commit(SPEC, rows(*range(24)), "zstd")
    with Shard(victim) as opened:
        flip(victim, victim.read_bytes().index(opened.stored_checksums()[3].tobytes()))
    refused = run(cache, "repair", PYTHONPATH=str(tmp_path / "without"))
    assert victim.exists()
    assert refused.returncode == 5
    assert "hdf5plugin: not installed" in refused.stdout
    assert run(cache, "repair").returncode == 0
    with Store(cache) as store:
        assert set(store.rows(SPEC.id)) == {key(n) for n in range(24) if n != 3}
        with Shard(store.features / SPEC.id / next(iter(store.on_disk(SPEC.id)))) as opened:
            assert opened.compression == "zstd"


def test_a_full_disk_keeps_the_damaged_shard(tmp_path, extracted):
    victim = sorted(extracted.glob("*.h5"))[0]
    damage_a_row(victim)
    done = run(tmp_path / "cache", "repair", before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000)))
    assert victim.exists()
    assert done.returncode == 5, done.stdout + done.stderr
    assert "no room left" in done.stdout
    assert run(tmp_path / "cache", "repair", "--json").returncode == 0
    with Store(tmp_path / "cache") as store:
        assert len(store.rows(extracted.name)) == 23


def test_repair_needs_no_room_for_temporary_files(tmp_path, extracted):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", small], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        damage_a_row(sorted(extracted.glob("*.h5"))[0])
        done = run(tmp_path / "cache", "repair", TMPDIR=str(small))
    finally:
        subprocess.run(["umount", small], check=True)
    assert done.returncode == 0, done.stdout
    with Store(tmp_path / "cache") as store:
        assert len(store.rows(extracted.name)) == 23


def test_a_reader_that_is_killed_or_stalls_proves_nothing(tmp_path, extracted, monkeypatch):
    victim = sorted(extracted.glob("*.h5"))[0]
    damage_a_row(victim)
    with Store(tmp_path / "cache") as store:
        monkeypatch.setattr(recovery, "_TIMEOUT", 0.01)
        assert "given up" in maintenance.repair(store)["refused"][0]["reason"]
        assert victim.exists()
        monkeypatch.undo()
        real = subprocess.run

        def killed(*arguments, **options):
            done = real(*arguments, **options)
            done.returncode = -signal.SIGKILL
            return done

        monkeypatch.setattr(subprocess, "run", killed)
        assert "signal 9" in maintenance.repair(store)["refused"][0]["reason"]
        assert victim.exists()


@pytest.mark.parametrize("returncode", [None, -signal.SIGSEGV])
def test_what_holds_nothing_sound_is_set_aside(tmp_path, images, extracted, monkeypatch, cli, returncode):
    victim = sorted(extracted.glob("*.h5"))[0]
    damaged = b"\0" * 512 + victim.read_bytes()[512:]
    victim.write_bytes(damaged)
    if returncode:
        real = subprocess.run

        def crashing(*arguments, **options):
            done = real(*arguments, **options)
            done.returncode, done.stdout = returncode, b""
            return done

        monkeypatch.setattr(subprocess, "run", crashing)
        with Store(tmp_path / "cache") as store:
            done = maintenance.repair(store)
        monkeypatch.undo()
        assert (done["refused"], done["rows_lost"]) == ([], 8)
    else:
        done = cli("cache", "repair")
        assert done.code == 0
        assert "nothing in it can be saved" in done.out
    assert (extracted / ".damaged" / victim.name).read_bytes() == damaged
    assert cli("cache", "verify", "--json").json["set_aside"] == [str(extracted / ".damaged" / victim.name)]
    assert cli("extract", "--data", images, "--backbone", "pixels", "--size", 16, "--json").json["computed"] == 8
    assert cli("cache", "rm", extracted.name).code == 0
    assert not extracted.exists()


def test_a_flip_in_a_packed_row_costs_its_block_alone(tmp_path):
    values = np.random.default_rng(0).random((24, 32, 32, 100), np.float32)  # more than one block of the file
    with Store(tmp_path) as store:
        many = Rows(rows(*range(24)).keys, {"map": values, "avg": values.mean((1, 2))}, 1.0, {"name": "test"})
        name = store.commit(SPEC, many, "gzip")
        path = store.features / SPEC.id / name
        flip(path, path.stat().st_size // 2)
        done = maintenance.repair(store)
        assert done["rows_kept"] >= 18
        assert done["rows_kept"] + done["rows_lost"] == 24
        left = sorted(store.rows(SPEC.id))
        assert len(left) == done["rows_kept"]
        np.testing.assert_array_equal(store.read(SPEC.id, left, "map"), values[[k[0] for k in left]])


def test_rows_of_another_set_are_never_taken_in(tmp_path):
    """Checksums cover keys and values, not the spec: a damaged stray shard would pass by them."""
    other = replace(SPEC, size=64)
    content = bytearray(shard.encode(other, rows(1, 2, spec=other)))
    content[-3] ^= 1
    with Store(tmp_path) as store:
        store.commit(SPEC, rows(3))
        stray = store.features / SPEC.id / ("ab" * 32 + ".h5")
        stray.write_bytes(content)
        done = maintenance.repair(store)
        assert set(store.rows(SPEC.id)) == {key(3)}
    assert len(done["set_aside"]) == 1


def test_what_was_put_right_meanwhile_is_not_removed(tmp_path, extracted, monkeypatch):
    victim = sorted(extracted.glob("*.h5"))[0]
    good = victim.read_bytes()
    damage_a_row(victim)
    real = recovery.sound_rows

    def restored(*arguments):
        found = real(*arguments)
        victim.write_bytes(good)  # by hand, from a copy
        return found

    monkeypatch.setattr(recovery, "sound_rows", restored)
    with Store(tmp_path / "cache") as store:
        maintenance.repair(store)
        assert len(store.rows(extracted.name)) == 24
    assert victim.read_bytes() == good


# -- compaction, and whoever else is at work -------------------------------------------------------


def test_maintenance_is_done_by_one_at_a_time(tmp_path, cli, cli_process, monkeypatch):
    cache = tmp_path / "cache"
    with Store(cache) as store:
        for start in range(0, 30, 3):
            store.commit(SPEC, rows(*range(start, start + 3)))
        others = []
        real = store.commit

        def meanwhile(*arguments):
            with ThreadPoolExecutor(3) as pool:
                verbs = ["compact"], ["repair"], ["rm", SPEC.id]
                others.extend(pool.map(lambda verb: cli_process("cache", *verb), verbs))
            return real(*arguments)

        monkeypatch.setattr(store, "commit", meanwhile)
        done = maintenance.compact(store)
        assert done == {"shards_before": 10, "shards_after": 1, "rows_dropped": 0}
        assert len(store.rows(SPEC.id)) == 30
    assert [other.code for other in others] == [5, 5, 5]
    for other in others:
        assert "'cache compact' (process" in other.err
        assert "Traceback" not in other.err
    assert cli("cache", "compact").code == 0


def test_the_lock_ends_with_its_holder(tmp_path):
    hold = (
        "import sys, time; from pathlib import Path; from featcache.store.maintenance_lock import alone\n"
        f"with alone(Path({str(tmp_path)!r}), 'holding'): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StoreError, match=r"'holding' \(process \d+"), maintenance_lock.alone(tmp_path, "x", patience=0):
        pass
    holder.kill()
    holder.wait()
    with maintenance_lock.alone(tmp_path, "x", patience=0):
        pass


def test_a_shard_is_kept_where_its_rows_do_not_stand_elsewhere_any_more(tmp_path, monkeypatch):
    """Another release's compact, or a hand, takes the other copy of a row away in between."""
    monkeypatch.setattr(compaction, "_TARGET_ROWS", 4)
    with Store(tmp_path) as store:
        first = store.commit(SPEC, rows(*range(4), seconds=9.0))
        store.commit(SPEC, rows(0, 5))
        real = store.commit

        def meanwhile(*arguments):
            with contextlib.suppress(FileNotFoundError):
                (store.features / SPEC.id / first).unlink()
            return real(*arguments)

        monkeypatch.setattr(store, "commit", meanwhile)
        with pytest.raises(StoreError, match="vanished"):
            maintenance.compact(store)
        assert key(0) in store.rows(SPEC.id)
        monkeypatch.undo()
        maintenance.compact(store)
        assert set(store.rows(SPEC.id)) == {key(0), key(5)}


def test_compact_killed_at_every_step(tmp_path):
    start = tmp_path / "start"
    with Store(start) as store:
        for first in range(0, 24, 3):
            store.commit(SPEC, rows(*range(first, first + 3)))
        store.commit(SPEC, rows(0, 4, 30))
    wanted = {key(n) for n in (*range(24), 30)}
    whole = tmp_path / "whole"
    shutil.copytree(start, whole)
    counted = subprocess.run(
        [sys.executable, FAULTY, "-", whole, "0", "compact"], capture_output=True, text=True, check=True
    )
    steps = int(counted.stdout)
    assert steps > 200
    for step in range(1, steps, steps // 16):
        cache = tmp_path / f"c{step}"
        shutil.copytree(start, cache)
        killed = subprocess.run([sys.executable, FAULTY, "-", cache, str(step), "compact"], check=False)
        assert killed.returncode == -signal.SIGKILL, step
        with Store(cache) as store:
            assert not maintenance.verify(store).damaged, step
            assert set(store.rows(SPEC.id)) == wanted, step
            assert maintenance.compact(store)["shards_after"] == 1, step
            keys = sorted(wanted)
            np.testing.assert_array_equal(store.read(SPEC.id, keys, "avg")[:, 0], [k[0] for k in keys])
        shutil.rmtree(cache)


def test_a_listing_that_misses_both_the_old_and_the_new_is_not_believed(tmp_path, monkeypatch):
    with Store(tmp_path) as store:
        name = store.commit(SPEC, rows(1))
        listings = [set(), {name}, {name}]
        monkeypatch.setattr(set_folder, "_shards_in", lambda folder: listings.pop(0) if listings else {name})
        assert list(store.on_disk(SPEC.id)) == [name]


def test_rows_that_are_merged_while_the_index_is_brought_up_to_date_are_seen(tmp_path, monkeypatch):
    """Whatever the moment at which another process compacts."""
    with Store(tmp_path) as store, Store(tmp_path) as other:
        for n in range(6):
            store.commit(SPEC, rows(n))
        for moment in ("shards", "on_disk"):
            owner = store.index if moment == "shards" else store
            real, calls = getattr(owner, moment), []

            def between(feature_set, real=real, calls=calls):
                found = real(feature_set)
                if not calls:
                    calls.append(1)
                    maintenance.compact(other)
                return found

            monkeypatch.setattr(owner, moment, between)
            assert len(store.rows(SPEC.id)) == 6 + (moment == "on_disk"), moment
            monkeypatch.undo()
            other.commit(SPEC, rows(7))


def test_a_writer_goes_on_where_its_set_is_removed(tmp_path, monkeypatch):
    with Store(tmp_path) as writer, Store(tmp_path) as other:
        writer.commit(SPEC, rows(1))
        real = atomic_files._forget_cached_pages
        removals = []

        def meanwhile(descriptor):
            if not removals:
                removals.append(other.remove(SPEC.id))
            return real(descriptor)

        monkeypatch.setattr(atomic_files, "_forget_cached_pages", meanwhile)
        writer.commit(SPEC, rows(2))
        assert removals
        assert set(writer.rows(SPEC.id)) == {key(2)}
        assert writer.spec(SPEC.id) == SPEC


# -- what does not belong there --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["map", "avg", "keys", "checksums"])
@pytest.mark.parametrize("shape", [(), (3,)], ids=["scalar", "flat"])
def test_an_array_without_its_axes_is_refused(tmp_path, name, shape):
    path = tmp_path / "doctored.h5"
    path.write_bytes(shard.encode(SPEC, rows(1, 2, 3)))
    with h5py.File(path, "r+") as file:
        kind = file[name].dtype
        del file[name]
        file.create_dataset(name, data=np.zeros(shape, kind))
    with pytest.raises(StoreError):
        Shard(path)


@pytest.mark.parametrize(("name", "value"), [("runtime", "[1]"), ("seconds", np.inf), ("seconds", -1.0)])
def test_attributes_of_another_kind_are_refused(tmp_path, name, value):
    path = tmp_path / "doctored.h5"
    path.write_bytes(shard.encode(SPEC, rows(1, 2, 3)))
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value
    with pytest.raises(StoreError):
        Shard(path)


def test_a_set_behind_a_link_is_not_removed(tmp_path, extracted, cli):
    elsewhere = tmp_path / "big disk"
    extracted.rename(elsewhere)
    extracted.symlink_to(elsewhere)
    with Store(tmp_path / "cache") as store:
        store.commit(SPEC, rows(1))
    before = sorted(path.name for path in elsewhere.iterdir())
    done = cli("cache", "rm", SPEC.id, extracted.name)
    assert done.code == 5
    assert f"is a link to {elsewhere}" in done.err
    assert sorted(path.name for path in elsewhere.iterdir()) == before
    assert len(cli("cache", "ls", "--json").json["rows"]) == 2  # none was removed before it was known of both
    assert not list((tmp_path / "cache" / "features").glob(".trash-*"))


def test_what_is_no_set_is_named_and_left_alone(tmp_path, images, extracted, cli):
    features = tmp_path / "cache" / "features"
    (features / "holiday pictures").mkdir()
    (features / "holiday pictures" / "a.txt").write_text("mine")
    (features / "pixels-none-24-00000000").mkdir()  # a writer that was killed before it wrote anything
    (features / "note.txt").write_text("mine")
    (extracted / ("cd" * 32 + ".h5")).mkdir()
    listed = cli("cache", "ls")
    assert listed.code == 0, listed.err
    assert f"{extracted.name} " in listed.out
    assert "holiday pictures, note.txt, pixels-none-24-00000000" in listed.out
    for verb in ("verify", "repair", "compact"):
        assert cli("cache", verb).code == 0, verb
    assert cli("cache", "rm", "holiday pictures").code == 5
    assert (features / "holiday pictures" / "a.txt").exists()
    assert cli("extract", "--data", images, "--backbone", "pixels", "--size", 16, "--json").json["reused"] == 24


def test_a_set_that_cannot_be_listed_does_not_hide_the_others(tmp_path, extracted, cli):
    with Store(tmp_path / "cache") as store:
        name = store.commit(SPEC, rows(1, 2))
        path = store.features / SPEC.id / name
    path.write_bytes(path.read_bytes()[:900])
    listed = cli("cache", "ls", "--json")
    assert listed.code == 5
    assert [row["feature_set"] for row in listed.json["rows"]] == [extracted.name]
    assert list(listed.json["unlisted"]) == [SPEC.id]


# -- an index that says what is not so -------------------------------------------------------------


def test_an_index_with_wrong_places_is_not_believed(tmp_path):
    with Store(tmp_path) as store:
        names = [store.commit(SPEC, rows(n, n + 1)) for n in range(0, 6, 2)]
    for change in (
        "UPDATE shards SET keys = (SELECT keys FROM shards WHERE name = '{1}') WHERE name = '{0}'",
        "UPDATE shards SET keys = x'00ff'",
        "UPDATE shards SET rows = 'many'",
        "UPDATE shards SET bytes = NULL, seconds = 'long'",
        "UPDATE shards SET name = '../../../etc/passwd' WHERE name = '{0}'",
        "DELETE FROM shards",
        "DROP TABLE shards",
        "ALTER TABLE shards RENAME COLUMN keys TO other",
        "DROP TABLE files",
    ):
        with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as db:
            db.execute(change.format(*names))
            db.commit()
        with Store(tmp_path) as store:
            assert set(store.rows(SPEC.id)) <= {key(n) for n in range(6)}, change
            if (
                "SELECT" in change
            ):  # keys that are another shard's: those it hides are found again when the set is mended
                np.testing.assert_array_equal(store.read(SPEC.id, [key(3), key(2)], "avg")[:, 0], [3, 2])
                maintenance.repair(store)
            got = store.read(SPEC.id, [key(n) for n in range(6)], "avg")
            np.testing.assert_array_equal(got[:, 0], range(6), err_msg=change)
            assert maintenance.ls(store)[0]["rows"] == 6


@pytest.mark.parametrize("wrong", [b"\1" * 32, b"short", 7, None])
def test_a_wrong_key_in_the_index_gives_no_wrong_row(tmp_path, images, wrong):
    featcache.extract(images, "pixels", size=8, cache=tmp_path / "cache")
    with contextlib.closing(sqlite3.connect(tmp_path / "cache" / "index.sqlite")) as db:
        first = db.execute("SELECT path FROM files").fetchone()
        db.execute("UPDATE files SET key = ? WHERE path = ?", (wrong, *first))
        db.commit()
    for _ in range(2):  # the first may find that the key is not the file's; from then on it is known
        result = featcache.extract(images, "pixels", size=8, cache=tmp_path / "cache", skip_bad=True)
        assert result.computed == 0
    assert result.reused == 24


def test_a_name_that_is_not_utf8_is_a_name(tmp_path, cli):
    images = tmp_path / "images"
    write_images(images, 24)
    odd = os.fsencode(images) + b"/covid/caf\xe9.png"
    os.rename(images / "covid" / "0000.png", odd)
    age(images)
    for reused in (0, 24):
        done = cli("extract", "--data", images, "--backbone", "pixels", "--size", 8, "--json")
        assert done.code == 0, done.err
        assert done.json["reused"] == reused
    with contextlib.closing(sqlite3.connect(tmp_path / "cache" / "index.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM files").fetchone() == (24,)
    loaded = featcache.load("pixels", task="binary", data=images, cache=tmp_path / "cache")
    assert os.fsdecode(odd) in loaded.paths
    exported = cli("cache", "export", "out.h5", "--task", "binary", "--backbone", "pixels")
    assert exported.code == 0, exported.err
    with h5py.File(tmp_path / "out.h5") as file:
        assert os.fsencode(odd) in file["paths"][:]
        assert file["classes"].asstr()[:].tolist() == ["normal", "covid"]
    (images / "normal" / "0001.png").write_bytes(b"")
    os.rename(images / "normal" / "0001.png", os.fsencode(images) + b"/normal/\xff.png")
    bad = cli("extract", "--data", images, "--backbone", "pixels", "--size", 8, "--skip-bad")
    assert bad.code == 0, bad.err
    assert "1 skipped" in bad.out
