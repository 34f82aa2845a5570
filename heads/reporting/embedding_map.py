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
from featcache.store.store import Store

from ..bundles.bundle import Bundle, open_bundle
from ..bundles.out_of_distribution import image_vectors
from ..evaluation.clusters import group_codes
from ..evaluation.nearest_of_others import nearest_of_others
from ..inference.bundle_features import set_of
from ..inference.class_activation import contributions
from ..inference.neighbour_embedding import embed
from ..inference.overlays import overlay
from ..inference.saliency_targets import SALIENCY_TARGETS
from ..vault.locks import locked
from .map_answers import MAP_ANSWERS

_log = logging.getLogger(__name__)
_POINTS = 20_000  # at most, on one map
_SLOW = 5000  # from here on the map takes minutes, and says so
_BUDGET = 7_000_000  # characters that all pictures may take
_FEW = 1000  # so many images get large pictures
_LARGE, _SMALL = 176, 96  # pixels
_NEAR = 4  # training images that are shown beside each


def explore(
    bundle: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    parts: Mapping[str, str] | None = None,
    cache: str | os.PathLike[str] = "cache",
    images: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """t-SNE of a head's first dense layer over all images of its task, as plain values.

    Parameters
    ----------
    bundle : a head's.
    data, cache : as in :func:`featcache.load`.
    parts : which part an image was in when the head was made, by path; None takes the data's own splits.
    images : whether to add pictures, and saliency over them.
    seed : of t-SNE, and of what is left out where there is too much.

    Returns
    -------
    Columns, one value a point: ``x``, ``y``, ``label`` (position in ``classes``: of several labels the rarest one that
    an image has, of a number its fifth), ``split`` (position in ``splits``), ``path`` (relative to the data),
    ``picture`` (position in ``pictures``, or -1), and what :data:`heads.reporting.map_answers.MAP_ANSWERS` tells of
    the ``kind``, of its ``names``. ``overlays`` stand beside ``pictures``, of the ``evidence`` (position in
    ``evidence_words``) of each point. Images that the head is wrong about come first where not all can be shown:
    ``all`` counts the images there are, ``wrong`` those that it is wrong about, None of a number. ``before`` says what
    was done before t-SNE, ``saliency`` why there are no overlays. ``near`` are of each point the nearest training
    images of other groups, positions among the points, by the features' averages; empty where there are many points.
    Locked images are left out.

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
    kept_back = locked(cache, features.keys)
    if kept_back.count:
        _log.warning("map: %d locked images are left out of it", kept_back.count)
        features = features.take(~kept_back.rows)
    outputs = opened.predict_proba(features)
    answers = opened.labels(outputs)
    missed = features.task.wrong(features.y, answers)
    wrong = np.zeros(len(features), bool) if missed is None else missed
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
    kind = features.task.kind
    targets = SALIENCY_TARGETS[kind]
    target = targets.explained(features.task, features.classes, chosen.y, outputs[shown], answers[shown]).target
    # Those that it is wrong about first, and then in an order of chance.
    order = np.argsort(~wrong[shown] + rng.random(len(shown)) * 0.5, kind="stable").tolist()
    pictures, overlays, reason = _pictures(opened, chosen, target, order, cache, images)
    place = {row: position for position, row in enumerate(pictures)}
    codes, names = features.task.as_classes(chosen.y, features.classes)
    return {
        "kind": kind,
        "classes": list(names),
        "names": list(opened.classes),
        "splits": splits,
        "x": np.round(points[:, 0], 4).tolist(),
        "y": np.round(points[:, 1], 4).tolist(),
        "label": codes.tolist(),
        **MAP_ANSWERS[kind].told(chosen, outputs[shown], answers[shown]),
        "split": [splits.index(name) for name in split],
        "path": [_relative(path, chosen.data) for path in chosen.paths],
        "near": _near(chosen, split, cache),
        "picture": [place.get(row, -1) for row in range(len(chosen))],
        "pictures": list(pictures.values()),
        "overlays": [overlays.get(row, "") for row in pictures] if overlays else [],
        "evidence": target.tolist(),
        "evidence_words": [targets.evidence(name) for name in opened.classes],
        "all": len(features),
        "wrong": None if missed is None else int(missed.sum()),
        "before": embedding.before,
        "saliency": reason,
        "feature_set": features.feature_set,
        "task": opened.task.name,
    }


def _features(opened: Bundle, data: str | os.PathLike[str] | None, cache: str | os.PathLike[str]) -> Features:
    pixels = opened.spec.backbone == "pixels"
    return featcache.load(
        "pixels" if pixels else set_of(opened.spec.hex, cache),
        task=opened.task,
        pooling=opened.pooling,
        data=data,
        cache=cache,
    )


def _near(features: Features, split: Sequence[str], cache: str | os.PathLike[str]) -> list[list[int]]:
    """Of each image the nearest of other groups that the head learnt from; of all, where there are no parts."""
    if len(features) > _SLOW:
        return []
    with Store(cache) as store:
        vectors = image_vectors(store, features.feature_set, features.keys)
    learnt = np.flatnonzero(np.asarray(split) == "train") if "train" in split else np.arange(len(features))
    codes = group_codes(features.groups, len(features))
    found = nearest_of_others(vectors, codes, np.arange(len(features)), learnt, _NEAR)
    return [rows.tolist() for rows in found]


def _pictures(
    opened: Bundle,
    features: Features,
    target: np.ndarray,
    order: Sequence[int],
    cache: str | os.PathLike[str],
    images: bool,
) -> tuple[dict[int, str], dict[int, str], str]:
    """Thumbnails and overlays by row, in an order; and why there are no overlays."""
    if not images:
        return {}, {}, "pictures were left out (--no-images)"
    from .thumbnails import thumbnails

    side = _LARGE if len(features) <= _FEW else _SMALL
    try:
        over = _saliency(opened, features, target, cache)
        return *thumbnails(features.paths, order, side, _BUDGET, over), ""
    except FeatcacheError as error:  # no maps, or a model that has none
        return *thumbnails(features.paths, order, side, _BUDGET), str(error)


def _saliency(opened: Bundle, features: Features, target: np.ndarray, cache: str | os.PathLike[str]) -> Any:
    """What draws the evidence for each row's target over thumbnails.

    Raises :class:`DataError` where there are no maps to draw it from.
    """
    maps = featcache.load(
        features.feature_set,
        task=opened.task,
        pooling="map",
        data=features.data,
        cache=cache,
        stream=True,
    )
    row_of = {path: row for row, path in enumerate(maps.paths)}

    def over(block: Sequence[tuple[int, Image.Image]]) -> list[Image.Image]:
        rows = [row for row, _ in block]
        of_block = np.asarray(maps.X[[row_of[features.paths[row]] for row in rows]])
        evidence = contributions(opened.estimator, of_block, opened.pooling, target[rows])
        return [overlay(image, one, max(image.size)) for (_, image), one in zip(block, evidence, strict=True)]

    return over


def _relative(path: str, root: str) -> str:
    """A path as it stands in the data: absolute ones name people's folders, and say nothing more."""
    if filesystems.is_url(path):
        return filesystems.name_of(path)
    base = Path(root) if Path(root).is_dir() else Path(root).parent
    return os.path.relpath(path, base) if root and Path(path).is_relative_to(base) else Path(path).name
