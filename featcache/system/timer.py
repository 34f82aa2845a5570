"""Seconds by phase."""

from __future__ import annotations

import time


class Stopwatch:
    """Runs from when it is made; each lap ends a phase and begins the next.

    Attributes
    ----------
    phases : seconds by name, in the order of their first lap.
    """

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, phase: str) -> float:
        """End a phase; returns the seconds it took."""
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        self.phases[phase] = round(self.phases.get(phase, 0.0) + seconds, 3)
        return seconds
