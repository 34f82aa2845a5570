"""Summaries of images, kept in the cache by row key: a second audit reads them, and no audit holds them all in memory.

``cache/summaries.sqlite`` is derived: what is damaged, of another version, or not what a summary may be counts as not
there, and is made anew. A summary takes some 25 KB.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from featcache.data.decoding import RECIPE
from featcache.errors import StoreError

from .fitness_measures import MEASURES
from .image_summary import CORNERS, LONG, PROPERTIES, SQUARE, ImageSummary

_log = logging.getLogger(__name__)
NAME = "summaries.sqlite"
_VERSION = 1  # raise it with any change of what a summary holds
_ABOUT = f"summaries {_VERSION} of {RECIPE}"
_BYTES = 26_000  # of one, on disk
_SPARE = 100_000_000  # bytes of a disk that are left to others
_BANDS = 32
_NUMBERS = len(PROPERTIES) + len(MEASURES)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (said TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS summaries (key BLOB PRIMARY KEY, seal BLOB, said BLOB);
"""


class KeptSummaries:
    """The summaries of one cache folder; a temporary file where that is not to be written.

    Raises
    ------
    StoreError
        There is no room on the disk, or no place for a temporary file.
    """

    def __init__(self, cache: Path) -> None:
        self._lock = threading.Lock()
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._path = cache / NAME
        self._db = self._open()

    def __enter__(self) -> KeptSummaries:
        return self

    def __exit__(self, *error: object) -> None:
        self._db.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __getitem__(self, key: bytes) -> ImageSummary:
        summary = self.get(key)
        if summary is None:
            raise StoreError(f"{self._path}: a summary that was written is gone, or damaged; audit again")
        return summary

    def __contains__(self, key: bytes) -> bool:
        try:
            with self._lock:
                return self._db.execute("SELECT 1 FROM summaries WHERE key = ?", (key,)).fetchone() is not None
        except sqlite3.Error:
            return False

    def get(self, key: bytes) -> ImageSummary | None:
        """The summary of the image of this row key; None where there is none that is sound."""
        try:
            with self._lock:
                row = self._db.execute("SELECT seal, said FROM summaries WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            _log.debug("%s: %s", self._path, error)
            return None
        if row is None or not isinstance(row[1], bytes) or row[0] != _seal(key, row[1]):
            return None
        return _decoded(row[1])

    def keep(self, summaries: Iterable[tuple[bytes, ImageSummary]]) -> None:
        """Keep summaries, each with its image's row key."""
        rows = [(key, _seal(key, said), said) for key, said in ((key, _encoded(summary)) for key, summary in summaries)]
        try:
            with self._lock, self._db:
                self._db.executemany("INSERT OR REPLACE INTO summaries VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            raise StoreError(
                f"{self._path}: summaries of images cannot be kept ({error}); free some room, or give --limit N"
            ) from error

    def require_room(self, count: int) -> None:
        """Raise :class:`StoreError` where the disk has no room for so many summaries more."""
        free, wanted = shutil.disk_usage(self._path.parent).free, count * _BYTES
        if wanted and wanted + _SPARE > free:
            raise StoreError(
                f"{self._path.parent}: {free / 1e9:.1f} GB are free, summaries of {count:,} images take "
                f"{wanted / 1e9:.1f} GB; free some, or give --limit N"
            )

    def _open(self) -> sqlite3.Connection:
        for _ in range(2):
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                return _connected(self._path)
            except (sqlite3.OperationalError, OSError) as error:
                _log.warning("%s: not usable (%s); summaries are kept for this audit alone", self._path, error)
                break
            except sqlite3.DatabaseError as error:
                _log.info("%s: of another version, or damaged (%s); made anew", self._path, error)
                for suffix in ("", "-journal"):
                    with contextlib.suppress(OSError):
                        Path(f"{self._path}{suffix}").unlink()
        self._temporary = tempfile.TemporaryDirectory(prefix="featcache-summaries-")
        self._path = Path(self._temporary.name) / NAME
        try:
            return _connected(self._path)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: summaries of images cannot be kept ({error})") from error


def _connected(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=60, isolation_level="IMMEDIATE", check_same_thread=False)
    try:
        db.execute("PRAGMA trusted_schema=OFF")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA page_size=16384")
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables == 0:
            db.executescript(_SCHEMA)
            with db:
                db.execute("INSERT OR IGNORE INTO about VALUES (?)", (_ABOUT,))
        elif db.execute("SELECT said FROM about").fetchall() != [(_ABOUT,)]:
            raise sqlite3.DatabaseError(f"it does not hold {_ABOUT}")
        db.execute("SELECT key, seal, said FROM summaries LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        db.close()
        if "no such" in str(error):  # another database than ours
            raise sqlite3.DatabaseError(str(error)) from error
        raise
    except BaseException:
        db.close()
        raise
    return db


def _seal(key: bytes, said: bytes) -> bytes:
    return hashlib.blake2b(key + said, digest_size=16).digest()


def _encoded(summary: ImageSummary) -> bytes:
    shape = np.array(summary.whole.shape, "<u2")
    numbers = np.concatenate([summary.properties, summary.measured]).astype("<f8")
    small = np.concatenate([summary.corners.ravel(), summary.histogram]).astype("<f4")
    return b"".join(part.tobytes() for part in (shape, numbers, small, summary.square, summary.whole))


def _decoded(said: bytes) -> ImageSummary | None:
    """The summary that these bytes hold; None where they hold none."""
    sizes = (4, 8 * _NUMBERS, 4 * (CORNERS[0] * CORNERS[1] + _BANDS), SQUARE * SQUARE)
    ends = np.cumsum(sizes)
    if len(said) < ends[-1]:
        return None
    height, width = np.frombuffer(said, "<u2", 2)
    numbers = np.frombuffer(said, "<f8", _NUMBERS, sizes[0])
    small = np.frombuffer(said, "<f4", sizes[2] // 4, int(ends[1]))
    if not (0 < height <= LONG and 0 < width <= LONG and len(said) == ends[-1] + int(height) * int(width)):
        return None
    if not (np.isfinite(numbers).all() and np.isfinite(small).all() and (numbers >= 0).all()):
        return None
    return ImageSummary(
        numbers[: len(PROPERTIES)],
        np.frombuffer(said, np.uint8, sizes[3], int(ends[2])).reshape(SQUARE, SQUARE),
        np.frombuffer(said, np.uint8, -1, int(ends[3])).reshape(height, width),
        small[:-_BANDS].reshape(CORNERS),
        small[-_BANDS:],
        numbers[len(PROPERTIES) :],
    )


class Summaries(Sequence[ImageSummary]):
    """Summaries of images in their order, each read when it is asked for.

    Parameters
    ----------
    kept : where they are.
    keys : row key of each image.
    """

    def __init__(self, kept: KeptSummaries, keys: Sequence[bytes]) -> None:
        self._kept, self._keys = kept, keys

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        if isinstance(place, slice):
            return Summaries(self._kept, self._keys[place])
        return self._kept[self._keys[place]]

    def take(self, places: Iterable[int]) -> Summaries:
        """Those of some images."""
        return Summaries(self._kept, [self._keys[place] for place in places])

    def __add__(self, other: Summaries) -> Summaries:
        """These, and then others of the same cache."""
        return Summaries(self._kept, [*self._keys, *other._keys])
