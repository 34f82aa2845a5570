"""Features of images as a kept model wants them, by the very path that training took.

They come through the store, so that an image is computed once and a prediction equals what the cached features give.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from featcache.backbones import registry
from featcache.backbones import weights as network_weights
from featcache.data.dataset import Dataset, find_images
from featcache.errors import BadImage, BundleError, DataError, UsageError, WeightsError
from featcache.extraction.extract_paths import extract_paths
from featcache.extraction.planning import Plan
from featcache.extraction.request import Resolved
from featcache.extraction.resolution import resolve_spec
from featcache.features.labelled_features import Features, FeatureSource
from featcache.features.pooled_rows import read_or_stay
from featcache.store.store import Store
from featcache.system import tensor_files
from featcache.system.atomic_files import sha256_file

from ..bundles.bundle import Bundle
from ..bundles.integrity import CONVERTED

_log = logging.getLogger(__name__)


class Images(NamedTuple):
    """Images for a model: which, and what is true of each, as its features' ``y`` has it."""

    dataset: Dataset
    y: np.ndarray


def unlabelled_images(bundle: Bundle, images: Sequence[str | os.PathLike[str]]) -> Images:
    """Image files, folders (searched to any depth) or manifests as a set; its targets mean nothing."""
    paths = [path for entry in images for path in find_images(entry)]
    nothing = [""] * len(paths)
    of_kind = {
        "labels": np.full((len(paths), len(bundle.classes)), np.nan, np.float32),
        "number": np.full(len(paths), np.nan),
    }
    y = of_kind.get(bundle.task.kind, np.zeros(len(paths), np.int64))
    return Images(Dataset("", paths, paths, nothing, nothing, paths), y)


def known_images(bundle: Bundle, dataset: Dataset, split: str | None) -> tuple[Images, int]:
    """The images that a model can be judged by, of one part of the data where asked; and how many others there are.

    Raises :class:`DataError` where there are none.
    """
    if split is not None:
        dataset = dataset.take(i for i, value in enumerate(dataset.splits) if value == split)
        if not len(dataset):
            raise DataError(f"{dataset.root}: the data has no {split} split")
    targets = bundle.task.judged(dataset)
    known = dataset.take(targets.rows) if len(targets.rows) < len(dataset) else dataset
    return Images(known, targets.y), len(dataset) - len(known)


def rows_cache(bundle: Bundle, cache: str | os.PathLike[str]) -> Path:
    """The folder of the store that holds rows of a bundle's network.

    It is the cache itself where that network is the cache's own, byte for byte, or is proven by its weights' digest. A
    converted network says nothing of where it came from: what it computes is kept apart, so that a bundle from
    elsewhere puts no row into a feature set of the user's, whatever its spec says.
    """
    network = bundle.network
    if network is None or network.name != CONVERTED:
        return Path(cache)
    with Store(cache) as store:
        own = store.converted(bundle.spec)
    digest = bundle.about["files"][CONVERTED]
    if own.is_file() and (own.samefile(network) or sha256_file(own) == digest):
        return Path(cache)
    return Path(cache) / "bundles" / digest[:16]


def set_of(spec_hex: str, cache: str | os.PathLike[str]) -> str:
    """The feature set of a spec, whatever its weights were called; raises :class:`DataError` where there is none."""
    with Store(cache) as store:
        for name in store.feature_sets():
            if name.endswith(f"-{spec_hex}"):
                return name
    raise DataError("the bundle's features are not in this cache; extract them, or name the cache with --cache")


def bundle_features(
    bundle: Bundle, images: Images, weights: str | None, cache: str | os.PathLike[str], skip_bad: bool
) -> tuple[Features, list[BadImage]]:
    """Features of the images as the model wants them, computed where they are missing; and the bad images.

    Raises :class:`DataError` for bad images without ``skip_bad``.
    """

    dataset = images.dataset
    planned: list[bytes | None] = []  # keys of the very bytes that were planned for; a second look may find others

    def announce(plan: Plan) -> None:
        planned.extend(plan.keys)
        if plan.to_compute:
            _log.info("%s: %d to compute, %d reused", bundle.spec.network, len(plan.to_compute), plan.reused)

    with Store(rows_cache(bundle, cache)) as store:
        try:
            result = extract_paths(store, _resolved(bundle, weights, store), dataset.paths, on_start=announce)
        except WeightsError as error:
            raise WeightsError(f"{bundle.folder}: {error}") from error
        if result.bad and not skip_bad:
            raise DataError(
                f"{len(result.bad)} of {len(dataset)} images cannot be used; go on without them with --skip-bad",
                result.bad,
            )
        bad = {image.path for image in result.bad}
        good_rows = [i for i, path in enumerate(dataset.paths) if path not in bad]
        good = dataset.take(good_rows)
        keys = [key for i in good_rows if (key := planned[i]) is not None]
        X = read_or_stay(store, result.feature_set, keys, bundle.pooling) if keys else np.empty((0, 0))
        source = FeatureSource(result.feature_set, bundle.spec, bundle.pooling, tuple(result.shape), X.shape[-1])
        features = Features(
            X=X,
            y=images.y[good_rows],
            classes=bundle.classes,
            paths=good.paths,
            groups=np.array(good.groups, dtype=object),
            splits=np.array(good.splits, dtype=object),
            keys=keys,
            sources=(source,),
            synthetic=dataset.synthetic or bundle.synthetic,
            data=dataset.root,
            task=bundle.task,
            metadata_columns=good.metadata,
        )
    return features, result.bad


def _resolved(bundle: Bundle, weights: str | None, store: Store) -> Resolved:
    """How to compute this bundle's features: its own network, else the weights given, else those of the cache."""
    spec, network = bundle.spec, bundle.network
    # A misspelt name is told where none is needed, too.
    source = None if weights is None else network_weights.parse(weights)
    try:
        if source is not None and not spec.of_table:
            raise BundleError(
                f"{bundle.folder}: its network {spec.network} is not of the table; --weights gives no other"
            )
        if network is None and source is not None:
            model = network_weights.build(registry.get(spec.backbone), spec.size, source, spec.precision)
            digest = network_weights.digest(model)
            if digest != spec.weights_digest:
                raise BundleError(
                    f"{bundle.folder}: made with {spec.backbone} weights of digest {spec.weights_digest[:8]}…; "
                    f"{weights} has {digest[:8]}…. Its features would mean something else to this model"
                )
            tensor_files.keep(model, store.network(spec))
        if network is None and spec.backbone != "pixels":
            network = store.kept(spec) if store.kept(spec).exists() else None
        return resolve_spec(spec, network, store)
    except UsageError as error:
        raise BundleError(f"{bundle.folder}: {error}") from error
