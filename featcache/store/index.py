"""A derived index in SQLite: file to row key, the row keys of each shard, what headers say, and small memos.

Nothing in it is precious. A missing, damaged or unwritable index costs a rebuild, never a feature.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..system import file_stamps

_log = logging.getLogger(__name__)
_VERSION = 5  # raise it with any change of the layout: an index of another version is made anew
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, stamp BLOB, key BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS memos (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS headers (
    key BLOB, mark BLOB, said TEXT, PRIMARY KEY (key, mark)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shards (
    id INTEGER PRIMARY KEY, feature_set TEXT, name TEXT, bytes INTEGER, rows INTEGER, seconds REAL, keys BLOB,
    note BLOB, UNIQUE (feature_set, name));
"""
# What an index of this version has, each column of each table: one that lacks some is damaged.
_PROBE = (
    "SELECT path, stamp, key FROM files",
    "SELECT name, value FROM memos",
    "SELECT key, mark, said FROM headers",
    "SELECT id, feature_set, name, bytes, rows, seconds, keys, note FROM shards",
)
# A row of "shards" that another program or a fault of the disk left unlike any that is written here counts as absent.
_SANE = """typeof(name) = 'text' AND typeof(bytes) = 'integer' AND typeof(rows) = 'integer' AND typeof(seconds) = 'real'
    AND typeof(keys) = 'blob' AND length(keys) = 32 * rows"""
# Paths are bytes: a name need not be UTF-8, and Python's str then holds surrogates, which SQLite's text does not take.
_TEXT = ("utf-8", "surrogatepass")
_KEY = 32  # bytes; the blob "keys" holds those of a shard's rows in their order


