"""What every experiment begins with: kept features, what their audit warns of, and the parts they are divided into."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import featcache
from featcache.errors import UsageError
from featcache.features.feature_request import FeatureRequest
from featcache.features.labelled_features import Features
from featcache.features.loading import load_request
from featcache.system.timer import Stopwatch

from ..auditing.audit import audited
from ..evaluation.splits import Fold, Partition, partition, training_folds
from .judged_part import sealed_part


@dataclass(frozen=True)
class TrainingData:
    """Features, divided.

    Attributes
    ----------
    features : Features
        With the groups that an audit joined.
    warnings : tuple of str
        What an audit has to say of the images.
    parts : Partition
        Rows to learn from, to watch and to judge by.
    sealed : dict or None
        Why the metrics of the test part are not shown (:class:`heads.vault.locks.Hidden`), where they are not.
    """

    features: Features
    warnings: tuple[str, ...]
    parts: Partition
    sealed: dict[str, Any] | None = None

    def folds(self, cv: int, seed: int) -> tuple[np.ndarray, list[Fold]]:
        """Rows of train and val, and ``cv`` folds of them; see :func:`heads.evaluation.splits.training_folds`."""
        return training_folds(self.features, self.parts, cv, seed)

    @property
    def made_with_folds(self) -> list[str]:
        """Parts that the data did not give, where validation rows are learnt from, too."""
        return [part for part in self.parts.made if part != "val"]


def training_data(
    request: FeatureRequest,
    *,
    audit: bool,
    seed: int,
    watch: Stopwatch,
    from_pixels: bool = False,
    validation_fraction: float = 0.2,
    final: bool = False,
) -> TrainingData:
    """Load what a model learns from, heed the audit, and divide.

    Parameters
    ----------
    request : FeatureRequest
        Which features.
    audit : bool
        Audit the images first where that was never done.
    seed : int
        Of parts that the data does not give.
    watch : Stopwatch
        Has the laps ``load`` and ``audit`` afterwards.
    from_pixels : bool, optional
        As :func:`load_for` takes it.
    validation_fraction : float, optional
        See :func:`heads.evaluation.splits.partition`.
    final : bool, optional
        Show the metrics of a locked test part.

    Returns
    -------
    TrainingData

    Raises
    ------
    DataError
        No features, or a class that is missing from a part or cannot be divided.
    UsageError
        Locked images would be learnt from.
    """
    features = load_for(request, from_pixels)
    watch.lap("load")
    features, warnings = audited(features, request.learns, request.data, request.group_regex, request.cache, audit)
    watch.lap("audit")
    parts = partition(features, validation_fraction, seed)
    return TrainingData(features, tuple(warnings), parts, sealed_part(features, parts, request.cache, final))


def load_for(request: FeatureRequest, from_pixels: bool) -> Features:
    """The features that a model learns from: the images themselves, decoded where they are not kept yet, or rows.

    Raises :class:`UsageError` where rows are needed, and maps are asked for.
    """
    if from_pixels:
        featcache.extract(request.data, "pixels", group_regex=request.group_regex, cache=request.cache, skip_bad=False)
        return load_request(replace(request, backbone="pixels", pooling="map"))
    if request.pooling == "map":
        raise UsageError("these models take rows: choose --pooling flatten, avg or max")
    return load_request(request)
