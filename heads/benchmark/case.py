"""What every kind of benchmark shares: a case, which is contenders for one kind of work, and images for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featcache.data import filesystems
from featcache.data.dataset import find_images
from featcache.data.decoding import ImageError, decode
from featcache.data.synthetic import write_sample
from featcache.errors import DataError

from .timing import Contender

_log = logging.getLogger(__name__)


@dataclass
class Case:
    """Contenders for one kind of work, and how its numbers are to be read.

    Attributes
    ----------
    what : str
        The work, in a line.
    contenders : list of Contender
        Timed against each other.
    unit : str
        Of a contender's pace, such as ``images/s``; empty where seconds are what matters.
    not_run : list of dict
        ``name`` and ``reason`` of those that could not be set up.
    notes : list of str
        Numbers and words that stand beside the table.
    values : dict of str to object
        More values for the JSON.
    """

    what: str
    contenders: list[Contender]
    unit: str = ""
    not_run: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def leave_out(self, name: str, reason: str) -> None:
        """Say that a contender could not be set up."""
        self.not_run.append({"name": name, "reason": reason})


def timed(call: Callable[[], Any]) -> Callable[[], None]:
    """The call without its result, which is forgotten within the time."""

    def run() -> None:
        call()

    return run


def some_images(folder: Path, count: int, data: str | None) -> list[str]:
    """Paths of so many images: of ``data``, or of the built-in sample."""
    if data is None:
        write_sample(folder / "sample", train=-(-count // 4), test=1)
        data = str(folder / "sample" / "train")
    paths = find_images(data)
    if len(paths) < count:
        _log.warning("%s has %d images; taking all", filesystems.locate(data), len(paths))
    return paths[:count]


def decoded(paths: list[str], size: int) -> np.ndarray:
    """Their pixels, uint8 array of shape (n, size, size, 3)."""
    try:
        return np.stack([decode(filesystems.read(path), size) for path in paths])
    except ImageError as error:
        raise DataError(f"these images cannot all be decoded: {error}; name others with --data") from error
