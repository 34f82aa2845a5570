"""A search's journal: results of finished cells, kept as they finish, so that a search that was killed goes on.

After a first line that says what the file is, one line a cell: JSON behind the first digits of its own SHA-256. A line
that a kill tore, or that was damaged since, is known by that, and its cell is fitted again.
A cell is found by a digest of all that decides its result, so one file may serve many searches.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from featcache.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_HEADER = b"featcache journal 1\n"
_DIGITS = 16


class Journal:
    """An append-only file of results.

    Parameters
    ----------
    path : the file; made where it is not there.
    restart : forget what is in it.

    Raises
    ------
    UsageError
        The file is something else, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], restart: bool = False) -> None:
        self.path = Path(path).expanduser().absolute()
        self._cells: dict[str, dict[str, Any]] = {}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            data = self.path.read_bytes() if self.path.exists() else b""
            if not data.startswith(_HEADER) and not _HEADER.startswith(data):
                raise UsageError(f"{self.path} is no journal of a search, and is left as it is; name another file")
            sound = 0 if restart else self._read(data)
            self._file = self.path.open("r+b" if self.path.exists() else "w+b")
            self._lock()
            self._file.truncate(sound)  # a torn line must not run into the next
            self._file.seek(sound)
            if not sound:
                self._file.write(_HEADER)
        except OSError as error:
            raise UsageError(f"{self.path}: the journal cannot be kept ({error}); name another place") from error

    def _lock(self) -> None:
        """One search at a time: two would write over one another. The lock goes when the file is closed, or killed."""
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UsageError(
                f"{self.path}: another search is keeping its journal here; wait for it, or name another place"
            ) from None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._cells)

    def get(self, key: str) -> dict[str, Any] | None:
        """A finished cell's result, or None."""
        return self._cells.get(key)

    def add(self, key: str, result: dict[str, Any]) -> None:
        """Keep a result; when this returns, no kill loses it."""
        text = json.dumps({"key": key, **result}).encode()
        self._file.write(hashlib.sha256(text).hexdigest()[:_DIGITS].encode() + b" " + text + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._cells[key] = result

    def _read(self, data: bytes) -> int:
        """Take in the sound lines; returns where the last whole line ends."""
        end = data.rfind(b"\n") + 1
        if not data.startswith(_HEADER):
            return 0
        for line in data[len(_HEADER) : end].splitlines():
            text = line[_DIGITS + 1 :]
            if hashlib.sha256(text).hexdigest()[:_DIGITS].encode() == line[:_DIGITS]:
                entry = json.loads(text)
                self._cells[entry.pop("key")] = entry
        return end
