"""A kept model on images it has not seen: ``predict`` and ``evaluate``.

Features come by the very path that training took, through the store, so that an image is computed once and a
prediction equals what the cached features give.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featcache import backbones, frozen
from featcache import features as kept
from featcache import weights as network_weights
from featcache.dataset import Dataset, find_images, label_array
from featcache.errors import BadImage, BundleError, DataError, UsageError, WeightsError
from featcache.extraction import Plan, choose_data, extract_paths, row_keys
from featcache.features import Features
from featcache.recipe import Resolved, resolve_spec
from featcache.store import Store

from .bundle import Bundle, open_bundle
from .evaluate import evaluate
from .runs import run_folder, stamp, write_evaluation, write_json, write_predictions

_log = logging.getLogger(__name__)


def predict(
    bundle: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]],
    *,
    weights: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    skip_bad: bool = False,
) -> dict[str, Any]:
    """Label images.

    Parameters
    ----------
    bundle : a bundle's folder.
    images : image files, folders (searched to any depth), or manifests.
    weights : the network's weights, where the bundle holds none: ``imagenet`` or a file.
    cache : the features are kept here; what is there already is not computed again.
    skip_bad : go on without images that cannot be decoded.

    Returns
    -------
    ``rows``: ``path label probabilities`` of each image, in order; ``classes``; ``skipped``.

    Raises
    ------
    BundleError
        The bundle is damaged, or made for other features.
    DataError
        No images, or bad ones without ``skip_bad``.
    """
    opened = open_bundle(bundle)
    paths = [path for entry in images for path in find_images(entry)]
    if not paths:
        raise DataError("no images to predict")
    dataset = Dataset("", paths, paths, [opened.classes[0]] * len(paths), [""] * len(paths), paths)
    features, bad = _features(opened, dataset, weights, cache)
    if bad and not skip_bad:
        raise DataError(f"{len(bad)} of {len(paths)} images cannot be used; go on without them with --skip-bad", bad)
    probabilities = opened.predict_proba(features) if len(features) else np.empty((0, len(opened.classes)))
    rows = [
        {
            "path": path,
            "label": opened.classes[int(row.argmax())],
            "probabilities": dict(zip(opened.classes, (float(value) for value in row), strict=True)),
        }
        for path, row in zip(features.paths, probabilities, strict=True)
    ]
    return {
        "rows": rows,
        "classes": list(opened.classes),
        "skipped": [image.path for image in bad],
        "synthetic": opened.synthetic,
    }


def evaluate_bundle(
    bundle: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    *,
    split: str | None = None,
    group_regex: str | None = None,
    weights: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    skip_bad: bool = False,
    out: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Judge a kept model on labelled images.

    Parameters
    ----------
    bundle, weights, cache, skip_bad : as in :func:`predict`.
    data : a folder or manifest; None takes the last extract's. Images of classes that the model does not know are left
        out, and counted.
    split : only this part of the data.
    out : folder for figures, ``predictions.csv`` and ``run.json``; None makes one in ``runs``.

    Returns
    -------
    ``test`` with intervals; ``internal``, the figures from when the model was made; ``trained_on``, how many of these
    images it learnt from; ``other_classes``, how many were left out.

    Raises
    ------
    BundleError, DataError
    """
    opened = open_bundle(bundle)
    with Store(cache) as store:
        dataset = choose_data(store, data, group_regex)
    if split is not None:
        dataset = dataset.take(i for i, value in enumerate(dataset.splits) if value == split)
        if not len(dataset):
            raise DataError(f"{dataset.root}: the data has no {split} split")
    known = dataset.take(i for i, label in enumerate(dataset.labels) if label in opened.classes)
    if not len(known):
        raise DataError(
            f"{dataset.root}: none of its classes ({', '.join(dataset.classes)}) is one of the model's "
            f"({', '.join(opened.classes)})"
        )
    features, bad = _features(opened, known, weights, cache)
    if bad and not skip_bad:
        raise DataError(f"{len(bad)} of {len(known)} images cannot be used; go on without them with --skip-bad", bad)
    with run_folder(out, "evaluate", str(opened.about["task"]), opened.spec.backbone) as folder:
        probabilities = opened.predict_proba(features)
        test = evaluate(features.y, probabilities, features.groups, classes=opened.classes)
        seen = int(opened.trained_on(features.keys).sum())
        if seen:
            _log.warning(
                "%d of these %d images were in the model's training data: the figures flatter", seen, len(features)
            )
        missing = [name for name in opened.classes if name not in set(known.labels)]
        if missing:
            _log.warning("no images of %s: the figures say nothing about it", ", ".join(missing))
        result = {
            **stamp("evaluate", features),
            "bundle": str(Path(bundle).absolute()), "task": opened.about["task"],
            "classes": list(opened.classes), "test": test, "internal": opened.about["scores"].get("test"),
            "trained_on": seen, "other_classes": len(dataset) - len(known), "skipped": len(bad),
            "synthetic": features.synthetic, "run": str(folder),
        }  # fmt: skip
        everything = np.arange(len(features))
        write_predictions(folder / "predictions.csv", features, everything, list(features.splits), probabilities)
        write_evaluation(
            folder, features, everything, probabilities, test, f"{Path(dataset.root).name}, by {Path(bundle)}"
        )
        write_json(folder / "run.json", result)
        return result


