"""How much memory this process holds, and may still take; and a limit to it that every verb obeys."""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

import psutil

from ..errors import UsageError

_CGROUPS = (  # limit, used, and what of it the kernel gives back when asked: version 2, then version 1
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)

_M_MMAP_THRESHOLD = -3  # malloc.h
_limit: int | None = None  # of the process, and so no thread's own


@contextlib.contextmanager
def memory_limit(size: int | str | None) -> Iterator[None]:
    """Hold this process and its children to so much memory, all told, at their peak.

    Features then stay in the store where they would take too much of it, and what needs more says so before it begins.

    Parameters
    ----------
    size : int, str or None
        Bytes, or a text such as ``2GB``; None leaves what is in force.

    Yields
    ------
    None
        The limit is in force within the ``with``.

    Raises
    ------
    UsageError
        A text that is no size.

    Examples
    --------
    >>> import featcache
    >>> with featcache.memory_limit("2GB"):
    ...     pass  # load, fit and search here
    >>> with featcache.memory_limit("much"):
    ...     pass
    Traceback (most recent call last):
    featcache.errors.UsageError: --memory 'much': expected a size, such as 500MB or 4GB
    """
    global _limit
    before = _limit
    if size is not None:
        _limit = size_in_bytes(size) if isinstance(size, str) else int(size)
        _give_back_at_once()
    try:
        yield
    finally:
        _limit = before


def _give_back_at_once() -> None:
    """Have glibc return large blocks when they are freed: left alone, it learns to keep them for itself."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def limit() -> int | None:
    """The limit in force, in bytes, or None."""
    return _limit


def size_in_bytes(text: str) -> int:
    """``500MB`` or ``4GB`` as bytes.

    Raises :class:`UsageError` for anything else.
    """
    size = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if size is None or float(size[1]) <= 0:
        raise UsageError(f"--memory {text!r}: expected a size, such as 500MB or 4GB")
    return int(float(size[1]) * 1000 ** " KMGT".index(size[2].upper() or " "))


def resident() -> int:
    """Bytes of memory that this process and its children hold."""
    me = psutil.Process()
    held = me.memory_info().rss
    for child in me.children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            held += child.memory_info().rss
    return int(held)


def available(cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that are free, or would be freed on demand.

    Of the machine, of the container, or of the limit, whichever allows least.
    """
    free = int(psutil.virtual_memory().available)
    if _limit is not None:
        free = min(free, max(0, _limit - resident()))
    for limit, used, reclaimable in _CGROUPS:
        try:
            most = (cgroups / limit).read_text().strip()
            if most == "max":
                break
            lines = (cgroups / used).with_name("memory.stat").read_text().splitlines()
            given_back = next((int(line.split()[1]) for line in lines if line.startswith(f"{reclaimable} ")), 0)
            return max(0, min(free, int(most) - int((cgroups / used).read_text()) + given_back))
        except (OSError, ValueError):
            continue
    return free
