"""Stage one, as it is called: run a frozen backbone over a dataset, and remember what was extracted."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ..backbones import network_sources, registry
from ..data.data_source import DataSource
from ..data.dataset import Dataset
from ..data.file_types import in_words
from ..errors import UsageError
from ..store.compression import COMPRESSIONS
from ..store.store import Store
from ..system.write_access import require_writable
from . import pipeline
from .device_workers import DeviceProcesses
from .device_workers import parse as parse_devices
from .extract_paths import ExtractResult, extract_layers_of_paths, refused
from .planning import Plan, choose_data
from .precision_advice import advise
from .precision_error import measure
from .quantised_request import resolve_on
from .request import ExtractionRequest
from .resolution import resolve
from .workers import Workers

_log = logging.getLogger(__name__)


def extract(
    data: str | os.PathLike[str] | None = None,
    backbone: Any = "vgg16",
    *,
    weights: str = "imagenet",
    size: int | None = None,
    layer: str = "",
    preprocess: str = "model",
    keep: str | None = None,
    dtype: str = "float32",
    precision: str = "float32",
    calibration: str | None = None,
    runtime: str = "auto",
    identity: str | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    channels: int | None = None,
    order: str | None = None,
    resize: str | None = None,
    crop: float | None = None,
    interpolation: str | None = None,
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
    data : str, path or None, optional
        A folder or manifest (see :mod:`featcache.data.dataset`), or a :class:`featcache.DataSource`, which says how it
        is read; None takes the last one, or the built-in sample.
    backbone : str, path or object, optional
        A name in the table of :mod:`featcache.backbones.registry`; ``pixels``, which keeps the decoded images; or any
        other network (see :mod:`featcache.backbones.network_sources`): a file, a house's name, a ``keras.Model``, or a
        function of uint8 RGB images of shape (n, size, size, 3) that gives maps, tokens or vectors.
    weights : str, optional
        ``imagenet``, ``random[:SEED]``, or a file of Keras weights.
    size : int or None, optional
        Side of the square input in pixels; None is the backbone's own, mostly 224.
    layer : str, optional
        Name of the layer to keep; the last one where empty.
    preprocess : {"model", "rescale"}, optional
        The backbone's own, or division by 255.
    keep : {"map", "avg"} or None, optional
        The layer's map and its average, or the average alone, some 50 times smaller; None is the map, where the layer
        gives one.
    dtype : {"float32", "float16"}, optional
        What is stored.
    precision : {"float32", "bfloat16", "float16", "int8"}, optional
        What is computed in. The error of the others is measured on 32 of the images, in both. ``int8`` is calibrated on
        training images (extra ``int8``).
    calibration : str or None, optional
        Of int8: a feature set whose quantised network is taken; None takes the one that was made of this data, or
        makes one.
    runtime : {"auto", "tensorflow", "openvino", "torch"}, optional
        What computes; OpenVINO is for CPUs, PyTorch for its own networks where there is a GPU. See
        :func:`featcache.backbones.runtime.choose`. In float32 the features are the same, to 1e-4 of the largest (1e-5
        without PyTorch), and one set may be filled by several.
    identity : str or None, optional
        What names a network that is a function: whoever changes what it computes changes this.
    mean, std : float or sequence of three, optional
        What a network that is not of the table takes: ``(pixel / 255 - mean) / std``, in the order R, G, B; None is
        what its source says. Nothing is guessed: where nobody says it, an error does.
    channels : {1, 3} or None, optional
        Of its input; 1 is given the luminance.
    order : {"rgb", "bgr"} or None, optional
        In which it takes three.
    resize : {"squash", "crop", "pad"} or None, optional
        How a picture becomes a square: both sides at once; the shorter side and then the centre; the longer side, with
        black around it.
    crop : float or None, optional
        Side of the square as a share of the side that is resized to.
    interpolation : {"bilinear", "bicubic", "lanczos"} or None, optional
        Of resizing, always with antialiasing.
    batch_size : int or None, optional
        Images a step, halved when memory runs out; None tries several.
    skip_bad : bool, optional
        Go on without images that cannot be decoded.
    compression : {"none", "gzip", "zstd"}, optional
        Of shards; ``zstd`` needs the extra of that name.
    group_regex : str or None, optional
        Where in the file name the patient stands (see :func:`featcache.data.dataset.open_dataset`).
    cache : str or path, optional
        Folder of the store.
    commit_rows : int, optional
        Rows a commit.
    devices : str or None, optional
        ``gpu:0,gpu:1`` or ``cpu:2``: a process for each, over the same plan.
    scheduler : str or None, optional
        ``tcp://HOST:PORT`` of a Dask scheduler, or ``local[:N]``: its workers compute (extra ``dask``).
    send_back : bool, optional
        Dask's workers send shards over the network, where they do not see the cache folder.
    on_start : callable, optional
        Called with the :class:`~featcache.extraction.planning.Plan` before anything is computed.
    on_progress : callable, optional
        Called with the number of images dealt with, after each batch.

    Returns
    -------
    ExtractResult
        What was computed, reused and skipped.

    Raises
    ------
    DataError
        No data, or bad images without ``skip_bad``; the good ones are committed all the same.
    WeightsError
        The weights are not here and cannot be downloaded, or do not fit the backbone.
    StoreError
        The cache cannot be written, or a shard in it is damaged.
    UsageError
        An option that is unknown or goes with no other.

    Examples
    --------
    >>> from pathlib import Path
    >>> import featcache
    >>> from PIL import Image
    >>> for number, label in enumerate(["covid", "normal"] * 2):
    ...     Path("images", label).mkdir(parents=True, exist_ok=True)
    ...     Image.new("L", (16, 16), 40 * number).save(f"images/{label}/{number}.png")
    >>> result = featcache.extract("images", "pixels", size=8)
    >>> result.computed, result.reused, result.shape
    (4, 0, [8, 8, 3])
    >>> featcache.extract("images", "pixels", size=8).reused
    4
    """
    request = ExtractionRequest(
        backbone,
        weights,
        size,
        layer,
        preprocess,
        keep,
        dtype,
        precision,
        runtime,
        identity,
        mean,
        std,
        channels,
        order,
        resize,
        crop,
        interpolation,
    )
    work = _Work(
        data,
        calibration,
        batch_size,
        skip_bad,
        compression,
        group_regex,
        cache,
        commit_rows,
        devices,
        scheduler,
        send_back,
        on_start,
        on_progress,
    )
    (result,) = _extract(request, work)
    return result