def _features(
    bundle: Bundle, dataset: Dataset, weights: str | None, cache: str | os.PathLike[str]
) -> tuple[Features, list[BadImage]]:
    """Features of the images as the model wants them, computed where they are missing; and the bad images."""

    def announce(plan: Plan) -> None:
        if plan.jobs:
            _log.info("%s: %d to compute, %d reused", bundle.spec.backbone, len(plan.jobs), plan.reused)

    with Store(cache) as store:
        try:
            result = extract_paths(store, _resolved(bundle, weights, store), dataset.paths, on_start=announce)
        except WeightsError as error:
            raise WeightsError(f"{bundle.folder}: {error}") from error
        bad = {image.path for image in result.bad}
        good = dataset.take(i for i, path in enumerate(dataset.paths) if path not in bad)
        keys = [key for key in row_keys(store, good.paths)[0] if key is not None]
        features = Features(
            X=kept.read_pooled(store, result.feature_set, keys, bundle.pooling) if keys else np.empty((0, 0)),
            y=label_array(good.labels, bundle.classes),
            classes=bundle.classes,
            paths=good.paths,
            groups=np.array(good.groups, dtype=object),
            splits=np.array(good.splits, dtype=object),
            keys=keys,
            feature_set=result.feature_set,
            spec=bundle.spec,
            pooling=bundle.pooling,
            map_shape=tuple(result.shape),
            synthetic=dataset.synthetic or bundle.synthetic,
            data=dataset.root,
        )
    return features, result.bad


def _resolved(bundle: Bundle, weights: str | None, store: Store) -> Resolved:
    """How to compute this bundle's features: its own network, else the weights given, else those of the cache."""
    spec, network = bundle.spec, bundle.network
    try:
        if network is None and weights is not None:
            source = network_weights.parse(weights)
            model = network_weights.build(backbones.get(spec.backbone), spec.size, source, spec.precision)
            found = network_weights.digest(model)
            if found != spec.weights_digest:
                raise BundleError(
                    f"{bundle.folder}: made with {spec.backbone} weights of digest {spec.weights_digest[:8]}…; "
                    f"{weights} has {found[:8]}…. Its features would mean something else to this model"
                )
            frozen.keep(model, store.network(spec))
        if network is None and spec.backbone != "pixels":
            network = store.network(spec) if store.network(spec).exists() else None
        return resolve_spec(spec, network, store)
    except UsageError as error:
        raise BundleError(f"{bundle.folder}: {error}") from error
