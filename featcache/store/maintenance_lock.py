"""One at a time: whatever takes shards away from a cache holds this lock. Readers and writers need none.

The lock is the operating system's, on the open file ``cache/maintenance.lock``: it ends with the process that holds it,
however that dies. The file stays; what is written in it only says who holds the lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import StoreError

_PATIENCE = 10.0  # seconds of waiting for another one
_PAUSE = 0.05

if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # behind the text, which others read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def alone(cache: Path, what: str, patience: float = _PATIENCE) -> Iterator[None]:
    """Hold the lock of a cache folder.

    Parameters
    ----------
    cache : the folder.
    what : the command that wants it, for others to read.
    patience : how long to wait where another process holds it, seconds.

    Raises
    ------
    StoreError
        Another process holds it, or the folder's file system has no locks, or it cannot be written.
    """
    path = cache / "maintenance.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror}), so '{what}' can change nothing here"
        ) from error
    try:
        give_up = time.monotonic() + patience
        while not _taken(descriptor, path, what):
            if time.monotonic() > give_up:
                raise StoreError(
                    f"{cache}: {_holder(path)} is at work on this cache; '{what}' would get in its way. Run it again "
                    "when that has ended"
                )
            time.sleep(_PAUSE)
        with contextlib.suppress(OSError):  # a full disk: the lock is held all the same
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"'{what}' (process {os.getpid()} on {platform.node()})".encode())
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int, path: Path, what: str) -> bool:
    try:
        _take(descriptor)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise StoreError(
            f"{path}: this file system cannot lock files ({error.strerror}), and without a lock '{what}' beside "
            "another one could lose rows; run it on a copy of the cache on a local disk"
        ) from error
    return True


def _holder(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace") or "another command"
    except OSError:
        return "another command"