def extract_layers(
    layers: Sequence[str], data: str | os.PathLike[str] | None = None, backbone: Any = "vgg16", **options: Any
) -> list[ExtractResult]:
    """Run a frozen backbone over images once, and keep what several of its layers give: a feature set for each.

    Parameters
    ----------
    layers : sequence of str
        Their names; ``""`` is the last one.
    data, backbone : optional
        As of :func:`featcache.extract`.
    **options : object
        The same, by their names there; all but ``layer``.

    Returns
    -------
    list of ExtractResult
        One for each layer, in this order; the seconds are those of the whole pass.

    Raises
    ------
    FeatcacheError
        As :func:`featcache.extract` does.

    Examples
    --------
    >>> from pathlib import Path
    >>> import featcache
    >>> from PIL import Image
    >>> for number, label in enumerate(["covid", "normal"] * 2):
    ...     Path("images", label).mkdir(parents=True, exist_ok=True)
    ...     Image.new("L", (16, 16), 40 * number).save(f"images/{label}/{number}.png")
    >>> first, last = featcache.extract_layers(["conv_pw_1_relu", ""], "images", "mobilenet", weights="random", size=32)
    >>> first.shape, last.shape
    ([16, 16, 64], [1, 1, 1024])
    >>> featcache.load([first.feature_set, last.feature_set], pooling="avg").X.shape
    (4, 1088)
    """
    asked = {field.name for field in fields(ExtractionRequest)} & options.keys()
    request = ExtractionRequest(backbone, layer=tuple(layers), **{name: options.pop(name) for name in asked})
    return _extract(request, _Work(data, **options))


