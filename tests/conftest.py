"""What tests share: small datasets, the command line as a process, and the reference data where it is at hand."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from command_line import run_process, run_within
from pictures import age, write_images
from shortened import few_trees, undrawn
from surroundings import REFERENCE, ROOT

from featcache.data import synthetic

# Files that take longest, the longest first: begun last, one of them keeps one core busy while the other idles.
LONGEST = (
    "studies/test_study.py",
    "search/test_search_cv.py",
    "extraction/test_dask_workers.py",
    "auditing/test_audit.py",
    "experiments/test_grid.py",
    "backbones/test_random_weights.py",
    "store/test_faults.py",
    "backbones/test_registry.py",
    "backbones/test_networks.py",
    "test_doctests.py",
    "end_to_end/test_out_of_core.py",
    "data/test_hostile_sources.py",
    "experiments/test_fit_head.py",
    "benchmark/test_benchmark.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Hear Ctrl-C, and let the commands that tests start hear it: what a shell runs in the background is deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.option.loadscopereorder = False  # pytest-xdist would begin with the files of most tests
    if config.getoption("numprocesses", None):
        # Threads of OpenMP and OpenBLAS wait for one another by spinning, on cores that the other processes need.
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; within a file, and among the others, all stays in its order."""
    rank = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(scope="session", autouse=True)
def keras_home(tmp_path_factory) -> None:
    """Tests neither use nor fill the user's own cache of weights, keys, or compiled programs; these they share."""
    os.environ["KERAS_HOME"] = str(tmp_path_factory.mktemp("keras"))
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    os.environ["FEATCACHE_PROGRAMS"] = str(shared / "programs")
    os.environ["FEATCACHE_KEYS"] = str(shared / "keys")


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory) -> Iterator[None]:
    """What tests and the processes that they kill leave there goes when they end."""
    folder = tmp_path_factory.mktemp("tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def each_image_of_the_sample_drawn_once():
    """The built-in sample takes 4 s, and is what many tests begin with; tests/data/test_synthetic.py draws it anew."""
    draw, drawn = synthetic.draw, {}

    def draw_once(label: str, rng: np.random.Generator) -> np.ndarray:
        key = label, str(rng.bit_generator.state)
        if key not in drawn:
            drawn[key] = draw(label, rng)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "draw", draw_once)
        yield


@pytest.fixture(scope="module", autouse=True)
def memory_given_back():
    """A process that runs many modules keeps no module's networks and compiled programs."""
    yield
    compiled, keras = sys.modules.get("heads.training.xla_program"), sys.modules.get("keras")
    if compiled is not None:
        compiled.training_program.cache_clear()
    if keras is not None:
        keras.backend.clear_session(free_memory=False)
    gc.unfreeze()
    give_back()
    gc.freeze()  # what is left are imported modules: no later collection has to walk them, of which TensorFlow has most


@pytest.fixture(autouse=True)
def large_networks_given_back():
    """Networks are cycles of objects, which Python collects by their number and not by what they hold."""
    held = psutil.Process().memory_info().rss
    yield
    if psutil.Process().memory_info().rss > held + 150_000_000:
        give_back()


def give_back() -> None:
    """Return to the system what nothing refers to."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc alone gives back what is free in the middle
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture
def cli(tmp_path):
    """Run ``cli.py …`` in ``tmp_path``, within this process; returns what came out."""
    return functools.partial(run_within, tmp_path)


@pytest.fixture
def cli_process(tmp_path):
    """Run ``python cli.py …`` in ``tmp_path`` as a user would; returns what came out."""
    return functools.partial(run_process, tmp_path)


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder of 24 small images of two classes."""
    write_images(tmp_path / "images", 24)
    age(tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture(name="few_trees")
def audits_of_few_trees():
    """Audits take less time; for tests in which their verdicts prove nothing."""
    with few_trees():
        yield


@pytest.fixture(name="undrawn")
def figures_left_undrawn():
    """Figures take less time; for tests that do not look at them."""
    with undrawn():
        yield


@pytest.fixture(scope="session")
def reference() -> Path:
    """The reference data, or skip."""
    if not (REFERENCE / "data" / "xray4").is_dir():
        pytest.skip(f"no reference radiographs at {REFERENCE}")
    return REFERENCE
