"""What stands beside a model's answers: the nearest images that it learnt from, and who taught it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import featcache
from featcache.errors import DataError
from featcache.features.labelled_features import Features

from ..bundles.bundle import Bundle
from .bundle_features import rows_cache, set_of
from .nearest_images import Neighbour, nearest_images, query_of
from .taught_by import taught_by

_PATIENTS = 3  # who taught an answer most


@dataclass(frozen=True)
class AnswerNeighbours:
    """Of each answered image the nearest that the model learnt from, and ``taught_by`` as
    :func:`heads.inference.taught_by.taught_by` gives it."""

    nearest: list[list[Neighbour]]
    taught: list[dict[str, Any]] | None

    def told(self, number: int) -> dict[str, Any]:
        """Of one image, for its row."""
        nearest = [
            {name: value for name, value in asdict(one).items() if name != "row"} for one in self.nearest[number]
        ]
        return {"neighbours": nearest, "taught_by": None if self.taught is None else self.taught[number]}


def answer_neighbours(
    bundle: Bundle,
    features: Features,
    answers: np.ndarray,
    count: int,
    among: str | os.PathLike[str] | None,
    cache: str | os.PathLike[str],
) -> AnswerNeighbours:
    """Look for them among the images that a bundle learnt from.

    Parameters
    ----------
    bundle : answers.
    features : of the images answered.
    answers : as :meth:`heads.bundles.bundle.Bundle.labels` gives them.
    count : of each image, how many neighbours.
    among : the data with the training images; the last extract's by default.
    cache : holds their features.

    Raises
    ------
    DataError
        None of the data is what the bundle learnt from, or its features are not in the cache.
    """
    name = bundle.spec.backbone if bundle.spec.backbone == "pixels" else set_of(bundle.spec.hex, cache)
    data = featcache.load(name, task=bundle.task, pooling=bundle.pooling, data=among, cache=cache)
    rows = np.flatnonzero(bundle.trained_on(data.keys))
    if not len(rows):
        raise DataError(
            f"{data.data}: the bundle learnt from none of these images; name those it learnt from with --among"
        )
    nearest = nearest_images(query_of(features, rows_cache(bundle, cache)), data, rows, count, cache)
    taught = None
    if isinstance(data.X, np.ndarray) and isinstance(features.X, np.ndarray):
        taught = taught_by(data.take(rows), features.X, answers, _PATIENTS)
    return AnswerNeighbours(nearest, taught)


def words_of(taught: dict[str, Any], said: str) -> Sequence[str]:
    """Who taught an answer, line by line; ``said`` is the model's class, empty of a number."""
    score = f"score for {said}" if said else "value"
    agrees = "" if taught["agrees"] in (True, None) else ", which would say another class"
    lines = [f"a ridge on the same features{agrees}: its {score} is {taught['score']:.3f}"]
    for one in taught["patients"]:
        images = "1 image" if one["images"] == 1 else f"{one['images']} images"
        without = taught["score"] + one["change"]
        lines.append(f"without {one['group']} ({images}: {', '.join(one['labels'])}): {without:.3f}")
    return lines
