"""Kept features, read with what is known of their images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..data.tasks import Task
from ..errors import DataError, StoreError, UsageError
from ..store.store import Store
from ..system import memory
from .feature_request import FeatureRequest, choose_feature_set, choose_images
from .labelled_features import Features, FeatureSource
from .pooled_rows import read_or_stay


def load(
    backbone: str | Sequence[str] | None = None,
    *,
    task: str | Task = "multiclass",
    classes: Sequence[str] | None = None,
    pooling: str = "flatten",
    data: str | os.PathLike[str] | None = None,
    weights: str | None = None,
    size: int | None = None,
    layer: str | None = None,
    preprocess: str | None = None,
    group_regex: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    stream: bool | None = None,
) -> Features:
    """Read kept features; computes nothing, and needs no TensorFlow.

    Parameters
    ----------
    backbone : str, sequence of str or None, optional
        A backbone's name, or the id of a feature set; None is the one extracted last. Of several, the columns stand
        side by side, in memory; their names are in ``columns``.
    task : {"multiclass", "binary"} or Task, optional
        By name, or whole: :class:`featcache.Multilabel`, :class:`featcache.Regression`.
    classes : sequence of str or None, optional
        Two or more class names, in place of the task's own.
    pooling : {"flatten", "avg", "max", "map"}, optional
        How a map becomes a row; ``map`` leaves it as it is.
    data : str, path or None, optional
        The images; None takes those of the last extract.
    weights : str or None, optional
        Short name (``imagenet``, ``random0``, ``file``) that tells feature sets of one backbone apart.
    size : int or None, optional
        The same: side of the square input in pixels.
    layer : str or None, optional
        The same: the layer that is kept.
    preprocess : {"model", "rescale"} or None, optional
        The same.
    group_regex : str or None, optional
        Where in the file name the patient stands.
    cache : str or path, optional
        Folder of the store.
    stream : bool or None, optional
        Leave ``X`` in the store, as a :class:`featcache.StoredRows`; None does so where it would take more than a
        quarter of the free memory, since training holds copies, or of what :func:`featcache.memory_limit` leaves.

    Returns
    -------
    Features
        Rows, labels, groups and splits, in the order of the data.

    Raises
    ------
    DataError
        Images without features, or classes that are not there.
    UsageError
        An unknown name, or several feature sets that fit.
    StoreError
        A shard is damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> import featcache
    >>> from PIL import Image
    >>> for number, label in enumerate(["covid", "normal"] * 2):
    ...     Path("images", label).mkdir(parents=True, exist_ok=True)
    ...     Image.new("L", (16, 16), 40 * number).save(f"images/{label}/{number}.png")
    >>> result = featcache.extract("images", "pixels", size=8)
    >>> features = featcache.load("pixels", task="binary")
    >>> features.X.shape, features.classes
    ((4, 192), ('normal', 'covid'))
    """
    asked = (backbone,) if backbone is None or isinstance(backbone, str) else tuple(backbone)
    if not asked:
        raise UsageError("no backbone is named; expected one or several")
    requests = [
        FeatureRequest(
            backbone=one,
            task=task,
            classes=classes,
            pooling=pooling,
            data=data,
            group_regex=group_regex,
            weights=weights,
            size=size,
            layer=layer,
            preprocess=preprocess,
            cache=cache,
            stream=stream,
        )
        for one in asked
    ]
    return load_request(requests[0]) if len(requests) == 1 else _side_by_side(requests)


def _side_by_side(requests: Sequence[FeatureRequest]) -> Features:
    """The columns of several sets, of the same images in the same order."""
    if requests[0].pooling == "map":
        raise UsageError("maps of several feature sets have no columns; take pooling flatten, avg, max or cls")
    if requests[0].stream:
        raise UsageError("several feature sets stand side by side in memory alone; load them without stream")
    left = [load_request(replace(request, stream=True)) for request in requests]
    sources = [features.sources[0] for features in left]
    twice = {source.feature_set for source in sources if sources.count(source) > 1}
    if twice:
        raise UsageError(f"named twice: {', '.join(sorted(twice))}; name each feature set once")
    dtype = np.result_type(*(features.X.dtype for features in left))
    need = len(left[0]) * sum(source.columns for source in sources) * dtype.itemsize
    if need > memory.available():
        raise DataError(
            f"{len(left[0])} rows of {len(left)} feature sets take {need / 1e9:.1f} GB, and "
            f"{memory.available() / 1e9:.1f} GB are free; take pooling avg, or fewer sets"
        )
    X = np.empty((len(left[0]), sum(source.columns for source in sources)), dtype)
    start = 0
    for features, source in zip(left, sources, strict=True):
        X[:, start : start + source.columns] = features.X
        start += source.columns
    return replace(left[0], X=X, sources=tuple(sources))


def load_request(request: FeatureRequest) -> Features:
    """:func:`load` of what a request says; raises what that raises."""
    with Store(request.cache) as store:
        dataset, targets, keys = choose_images(store, request)
        feature_set = choose_feature_set(store, request)
        spec = store.spec(feature_set)
        try:
            X = read_or_stay(store, feature_set, keys, request.pooling, request.stream)
        except StoreError:
            present = store.rows(feature_set)
            absent = [path for path, key in zip(dataset.paths, keys, strict=True) if key not in present]
            if not absent:
                raise
            raise DataError(
                f"{len(absent)} of {len(keys)} images have no features in {feature_set}, the first is {absent[0]}; "
                f"run: python cli.py extract --data {dataset.root} --backbone {spec.network} …"
            ) from None
        map_shape = store.shapes(feature_set)[spec.arrays[0]]
        return Features(
            X=X,
            y=targets.y,
            classes=targets.names,
            paths=dataset.paths,
            groups=np.array(dataset.groups, dtype=object),
            splits=np.array(dataset.splits, dtype=object),
            keys=keys,
            sources=(FeatureSource(feature_set, spec, request.pooling, map_shape, X.shape[-1]),),
            synthetic=dataset.synthetic,
            data=dataset.root,
            task=request.learns,
            metadata_columns=dataset.metadata,
        )
