"""The features that a row of the reference learns from: kept ones, else computed, by random weights at worst."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from typing import Any

import featcache
from featcache.backbones import registry
from featcache.errors import FeatcacheError, WeightsError
from featcache.features.feature_request import FeatureRequest
from featcache.features.loading import load_request
from featcache.store.store import Store

from .reference import ReferenceRow

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Which images, and how they become features.

    Attributes
    ----------
    data : str, path or None
        Folder or manifest; None is that of the last extract.
    group_regex : str or None
        Where in the file name the patient stands.
    cache : str or path
        Folder of the store.
    weights : str
        Of backbones that have no features here yet.
    preprocess : {"model", "rescale"}
        Each backbone's own, or a division by 255.
    """

    data: str | os.PathLike[str] | None
    group_regex: str | None
    cache: str | os.PathLike[str]
    weights: str
    preprocess: str


def features_of_row(row: ReferenceRow, source: Source) -> tuple[str, bool]:
    """The feature set a row learns from, computed where it is missing, and whether its weights are random."""
    backbone = "pixels" if row.model == "own-cnn" else row.backbone
    if backbone != "pixels":
        # What is here already, whatever this call's weights.
        for feature_set in _real_sets(backbone, source):
            with contextlib.suppress(FeatcacheError):
                load_request(
                    FeatureRequest(
                        backbone=feature_set,
                        task=row.task,
                        pooling="avg",
                        data=source.data,
                        group_regex=source.group_regex,
                        cache=source.cache,
                    )
                )
                return feature_set, False
    preprocess = "model" if backbone == "pixels" else source.preprocess
    options: dict[str, Any] = {"group_regex": source.group_regex, "cache": source.cache, "preprocess": preprocess}
    weights = "imagenet" if backbone == "pixels" else source.weights
    try:
        result = featcache.extract(source.data, backbone, weights=weights, **options)
    except WeightsError:
        _log.warning("%s: no real weights to be had; RANDOM ones stand in", backbone)
        result = featcache.extract(source.data, backbone, weights="random", **options)
    return result.feature_set, result.random_weights


def _real_sets(backbone: str, source: Source) -> list[str]:
    """Feature sets of a backbone with real weights, at its own size, last layer and this preprocessing."""
    names = []
    with Store(source.cache) as store:
        for name in store.feature_sets():
            spec = store.spec(name)
            alike = (spec.preprocess == "rescale") == (source.preprocess == "rescale") and not spec.layer
            plain = spec.size == registry.get(backbone).size and "map" in spec.arrays
            if spec.backbone == backbone and alike and plain and not spec.random_weights:
                names.append(name)
    return names
