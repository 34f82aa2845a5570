"""Answers of features in less than float32, computed again in float32 where another precision may have decided them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from featcache.errors import UsageError, WeightsError

from ..bundles.bundle import Bundle
from .bundle_features import bundle_features, unlabelled_images


def require_recheckable(bundle: Bundle) -> None:
    """Raise :class:`UsageError` where there is nothing to check against."""
    if bundle.spec.in_float32 == bundle.spec:
        raise UsageError(f"--recheck: {bundle.folder} is of features in float32 already; leave it out")


def rechecked(bundle: Bundle, paths: Sequence[str], weights: str | None, cache: str | os.PathLike[str]) -> np.ndarray:
    """Probabilities of these images by features in float32; array of shape (n, n_classes).

    Raises :class:`WeightsError` where the network is not to be had in float32.
    """
    full = bundle.in_float32
    try:
        features, _ = bundle_features(full, unlabelled_images(full, paths), weights, cache, skip_bad=False)
    except WeightsError as error:
        hint = "; a bundle of int8 holds no other network: name the cache that it was made in with --cache"
        raise WeightsError(f"--recheck: {error}{hint if bundle.spec.precision == 'int8' else ''}") from error
    return full.predict_proba(features)
