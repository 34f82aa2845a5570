"""Kill it, fill its disk, flip its bits: nothing that was committed is ever lost or wrong."""

from __future__ import annotations

import ast
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import networks
import numpy as np
import pytest
import shards
from pictures import age, write_images
from surroundings import OFFLINE, ROOT

import featcache
from featcache.data.dataset import open_dataset
from featcache.extraction import pipeline
from featcache.extraction.planning import PlannedImage, row_keys
from featcache.store import maintenance
from featcache.store.shard import Shard
from featcache.store.store import Store

FAULTY = ROOT / "tests" / "support" / "faulty.py"


def command(*arguments: object) -> list[str]:
    """``python cli.py …``."""
    return [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]


@pytest.fixture(params=["pixels", "a network in a file"])
def network(request, tmp_path) -> dict[str, object]:
    """What is extracted."""
    if request.param == "pixels":
        return {"backbone": "pixels", "size": 16}
    return {"backbone": networks.write(tmp_path, networks.convolution()), **networks.SCALED}


def options(network: dict[str, object]) -> list[str]:
    """The same, as options of the command line."""
    return [part for name, value in network.items() for part in (f"--{name}", str(value))]


def extract(data: Path, cache: Path, network: dict[str, object] | None = None) -> featcache.ExtractResult:
    given = network or {"backbone": "pixels", "size": 16}
    return featcache.extract(data, cache=cache, commit_rows=8, batch_size=8, **given)


def assert_whole(data: Path, cache: Path, network: dict[str, object] | None = None) -> None:
    """The cache is sound and equals an uninterrupted one."""
    with Store(cache) as store:
        assert not maintenance.verify(store).damaged
    clean = cache.parent / f"{cache.name}-clean"
    name = extract(data, clean, network).feature_set
    got = featcache.load(name, data=data, cache=cache)
    wanted = featcache.load(name, data=data, cache=clean)
    assert got.keys == wanted.keys
    np.testing.assert_array_equal(got.X, wanted.X)


