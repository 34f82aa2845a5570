"""Paths as people write them, with ``~`` for a home folder."""

from __future__ import annotations

import os
from pathlib import Path

from featcache.errors import UsageError


def expanded(place: str | os.PathLike[str]) -> Path:
    """The path, a leading ``~`` or ``~user`` replaced; :class:`UsageError` where there is no such home."""
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{str(place)[:200]}: there is no such user's home folder; expected a path, written out"
        ) from error
