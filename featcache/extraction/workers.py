"""The plan cut into portions that other processes compute, on other devices of this machine, or on other machines.

A portion names its rows by path and key, so that it may be computed anywhere, twice, or again after a death: what is
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
from ..errors import BadImage, UsageError
from ..spec import FeatureSpec
from ..store.store import Store
from . import pipeline, torch_request
from .layer_commits import committer
from .pipeline import Outcome
from .planning import PlannedImage
from .request import Named
from .resolution import resolve_specs

_PORTIONS_PER_WORKER, _LEAST, _MOST = 4, 32, 1024


@dataclass(frozen=True)
class Portion:
    """A part of a plan.

    Attributes
    ----------
    specs : canonical JSON of the feature specs that one pass computes.
    images : its images.
    cache : folder of the store as the worker sees it; None where it sees none: shards then come back as bytes.
    runtime : ``tensorflow``, ``openvino`` or ``torch``.
    batch_size, compression, commit_rows : as in :func:`featcache.extract`.
    threads : processor threads to use; None for all.
    named : how a network of PyTorch's is found, for the runtime ``torch``.
    """

    specs: tuple[str, ...]
    images: tuple[PlannedImage, ...]
    cache: str | None
    runtime: str
    batch_size: int | None
    compression: str
    commit_rows: int
    threads: int | None = None
    named: Named | None = None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class PortionResult:
    """What became of a portion.

    Attributes
    ----------
    outcome : what was computed.
    reused : number of rows that were there already.
    shards : by the spec's place and by name, as bytes, where the worker has no way to put them into the store.
    runtime : what computed.
    """

    outcome: Outcome
    reused: int
    shards: Mapping[tuple[int, str], bytes]
    runtime: str


class Workers(Protocol):
    """Processes that compute portions."""

    @property
    def shared(self) -> bool:
        """Whether they write into the store's own folder."""

    def threads(self) -> int | None:
        """Processor threads that each may use; None for all."""

    def __len__(self) -> int: ...

    def run(self, portions: Sequence[Portion], files: Mapping[str, Path]) -> Iterator[PortionResult]:
        """Compute all portions, in any order; ``files`` (by their place in the cache) are what the network needs."""


def compute(portion: Portion, files: Mapping[str, bytes] | None = None) -> PortionResult:
    """Compute a portion in this process. The network is built once a process.

    ``files`` are for a worker without a store: the network's files by their place in the cache.
    """
    if portion.cache is not None:
        with Store(portion.cache) as store:
            return _compute(store, portion)
    with tempfile.TemporaryDirectory(prefix="featcache-") as folder, Store(folder) as store:
        for place, content in (files or {}).items():
            target = Path(folder) / place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        done = _compute(store, portion)
        shards = {}
        for position, spec in enumerate(portion.specs):
            name = store.find(FeatureSpec.from_json(spec))
            for shard in store.on_disk(name):
                shards[position, shard] = (store.features / name / shard).read_bytes()
        return replace(done, shards=shards)


def _compute(store: Store, portion: Portion) -> PortionResult:
    specs = tuple(FeatureSpec.from_json(spec) for spec in portion.specs)
    present = [store.rows(store.find(spec)) for spec in specs]
    images = [image for image in portion.images if any(image.key not in there for there in present)]
    if not images:
        return PortionResult(Outcome(), len(portion), {}, portion.runtime)
    network = _network(specs, portion, store)
    outcome = pipeline.run(
        images,
        specs[0],
        network,
        committer(store, specs, portion.compression),
        batch_size=portion.batch_size,
        commit_rows=portion.commit_rows,
        workers=portion.threads,
    )
    return PortionResult(outcome, len(portion) - len(images), {}, network.info["name"])


_built: dict[tuple[Any, ...], runtime.Runtime] = {}


def _network(specs: tuple[FeatureSpec, ...], portion: Portion, store: Store) -> runtime.Runtime:
    name, threads = portion.runtime, portion.threads
    key = (specs, name, threads, portion.cache and str(store.cache))
    if key not in _built:
        if threads:
            os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))  # heard while TensorFlow loads
        _built.clear()  # one at a time: networks are large
        if name == torch_request.NAME and portion.named is not None:
            _built[key] = torch_request.again(specs, portion.named, store, threads)
        else:
            resolved = resolve_specs(specs, store.kept(specs[0]), store, runtime=name, threads=threads)
            _built[key] = resolved.build(0)
    return _built[key]


def run(
    workers: Workers,
    store: Store,
    specs: Sequence[FeatureSpec],
    images: Sequence[PlannedImage],
    runtime_name: str,
    *,
    named: Named | None = None,
    batch_size: int | None,
    compression: str,
    commit_rows: int,
    progress: Callable[[int], None],
) -> Outcome:
    """Have workers compute the images; what they send back is proven and committed here.

    ``named`` is how they find a network that the store does not keep as they need it; ``progress`` is told the number
    of images dealt with, after each portion.

    Raises :class:`UsageError` where they cannot find it.
    """
    if runtime_name == torch_request.NAME and not specs[0].of_table and named is None:
        raise UsageError(
            f"{specs[0].network} is an object of this process; on other devices it is computed by --runtime openvino, "
            "and by torch where it has a name (timm:, hf:, xrv:)"
        )
    size = min(_MOST, max(_LEAST, -(-len(images) // (_PORTIONS_PER_WORKER * max(1, len(workers))))))
    common = functools.partial(
        Portion,
        tuple(spec.to_json() for spec in specs),
        cache=str(store.cache) if workers.shared else None,
        runtime=runtime_name,
        batch_size=batch_size,
        compression=compression,
        commit_rows=commit_rows,
        threads=workers.threads(),
        named=named,
    )
    portions = [common(images=tuple(images[start : start + size])) for start in range(0, len(images), size)]
    kept = {
        path.relative_to(store.cache).as_posix(): path
        for spec in specs
        for path in (store.network(spec), store.converted(spec))
    }
    total = Outcome()
    dealt = 0
    for done in workers.run(portions, {place: path for place, path in kept.items() if path.exists()}):
        for (place, name), content in done.shards.items():
            store.adopt(specs[place], name, content)
        part = done.outcome
        total.computed += part.computed + done.reused
        total.bad += [BadImage(bad.path, bad.reason) for bad in part.bad]
        total.phases = {name: total.phases[name] + part.phases[name] for name in total.phases}
        total.batch_size = max(total.batch_size, part.batch_size)
        dealt += part.computed + done.reused + len(part.bad)
        progress(dealt)
    return total