def test_every_module_that_changes_a_store_is_watched():
    """Steps are counted in files of these names: one that is renamed would be passed over, and nobody would see."""
    for node in ast.parse(FAULTY.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "WATCHED":
            watched = ast.literal_eval(node.value)
    modules = Counter(path.name for path in (ROOT / "featcache").rglob("*.py"))
    assert {name: modules[name] for name in watched} == dict.fromkeys(watched, 1)
    readers = {"__init__.py", "row_reader.py", "recovery.py"}
    assert {path.name for path in (ROOT / "featcache" / "store").glob("*.py")} - readers <= set(watched)


def test_killed_at_every_step_of_a_commit(tmp_path, network):
    write_images(tmp_path / "images", 16)
    age(tmp_path / "images")
    of = [] if network["backbone"] == "pixels" else [network["backbone"]]
    whole = subprocess.run(
        [sys.executable, FAULTY, tmp_path / "images", tmp_path / "c0", "0", *of],
        capture_output=True,
        text=True,
        check=True,
    )
    steps, computed = map(int, whole.stdout.split())
    assert computed == 16
    assert steps > 100
    # The whole of both commits, in strides that start elsewhere in every run.
    stride = steps // (24 if not of else 8)
    for step in range(1 + random.randrange(stride), steps, stride):
        cache = tmp_path / f"c{step}"
        killed = subprocess.run([sys.executable, FAULTY, tmp_path / "images", cache, str(step), *of], check=False)
        assert killed.returncode == -signal.SIGKILL, step
        with Store(cache) as store:
            assert not maintenance.verify(store).damaged, step
            done = sum(len(store.rows(name)) for name in store.feature_sets())
        assert done in (0, 8, 16), step
        again = extract(tmp_path / "images", cache, network)
        assert (again.computed, again.reused) == (16 - done, done), step
        shutil.rmtree(cache) if step % 5 else assert_whole(tmp_path / "images", cache, network)


@pytest.mark.slow
def test_killed_at_20_random_moments_and_resumed(tmp_path):
    data = tmp_path / "images"
    write_images(data, 600, size=200)
    age(data)
    cache = tmp_path / "cache"
    given = command(
        "extract", "--data", data, "--backbone", "pixels", "--size", "200", "--batch-size", "8", "--cache", cache, "-q"
    )
    before = 0
    for _ in range(20):
        process = subprocess.Popen(given, env={**os.environ, **OFFLINE}, stdout=subprocess.DEVNULL)
        time.sleep(random.uniform(0.3, 1.3))
        process.kill()
        process.wait()
        with Store(cache) as store:
            assert not maintenance.verify(store).damaged
            now = sum(len(store.rows(name)) for name in store.feature_sets())
        assert now >= before  # nothing committed is ever lost
        before = now
        if before == 600:
            shutil.rmtree(cache)
            before = 0
    subprocess.run(given, check=True)
    clean = featcache.extract(data, "pixels", size=200, cache=tmp_path / "clean")
    assert clean.computed == 600
    got, wanted = (featcache.load("pixels", data=data, cache=c) for c in (cache, tmp_path / "clean"))
    np.testing.assert_array_equal(got.X, wanted.X)


def test_a_kill_costs_at_most_one_commit(tmp_path):
    """Rows in flight, in both threads together, never exceed what the design promises."""
    data = tmp_path / "images"
    write_images(data, 700, size=8)
    committed = 0
    worst = 0

    class Slow:
        info = {"name": "slow"}  # noqa: RUF012
        batches = (8,)
        given = 0

        def __call__(self, images):
            nonlocal worst
            Slow.given += len(images)
            worst = max(worst, Slow.given - committed)
            return {"map": images}

    def commit(rows):
        nonlocal committed
        time.sleep(0.05)
        committed += len(rows)
        return "x"

    dataset = open_dataset(data)
    with Store(tmp_path / "cache") as store:
        keys, _ = row_keys(store, dataset.paths)
    jobs = [PlannedImage(p, k) for p, k in zip(dataset.paths, keys, strict=True)]
    pipeline.run(jobs, shards.pixels(8), Slow(), commit, batch_size=8)
    assert committed == 700
    assert worst <= 256


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_commits_what_is_done_and_exits_130(tmp_path, signal_number):
    data = tmp_path / "images"
    write_images(data, 1200)
    age(data)
    cache = tmp_path / "cache"
    process = subprocess.Popen(
        command("extract", "--data", data, "--backbone", "pixels", "--size", "400", "--cache", cache),
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(cache.glob("features/*/*.h5")):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal_number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert "Traceback" not in err
    with Store(cache) as store:
        assert not maintenance.verify(store).damaged
        assert 0 < len(store.rows(store.feature_sets()[0])) < 1200
    assert not list(cache.glob("features/*/.tmp-*"))


def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path, images, network):
    cache = tmp_path / "cache"
    assert extract(images, cache, network).computed == 24
    fresh = network | ({"size": 64} if network["backbone"] == "pixels" else {"order": "bgr"})  # a network to be kept
    others = tmp_path / "others"
    write_images(others, 60, size=64, seed=9)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))

    done = subprocess.run(
        command("extract", "--data", others, *options(fresh), "--cache", cache, "--json"),
        preexec_fn=limited,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert "no room" in done.stderr
    assert '"exit_code": 5' in done.stdout
    with Store(cache) as store:
        verification = maintenance.verify(store)
        assert not verification.damaged
        assert not verification.leftovers
    assert extract(images, cache, network).reused == 24


def test_a_full_disk_while_exporting_leaves_no_file(tmp_path, images):
    extract(images, tmp_path / "cache")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))

    done = subprocess.run(
        command(
            "cache",
            "export",
            tmp_path / "out.h5",
            "--backbone",
            "pixels",
            "--data",
            images,
            "--cache",
            tmp_path / "cache",
        ),
        preexec_fn=limited,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert list(tmp_path.glob("*out.h5*")) == []
    assert list(tmp_path.glob(".tmp-*")) == []


def test_one_flipped_byte_anywhere(tmp_path, images):
    cache = tmp_path / "cache"
    result = extract(images, cache)
    folder = cache / "features" / result.feature_set
    shards = sorted(folder.glob("*.h5"))
    assert len(shards) == 3
    wanted = featcache.load("pixels", data=images, cache=cache).X
    size = shards[0].stat().st_size
    rng = random.Random(0)
    # The superblock and each part of the file, and random places.
    for position in [0, 9, 96, *(rng.randrange(size) for _ in range(12)), size - 1]:
        victim = sorted(folder.glob("*.h5"))[0]
        with Store(cache) as store:
            held = store.shards(result.feature_set)[victim.name][1]
        data = bytearray(victim.read_bytes())
        data[position % len(data)] ^= 0x10
        victim.write_bytes(data)
        with Store(cache) as store:
            found = maintenance.verify(store)
            assert [damage.shard for damage in found.damaged] == [victim.name], position
            done = maintenance.repair(store)
            assert done["rows_kept"] + done["rows_lost"] == held
            left = len(store.rows(result.feature_set))
            assert left == 24 - done["rows_lost"]
            assert not maintenance.verify(store).damaged
        assert extract(images, cache).computed == 24 - left
        np.testing.assert_array_equal(featcache.load("pixels", data=images, cache=cache).X, wanted)


def test_a_flip_in_one_row_costs_one_row(tmp_path, images):
    cache = tmp_path / "cache"
    result = extract(images, cache)
    shard = sorted((cache / "features" / result.feature_set).glob("*.h5"))[0]
    data = bytearray(shard.read_bytes())
    with Shard(shard) as opened:
        row = opened.read("map")[3].tobytes()
    data[data.index(row) + 100] ^= 1
    shard.write_bytes(data)
    with Store(cache) as store:
        done = maintenance.repair(store)
    assert (done["rows_kept"], done["rows_lost"]) == (7, 1)
    assert extract(images, cache).computed == 1


def test_a_truncated_shard_is_noticed_without_verify(tmp_path, images, cli):
    cache = tmp_path / "cache"
    result = extract(images, cache)
    shard = sorted((cache / "features" / result.feature_set).glob("*.h5"))[0]
    shard.write_bytes(shard.read_bytes()[:3000])
    done = cli("extract", "--data", images, "--backbone", "pixels", "--size", 16)
    assert done.code == 5
    assert "cache verify" in done.err
    assert "Traceback" not in done.err
    assert cli("cache", "verify").code == 5
    assert cli("cache", "repair").code == 0
    assert cli("extract", "--data", images, "--backbone", "pixels", "--size", 16, "--json").json["computed"] == 8


def test_two_extracts_at_once(tmp_path, network):
    data = tmp_path / "images"
    write_images(data, 300, size=64)
    given = command(
        "extract", "--data", data, *options(network), "--cache", tmp_path / "cache", "--batch-size", "8", "-q"
    )
    both = [subprocess.Popen(given, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert not err
    with Store(tmp_path / "cache") as store:
        (name,) = store.feature_sets()
        assert len(featcache.load(name, data=data, cache=tmp_path / "cache")) == 300
        assert not maintenance.verify(store).damaged
        maintenance.compact(store)
        assert len(store.rows(store.feature_sets()[0])) == 300
        assert sum(rows for _, rows, _ in store.shards(store.feature_sets()[0]).values()) == 300
