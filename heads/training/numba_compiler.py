"""Have numba compile, and keep what it compiled where this user's compiled programs are.

numba runs what it finds there, damaged or not. So a list of digests stands beside it, and what is not what the list
says is removed before anything is looked for. Nor does numba see that a function has changed which another one calls:
each state of the sources has a folder of its own.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from featcache.errors import StoreError
from featcache.system.atomic_files import sha256_file, write_bytes
from featcache.system.private_folder import private_folder

_log = logging.getLogger(__name__)
_UNUSED = 30 * 24 * 3600  # seconds after which a folder is removed
_LIST = "digests.txt"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def compiled(signature: str | None = None) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: the function compiled, at once where its signature is given, and taken from what was kept.

    It lets other threads run, and adds up in any order; NaN and infinity stay what they are.
    """
    folder = _folder()
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract", "reassoc"}, "error_model": "numpy"}
    options["cache"] = folder is not None

    def compile(function: Callable[..., Any]) -> Any:
        before = numba.config.CACHE_DIR
        try:
            # Read when a function is made known to numba, and then only.
            numba.config.CACHE_DIR = "" if folder is None else str(folder)
            ready = numba.njit(signature, **options)(function)
        finally:
            numba.config.CACHE_DIR = before
        if folder is not None and ready.stats.cache_misses:
            _write_down(folder)
        return ready

    return compile


@functools.cache
def _folder() -> Path | None:
    """Where what numba compiled is kept, rid of what is damaged; None where nothing is to be kept."""
    base = private_folder()
    if base is None:
        return None
    sources = sorted(Path(__file__).parent.glob("*.py"))
    state = hashlib.sha256("".join(sha256_file(path) for path in sources).encode()).hexdigest()
    folder = base / f"numba-{state[:16]}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        os.utime(folder)
        for other in base.glob("numba-*"):
            if time.time() - other.stat().st_mtime > _UNUSED:
                shutil.rmtree(other, ignore_errors=True)
        known = _digests(folder)
        for path, digest in _kept(folder).items():
            if known.get(path) != digest:
                (folder / path).unlink(missing_ok=True)
    except OSError as error:
        _log.debug("what numba compiles is not kept: %s", error)
        return None
    return folder


def _kept(folder: Path) -> dict[str, str]:
    """Digests of numba's files, by their places in the folder."""
    found = {}
    for path in sorted(folder.glob("*/*.nb[ic]")):
        with contextlib.suppress(OSError):  # replaced by another process
            found[path.relative_to(folder).as_posix()] = sha256_file(path)
    return found


def _digests(folder: Path) -> dict[str, str]:
    """What the list says."""
    try:
        lines = (folder / _LIST).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    return {match[2]: match[1] for line in lines if (match := _LINE.fullmatch(line))}


def _write_down(folder: Path) -> None:
    """Bring the list up to date, where numba has added to the folder."""
    try:
        kept = _kept(folder)
        if kept != _digests(folder):
            text = "".join(f"{digest}  {path}\n" for path, digest in kept.items())
            write_bytes(folder / _LIST, text.encode())
    except (OSError, StoreError) as error:
        _log.debug("what numba compiled will be compiled again: %s", error)
