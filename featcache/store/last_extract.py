"""What was extracted last: the default of other verbs, kept in ``last-extract.json``."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..errors import StoreError
from ..system import atomic_files, schema

_log = logging.getLogger(__name__)
_ADVICE = "Going on as if nothing had been extracted last; the next extract writes it anew"


class _Record(msgspec.Struct):
    """What the file holds at least."""

    data: str
    synthetic: bool
    feature_sets: dict[schema.Name, schema.FileName]
    group_regex: str | None = None
    images: schema.Place | None = None
    metadata: list[schema.Line] = []
    headers: bool = True
    skipped: list[str] = []


class LastExtract:
    """The record of one cache folder.

    Parameters
    ----------
    path : the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._said: set[str] = set()

    def write(self, record: Mapping[str, Any]) -> None:
        """Replace the record, durably."""
        atomic_files.write_bytes(self._path, json.dumps(dict(record), indent=1).encode())

    def read(self) -> dict[str, Any]:
        """The record; empty where there is none, or, with a warning, where it cannot be used."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            return self._nothing(f"{self._path}: cannot be read ({error.strerror}). {_ADVICE}")
        try:
            return dict(schema.read(text, _Record, str(self._path), _ADVICE))
        except StoreError as error:
            return self._nothing(str(error))

    def _nothing(self, why: str) -> dict[str, Any]:
        if why not in self._said:  # verbs ask several times
            _log.warning("%s", why)
            self._said.add(why)
        return {}