@dataclass(frozen=True)
class _Work:
    """How an extraction is done; as in :func:`extract`."""

    data: str | os.PathLike[str] | None
    calibration: str | None = None
    batch_size: int | None = None
    skip_bad: bool = False
    compression: str = "none"
    group_regex: str | None = None
    cache: str | os.PathLike[str] = "cache"
    commit_rows: int = pipeline.COMMIT_ROWS
    devices: str | None = None
    scheduler: str | None = None
    send_back: bool = False
    on_start: Callable[[Plan], None] = lambda plan: None
    on_progress: Callable[[int], None] = lambda done: None

    def check(self, backbone: Any, precision: str) -> None:
        if self.calibration is not None and precision != "int8":
            raise UsageError(f"--calibration is of --precision int8, not of {precision}")
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"--batch-size {self.batch_size}: expected at least 1")
        if self.compression not in COMPRESSIONS:
            raise UsageError(f"compression {self.compression!r} is unknown; expected one of {', '.join(COMPRESSIONS)}")
        if self.devices and self.scheduler:
            raise UsageError("--devices and --scheduler exclude each other: Dask's workers have devices of their own")
        if self.send_back and not self.scheduler:
            raise UsageError("--send-back says how Dask's workers answer; give --scheduler with it")
        if (self.devices or self.scheduler) and network_sources.is_function(backbone):
            raise UsageError("--devices and --scheduler send networks to other processes; a function runs in this one")


def _extract(request: ExtractionRequest, work: _Work) -> list[ExtractResult]:
    """Extract what is asked for in one pass; a result for each layer."""
    work.check(request.backbone, request.precision)
    parsed = parse_devices(work.devices) if work.devices else None
    if network_sources.is_of_table(request.backbone):
        registry.get(request.backbone)  # a misspelt name fails before anything is read
    require_writable(work.cache)
    with Store(work.cache) as store, _workers(store, parsed, work.scheduler, work.send_back) as workers:
        dataset = choose_data(store, work.data, work.group_regex)
        ignored = dataset.ignored_kinds
        if ignored:
            _log.info("%s: left out, being no images or hidden: %s", dataset.root, in_words(ignored))
        resolved = resolve_on(request, store, dataset, work.calibration)
        if resolved.fell_back:
            _log.warning(
                "weights: RANDOM, since ImageNet weights are neither on this machine nor to be downloaded; "
                "good enough to try every command on the synthetic sample, and for nothing else"
            )

        def started(plan: Plan) -> None:
            advise(resolved.spec, request.runtime, len(plan.to_compute))
            work.on_start(plan)

        results = extract_layers_of_paths(
            store,
            resolved,
            dataset.paths,
            synthetic=dataset.synthetic,
            batch_size=work.batch_size,
            compression=work.compression,
            commit_rows=work.commit_rows,
            workers=workers,
            on_start=started,
            on_progress=work.on_progress,
        )
        for result in results:
            result.ignored = ignored
        for result in results:
            if result.bad and not work.skip_bad:
                raise refused(result)
        for result, layer in zip(results, request.layers, strict=True):
            _remember(store, dataset, result)
            if request.precision != "float32":
                result.precision_error = _precision_error(store, result, dataset, replace(request, layer=layer))
    return results


def _precision_error(
    store: Store, result: ExtractResult, dataset: Dataset, request: ExtractionRequest
) -> dict[str, Any] | None:
    """How far the rows of a set are from those in float32, measured."""
    plain = replace(request, precision="float32", runtime="auto")
    error = measure(store, result.feature_set, dataset, lambda: resolve(plain, store, dataset.synthetic))
    return None if error is None else error.about()


def _workers(
    store: Store, devices: Sequence[str] | None, scheduler: str | None, send_back: bool
) -> contextlib.AbstractContextManager[Workers | None]:
    if scheduler:
        from .dask_workers import DaskWorkers

        return DaskWorkers(scheduler, store.cache, send_back)
    return contextlib.nullcontext(DeviceProcesses(devices) if devices else None)


def _remember(store: Store, dataset: Dataset, result: ExtractResult) -> None:
    """Note what was extracted, as the default of other verbs; other backbones of the same data stay noted."""
    last = store.last_extract()
    sets = dict(last.get("feature_sets", {})) if last.get("data") == dataset.root else {}
    sets.pop(result.backbone, None)  # the last one stands last
    source = dataset.source or DataSource(dataset.root)
    store.remember_extract(
        {
            "data": dataset.root,
            "synthetic": dataset.synthetic,
            "group_regex": source.group_regex,
            **source.about(),
            "feature_sets": {**sets, result.backbone: result.feature_set},
            "skipped": sorted(bad.path for bad in result.bad),
        }
    )
