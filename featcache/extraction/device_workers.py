"""Several devices of one machine: a process for each, over the same plan."""

from __future__ import annotations

import concurrent.futures
import logging
import multiprocessing
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from ..errors import StoreError, UsageError
from .workers import Portion, PortionResult, compute

_log = logging.getLogger(__name__)


def parse(text: str) -> list[str]:
    """Read ``gpu:0,gpu:1`` (GPUs by number) or ``cpu:2`` (so many processes that share the cores).

    Returns
    -------
    What each process may see of the GPUs, as ``CUDA_VISIBLE_DEVICES``; ``-1`` is none.

    Raises :class:`UsageError` for anything else.
    """
    seen: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        match = re.fullmatch(r"(gpu|cpu):(\d+)", part)
        if not match or (match[1] == "cpu" and not 1 <= int(match[2]) <= 1024):
            raise UsageError(
                f"--devices {text!r}: {part!r} is no device; expected gpu:NUMBER or cpu:PROCESSES, by commas"
            )
        seen += ["-1"] * int(match[2]) if match[1] == "cpu" else [match[2]]
    gpus = [device for device in seen if device != "-1"]
    if len(set(gpus)) < len(gpus):
        raise UsageError(f"--devices {text!r}: a GPU is named twice; one process serves it best")
    return seen


class DeviceProcesses:
    """One process a device; each takes the next portion when it is done, and that of one that dies goes to another."""

    shared = True

    def __init__(self, devices: Sequence[str]) -> None:
        self._devices = list(devices)

    def __len__(self) -> int:
        return len(self._devices)

    def threads(self) -> int | None:
        """Processor threads that each process may use: an equal share."""
        return max(1, (os.cpu_count() or 1) // len(self._devices))

    def run(self, portions: Sequence[Portion], files: Mapping[str, Path]) -> Iterator[PortionResult]:
        """Compute all portions, in any order; ``files`` are in the store, which each process opens.

        Raises :class:`StoreError` where every process has died.
        """
        context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
        idle = [
            ProcessPoolExecutor(1, mp_context=context, initializer=_see_only, initargs=(device,))
            for device in self._devices[: len(portions)]
        ]
        pools, waiting = list(idle), list(portions)
        running: dict[Future[PortionResult], tuple[ProcessPoolExecutor, Portion]] = {}
        try:
            while waiting or running:
                while waiting and idle:
                    pool, portion = idle.pop(), waiting.pop(0)
                    running[pool.submit(compute, portion)] = (pool, portion)
                if not running:
                    raise StoreError(
                        "every device's process died (out of memory?); what was done is kept: run the same command "
                        "again, with a smaller --batch-size or fewer --devices"
                    )
                finished, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in finished:
                    pool, portion = running.pop(future)
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        _log.warning("a device's process died; its %d images go to another one", len(portion))
                        waiting.append(portion)
                        continue
                    idle.append(pool)
        finally:
            for pool in pools:
                pool.shutdown(wait=True, cancel_futures=True)


def _see_only(gpu: str) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
