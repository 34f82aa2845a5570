"""Chunks: the plan cut into pieces that other processes compute, here, on other devices, or on other machines.

A chunk names its rows by path and key, so that it may be computed anywhere, twice, or again after a death: what is
there already is not computed, and the same row in two shards is harmless.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ..backbones import runtime
from ..errors import BadImage
from ..spec import FeatureSpec
from ..store.shard import Rows
from ..store.store import Store
from . import pipeline
from .pipeline import Job, Outcome
from .request import resolve_spec

_CHUNKS_PER_WORKER, _LEAST, _MOST = 4, 32, 1024


@dataclass(frozen=True)
class Chunk:
    """A piece of a plan.

    Attributes
    ----------
    spec : canonical JSON of the feature spec.
    jobs : its images.
    cache : folder of the store as the worker sees it; None where it sees none: shards then come back as bytes.
    runtime : ``tensorflow`` or ``openvino``.
    batch_size, compression, commit_rows : as in :func:`featcache.extract`.
    threads : processor threads to use; None for all.
    """

    spec: str
    jobs: tuple[Job, ...]
    cache: str | None
    runtime: str
    batch_size: int | None
    compression: str
    commit_rows: int
    threads: int | None = None

    def __len__(self) -> int:
        return len(self.jobs)


@dataclass(frozen=True)
class Done:
    """What became of a chunk: an outcome, the number of rows that were there already, and shards by name, as bytes, where
    the worker has no way to put them into the store."""

    outcome: Outcome
    reused: int
    shards: Mapping[str, bytes]
    runtime: str


class Workers(Protocol):
    """Processes that compute chunks."""

    @property
    def shared(self) -> bool:
        """Whether they write into the store's own folder."""

    def threads(self) -> int | None:
        """Processor threads that each may use; None for all."""

    def __len__(self) -> int: ...

    def run(self, chunks: Sequence[Chunk], files: Mapping[str, Path]) -> Iterator[Done]:
        """Compute all chunks, in any order; ``files`` (by their place in the cache) are what the network needs."""


def compute(chunk: Chunk, files: Mapping[str, bytes] | None = None) -> Done:
    """Compute a chunk in this process. The network is built once a process.

    ``files`` are for a worker without a store: the network's files by their place in the cache.
    """
    if chunk.cache is not None:
        with Store(chunk.cache) as store:
            return _compute(store, chunk)
    with tempfile.TemporaryDirectory(prefix="featcache-") as folder, Store(folder) as store:
        for place, content in (files or {}).items():
            target = Path(folder) / place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        done = _compute(store, chunk)
        name = store.find(FeatureSpec.from_json(chunk.spec))
        shards = {shard: (store.features / name / shard).read_bytes() for shard in store.on_disk(name)}
        return replace(done, shards=shards)


def _compute(store: Store, chunk: Chunk) -> Done:
    spec = FeatureSpec.from_json(chunk.spec)
    present = store.rows(store.find(spec))
    jobs = [job for job in chunk.jobs if job.key not in present]
    if not jobs:
        return Done(Outcome(), len(chunk), {}, chunk.runtime)
    network = _network(chunk.spec, chunk.runtime, chunk.threads, str(store.cache) if chunk.cache else None, store)

    def commit(rows: Rows) -> str:
        return store.commit(spec, rows, chunk.compression)

    outcome = pipeline.run(
        jobs, spec.size, network, commit,
        batch_size=chunk.batch_size, commit_rows=chunk.commit_rows, workers=chunk.threads,
    )  # fmt: skip
    return Done(outcome, len(chunk) - len(jobs), {}, network.info["name"])


_built: dict[tuple[Any, ...], runtime.Runtime] = {}


def _network(spec: str, name: str, threads: int | None, cache: str | None, store: Store) -> runtime.Runtime:
    key = (spec, name, threads, cache)
    if key not in _built:
        if threads:
            os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))  # heard while TensorFlow loads
        parsed = FeatureSpec.from_json(spec)
        resolved = resolve_spec(parsed, store.network(parsed), store, runtime=name, threads=threads)
        _built.clear()  # one at a time: networks are large
        _built[key] = resolved.build(0)
    return _built[key]


def run(
    workers: Workers, store: Store, spec: FeatureSpec, jobs: Sequence[Job], runtime_name: str, *,
    batch_size: int | None, compression: str, commit_rows: int, progress: Callable[[int], None],
) -> Outcome:  # fmt: skip
    """Have workers compute the jobs; what they send back is proven and committed here.

    ``progress`` is told the number of images dealt with, after each chunk.
    """
    size = min(_MOST, max(_LEAST, -(-len(jobs) // (_CHUNKS_PER_WORKER * max(1, len(workers))))))
    common = functools.partial(
        Chunk, spec.to_json(), cache=str(store.cache) if workers.shared else None, runtime=runtime_name,
        batch_size=batch_size, compression=compression, commit_rows=commit_rows, threads=workers.threads(),
    )  # fmt: skip
    chunks = [common(jobs=tuple(jobs[start : start + size])) for start in range(0, len(jobs), size)]
    kept = {path.relative_to(store.cache).as_posix(): path for path in (store.network(spec), store.converted(spec))}
    total = Outcome()
    dealt = 0
    for done in workers.run(chunks, {place: path for place, path in kept.items() if path.exists()}):
        for name, content in done.shards.items():
            store.adopt(spec, name, content)
        found = done.outcome
        total.computed += found.computed + done.reused
        total.bad += [BadImage(bad.path, bad.reason) for bad in found.bad]
        total.shards += found.shards
        total.phases = {name: total.phases[name] + found.phases[name] for name in total.phases}
        total.batch_size = max(total.batch_size, found.batch_size)
        dealt += found.computed + done.reused + len(found.bad)
        progress(dealt)
    return total
