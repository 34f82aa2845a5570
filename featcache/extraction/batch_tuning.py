"""How many images a call of the network: found by trying, on images that have to be computed anyway."""

from __future__ import annotations

import logging
from collections.abc import Sequence

_log = logging.getLogger(__name__)
_TRIALS = 2  # the first call of a size may compile
_SHARE = 4  # of all images, at most one in so many is computed while trying


class BatchSize:
    """The size of the next batch.

    Parameters
    ----------
    candidates : sizes worth trying, the usual one first; with one, or few images, it is taken as it is.
    images : how many there are.
    """

    def __init__(self, candidates: Sequence[int], images: int) -> None:
        worth = len(candidates) > 1 and images >= _SHARE * _TRIALS * sum(candidates)
        self._trials = [size for size in candidates for _ in range(_TRIALS)] if worth else []
        self._pace: dict[int, float] = {}
        self._chosen = candidates[0]
        self.largest = max(candidates) if worth else candidates[0]

    @property
    def current(self) -> int:
        """Images of the next batch."""
        return self._trials[0] if self._trials else self._chosen

    @property
    def settled(self) -> bool:
        """Whether trying is over."""
        return not self._trials

    def took(self, images: int, seconds: float) -> None:
        """Hear how long a batch took."""
        if not self._trials:
            return
        size = self._trials.pop(0)
        self._pace[size] = max(self._pace.get(size, 0.0), images / seconds)
        if not self._trials:
            self._chosen = max(self._pace, key=lambda tried: self._pace[tried])
            _log.debug("images a second by size of batch: %s", {s: round(p, 1) for s, p in self._pace.items()})

    def shrink(self) -> bool:
        """Out of memory: take the best size below, or half; False where there is none."""
        failed = self.current
        self._trials = []
        smaller = {size: pace for size, pace in self._pace.items() if size < failed}
        self._chosen = max(smaller, key=lambda size: smaller[size]) if smaller else failed // 2
        return self._chosen > 0
