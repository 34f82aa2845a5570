"""Decode, compute and commit, all three at once.

Decoding runs in a pool of threads some batches ahead (Pillow releases the interpreter while it works),
committing in a thread of its own behind; the network runs in the calling thread and waits for neither
unless it outruns them. What is in flight is bounded, so memory does not grow with the number of images.
The size of a batch is found on the run's own first images; nothing is computed for the clock alone.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from ..backbones.runtime import OutOfMemoryError, Runtime
from ..data import decoding, filesystems
from ..errors import BadImage, DataError
from ..spec import FeatureSpec
from ..store.shard import Rows
from ..system.interrupts import reading
from .batch_tuning import BatchSize
from .planning import PlannedImage

_log = logging.getLogger(__name__)

# Rows are handed to the committing thread at half of what a kill may cost (256 images or 30 s): while one
# block is being written, at most one other is being filled.
COMMIT_ROWS = 128
COMMIT_SECONDS = 15.0
_COMMIT_BYTES = 64 << 20
_WARM_SECONDS = 3.0  # of steady work, before the pace is told


@dataclass
class Outcome:
    """What a run did.

    ``phases`` are seconds of work by what was done: ``decode`` (of all threads together), ``network``, ``commit``, and
    ``wait``, in which the network stood still for the others. They overlap, so they add up to more than ``seconds``.
    """

    computed: int = 0
    bad: list[BadImage] = field(default_factory=list)
    seconds: float = 0.0
    phases: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("decode", "network", "commit", "wait"), 0.0)
    )
    batch_size: int = 0


def run(
    images: Sequence[PlannedImage],
    spec: FeatureSpec,
    runtime: Runtime,
    commit: Callable[[Rows], object],
    *,
    batch_size: int | None = None,
    commit_rows: int = COMMIT_ROWS,
    commit_seconds: float = COMMIT_SECONDS,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    on_pace: Callable[[float, int], None] = lambda pace, left: None,
) -> Outcome:
    """Compute all images and commit them.

    Parameters
    ----------
    images : what to compute, in the order in which they are computed.
    spec : says what square each picture becomes.
    runtime : computes a batch; where it runs out of memory the batch is halved.
    commit : makes rows durable; called in another thread, one call at a time.
    batch_size : images a call of the runtime; None finds it among the runtime's own.
    progress : told the number of images dealt with, after each batch.
    on_pace : told once, when the run is warm, its images a second, and how many are left.

    Returns
    -------
    Outcome; images that cannot be decoded are in ``bad``, all others are committed.

    An exception, :class:`KeyboardInterrupt` among them, first commits what has been computed.
    """
    outcome = Outcome()
    started = time.perf_counter()
    pending: list[tuple[PlannedImage, np.ndarray]] = []
    batches = BatchSize((batch_size,) if batch_size else runtime.batches, len(images))
    pace = _Pace(len(images), on_pace)

    def compute(least: int | None = None) -> None:
        """Work through what is decoded, while at least so many are waiting; None is a whole batch."""
        nonlocal pending
        while pending and len(pending) >= (least or batches.current):
            batch = pending[: batches.current]
            begun = time.perf_counter()
            try:
                arrays = runtime(np.stack([pixels for _, pixels in batch]))
            except OutOfMemoryError as error:
                if not batches.shrink():
                    raise DataError(
                        f"not enough memory for a single image ({error}); try a smaller --size, or a smaller backbone"
                    ) from error
                _log.info("out of memory with batches of %d images; going on with %d", len(batch), batches.current)
                continue
            seconds = time.perf_counter() - begun
            outcome.phases["network"] += seconds
            batches.took(len(batch), seconds)
            pending = pending[len(batch) :]
            committer.add([image.key for image, _ in batch], arrays)
            progress(committer.rows + len(outcome.bad))
            pace.done(committer.rows + len(outcome.bad), steady=batches.settled)

    with (
        _Committer(commit, outcome, runtime, commit_rows, commit_seconds) as committer,
        contextlib.closing(_decoded(images, spec, 3 * batches.largest, workers, outcome.phases)) as decoded,
    ):
        for image, result in decoded:
            if isinstance(result, str):
                outcome.bad.append(BadImage(image.path, result))
                continue
            pending.append((image, result))
            compute()
        compute(least=1)
    outcome.seconds = time.perf_counter() - started
    outcome.batch_size = batches.current
    return outcome


class _Pace:
    """Tells the pace once, from a stretch of work after the warm-up."""

    def __init__(self, images: int, tell: Callable[[float, int], None]) -> None:
        self._images, self._tell = images, tell
        self._from: tuple[float, int] | None = None
        self._told = False

    def done(self, images: int, steady: bool) -> None:
        now = time.perf_counter()
        if self._told or not steady:
            return
        if self._from is None:  # the batch before this one may have compiled
            self._from = (now, images)
        elif now - self._from[0] >= _WARM_SECONDS:
            self._told = True
            self._tell((images - self._from[1]) / (now - self._from[0]), self._images - images)


def _decoded(
    images: Sequence[PlannedImage], spec: FeatureSpec, ahead: int, workers: int | None, phases: dict[str, float]
) -> Generator[tuple[PlannedImage, np.ndarray | str], None, None]:
    """Each image with its pixels, or with the reason why there are none; in order."""
    waiting: collections.deque[tuple[PlannedImage, Future]] = collections.deque()

    def first() -> tuple[PlannedImage, np.ndarray | str]:
        image, future = waiting.popleft()
        begun = time.perf_counter()
        result, seconds = future.result()
        phases["wait"] += time.perf_counter() - begun
        phases["decode"] += seconds
        return image, result

    with reading(workers or os.cpu_count(), "decode") as pool:
        for image in images:
            waiting.append((image, pool.submit(_load, image, spec)))
            if len(waiting) >= ahead:
                yield first()
        while waiting:
            yield first()


def _load(image: PlannedImage, spec: FeatureSpec) -> tuple[np.ndarray | str, float]:
    """Its pixels, or why there are none, and the seconds that took."""
    begun = time.perf_counter()
    pixels = read_pixels(image.path, spec, image.key)
    return pixels, time.perf_counter() - begun


def read_pixels(path: str, spec: FeatureSpec, key: bytes | None = None) -> np.ndarray | str:
    """An image as a network of this spec takes it, or why there is none; ``key`` is what its bytes must have."""
    try:
        data = filesystems.read(path)
        if key is not None and hashlib.sha256(data).digest() != key:
            return "the file changed while it was being extracted; run again"
        return decoding.decode(data, spec.size, spec.framing)
    except decoding.ImageError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


class _Committer:
    """Collects rows and hands them, a block at a time, to the committing thread."""

    def __init__(
        self, commit: Callable[[Rows], object], outcome: Outcome, runtime: Runtime, rows: int, seconds: float
    ) -> None:
        self._commit, self._outcome, self._runtime = commit, outcome, runtime
        self._max_rows, self._max_seconds = rows, seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._running: Future | None = None
        self._keys: list[bytes] = []
        self._blocks: list[dict[str, np.ndarray]] = []
        self._since = time.perf_counter()
        self.rows = 0

    def __enter__(self) -> _Committer:
        return self

    def __exit__(self, *exc: object) -> None:
        # Also on the way out of an interrupt or an error: what was computed is kept.
        try:
            self._flush()
            self._settle()
        finally:
            self._thread.shutdown(wait=True)

    def add(self, keys: list[bytes], arrays: dict[str, np.ndarray]) -> None:
        """Take a batch; hand the block on when it is large or old enough."""
        self._keys += keys
        self._blocks.append(arrays)
        self.rows += len(keys)
        size = sum(array.nbytes for block in self._blocks for array in block.values())
        old = time.perf_counter() - self._since >= self._max_seconds
        if len(self._keys) + len(keys) > self._max_rows or old or size >= _COMMIT_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._settle()
        if not self._keys:
            return
        keys, blocks = self._keys, self._blocks
        self._keys, self._blocks = [], []
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        self._running = self._thread.submit(self._write, keys, blocks, seconds)

    def _settle(self) -> None:
        """Wait for the block that is being written; its error is raised here."""
        running, self._running = self._running, None
        if running is not None:
            begun = time.perf_counter()
            running.result()
            self._outcome.phases["wait"] += time.perf_counter() - begun

    def _write(self, keys: list[bytes], blocks: list[dict[str, np.ndarray]], seconds: float) -> None:
        begun = time.perf_counter()
        joined = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
        blocks.clear()  # the batches are not needed twice while the disk is at work
        flat = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32)
        self._commit(Rows(flat, joined, seconds, self._runtime.info))
        self._outcome.computed += len(keys)
        self._outcome.phases["commit"] += time.perf_counter() - begun
