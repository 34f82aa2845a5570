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

from featcache.backbones import registry
from featcache.backbones import weights as network_weights
from featcache.data.dataset import Dataset, find_images, label_array
from featcache.errors import BadImage, BundleError, DataError, UsageError, WeightsError
from featcache.extraction.extract_paths import extract_paths
from featcache.extraction.planning import Plan, choose_data
from featcache.extraction.request import Resolved, resolve_spec
from featcache.features.loading import Features
from featcache.features.pooled_rows import read_or_stay
from featcache.store.store import Store
from featcache.system import tensor_files

from ..auditing.audit_record import joined, recall
from ..bundles.bundle import Bundle, open_bundle
from ..bundles.out_of_distribution import image_vectors
from ..evaluation.intervals import share_interval
from ..evaluation.metrics import evaluate
from ..evaluation.operating_point import operating_point
from ..evaluation.run_folder import (
    data_title,
    require_out,
    run_folder,
    stamp,
    write_evaluation,
    write_json,
    write_predictions,
)

_log = logging.getLogger(__name__)
_AT_ONCE = 8192  # images compared with the training ones at a time


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
    ``rows``: ``path label probabilities unlike_training distance`` of each image, in order; ``classes``; ``skipped``;
    ``threshold``, the probability of the second of two classes from which on it is the label, or None; ``novelty``, what
    ``distance`` is measured by; ``warnings``, what must stand beside. ``unlike_training`` is whether the image is farther
    from those that the model learnt from than 99 in 100 of their own kind (see :mod:`heads.bundles.out_of_distribution`): what the model says
    of it is then a guess. Both are None where the bundle holds nothing to tell by.

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
    features, bad = bundle_features(opened, dataset, weights, cache, skip_bad)
    probabilities = opened.predict_proba(features) if len(features) else np.empty((0, len(opened.classes)))
    distances, unlike = _novelty(opened, features, cache)
    rows = [
        {
            "path": path,
            "label": opened.classes[label],
            "probabilities": dict(zip(opened.classes, (float(value) for value in row), strict=True)),
            "unlike_training": flag,
            "distance": distance,
        }
        for path, label, row, flag, distance in zip(
            features.paths, opened.labels(probabilities).tolist(), probabilities, unlike, distances, strict=True
        )
    ]
    return {
        "rows": rows,
        "classes": list(opened.classes),
        "skipped": [image.path for image in bad],
        "threshold": opened.threshold,
        "novelty": opened.about["novelty"],
        "warnings": opened.warnings,
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
    ``test`` with intervals, copies and what any audit in this cache took for one patient counting as one group;
    ``internal``, the figures from when the model was made; ``trained_on``, how many of these
    images it learnt from; ``other_classes``, how many were left out; ``threshold``, what the bundle's gives here, or
    None; ``unlike_training``, how many of these images are unlike the training ones, beside the share that would be by
    chance, or None; ``warnings``, what must stand beside.

    Raises
    ------
    BundleError, DataError
    """
    opened = open_bundle(bundle)
    require_out(out)
    with Store(cache) as store:
        dataset = choose_data(store, data, group_regex)
    known, left_out = known_images(dataset, opened.classes, split)
    features, bad = bundle_features(opened, known, weights, cache, skip_bad)
    features = joined(features, cache)
    with run_folder(out, "evaluate", str(opened.about["task"]), opened.spec.backbone) as folder:
        probabilities = opened.predict_proba(features)
        test = evaluate(features.y, probabilities, features.groups, opened.classes, opened.threshold)
        unlike = _unlike(opened, features, cache)
        seen = int(opened.trained_on(features.keys).sum())
        if seen:
            _log.warning(
                "%d of these %d images were in the model's training data: the figures overestimate it",
                seen,
                len(features),
            )
        missing = [name for name in opened.classes if name not in set(known.labels)]
        if missing:
            _log.warning("no images of %s: the figures say nothing about it", ", ".join(missing))
        result = {
            **stamp("evaluate", features),
            "bundle": str(Path(bundle).absolute()), "task": opened.about["task"],
            "classes": list(opened.classes), "test": test, "internal": opened.about["scores"].get("test"),
            "trained_on": seen, "other_classes": left_out, "skipped": len(bad),
            "threshold": None if opened.threshold is None else operating_point(
                features.y, probabilities, features.groups, opened.threshold
            ),
            "unlike_training": unlike, "warnings": [*opened.warnings, *_of_data(cache, features)], "synthetic": features.synthetic, "run": str(folder),
        }  # fmt: skip
        everything = np.arange(len(features))
        write_predictions(
            folder / "predictions.csv", features, everything, list(features.splits), probabilities, opened.threshold
        )
        write_evaluation(
            folder,
            features,
            everything,
            probabilities,
            test,
            f"{data_title(dataset.root, dataset.synthetic)}, by {Path(bundle)}",
        )
        write_json(folder / "run.json", result)
        return result


def _of_data(cache: str | os.PathLike[str], features: Features) -> list[str]:
    """What an audit of just these images found."""
    found = recall(cache, features.keys)
    return [] if found is None else [f"of these images: {text}" for text in found.warnings]


def known_images(dataset: Dataset, classes: Sequence[str], split: str | None) -> tuple[Dataset, int]:
    """The images of these classes, of one part of the data where asked; and how many of other classes are left out.

    Raises :class:`DataError` where there are none.
    """
    if split is not None:
        dataset = dataset.take(i for i, value in enumerate(dataset.splits) if value == split)
        if not len(dataset):
            raise DataError(f"{dataset.root}: the data has no {split} split")
    known = dataset.take(i for i, label in enumerate(dataset.labels) if label in classes)
    if not len(known):
        raise DataError(
            f"{dataset.root}: none of its classes ({', '.join(dataset.classes)}) is one of the model's "
            f"({', '.join(classes)})"
        )
    return known, len(dataset) - len(known)


def bundle_features(
    bundle: Bundle, dataset: Dataset, weights: str | None, cache: str | os.PathLike[str], skip_bad: bool
) -> tuple[Features, list[BadImage]]:
    """Features of the images as the model wants them, computed where they are missing; and the bad images.

    Raises :class:`DataError` for bad images without ``skip_bad``.
    """

    planned: list[bytes | None] = []  # keys of the very bytes that were planned for; a second look may find others

    def announce(plan: Plan) -> None:
        planned.extend(plan.keys)
        if plan.to_compute:
            _log.info("%s: %d to compute, %d reused", bundle.spec.backbone, len(plan.to_compute), plan.reused)

    with Store(cache) as store:
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
        kept_rows = [i for i, path in enumerate(dataset.paths) if path not in bad]
        good = dataset.take(kept_rows)
        keys = [key for i in kept_rows if (key := planned[i]) is not None]
        features = Features(
            X=read_or_stay(store, result.feature_set, keys, bundle.pooling) if keys else np.empty((0, 0)),
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


def _novelty(
    bundle: Bundle, features: Features, cache: str | os.PathLike[str]
) -> tuple[list[float | None], list[bool | None]]:
    """Distance of each image to the training ones, and whether that makes it unlike them; Nones where none can tell."""
    if bundle.novelty is None or not len(features):
        return [None] * len(features), [None] * len(features)
    parts = []
    with Store(cache) as store:
        for start in range(0, len(features), _AT_ONCE):
            vectors = image_vectors(store, features.feature_set, features.keys[start : start + _AT_ONCE])
            if vectors.shape[1] != bundle.novelty.reference.shape[1]:
                raise BundleError(f"{bundle.folder}: its vectors of training images are not of this network's width")
            parts.append(bundle.novelty.distances(vectors))
    distances = np.concatenate(parts)
    return distances.tolist(), (distances > bundle.novelty.threshold).tolist()


def _unlike(bundle: Bundle, features: Features, cache: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The share of images that are unlike the training ones; said aloud where chance does not make so many."""
    _, flags = _novelty(bundle, features, cache)
    if bundle.novelty is None or not flags:
        return None
    share, by_chance = float(np.mean(np.array(flags, bool))), bundle.novelty.false_alarm
    interval = share_interval(np.array(flags, bool), features.groups)
    if interval[0] > by_chance:
        _log.warning(
            "%d of these %d images are unlike the model's training images (some %.0f would be by chance): what it says of "
            "them is a guess, and the figures from its own test images say nothing about them",
            sum(map(bool, flags)), len(flags), by_chance * len(flags),
        )  # fmt: skip
    return {"share": share, "share_ci": list(interval), "count": sum(map(bool, flags)), "by_chance": by_chance}


def _resolved(bundle: Bundle, weights: str | None, store: Store) -> Resolved:
    """How to compute this bundle's features: its own network, else the weights given, else those of the cache."""
    spec, network = bundle.spec, bundle.network
    source = (
        None if weights is None else network_weights.parse(weights)
    )  # a misspelt name is told where none is needed, too
    try:
        if network is None and source is not None:
            model = network_weights.build(registry.get(spec.backbone), spec.size, source, spec.precision)
            found = network_weights.digest(model)
            if found != spec.weights_digest:
                raise BundleError(
                    f"{bundle.folder}: made with {spec.backbone} weights of digest {spec.weights_digest[:8]}…; "
                    f"{weights} has {found[:8]}…. Its features would mean something else to this model"
                )
            tensor_files.keep(model, store.network(spec))
        if network is None and spec.backbone != "pixels":
            network = store.network(spec) if store.network(spec).exists() else None
        return resolve_spec(spec, network, store)
    except UsageError as error:
        raise BundleError(f"{bundle.folder}: {error}") from error
