"""What a training will take on this machine, measured on a few of its epochs before a search of many begins."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from sklearn.base import clone

_EPOCHS = 3  # that are timed, after one that the program is compiled in


def training_seconds(model: Any, X: Any, y: np.ndarray, sample_weight: np.ndarray | None = None) -> tuple[float, float]:
    """Seconds of setting up a training and handing its result over, and of one epoch of it.

    Parameters
    ----------
    model : a head or network that trains by epochs, unfitted; it is copied.
    X, y, sample_weight : as its ``fit`` takes them.
    """
    clone(model).set_params(epochs=1).fit(X, y, sample_weight)
    stamps: list[float] = []
    started = time.perf_counter()
    timed = clone(model).set_params(epochs=1 + _EPOCHS)
    timed.fit(X, y, sample_weight, on_epoch=lambda epoch, latest: stamps.append(time.perf_counter()))
    whole = time.perf_counter() - started
    epoch = (stamps[-1] - stamps[0]) / max(1, len(stamps) - 1)
    return max(0.0, whole - len(stamps) * epoch), epoch
