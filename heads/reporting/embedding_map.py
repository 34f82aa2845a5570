"""The map of a head's first dense layer, with all that a page needs to explore it: points, predictions, pictures."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import featcache
from featcache.data import filesystems
from featcache.errors import FeatcacheError, UsageError
from featcache.features.labelled_features import Features

from ..bundles.bundle import Bundle, open_bundle
from ..inference.bundle_features import set_of
from ..inference.class_activation import contributions
from ..inference.neighbour_embedding import embed
from ..inference.overlays import overlay

_log = logging.getLogger(__name__)
_POINTS = 20_000  # at most, on one map
_SLOW = 5000  # from here on the map takes minutes, and says so
_BUDGET = 7_000_000  # characters that all pictures may take
_FEW = 1000  # so many images get large pictures
_LARGE, _SMALL = 176, 96  # pixels


def explore(
    bundle: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    parts: Mapping[str, str] | None = None,
    cache: str | os.PathLike[str] = "cache",
    images: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """t-SNE of a head's first dense layer over all images of its classes, as plain values.

    Parameters
    ----------
    bundle : a head's.
    data, cache : as in :func:`featcache.load`.
    parts : which part an image was in when the head was made, by path; None takes the data's own splits.
    images : whether to add pictures, and saliency over them.
    seed : of t-SNE, and of what is left out where there is too much.

    Returns
    -------
    Columns, one value a point: ``x``, ``y``, ``label``, ``predicted``, ``split`` (positions in ``classes`` and
    ``splits``), ``path`` (relative to the data), ``picture`` (position in ``pictures``, or -1); ``probabilities``, row
    after row. ``overlays`` stand beside ``pictures``. Misclassified images come first where not all can be shown:
    ``all`` counts the images there are, ``wrong`` those misclassified. ``before`` says what was done before t-SNE,
    ``saliency`` why there are no overlays.

    Raises
    ------
    UsageError
        The bundle's model has no dense layer.
    DataError
        Its features are not in the cache, or there are fewer than 4 images.
    """
    opened = open_bundle(bundle)
    if not hasattr(opened.estimator, "hidden"):
        raise UsageError(f"{bundle}: a {opened.about['model'].get('name')} has no dense layer; name a head's bundle")
    features = _features(opened, data, cache)
    probabilities = opened.predict_proba(features)
    predicted = opened.labels(probabilities)
    wrong = predicted != features.y
    rng = np.random.default_rng(seed)
    # Errors first, in an order of chance within each: what is cut off at the end is a fair sample.
    order = np.argsort(~wrong + rng.random(len(wrong)) * 0.5, kind="stable")
    shown = np.sort(order[:_POINTS])
    chosen = features.take(shown)
    if len(shown) > _SLOW:
        _log.info("map: t-SNE of %d images takes some minutes", len(shown))
    embedding = embed(opened.estimator.hidden(chosen.X), seed=seed)
    points = embedding.points - embedding.points.mean(axis=0)
    points /= np.abs(points).max() or 1
    split = [(parts or {}).get(p, str(s)) or "no split" for p, s in zip(chosen.paths, chosen.splits, strict=True)]
    splits = sorted(set(split), key=lambda name: ("train", "val", "test", name).index(name))
    pictures, overlays, reason = _pictures(opened, chosen, predicted[shown], rng, cache, images)
    place = {row: position for position, row in enumerate(pictures)}
    return {
        "classes": list(opened.classes),
        "splits": splits,
        "x": np.round(points[:, 0], 4).tolist(),
        "y": np.round(points[:, 1], 4).tolist(),
        "label": chosen.y.tolist(),
        "predicted": predicted[shown].tolist(),
        "probabilities": np.round(probabilities[shown], 4).ravel().tolist(),
        "split": [splits.index(name) for name in split],
        "path": [_relative(path, chosen.data) for path in chosen.paths],
        "picture": [place.get(row, -1) for row in range(len(chosen))],
        "pictures": list(pictures.values()),
        "overlays": [overlays.get(row, "") for row in pictures] if overlays else [],
        "all": len(features),
        "wrong": int(wrong.sum()),
        "before": embedding.before,
        "saliency": reason,
        "feature_set": features.feature_set,
        "task": str(opened.about["task"]),
    }


def _features(opened: Bundle, data: str | os.PathLike[str] | None, cache: str | os.PathLike[str]) -> Features:
    pixels = opened.spec.backbone == "pixels"
    return featcache.load(
        "pixels" if pixels else set_of(opened.spec.hex, cache),
        task=str(opened.about["task"]),
        classes=opened.classes,
        pooling=opened.pooling,
        data=data,
        cache=cache,
    )


def _pictures(
    opened: Bundle,
    features: Features,
    predicted: np.ndarray,
    rng: np.random.Generator,
    cache: str | os.PathLike[str],
    images: bool,
) -> tuple[dict[int, str], dict[int, str], str]:
    """Thumbnails and overlays by row, misclassified rows first; and why there are no overlays."""
    if not images:
        return {}, {}, "pictures were left out (--no-images)"
    from .thumbnails import thumbnails

    right = predicted == features.y
    order = np.argsort(right + rng.random(len(right)) * 0.5, kind="stable").tolist()
    side = _LARGE if len(features) <= _FEW else _SMALL
    try:
        over = _saliency(opened, features, predicted, cache)
        return *thumbnails(features.paths, order, side, _BUDGET, over), ""
    except FeatcacheError as error:  # no maps, or a model that has none
        return *thumbnails(features.paths, order, side, _BUDGET), str(error)


def _saliency(opened: Bundle, features: Features, predicted: np.ndarray, cache: str | os.PathLike[str]) -> Any:
    """What draws the evidence for the predicted class over thumbnails.

    Raises :class:`DataError` where there are no maps to draw it from.
    """
    maps = featcache.load(
        features.feature_set,
        task=str(opened.about["task"]),
        classes=opened.classes,
        pooling="map",
        data=features.data,
        cache=cache,
        stream=True,
    )
    row_of = {path: row for row, path in enumerate(maps.paths)}

    def over(block: Sequence[tuple[int, Image.Image]]) -> list[Image.Image]:
        rows = [row for row, _ in block]
        of_block = np.asarray(maps.X[[row_of[features.paths[row]] for row in rows]])
        evidence = contributions(opened.estimator, of_block, opened.pooling, predicted[rows])
        return [overlay(image, one, max(image.size)) for (_, image), one in zip(block, evidence, strict=True)]

    return over


def _relative(path: str, root: str) -> str:
    """A path as it stands in the data: absolute ones name people's folders, and say nothing more."""
    if filesystems.is_url(path):
        return filesystems.name_of(path)
    base = Path(root) if Path(root).is_dir() else Path(root).parent
    return os.path.relpath(path, base) if root and Path(path).is_relative_to(base) else Path(path).name
