"""Errors that are not ours, as ours: one sentence and an exit code in place of a traceback."""

from __future__ import annotations

import errno
import os
import re
import sqlite3

from ..errors import DataError, FeatcacheError, StoreError, UsageError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_WRONG_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EINVAL, errno.ENOTEMPTY)
_NAMES = 64  # characters of a name that a sentence shows
_OUT_OF_MEMORY = ("ResourceExhaustedError", "OutOfMemoryError")  # TensorFlow's and its kin, by name: not imported here


def translated(error: BaseException) -> FeatcacheError | None:
    """The error of ours that says what a foreign one means to a user.

    Of an error of ours, itself; None where nothing can be said that is better than its own words, because it is no
    fault of what was asked for.
    """
    if isinstance(error, FeatcacheError):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ in _OUT_OF_MEMORY:
        reason = first_line(error) or "no more could be had"
        return UsageError(
            f"memory: more was needed than there is ({reason}); allow --memory less than the machine has free, or ask "
            "for less at a time: --pooling avg, a smaller --batch-size, fewer --units"
        )
    if isinstance(error, UnicodeError):
        return DataError(f"a name or a text is not UTF-8: {_shown(error)}; rename the file, or save the text as UTF-8")
    if isinstance(error, sqlite3.Error):
        return StoreError(f"the cache's index cannot be used ({error}); it may be removed, and is made anew")
    if isinstance(error, OSError):
        return _of_the_system(error)
    if isinstance(error, ValueError) and re.search("embedded null (byte|character)", str(error)):
        return UsageError("a name holds a NUL character, which no file name can; give one without it")
    if isinstance(error, ValueError) and str(error).startswith("Invalid IPv6 URL"):
        return DataError("a URL is torn: its [ has no ]; expected an address such as https://host/folder/data.csv")
    if type(error).__name__ == "InvalidParameterError":  # sklearn's
        return UsageError(first_line(error))
    if isinstance(error, ImportError) and error.name:
        return UsageError(
            f"{error.name} cannot be imported ({first_line(error)}); install it, or mend its installation"
        )
    return None


def _of_the_system(error: OSError) -> FeatcacheError:
    """What the operating system refused: the place that was named (2), or the disk itself (5)."""
    place = ", ".join(_short(name) for name in (error.filename, error.filename2) if name is not None)
    what = error.strerror or first_line(error) or type(error).__name__
    said = f"{place}: {what}" if place else what
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(f"{said}; the disk takes no name of such a length, choose a shorter one")
    if error.errno in _NO_ROOM:
        return StoreError(f"{said}; no room is left to write. Free some space, or choose another place")
    if error.errno in _REFUSED:
        return StoreError(
            f"{said}; this user may not, or the disk is read-only. Choose another place, or ask for leave"
        )
    if error.errno in _WRONG_PLACE:
        return UsageError(f"{said}; name a place that is there and of the right kind")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return StoreError(f"{said}; allow more open files (ulimit -n), and run the same command again")
    if isinstance(error, ConnectionError | TimeoutError):
        return DataError(f"{said}; what is elsewhere cannot be reached, look at the address and the network")
    return StoreError(f"{said}; reading or writing failed, look at the disk before going on")


def first_line(error: BaseException) -> str:
    """The first line of an error's own words."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def last_line(error: BaseException) -> str:
    """The last line of an error's own words, where OpenVINO says what it is about; else the error's kind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__


def _shown(error: UnicodeError) -> str:
    text = getattr(error, "object", None)
    if isinstance(text, str):  # the part around what cannot be written
        start = getattr(error, "start", 0)
        after = re.match(r"[^\n,;\"]*", text[start:])
        before = re.search(r"[^\n,;\"]*$", text[:start])
        return _short((before[0] if before else "") + (after[0] if after else ""))
    return first_line(error)


def _short(name: object) -> str:
    """A name as every terminal can show it, the middle of a long one left out."""
    text = os.fsdecode(name) if isinstance(name, bytes) else str(name)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _NAMES else f"{text[: _NAMES // 2]}…{text[-_NAMES // 2 :]}"
