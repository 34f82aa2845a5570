"""Fill the store for given files: plan, compute what is missing here or by workers, and keep account of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import BadImage, DataError
from ..spec import FeatureSpec, are_random
from ..store.store import Store
from ..system.write_access import require_writable
from . import pipeline, workers
from .layer_commits import committer
from .pace import UsualPace
from .pipeline import Outcome
from .planning import Plan, PlannedImage, plan_layers
from .request import Resolved
from .workers import Workers


@dataclass
class ExtractResult:
    """What an extraction did; ``images == computed + reused + copies + skipped``.

    Attributes
    ----------
    feature_set : str
        Id of the set that was filled.
    backbone : str
        Its network.
    weights : str
        Short name of the weights' origin: ``imagenet``, ``random0``, ``file``, ``none``.
    images : int
        Files of the data.
    computed, reused, copies, skipped : int
        Images that were computed; that had features; that equal another one byte for byte; that cannot be used.
    seconds : float
        From the first file that is computed to the last committed shard.
    images_per_second : float
        Of those computed.
    saved_seconds : float
        What computing the reused ones took when it was done.
    shape : list of int
        Of one row of the first array that is kept.
    runtime : str
        What computed: ``tensorflow``, ``openvino``, ``torch``, or ``none`` where nothing was.
    synthetic : bool
        Whether the images are the built-in sample.
    batch_size : int
        Images a call of the network at the end; 0 where nothing was computed.
    phases : dict of str to float
        Seconds by what was done: ``plan``, ``ready`` (loading, building or converting the network), and within
        ``seconds``, overlapping, ``decode``, ``network``, ``commit`` and ``wait``.
    bad : list of BadImage
        The skipped ones, with reasons.
    ignored : dict of str to int
        Files of the data that are no images, by kind.
    precision_error : dict or None
        Of a precision other than float32, the distance between the rows of ``images`` of these images in both, as a
        share of the length of float32's: ``median`` and ``largest``; ``reference``, the set of float32. None otherwise.

    Examples
    --------
    >>> from pathlib import Path
    >>> import featcache
    >>> from PIL import Image
    >>> for number, label in enumerate(["covid", "normal"] * 2):
    ...     Path("images", label).mkdir(parents=True, exist_ok=True)
    ...     Image.new("L", (16, 16), 40 * number).save(f"images/{label}/{number}.png")
    >>> result = featcache.extract("images", "pixels", size=8)
    >>> result.feature_set[:13], result.images, result.computed + result.reused
    ('pixels-none-8', 4, 4)
    >>> sorted(result.to_dict())[:3]
    ['backbone', 'bad', 'batch_size']
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
    precision_error: dict[str, Any] | None = None

    @property
    def random_weights(self) -> bool:
        """Whether the network's weights were drawn, so that the features know nothing."""
        return are_random(self.weights)

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, for JSON.

        Returns
        -------
        dict
            Every attribute by name.
        """
        return asdict(self)


@dataclass(frozen=True)
class _Settings:
    """How images are computed and kept; as in :func:`featcache.extract`."""

    batch_size: int | None
    compression: str
    commit_rows: int
    on_progress: Callable[[int], None]


@dataclass(frozen=True)
class _Computation:
    """What computing came to: its outcome, on which runtime, the seconds until that was ready, and the usual pace."""

    outcome: Outcome
    runtime: str
    ready: float
    usual: UsualPace


def extract_paths(store: Store, resolved: Resolved, paths: Sequence[str], **how: Any) -> ExtractResult:
    """:func:`extract_layers_of_paths` of one layer; ``how`` is what that takes."""
    (result,) = extract_layers_of_paths(store, resolved, paths, **how)
    return result


def extract_layers_of_paths(
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
) -> list[ExtractResult]:
    """Fill the store for these files in one pass, here or by workers; a result for each layer.

    Bad images are listed in the results, and raise nothing.
    """
    begun = time.perf_counter()
    *plans, todo = plan_layers(store, resolved.specs, paths)
    phases = {"plan": time.perf_counter() - begun, "ready": 0.0}
    on_start(todo)
    if not todo.to_compute:
        return [
            _result(store, spec, each, Outcome(), "none", phases, synthetic)
            for spec, each in zip(resolved.specs, plans, strict=True)
        ]
    require_writable(store.cache)
    settings = _Settings(batch_size, compression, commit_rows, on_progress)
    if workers is None:
        computation = _computed_here(store, resolved, todo.to_compute, settings)
    else:
        computation = _computed_by(workers, store, resolved, todo.to_compute, settings)
    outcome = computation.outcome
    # Among them files whose content is not what a damaged index said: they are read anew the next time.
    store.index.forget_files([image.path for image in outcome.bad])
    phases["ready"] = computation.ready
    computation.usual.note(outcome, phases)
    return [
        _result(store, spec, each, _of_layer(outcome, each), computation.runtime, phases, synthetic)
        for spec, each in zip(resolved.specs, plans, strict=True)
    ]


def _computed_here(
    store: Store, resolved: Resolved, images: Sequence[PlannedImage], settings: _Settings
) -> _Computation:
    begun = time.perf_counter()
    runtime = resolved.build(len(images))
    ready = time.perf_counter() - begun
    usual = UsualPace(store.cache, resolved.specs, runtime.info)
    outcome = pipeline.run(
        images,
        resolved.spec,
        runtime,
        committer(store, resolved.specs, settings.compression),
        batch_size=settings.batch_size,
        commit_rows=settings.commit_rows,
        progress=settings.on_progress,
        on_pace=usual.estimate,
    )
    return _Computation(outcome, runtime.info["name"], ready, usual)


def _computed_by(
    theirs: Workers, store: Store, resolved: Resolved, images: Sequence[PlannedImage], settings: _Settings
) -> _Computation:
    begun = time.perf_counter()
    # Building proves the network and keeps it for the workers; it is not held here: they need the memory.
    info = resolved.build(len(images)).info
    ready = time.perf_counter() - begun
    usual = UsualPace(store.cache, resolved.specs, info, workers=len(theirs))
    begun = time.perf_counter()
    outcome = workers.run(
        theirs,
        store,
        resolved.specs,
        images,
        info["name"],
        named=resolved.named,
        batch_size=settings.batch_size,
        compression=settings.compression,
        commit_rows=settings.commit_rows,
        progress=settings.on_progress,
    )
    outcome.seconds = time.perf_counter() - begun
    return _Computation(outcome, info["name"], ready, usual)


def _of_layer(outcome: Outcome, todo: Plan) -> Outcome:
    """What a pass did for one of its layers, some of whose images may have been there."""
    wanted = {image.path for image in todo.to_compute}
    bad = [image for image in outcome.bad if image.path in wanted]
    return replace(outcome, computed=len(wanted) - len(bad), bad=bad)


def _result(
    store: Store,
    spec: FeatureSpec,
    todo: Plan,
    outcome: Outcome,
    runtime: str,
    phases: dict[str, float],
    synthetic: bool,
) -> ExtractResult:
    feature_set = store.find(spec)
    bad = todo.unreadable + outcome.bad + _bad_copies(todo, outcome.bad)
    images = len(todo.keys)
    shards = store.shards(feature_set).values()
    rows, seconds = sum(shard[1] for shard in shards), sum(shard[2] for shard in shards)
    shapes = store.shapes(feature_set)
    return ExtractResult(
        feature_set=feature_set,
        backbone=spec.network,
        weights=spec.weights,
        images=images,
        computed=outcome.computed,
        reused=todo.reused,
        copies=images - outcome.computed - todo.reused - len(bad),
        skipped=len(bad),
        seconds=round(outcome.seconds, 3),
        images_per_second=round(outcome.computed / outcome.seconds, 2) if outcome.seconds else 0.0,
        saved_seconds=round(todo.reused * seconds / rows, 1) if rows else 0.0,
        shape=list(shapes[spec.arrays[0]]) if shapes else [],
        runtime=runtime,
        synthetic=synthetic,
        batch_size=outcome.batch_size,
        phases={name: round(taken, 3) for name, taken in (phases | outcome.phases).items()},
        bad=bad,
    )


def refused(result: ExtractResult) -> DataError:
    """The error of an extraction that was not told to go on without bad images."""
    return DataError(
        f"{len(result.bad)} of {result.images} images cannot be used; the others are kept ({result.computed} computed, "
        f"{result.reused} reused). Mend or remove these, or go on without them with --skip-bad.",
        result.bad,
    )


def _bad_copies(todo: Plan, bad: Sequence[BadImage]) -> list[BadImage]:
    """What stands for the copies of images that turned out bad."""
    keys = {image.path: image.key for image in todo.to_compute}
    reasons = {keys[image.path]: image.reason for image in bad}
    return [BadImage(copy.path, reasons[copy.key]) for copy in todo.copies if copy.key in reasons]
