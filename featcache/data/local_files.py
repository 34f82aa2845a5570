"""Files on a local disk, and what is none: pipes, devices and floods, which would be read for ever."""

from __future__ import annotations

import errno
import io
import os
import stat as modes

MOST_BYTES = 1_000_000_000  # of one file; 80 million pixels of three 16-bit channels are half of it


def open_file(path: str | os.PathLike[str]) -> io.BufferedReader:
    """A local file, for reading; never waits for another process, as opening a pipe would.

    Raises :class:`OSError` where it is not to be had, no file (a pipe, a device), or larger than :data:`MOST_BYTES`.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller's to close
    reason = unfit(os.fstat(file.fileno()))
    if reason:
        file.close()
        raise OSError(errno.EINVAL, reason)
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def unfit(status: os.stat_result) -> str:
    """Why a local file is not read, or nothing."""
    mode = status.st_mode
    if not modes.S_ISREG(mode):
        kinds = ((modes.S_ISFIFO, "named pipe"), (modes.S_ISSOCK, "socket"), (modes.S_ISDIR, "folder"))
        return f"it is a {next((name for test, name in kinds if test(mode)), 'device')}, not a file"
    return f"it has more than {MOST_BYTES / 1e9:g} GB" if status.st_size > MOST_BYTES else ""
