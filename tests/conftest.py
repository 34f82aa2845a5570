"""What tests share: small datasets, the command line as a process, and the reference data where it is at hand."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pictures import age, write_images
from surroundings import OFFLINE, REFERENCE, ROOT


def pytest_configure() -> None:
    """Hear Ctrl-C, and let the commands that tests start hear it: what a shell runs in the background is deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class Finished:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        return json.loads(self.out)


@pytest.fixture(scope="session", autouse=True)
def keras_home(tmp_path_factory) -> None:
    """Tests neither use nor fill the user's own cache of weights."""
    os.environ["KERAS_HOME"] = str(tmp_path_factory.mktemp("keras"))


@pytest.fixture(scope="module", autouse=True)
def memory_given_back():
    """A process that runs many modules keeps no module's networks and compiled programs."""
    yield
    compiled, keras = sys.modules.get("heads.training.xla_program"), sys.modules.get("keras")
    if compiled is not None:
        compiled.training_program.cache_clear()
    if keras is not None:
        keras.backend.clear_session()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc alone gives back what is free in the middle
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture
def cli(tmp_path):
    """Run ``python cli.py …`` in ``tmp_path`` as a user would; returns what came out."""

    def run(*arguments: object, env: dict[str, str] | None = None, timeout: float = 600) -> Finished:
        done = subprocess.run(
            [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)],
            capture_output=True, text=True, cwd=tmp_path, timeout=timeout, check=False,
            env={**os.environ, **OFFLINE, **(env or {})},
        )  # fmt: skip
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder of 24 small images of two classes."""
    write_images(tmp_path / "images", 24)
    age(tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture(scope="session")
def reference() -> Path:
    """The reference data, or skip."""
    if not (REFERENCE / "data" / "xray4").is_dir():
        pytest.skip(f"no reference radiographs at {REFERENCE}")
    return REFERENCE
