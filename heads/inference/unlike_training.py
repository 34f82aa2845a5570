"""How far images are from those that a kept model learnt from, and how many of them are unlike those."""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np

from featcache.errors import BundleError
from featcache.features.labelled_features import Features
from featcache.store.store import Store

from ..bundles.bundle import Bundle
from ..bundles.out_of_distribution import image_vectors
from ..evaluation.intervals import share_interval
from .bundle_features import rows_cache

_log = logging.getLogger(__name__)
_AT_ONCE = 8192  # images compared with the training ones at a time


def distances_to_training(
    bundle: Bundle, features: Features, cache: str | os.PathLike[str]
) -> tuple[list[float | None], list[bool | None]]:
    """Distance of each image to the training ones, and whether that makes it unlike them; Nones where none can tell."""
    if bundle.novelty is None or not len(features):
        return [None] * len(features), [None] * len(features)
    parts = []
    with Store(rows_cache(bundle, cache)) as store:
        for start in range(0, len(features), _AT_ONCE):
            vectors = image_vectors(store, features.feature_set, features.keys[start : start + _AT_ONCE])
            if vectors.shape[1] != bundle.novelty.reference.shape[1]:
                raise BundleError(f"{bundle.folder}: its vectors of training images are not of this network's width")
            parts.append(bundle.novelty.distances(vectors))
    distances = np.concatenate(parts)
    return distances.tolist(), (distances > bundle.novelty.threshold).tolist()


def unlike_training(bundle: Bundle, features: Features, cache: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The share of images that are unlike the training ones; said aloud where chance does not make so many."""
    _, flags = distances_to_training(bundle, features, cache)
    if bundle.novelty is None or not flags:
        return None
    unlike, by_chance = np.array(flags, bool), bundle.novelty.false_alarm
    share, count = float(unlike.mean()), int(unlike.sum())
    interval = share_interval(unlike, features.groups)
    if interval[0] > by_chance:
        _log.warning(
            "%d of these %d images %s unlike the model's training images (some %.0f would be by chance): what it says "
            "of them is a guess, and the metrics of its own test images say nothing about them",
            count,
            len(unlike),
            "is" if count == 1 else "are",
            by_chance * len(unlike),
        )
    return {"share": share, "share_ci": list(interval), "count": count, "by_chance": by_chance}
