"""Which kept features are wanted: of which images, labelled how, from which feature set, pooled how."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..backbones import network_sources, registry
from ..data.dataset import Dataset
from ..data.tasks import Targets, Task, as_task
from ..errors import DataError, UsageError
from ..extraction.network_request import known_network
from ..extraction.planning import choose_data, row_keys
from ..extraction.precision_error import recorded
from ..spec import NETWORK, FeatureSpec
from ..store.store import Store
from .pooling import POOLINGS

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FeatureRequest:
    """What :func:`featcache.load` is asked for, as one value; checked when it is made.

    The verbs that work on kept features take the same keywords; they make a request of them once, and pass
    that on. Another one that differs in a field: :func:`dataclasses.replace`.

    Parameters
    ----------
    backbone : str or None, optional
        A backbone's name, or the id of a feature set; None is the one extracted last.
    task : {"binary", "multiclass"} or Task, optional
        By name, or whole (:mod:`featcache.data.tasks`). Kept whole.
    classes : sequence of str or None, optional
        Two or more class names, in place of the named task's own. Kept as a tuple.
    pooling : {"flatten", "avg", "max", "map", "cls"}, optional
        How a map becomes a row; ``map`` leaves it as it is, ``cls`` takes the class token in its place.
    data : str, path or None, optional
        Folder or manifest of the images; None is that of the last extract.
    group_regex : str or None, optional
        Where in the file name the patient stands.
    weights, layer, preprocess : str or None, optional
        Tell feature sets of one backbone apart; ``weights`` is their short name.
    size : int or None, optional
        The same: side of the input in pixels.
    cache : str or path, optional
        Folder of the store.
    stream : bool or None, optional
        Leave the rows in the store; None does so where memory is short.

    Raises
    ------
    UsageError
        A pooling or task that is unknown, or classes that cannot be a task's.
    """

    backbone: str | None = None
    task: str | Task = "multiclass"
    classes: Sequence[str] | None = None
    pooling: str = "flatten"
    data: str | os.PathLike[str] | None = None
    group_regex: str | None = None
    weights: str | None = None
    size: int | None = None
    layer: str | None = None
    preprocess: str | None = None
    cache: str | os.PathLike[str] = "cache"
    stream: bool | None = None

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise UsageError(f"pooling {self.pooling!r} is unknown; expected one of {', '.join(POOLINGS)}")
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "task", as_task(self.task, self.classes))

    @property
    def learns(self) -> Task:
        """The task."""
        assert isinstance(self.task, Task)
        return self.task

    def matches(self, spec: FeatureSpec) -> bool:
        """Whether rows of this spec are of the kind that is asked for, and can be pooled so."""
        return (
            (self.weights is None or spec.weights == self.weights)
            and (self.size is None or spec.size == self.size)
            and (self.layer is None or spec.layer == self.layer)
            and (self.preprocess is None or (spec.preprocess == "rescale") == (self.preprocess == "rescale"))
            and (self.pooling != "cls" or spec.class_token)
            and (self.pooling in ("avg", "cls") or "map" in spec.arrays or spec.keep == "vector")
        )


def choose_images(store: Store, request: FeatureRequest) -> tuple[Dataset, Targets, list[bytes]]:
    """The images of the task, what is true of them, and the images' row keys.

    Raises :class:`DataError` where what the task learns is not there, or images cannot be read.
    """
    dataset = _without_skipped(store, choose_data(store, request.data, request.group_regex))
    targets = request.learns.targets(dataset)
    if len(targets.rows) < len(dataset):
        dataset = dataset.take(targets.rows)
    keys, bad = row_keys(store, dataset.paths)
    if bad:
        raise DataError(f"{len(bad)} of {len(keys)} images cannot be read", bad)
    return dataset, targets, [key for key in keys if key is not None]


def choose_feature_set(store: Store, request: FeatureRequest) -> str:
    """The one set that fits; of several, the one extracted last.

    Raises :class:`DataError` where there is none, :class:`UsageError` where there are several.
    """
    known = store.feature_sets()
    backbone = request.backbone
    if backbone is None:
        last = store.last_extract().get("feature_sets", {})
        extracted = [name for name in last if name != "pixels"]
        if not extracted:
            found = (
                "pixels alone have been extracted here; take them with --backbone pixels, or run"
                if last
                else "no features have been extracted here yet; run"
            )
            raise DataError(f"{found}: python cli.py extract --backbone vgg16")
        backbone = str(extracted[-1])
    if backbone in known:
        return backbone
    of_network = _of_network(store, known, backbone)
    fitting = [feature_set for feature_set, spec in of_network.items() if request.matches(spec)]
    name = next(iter(of_network.values())).network if of_network else backbone
    if not fitting:
        there = ", ".join(known) or "none"
        kind = {"avg": "", "cls": " with a class token"}.get(request.pooling, " with maps (not --keep avg)")
        raise DataError(
            f"no features of {name}{kind} as asked; there are: {there}. Run: python cli.py extract --backbone "
            f"{backbone}"
        )
    if len(fitting) > 1:
        fitting = _without_references(store, fitting)
    if len(fitting) > 1:
        last = store.last_extract().get("feature_sets", {}).get(name)
        if last not in fitting:
            raise UsageError(f"several feature sets fit: {', '.join(fitting)}; name one of them as the backbone")
        return str(last)
    return fitting[0]


def _of_network(store: Store, known: Sequence[str], asked: str) -> dict[str, FeatureSpec]:
    """The sets of the network that a name, a label or a path stands for, with their specs.

    Raises :class:`UsageError` where nothing here has such a name.
    """
    if network_sources.is_of_table(asked):
        labelled = {name: spec for name, spec in _outside(store, known).items() if spec.network == asked}
        if labelled:
            return labelled
        row = registry.get(asked).name
        mine = {name: store.spec(name) for name in known if name.startswith(f"{row}-")}
        return {name: spec for name, spec in mine.items() if spec.backbone == row}
    outside = _outside(store, known)
    exact = known_network(asked, store)
    if exact is not None:
        return {name: spec for name, spec in outside.items() if spec.backbone == exact}
    return {name: spec for name, spec in outside.items() if network_sources.is_called(spec.network, asked)}


def _without_references(store: Store, fitting: list[str]) -> list[str]:
    """Without sets of float32 that hold no more than what the error of another one was measured by."""
    errors = [error for name in fitting if (error := recorded(store, name)) is not None]
    measured = {error.reference for error in errors if store.rows(error.reference).keys() <= set(error.keys)}
    return [name for name in fitting if name not in measured] or fitting


def _outside(store: Store, known: Sequence[str]) -> dict[str, FeatureSpec]:
    """The sets of networks that are not of the table; a set's id begins with its backbone."""
    return {name: store.spec(name) for name in known if name.startswith(NETWORK)}


def _without_skipped(store: Store, dataset: Dataset) -> Dataset:
    """Leave out what the last extract of this data was told to skip, and say so."""
    last = store.last_extract()
    if last.get("data") != dataset.root or not last.get("skipped"):
        return dataset
    skipped = set(last["skipped"])
    kept = [i for i, path in enumerate(dataset.paths) if path not in skipped]
    if len(kept) < len(dataset):
        _log.warning("%d image(s) are left out, as --skip-bad said at the last extract", len(dataset) - len(kept))
    return dataset.take(kept)
