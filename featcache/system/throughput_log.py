"""The throughput log: what each run took on this machine, phase by phase, so that the next one can be estimated.

One line of JSON a run in ``cache/ledger.jsonl``. Lines are only ever added, each with one write; a line that cannot be
read is passed over, and deleting the file loses nothing but the memory of times.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import platform
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..errors import StoreError
from . import schema

_log = logging.getLogger(__name__)
_RECENT = 10  # runs that count as "before"
_ENOUGH_SECONDS = 5.0  # a shorter run says little of a pace
_FALL = 0.7  # of the usual pace; below it something is in the way


class _Entry(msgspec.Struct):
    """What a line holds at least."""

    work: str
    machine: str
    images_per_second: schema.Finite
    seconds: schema.Finite


class ThroughputLog:
    """The log of one cache folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, work: str, images: int, seconds: float, phases: Mapping[str, float]) -> None:
        """Add a run.

        Parameters
        ----------
        work : what was done, in words that are the same whenever the pace should be.
        images : how many.
        seconds : of the whole.
        phases : seconds by phase; where phases overlap they add up to more.
        """
        entry = {
            "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "machine": machine(),
            "work": work,
            "images": images,
            "seconds": round(seconds, 3),
            "images_per_second": round(images / seconds, 3) if seconds else 0.0,
            "phases": {name: round(value, 3) for name, value in phases.items()},
        }
        line = (json.dumps(entry, ensure_ascii=False) + "\n").encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:  # a full or read-only disk: the features matter, the times do not
            _log.debug("%s: not noted (%s)", self._path, error)

    def entries(self) -> list[dict[str, Any]]:
        """All runs that can be read, oldest first."""
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return []
        entries = []
        for line in lines:
            with contextlib.suppress(StoreError):
                entries.append(schema.read(line, _Entry, str(self._path), "Passed over."))
        return entries

    def usual_pace(self, work: str) -> float | None:
        """Median images a second of the last runs of this work on this machine; None where there are none."""
        here = machine()
        paces = [
            float(entry["images_per_second"])
            for entry in self.entries()
            if (entry["work"], entry["machine"]) == (work, here) and float(entry["seconds"]) >= _ENOUGH_SECONDS
        ]
        return statistics.median(paces[-_RECENT:]) if paces else None


def slowdown(pace: float, usual: float | None, phases: Mapping[str, float], seconds: float) -> str:
    """A sentence where the pace is more than 30% below the usual one, with where to look; else nothing."""
    if not usual or seconds < _ENOUGH_SECONDS or pace >= _FALL * usual:
        return ""
    waiting = phases.get("wait", 0.0) / seconds
    cause = (
        f"the network stood still for {waiting:.0%} of the time, waiting for images or the disk"
        if waiting > 0.2
        else "the network itself was slower: another program at work, or a processor that is held back?"
    )
    return f"{pace:.1f} images/s, {1 - pace / usual:.0%} below the {usual:.1f} that this machine did before; {cause}"


def duration(seconds: float) -> str:
    """``40 s``, ``12 min`` and the like."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@functools.cache
def machine() -> str:
    """What decides how fast it is, as far as it can be asked: name, processor, cores."""
    return f"{platform.node()}, {processor()}, {os.cpu_count()} cores"


def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            named = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        named = []
    return named[0] if named else platform.processor() or platform.machine()