class Index:
    """The index of one cache folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self.lives = 0  # how often it had to begin anew
        self._db = self._open()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _open(self) -> sqlite3.Connection:
        for _ in range(2):
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                return self._connect(str(self._path))
            except sqlite3.OperationalError as error:  # not to be opened, locked, no room
                _log.warning("%s: index not usable (%s); going on without keeping one", self._path, error)
                break
            except OSError:
                break
            except sqlite3.DatabaseError as error:
                _log.warning("%s: index of another release, or damaged (%s); rebuilding it", self._path, error)
                self._unlink()
        return self._connect(":memory:")

    def _unlink(self) -> None:
        for suffix in ("", "-journal"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self._path}{suffix}")

    def _recover(self, error: sqlite3.Error) -> None:
        """After a failed statement: a damaged index begins anew, an unusable one goes on in memory."""
        self.lives += 1
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        if type(error) not in (sqlite3.OperationalError, sqlite3.DatabaseError):
            raise error  # a mistake in the statement, not in the file
        if isinstance(error, sqlite3.OperationalError):
            _log.warning("%s: index not usable (%s); going on without keeping one", self._path, error)
            self._db = self._connect(":memory:")
        else:
            _log.warning("%s: index damaged (%s); rebuilding it", self._path, error)
            self._unlink()
            self._db = self._open()

    @staticmethod
    def _connect(path: str) -> sqlite3.Connection:
        # The committing thread writes while the main one may read; the lock in Index keeps them apart.
        db = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"it has layout {version}, this release keeps {_VERSION}")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA trusted_schema=OFF")
            if version != _VERSION:  # a write waits for the disk: readers do without one
                db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT")
            for probe in _PROBE:
                _require_columns(db, probe)
        except BaseException:
            db.close()
            raise
        return db

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; where it is lost, with the database or without, raises :class:`_Retry`."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                self._recover(error)
                raise _Retry from error

    def _select(self, statement: str, values: tuple[object, ...]) -> list[tuple]:
        with self._lock:
            try:
                return self._db.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                self._recover(error)
                return []

    # -- files ---------------------------------------------------------------------------------

    def known_keys(self, paths: Sequence[str], stamps: Sequence[bytes]) -> list[bytes | None]:
        """The key of each file that is remembered with this stamp (:mod:`featcache.system.file_stamps`), else None."""
        keys: list[bytes | None] = [None] * len(paths)
        if not paths:
            return keys
        place = {path: i for i, path in enumerate(paths)}
        # All paths lie in a few folders: one range scan beats a lookup each. Row by row, since of a million files
        # a table in memory would be most of what planning takes.
        root = os.path.commonprefix([min(paths), max(paths)])  # noqa: RUF071 - of URLs, too, and a range of strings
        first = root.encode(*_TEXT)
        with self._lock:
            try:
                for path, stamp, key in self._db.execute(
                    "SELECT path, stamp, key FROM files WHERE path >= ? AND path < ?", (first, first + b"\xff")
                ):
                    i = place.get(path.decode(*_TEXT))
                    if i is not None and stamp == stamps[i] and len(key) == _KEY:
                        keys[i] = key
            except sqlite3.Error as error:
                self._recover(error)
            except (TypeError, ValueError) as error:  # no path, or no key
                self._recover(sqlite3.DatabaseError(str(error)))
        if len(place) < len(paths):  # a path that is named twice
            for i, path in enumerate(paths):
                j = place[path]
                if keys[i] is None and stamps[i] == stamps[j]:
                    keys[i] = keys[j]
        return keys

    def remember_files(self, entries: Iterable[tuple[str, bytes, bytes]], looked: int) -> None:
        """Keep ``(path, stamp, key)`` of the files that had settled when they were looked at (``time.time_ns``)."""
        settled = [
            (path.encode(*_TEXT), stamp, key) for path, stamp, key in entries if file_stamps.settled(stamp, looked)
        ]
        if settled:
            with contextlib.suppress(_Retry), self._writing() as db:
                db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", settled)

    def forget_files(self, paths: Sequence[str]) -> None:
        """Have the keys of these files computed anew."""
        if paths:
            with contextlib.suppress(_Retry), self._writing() as db:
                db.executemany("DELETE FROM files WHERE path = ?", [(path.encode(*_TEXT),) for path in paths])

    # -- memos ---------------------------------------------------------------------------------

    def memo(self, name: str) -> str | None:
        """A remembered value."""
        rows = self._select("SELECT value FROM memos WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def remember(self, name: str, value: str) -> None:
        """Keep a small value."""
        with contextlib.suppress(_Retry), self._writing() as db:
            db.execute("INSERT OR REPLACE INTO memos VALUES (?, ?)", (name, value))

    # -- headers -------------------------------------------------------------------------------

    def headers(self, mark: bytes) -> dict[bytes, str]:
        """What was noted of files' headers under a mark, by row key."""
        rows = self._select(
            "SELECT key, said FROM headers WHERE mark = ? AND typeof(key) = 'blob' AND typeof(said) = 'text'", (mark,)
        )
        return dict(rows)

    def remember_headers(self, said: Mapping[bytes, str], mark: bytes) -> None:
        """Note what files' headers say, by row key; the mark tells by whose key of pseudonyms."""
        with contextlib.suppress(_Retry), self._writing() as db:
            db.executemany("INSERT OR REPLACE INTO headers VALUES (?, ?, ?)", ((k, mark, v) for k, v in said.items()))

    # -- shards and rows -----------------------------------------------------------------------

    def shards(self, feature_set: str) -> dict[str, tuple[int, int, float]]:
        """``name -> (bytes, rows, seconds)`` of the shards that are indexed."""
        rows = self._select(
            "SELECT name, bytes, rows, seconds FROM shards WHERE feature_set = ? AND " + _SANE, (feature_set,)
        )
        return {name: (size, count, seconds) for name, size, count, seconds in rows}

    def add_shard(
        self, feature_set: str, name: str, size: int, seconds: float, keys: np.ndarray, note: bytes = b""
    ) -> None:
        """Index a committed shard; ``keys`` is a uint8 array of shape (n, 32), ``note`` as in :meth:`note`."""
        for _ in range(2):
            with contextlib.suppress(_Retry):
                with self._writing() as db:
                    self._drop(db, feature_set, [name])
                    db.execute(
                        "INSERT INTO shards (feature_set, name, bytes, rows, seconds, keys, note) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?)",
                        (feature_set, name, size, len(keys), seconds, keys.tobytes(), note),
                    )
                return

    def drop_shards(self, feature_set: str, names: Iterable[str]) -> None:
        """Forget shards."""
        with contextlib.suppress(_Retry), self._writing() as db:
            self._drop(db, feature_set, names)

    @staticmethod
    def _drop(db: sqlite3.Connection, feature_set: str, names: Iterable[str]) -> None:
        db.executemany("DELETE FROM shards WHERE feature_set = ? AND name = ?", ((feature_set, n) for n in names))

    def note(self, feature_set: str, notes: Mapping[str, bytes]) -> None:
        """Keep what was found out of shards that are indexed, by name (:mod:`featcache.store.vouching`)."""
        if notes:
            with contextlib.suppress(_Retry), self._writing() as db:
                db.executemany(
                    "UPDATE shards SET note = ? WHERE feature_set = ? AND name = ?",
                    [(note, feature_set, name) for name, note in notes.items()],
                )

    def notes(self, feature_set: str) -> dict[str, tuple[bytes, bytes]]:
        """``name -> (note, keys)`` of the shards of which something was noted; their keys as one blob."""
        rows = self._select(
            f"SELECT name, note, keys FROM shards WHERE feature_set = ? AND {_SANE} AND typeof(note) = 'blob' "
            "AND length(note) > 0",
            (feature_set,),
        )
        return {name: (note, keys) for name, note, keys in rows}

    def rows(self, feature_set: str) -> dict[bytes, tuple[str, int]]:
        """``key -> (shard name, position)``; of a key in several shards, the first by name."""
        where: dict[bytes, tuple[str, int]] = {}
        for name, keys in self._select(
            f"SELECT name, keys FROM shards WHERE feature_set = ? AND {_SANE} ORDER BY name DESC", (feature_set,)
        ):
            split = [keys[start : start + _KEY] for start in range(0, len(keys), _KEY)]
            where.update(zip(split, zip(itertools.repeat(name), range(len(split)), strict=False), strict=True))
        return where

    def count(self, feature_set: str) -> int:
        """How many different rows there are; one that stands in several shards counts once."""
        blobs = self._select(f"SELECT keys FROM shards WHERE feature_set = ? AND {_SANE}", (feature_set,))
        words = np.frombuffer(b"".join(blob for (blob,) in blobs), np.uint64).reshape(-1, _KEY // 8)
        # Keys are SHA-256: where no row stands twice their first words differ already, and sorting those is quick.
        first = np.sort(words[:, 0])
        if (first[1:] != first[:-1]).all():
            return len(words)
        return len({row.tobytes() for row in words})


def _require_columns(db: sqlite3.Connection, probe: str) -> None:
    try:
        db.execute(f"{probe} LIMIT 0").close()
    except sqlite3.OperationalError as error:
        if str(error).startswith("no such "):  # table or column
            raise sqlite3.DatabaseError(str(error)) from error
        raise


class _Retry(Exception):  # noqa: N818
    """A transaction was lost; what it wrote may be written again."""
