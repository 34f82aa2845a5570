"""A search's journal: results of finished cells, kept as they finish, so that a search that was killed goes on.

After a first line that says what the file is, one line a cell: JSON behind the first digits of its own SHA-256. A line
that a kill tore, or that was damaged since, is known by that, and its cell is fitted again.
A cell is found by a digest of all that decides its result, so one file may serve many searches.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import Any

import msgspec

from featcache.errors import StoreError, UsageError
from featcache.system import schema
from featcache.system.user_paths import expanded

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_HEADER = b"featcache journal 1\n"
_DIGITS = 16
_Scores = float | dict[str, float]


class _Cell(msgspec.Struct, forbid_unknown_fields=True):
    """A line: what sklearn is told of a cell, NaN and infinities among the scores too."""

    key: str
    test_scores: _Scores
    n_test_samples: schema.Count
    fit_time: schema.Finite
    score_time: schema.Finite
    train_scores: _Scores | None = None


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
        self.path = expanded(path).absolute()
        self._cells: dict[str, dict[str, Any]] = {}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Made where it is not there, and never emptied by opening it.
            self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
            try:
                self._lock()  # before it is read: what another search adds in between would be cut off
                self._open(restart)
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise UsageError(f"{self.path}: the journal cannot be kept ({error}); name another place") from error

    def _open(self, restart: bool) -> None:
        """Take in what the file holds, and go to where the next line is to stand."""
        data = self._file.read()
        if not data.startswith(_HEADER) and not _HEADER.startswith(data):
            raise UsageError(f"{self.path} is no journal of a search, and is left as it is; name another file")
        sound = 0 if restart else self._read(data)
        self._file.truncate(sound)  # a torn line must not run into the next
        self._file.seek(sound)
        if not sound:
            self._file.write(_HEADER)
            self._file.flush()

    def _lock(self) -> None:
        """One search at a time: two would write over one another. The lock goes when the file is closed, or killed."""
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
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
                with contextlib.suppress(StoreError):  # somebody's own line: as if it were torn
                    entry = schema.read(text, _Cell, str(self.path), "Its cell is fitted again")
                    self._cells[entry.pop("key")] = entry
        return end
