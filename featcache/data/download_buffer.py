"""Files that came from afar and will be wanted once more, on disk until then."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import threading
from pathlib import Path


class DownloadBuffer:
    """Keeps bytes by name, each until it is taken; in a temporary folder of this process.

    Parameters
    ----------
    most : bytes that it holds; what goes beyond is not kept.
    """

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def keep(self, name: str, data: bytes) -> None:
        """Keep it, where there is room."""
        with self._lock:
            if name in self._sizes or self._held + len(data) > self._most:
                return
            self._folder = self._folder or tempfile.TemporaryDirectory(prefix="featcache-")
            self._sizes[name] = len(data)
            self._held += len(data)
        with contextlib.suppress(OSError):  # a full disk: take() finds it short, and it is fetched again
            self._place(name).write_bytes(data)

    def take(self, name: str) -> bytes | None:
        """What was kept, which is then no more; None where there is nothing."""
        with self._lock:
            size = self._sizes.pop(name, None)
            if size is None:
                return None
            self._held -= size
        place = self._place(name)
        try:
            data = place.read_bytes()
            place.unlink()
        except OSError:
            return None
        return data if len(data) == size else None

    def clear(self) -> None:
        """Delete what is kept, at once."""
        with self._lock:
            self._sizes.clear()
            self._held = 0
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def _place(self, name: str) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / hashlib.sha256(name.encode()).hexdigest()
