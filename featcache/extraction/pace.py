"""How fast an extraction usually is on this machine: an estimate while it runs, a warning where it was slower."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..spec import FeatureSpec
from ..system.throughput_log import ThroughputLog, duration, slowdown
from .pipeline import Outcome

_log = logging.getLogger(__name__)
_WORTH_TELLING = 10.0  # seconds; what is done sooner needs no estimate


class UsualPace:
    """What the throughput log knows of this work, read when it is made.

    Parameters
    ----------
    cache : Path
        Folder of the store, which holds the log.
    specs : sequence of FeatureSpec
        What is computed, in one pass.
    info : mapping
        ``name`` and ``device`` of the runtime that computes it.
    workers : int, optional
        Processes that share the work; 0 is none but this one.
    """

    def __init__(self, cache: Path, specs: Sequence[FeatureSpec], info: Mapping[str, Any], workers: int = 0) -> None:
        self._log = ThroughputLog(cache / "ledger.jsonl")
        spec = specs[0]
        self._backbone, self._runtime = spec.network, info["name"]
        layers = ", ".join(each.layer or "the last" for each in specs)
        layer = f" up to {layers}" if layers != "the last" else ""
        device = f"on {info['name']} ({info.get('device', 'cpu')})"
        shared = f", {workers} workers" if workers else ""
        # All that decides the pace, besides the machine.
        self._work = f"extract {spec.network}{layer}, {spec.size} px, {spec.precision}, {device}{shared}"
        self._usual = self._log.usual_pace(self._work)

    def estimate(self, pace: float, left: int) -> None:
        """Say how long the images that are left will take at this many a second."""
        if left / pace < _WORTH_TELLING:
            return
        before = f"; {self._usual:.1f} before" if self._usual else ""
        message = "%s: about %s for the other %d images (%.1f images/s on %s%s)"
        _log.info(message, self._backbone, duration(left / pace), left, pace, self._runtime, before)

    def note(self, outcome: Outcome, phases: Mapping[str, float]) -> None:
        """Add the run to the log, with the phases before it; warn where it was slower than usual."""
        if not outcome.computed or not outcome.seconds:
            return
        slow = slowdown(outcome.computed / outcome.seconds, self._usual, outcome.phases, outcome.seconds)
        if slow:
            _log.warning("%s: %s", self._backbone, slow)
        self._log.note(self._work, outcome.computed, outcome.seconds, {**phases, **outcome.phases})
