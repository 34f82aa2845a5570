"""Contenders timed side by side: interleaved in one run, after a warm-up, medians and spread."""

from __future__ import annotations

import importlib.metadata
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from featcache.system.throughput_log import processor

_PACKAGES = ("tensorflow", "keras", "openvino", "torch", "timm", "scikit-learn", "scikeras", "numpy", "h5py")


@dataclass(frozen=True)
class Contender:
    """Something to be timed.

    Attributes
    ----------
    name : str
        In table and chart.
    run : callable
        Does it once; returns the seconds that count, or None for all it took.
    items : float
        How many things (images, bytes, epochs …) a run deals with.
    ours : bool
        Whether it is this package.
    roof : bool
        Whether it is no contender, but what the machine could do at best.
    beside : str or None
        Another one of ours that it is to be compared with as well, by name.
    """

    name: str
    run: Callable[[], float | None]
    items: float = 1.0
    ours: bool = False
    roof: bool = False
    beside: str | None = None


def interleaved(
    contenders: Sequence[Contender], rounds: int, on_round: Callable[[int], None] = lambda number: None
) -> dict[str, list[float]]:
    """Seconds of each contender in each round.

    Every round runs every contender once, beginning with another one each time, so that a slow minute of the machine
    meets all of them. A first round warms up (compilers, page cache, processor clock) and does not count.

    ``on_round`` is called with the number of each round as it begins; 0 is the warm-up.
    """
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        on_round(number)
        shift = number % len(contenders)
        for contender in [*contenders[shift:], *contenders[:shift]]:
            started = time.perf_counter()
            taken = contender.run()
            taken = time.perf_counter() - started if taken is None else taken
            if number:
                seconds[contender.name].append(taken)
    return seconds


def rows(contenders: Iterable[Contender], seconds: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Median, least and most seconds of each, and its items a second at the median, least and most."""
    table = []
    for contender in contenders:
        taken, items = seconds[contender.name], contender.items
        median, low, high = statistics.median(taken), min(taken), max(taken)
        row = {"name": contender.name, "ours": contender.ours, "roof": contender.roof}
        row |= {"seconds": median, "seconds_min": low, "seconds_max": high}
        row |= {"pace": items / median, "pace_min": items / high, "pace_max": items / low}
        table.append(row)
    return table


def ratios(contenders: Sequence[Contender], seconds: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """How many times faster each of ours is than each other: of the medians, with the spread over the rounds."""
    compared = []
    for ours in (c for c in contenders if c.ours):
        for other in (c for c in contenders if not c.ours or c.name == ours.beside):
            scale = ours.items / other.items
            single = [scale * b / a for a, b in zip(seconds[ours.name], seconds[other.name], strict=True)]
            whole = scale * statistics.median(seconds[other.name]) / statistics.median(seconds[ours.name])
            compared.append(
                {"of": ours.name, "to": other.name, "times": whole, "times_min": min(single), "times_max": max(single)}
            )
    return compared


def about_machine() -> dict[str, Any]:
    """What the times were measured on: processor, cores, memory in bytes, GPUs, versions."""
    from featcache.backbones.tensorflow_setup import load_tensorflow

    tf, _ = load_tensorflow()
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "gpus": [
            tf.config.experimental.get_device_details(device).get("device_name", device.name)
            for device in tf.config.list_physical_devices("GPU")
        ],
        "versions": versions,
    }
