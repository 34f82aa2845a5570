"""Write a file so that it is either there whole or not there at all.

The bytes go to a temporary name in the same folder, are flushed to the device, read back and
compared, and only then renamed. A kill, a full disk or a failing device leaves at most a temporary
file, which :func:`is_leftover` recognises.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import StoreError

PREFIX = ".tmp-"  # of what a writer has not finished
ELSEWHERE = "Choose another place with --cache."
_BLOCK = 1 << 22


def is_leftover(name: str) -> bool:
    """Whether a file of this name is the temporary file of a writer, live or dead."""
    return name.startswith(PREFIX)


def sha256_file(path: Path | str, from_device: bool = False) -> str:
    """SHA-256 of a file's bytes, in hex; ``from_device`` asks for them to be read there, not in memory."""
    with open(path, "rb") as file:
        if from_device:
            _forget_cached_pages(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, data: bytes | memoryview, digest: str | None = None) -> None:
    """Write ``data``, whose SHA-256 the caller may know, to ``path`` durably, replacing what stood there.

    Raises :class:`StoreError` where the disk is full, refuses, or gives back other bytes.
    """
    # One bounded slice at a time: Linux writes at most 2 GiB in a call.
    view = memoryview(data)
    write_blocks(path, (view[start : start + _BLOCK] for start in range(0, len(view), _BLOCK)), digest)


def write_blocks(
    path: Path, blocks: Iterable[bytes | memoryview], digest: str | None = None, elsewhere: str = ELSEWHERE
) -> str:
    """Write what need not fit in memory, as :func:`write_bytes` does; returns its SHA-256, hex.

    ``elsewhere`` is how a user chooses another place, for the message.
    """
    given = None if digest else hashlib.sha256()
    with writing(path, elsewhere) as file:
        for block in blocks:
            if given is not None:
                given.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        _forget_cached_pages(file.fileno())
        wanted = digest or (given.hexdigest() if given else "")
        written = sha256_file(file.name)
        if written != wanted:
            raise StoreError(
                f"{path.parent}: the disk gave back other bytes than were written (SHA-256 {written[:12]}…, "
                f"expected {wanted[:12]}…). Nothing was committed; check the device before going on."
            )
    return wanted


@contextlib.contextmanager
def writing(path: Path, elsewhere: str = ELSEWHERE) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` for writing; at the end of the block it becomes ``path``.

    An error in the block removes the temporary file and leaves ``path`` as it was; an ``OSError``
    becomes a :class:`StoreError`.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f"{PREFIX}{os.getpid()}-{uuid.uuid4().hex}"
        with open(temporary, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(_explain(path, error, elsewhere)) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut (POSIX keeps names in the folder itself)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _forget_cached_pages(descriptor: int) -> None:
    """Ask for the re-read to come from the device, not from memory; a hint where it is supported."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _explain(path: Path, error: OSError, elsewhere: str) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"{path.parent}: no room left to write ({error.strerror}). What was committed before is intact. "
            f"Free some space and run the same command again. {elsewhere}"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path.parent}: not writable ({error.strerror}). {elsewhere}"
    return f"{path}: could not be written ({error.strerror or error})."
