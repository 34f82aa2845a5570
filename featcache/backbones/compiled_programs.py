"""Programs that XLA compiled for this user on this machine, so that the next process need not compile them again.

TensorFlow keeps programs in a folder, and runs what it finds there, damaged or not. So each process gets a folder of
its own with those that were proven by their digest, and what it adds is put beside them, with a digest, when it ends.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib.metadata
import logging
import os
import platform
import re
import shutil
import tempfile
import time
from pathlib import Path

import psutil

from ..system.atomic_files import sha256_file
from ..system.private_folder import private_folder

_log = logging.getLogger(__name__)
_LIMIT = 128 << 20  # bytes; a program takes one to two million, and proving them all a tenth of a second
_FLAGS, _FOLDER = "TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory="
_NAME = re.compile(r"([0-9a-f]{64})-(xla_compile_cache__\w+\.pb)")
_RUN = re.compile(r"run-(\d+)-\w+")
_ABANDONED = 7 * 24 * 3600  # seconds after which a folder of another machine's process is nobody's


def keep_programs() -> None:
    """Have TensorFlow take what was compiled before, and keep what it compiles; to be called before it compiles.

    Where the environment says already where TensorFlow keeps its programs, that stands.
    """
    flags = os.environ.get(_FLAGS, "").split()
    given = next((flag for flag in flags if flag.startswith(_FOLDER)), None)
    if given is not None and not _RUN.fullmatch(Path(given.removeprefix(_FOLDER)).name):
        return  # the user's own; that of a process which started this one is not this one's
    base = private_folder()
    if base is None:
        return
    try:
        folder = base / _machine()
        folder.mkdir(mode=0o700, exist_ok=True)
        _clear(folder)
        run = Path(tempfile.mkdtemp(prefix=f"run-{os.getpid()}-", dir=folder))
        known = _offer(folder, run)
    except OSError as error:
        _log.debug("compiled programs are not kept: %s", error)
        return
    # Code for a graphics card is its driver's to keep.
    mine = [f"{_FOLDER}{run}", "--tf_xla_persistent_cache_device_types=CPU"]
    os.environ[_FLAGS] = " ".join([*(flag for flag in flags if flag not in (given, mine[1])), *mine])
    atexit.register(_collect, folder, run, known)


def _machine() -> str:
    """What the code was made for: TensorFlow and the processor, to the last of its instructions."""
    processor = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        processor = "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    parts = [importlib.metadata.version("tensorflow"), platform.platform(), platform.machine(), processor]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _clear(folder: Path) -> None:
    """Remove what processes left that were killed, and the oldest programs beyond the limit."""
    for run in folder.glob("run-*"):
        match = _RUN.fullmatch(run.name)
        with contextlib.suppress(OSError):
            old = time.time() - run.stat().st_mtime
            if match and (old > _ABANDONED or (old > 1 and not psutil.pid_exists(int(match[1])))):
                shutil.rmtree(run, ignore_errors=True)
    kept = sorted(_programs(folder), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in kept:
        total += path.stat().st_size
        if total > _LIMIT:
            path.unlink(missing_ok=True)


def _programs(folder: Path) -> dict[Path, tuple[str, str]]:
    """Each program's digest, and what TensorFlow calls it."""
    found = ((path, _NAME.fullmatch(path.name)) for path in folder.iterdir())
    return {path: (match[1], match[2]) for path, match in found if match}


def _offer(folder: Path, run: Path) -> set[str]:
    """Put every program that is what its digest says into a process's folder; their names."""
    names = set()
    for path, (digest, name) in _programs(folder).items():
        with contextlib.suppress(OSError):  # removed by another process
            if sha256_file(path) != digest:
                path.unlink()
                continue
            try:
                (run / name).hardlink_to(path)  # TensorFlow replaces files, and writes into none
            except OSError:  # a file system without links
                shutil.copyfile(path, run / name)
            names.add(name)
    return names


def _collect(folder: Path, run: Path, known: set[str]) -> None:
    """Keep what a process has added, and remove its folder."""
    try:
        there = {name for _, name in _programs(folder).values()}
        for path in run.glob("*.pb"):
            if path.name in known | there:
                continue
            target = folder / f"{sha256_file(path)}-{path.name}"
            if _NAME.fullmatch(target.name):
                path.chmod(0o600)
                path.replace(target)
    except OSError as error:
        _log.debug("what was compiled is not kept: %s", error)
    shutil.rmtree(run, ignore_errors=True)
