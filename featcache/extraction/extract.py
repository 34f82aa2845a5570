"""Stage one: plan what is missing, then compute just that."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..backbones import registry
from ..data import filesystems
from ..data.dataset import Dataset, open_dataset
from ..data.file_types import in_words
from ..data.synthetic import is_sample, sample_folder, write_sample
from ..errors import BadImage, DataError, UsageError
from ..spec import FeatureSpec
from ..store.shard import COMPRESSIONS, Rows
from ..store.store import Store
from ..system import throughput_log
from ..system.interrupts import reading
from ..system.throughput_log import Ledger
from ..system.write_access import require_writable
from . import pipeline, work_units
from .device_workers import DeviceProcesses
from .device_workers import parse as parse_devices
from .request import Recipe, Resolved, resolve
from .work_units import Workers

_log = logging.getLogger(__name__)
_HASHED_TOGETHER = 64  # files a task of the pool; a task for each costs as much as hashing a small file
_WORTH_TELLING = 10.0  # seconds; what is done sooner needs no forecast


@dataclass(frozen=True)
class Plan:
    """What there is to do; making it computes nothing and writes no feature.

    Attributes
    ----------
    jobs : images to compute, each content once.
    reused : images whose features are there.
    copies : images whose bytes equal those of another one to compute.
    unreadable : files that could not be read at all.
    keys : row key of each image in order, None for those that could not be read.
    """

    jobs: list[pipeline.Job]
    reused: int
    copies: list[pipeline.Job]
    unreadable: list[BadImage]
    keys: list[bytes | None] = field(default_factory=list)


@dataclass
class ExtractResult:
    """What an extraction did. ``images == computed + reused + copies + skipped``.

    ``seconds`` are those from the first file to the last committed shard; ``phases`` has those before it too: ``plan``,
    and ``ready`` (loading, building or converting the network). ``runtime`` is ``none`` where nothing was computed.
    ``ignored`` counts the files of the data that are no images, by kind.
    """

    feature_set: str
    backbone: str
    weights: str
    images: int
    computed: int
    reused: int
    copies: int
    skipped: int
    seconds: float
    images_per_second: float
    saved_seconds: float
    shape: list[int]
    runtime: str
    synthetic: bool
    batch_size: int = 0
    phases: dict[str, float] = field(default_factory=dict)
    bad: list[BadImage] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def choose_data(store: Store, data: str | os.PathLike[str] | None, group_regex: str | None = None) -> Dataset:
    """The dataset a command works on: the one named, else that of the last extract, else the built-in sample."""
    if data is not None:
        named = open_dataset(data, group_regex)
        return replace(named, synthetic=True) if is_sample(store.cache, data) else named
    last = store.last_extract()
    if last.get("data") and not last.get("synthetic"):
        _log.info("data: %s (the last extract's)", last["data"])
        return open_dataset(last["data"], group_regex or last.get("group_regex"))
    folder = write_sample(sample_folder(store.cache))
    _log.warning("data: the built-in SYNTHETIC sample (drawn by code; nothing it gives is a medical result)")
    return replace(open_dataset(folder, group_regex), synthetic=True)


def row_keys(store: Store, paths: Sequence[str]) -> tuple[list[bytes | None], list[BadImage]]:
    """SHA-256 of each file, from the index where its stamp is unchanged (:mod:`featcache.system.file_stamps`).

    Returns
    -------
    A key for each path (None where the file cannot be read), and the unreadable files with reasons.
    """
    looked = time.time_ns()  # before the first look: what changes afterwards is younger than what is believed
    stamps, failed = filesystems.stat(paths)
    bad = [BadImage(paths[i], reason) for i, reason in failed.items()]
    keys = store.index.known_keys(paths, stamps)
    fresh = [i for i, key in enumerate(keys) if key is None and i not in failed]

    def sha256(part: Sequence[int]) -> list[bytes | str]:
        return [_file_key(paths[i]) for i in part]

    parts = [fresh[start : start + _HASHED_TOGETHER] for start in range(0, len(fresh), _HASHED_TOGETHER)]
    with reading(os.cpu_count(), "hash") as pool:
        for part, results in zip(parts, pool.map(sha256, parts), strict=True):
            for i, result in zip(part, results, strict=True):
                if isinstance(result, str):
                    bad.append(BadImage(paths[i], result))
                else:
                    keys[i] = result
    store.index.remember_files(((paths[i], stamps[i], key) for i in fresh if (key := keys[i]) is not None), looked)
    return keys, bad


def _file_key(path: str) -> bytes | str:
    """SHA-256 of a file, or why there is none."""
    try:
        if filesystems.is_url(path):
            return hashlib.sha256(filesystems.read(path, again=True)).digest()
        with filesystems.open_file(path) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def plan(store: Store, spec: FeatureSpec, paths: Sequence[str]) -> Plan:
    """Compare the images with what the store holds."""
    keys, bad = row_keys(store, paths)
    present = store.rows(store.find(spec))
    jobs: dict[bytes, pipeline.Job] = {}
    copies: list[pipeline.Job] = []
    reused = 0
    for path, key in zip(paths, keys, strict=True):
        if key is None:
            continue
        if key in present:
            reused += 1
        elif key in jobs:
            copies.append(pipeline.Job(path, key))
        else:
            jobs[key] = pipeline.Job(path, key)
    return Plan(list(jobs.values()), reused, copies, bad, keys)


def extract(
    data: str | os.PathLike[str] | None = None,
    backbone: str = "vgg16",
    *,
    weights: str = "imagenet",
    size: int | None = None,
    layer: str = "",
    preprocess: str = "model",
    keep: str = "map",
    dtype: str = "float32",
    precision: str = "float32",
    runtime: str = "auto",
    batch_size: int | None = None,
    skip_bad: bool = False,
    compression: str = "none",
    group_regex: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    commit_rows: int = pipeline.COMMIT_ROWS,
    devices: str | None = None,
    scheduler: str | None = None,
    send_back: bool = False,
    on_start: Callable[[Plan], None] = lambda plan: None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> ExtractResult:
    """Run a frozen backbone over the images that have no features yet, and keep the result.

    Parameters
    ----------
    data : a folder or manifest (see :mod:`featcache.data.dataset`); None takes the last one, or the sample.
    backbone : a name in the table of :mod:`featcache.backbones.registry`.
    weights : ``imagenet``, ``random[:SEED]``, or a file of Keras weights.
    size : side of the square input in pixels; the backbone's own (224) where None.
    layer : name of the layer to keep; the last one where empty.
    preprocess : ``model`` (the backbone's own) or ``rescale`` (divide by 255).
    keep : ``map`` (the layer's map and its average) or ``avg`` (the average alone, some 50 times smaller).
    dtype : ``float32`` or ``float16``, what is stored.
    precision : ``float32``, ``mixed_float16`` or ``mixed_bfloat16``, what is computed in.
    runtime : ``tensorflow``, ``openvino`` (CPUs), or ``auto``: see :func:`featcache.backbones.runtime.choose`. The features are the
        same, to a relative 1e-5 of the largest, and one set may be filled by several.
    batch_size : images a step, halved when memory runs out; found by trying where None.
    skip_bad : go on without images that cannot be decoded.
    compression : ``none``, ``gzip``, or ``zstd`` (extra ``zstd``).
    group_regex : where in the file name the patient stands (see :func:`featcache.data.dataset.open_dataset`).
    cache : folder of the store.
    commit_rows : rows a commit.
    devices : ``gpu:0,gpu:1`` or ``cpu:2``: a process for each, over the same plan.
    scheduler : ``tcp://HOST:PORT`` of a Dask scheduler, or ``local[:N]``: its workers compute (extra ``dask``).
    send_back : Dask's workers send shards over the network, where they do not see the cache folder.
    on_start, on_progress : called with the plan, and with the number of images dealt with.

    Raises
    ------
    DataError
        No data, or bad images without ``skip_bad``; the good ones are committed all the same.
    WeightsError, StoreError, UsageError
    """
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: expected at least 1")
    if compression not in COMPRESSIONS:
        raise UsageError(f"compression {compression!r} is unknown; expected one of {', '.join(COMPRESSIONS)}")
    if devices and scheduler:
        raise UsageError("--devices and --scheduler exclude each other: Dask's workers have devices of their own")
    if send_back and not scheduler:
        raise UsageError("--send-back says how Dask's workers answer; give --scheduler with it")
    parsed = parse_devices(devices) if devices else None
    recipe = Recipe(backbone, weights, size, layer, preprocess, keep, dtype, precision, runtime)
    registry.get(backbone)  # a misspelt name fails before anything is read
    require_writable(cache)
    with Store(cache) as store, _workers(store, parsed, scheduler, send_back) as workers:
        dataset = choose_data(store, data, group_regex)
        ignored = dataset.ignored_kinds
        if ignored:
            _log.info("%s: left out, being no images or hidden: %s", dataset.root, in_words(ignored))
        resolved = resolve(recipe, store, dataset.synthetic)
        if resolved.fell_back:
            _log.warning(
                "weights: RANDOM, since ImageNet weights are neither on this machine nor to be downloaded; "
                "good enough to try every command on the synthetic sample, and for nothing else"
            )
        result = extract_paths(
            store, resolved, dataset.paths, synthetic=dataset.synthetic, batch_size=batch_size,
            compression=compression, commit_rows=commit_rows, workers=workers, on_start=on_start,
            on_progress=on_progress,
        )  # fmt: skip
        result.ignored = ignored
        if result.bad and not skip_bad:
            raise DataError(
                f"{len(result.bad)} of {result.images} images cannot be used; the others are kept "
                f"({result.computed} computed, {result.reused} reused). Mend or remove these, or go on without "
                "them with --skip-bad.",
                result.bad,
            )
        _remember(store, dataset, group_regex, result)
    return result


def _workers(
    store: Store, devices: Sequence[str] | None, scheduler: str | None, send_back: bool
) -> contextlib.AbstractContextManager[Workers | None]:
    if scheduler:
        from .dask_workers import DaskWorkers

        return DaskWorkers(scheduler, store.cache, send_back)
    return contextlib.nullcontext(DeviceProcesses(devices) if devices else None)


def _remember(store: Store, dataset: Dataset, group_regex: str | None, result: ExtractResult) -> None:
    """Note what was extracted, as the default of other verbs; other backbones of the same data stay noted."""
    last = store.last_extract()
    sets = dict(last.get("feature_sets", {})) if last.get("data") == dataset.root else {}
    sets.pop(result.backbone, None)  # the last one stands last
    store.remember_extract(
        {
            "data": dataset.root,
            "synthetic": dataset.synthetic,
            "group_regex": group_regex,
            "feature_sets": {**sets, result.backbone: result.feature_set},
            "skipped": sorted(bad.path for bad in result.bad),
        }
    )


def extract_paths(
    store: Store,
    resolved: Resolved,
    paths: Sequence[str],
    *,
    synthetic: bool = False,
    batch_size: int | None = None,
    compression: str = "none",
    commit_rows: int = pipeline.COMMIT_ROWS,
    workers: Workers | None = None,
    on_start: Callable[[Plan], None] = lambda plan: None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> ExtractResult:
    """Fill the store for these files, here or by workers; bad ones are listed in the result, and raise nothing."""
    spec = resolved.spec
    begun = time.perf_counter()
    todo = plan(store, spec, paths)
    planned = time.perf_counter()
    on_start(todo)
    outcome = pipeline.Outcome()
    used = "none"
    before = {"plan": planned - begun, "ready": 0.0}
    if todo.jobs:
        require_writable(store.cache)
        computing = resolved.build(len(todo.jobs))
        used = computing.info["name"]
        before["ready"] = time.perf_counter() - planned
        times = Ledger(store.cache / "ledger.jsonl")
        work = _work(spec, computing.info) + (f", {len(workers)} workers" if workers else "")
        usual = times.usual_pace(work)

        def commit(rows: Rows) -> str:
            return store.commit(spec, rows, compression)

        def foretell(pace: float, left: int) -> None:
            if left / pace >= _WORTH_TELLING:
                known = f"; {usual:.1f} before" if usual else ""
                _log.info(
                    "%s: about %s for the other %d images (%.1f images/s on %s%s)",
                    spec.backbone, throughput_log.duration(left / pace), left, pace, used, known,
                )  # fmt: skip

        if workers is None:
            outcome = pipeline.run(
                todo.jobs, spec.size, computing, commit,
                batch_size=batch_size, commit_rows=commit_rows, progress=on_progress, on_pace=foretell,
            )  # fmt: skip
        else:
            del computing  # it proved and kept the network; the workers need the memory
            started = time.perf_counter()
            outcome = work_units.run(
                workers, store, spec, todo.jobs, used, batch_size=batch_size, compression=compression,
                commit_rows=commit_rows, progress=on_progress,
            )  # fmt: skip
            outcome.seconds = time.perf_counter() - started
        # Among them files whose content is not what a damaged index said: they are read anew the next time.
        store.index.forget_files([image.path for image in outcome.bad])
        if outcome.computed and outcome.seconds:
            slow = throughput_log.slowdown(outcome.computed / outcome.seconds, usual, outcome.phases, outcome.seconds)
            if slow:
                _log.warning("%s: %s", spec.backbone, slow)
            times.note(work, outcome.computed, outcome.seconds, before | outcome.phases)
    feature_set = store.find(spec)
    bad = todo.unreadable + outcome.bad + _bad_copies(todo, outcome.bad)
    shards = store.shards(feature_set).values()
    rows, seconds = sum(s[1] for s in shards), sum(s[2] for s in shards)
    shapes = store.shapes(feature_set)
    return ExtractResult(
        feature_set=feature_set,
        backbone=spec.backbone,
        weights=spec.weights,
        images=len(paths),
        computed=outcome.computed,
        reused=todo.reused,
        copies=len(paths) - outcome.computed - todo.reused - len(bad),
        skipped=len(bad),
        seconds=round(outcome.seconds, 3),
        images_per_second=round(outcome.computed / outcome.seconds, 2) if outcome.seconds else 0.0,
        saved_seconds=round(todo.reused * seconds / rows, 1) if rows else 0.0,
        shape=list(shapes[spec.arrays[0]]) if shapes else [],
        runtime=used,
        synthetic=synthetic,
        batch_size=outcome.batch_size,
        phases={name: round(taken, 3) for name, taken in (before | outcome.phases).items()},
        bad=bad,
    )


def _work(spec: FeatureSpec, info: Mapping[str, Any]) -> str:
    """All that decides the pace, besides the machine."""
    place = f" up to {spec.layer}" if spec.layer else ""
    return f"extract {spec.backbone}{place}, {spec.size} px, {spec.precision}, on {info['name']} ({info.get('device', 'cpu')})"


def _bad_copies(todo: Plan, bad: Sequence[BadImage]) -> list[BadImage]:
    """What stands for the copies of images that turned out bad."""
    keys = {job.path: job.key for job in todo.jobs}
    reasons = {keys[image.path]: image.reason for image in bad}
    return [BadImage(copy.path, reasons[copy.key]) for copy in todo.copies if copy.key in reasons]
