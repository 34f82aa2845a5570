"""The kept images that are nearest to others, by the vectors that ``unlike_training`` goes by."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featcache.features.labelled_features import Features
from featcache.store.store import Store

from ..auditing.audited_targets import told_of
from ..bundles.out_of_distribution import image_vectors

_BLOCK = 8192  # kept images that are compared at a time


@dataclass(frozen=True)
class Neighbour:
    """A kept image near another.

    Attributes
    ----------
    row : its position among those searched.
    path, group : of it.
    label : what is said of it: its class, the labels it has, or its number.
    part : train, val or test where the data says so, else empty.
    distance : between vectors of unit length, 0 (a copy) to 2.
    """

    row: int
    path: str
    label: str
    group: str
    part: str
    distance: float


@dataclass(frozen=True)
class Query:
    """Images whose neighbours are asked for.

    Attributes
    ----------
    paths, keys : of each.
    vectors : float32 array of shape (n, width), as :func:`heads.bundles.out_of_distribution.image_vectors` gives.
    """

    paths: Sequence[str]
    keys: Sequence[bytes]
    vectors: np.ndarray


def query_of(features: Features, cache: str | os.PathLike[str]) -> Query:
    """The images of some features, whose rows lie in a cache."""
    with Store(cache) as store:
        return Query(features.paths, features.keys, image_vectors(store, features.feature_set, features.keys))


def nearest_images(
    query: Query, among: Features, rows: np.ndarray, count: int, cache: str | os.PathLike[str]
) -> list[list[Neighbour]]:
    """Of each image the nearest kept ones, the nearest first; a copy under another path is one of them.

    Parameters
    ----------
    query : which images.
    among : labelled images of the same feature set; they may stay in the store.
    rows : positions of those that may be one, int array.
    count : of each, how many; fewer where there are no more.
    cache : holds their rows.
    """
    distances = np.full((len(query.paths), 0), np.inf, np.float32)
    places = np.zeros(distances.shape, np.int64)
    with Store(cache) as store:
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK]
            keys = [among.keys[row] for row in some]
            apart = _apart(query.vectors, image_vectors(store, among.feature_set, keys))
            apart[_themselves(query, [among.paths[row] for row in some], keys)] = np.inf
            distances = np.concatenate([distances, apart], axis=1)
            places = np.concatenate([places, np.broadcast_to(some, apart.shape)], axis=1)
            first = np.argsort(distances, axis=1, kind="stable")[:, :count]
            distances = np.take_along_axis(distances, first, axis=1)
            places = np.take_along_axis(places, first, axis=1)
    told = told_of(among.task, among.y[places.ravel()], among.classes) if places.size else []
    words = iter(told)
    found = []
    for own, away in zip(places.tolist(), distances.tolist(), strict=True):
        line = [(row, next(words), distance) for row, distance in zip(own, away, strict=True)]
        found.append(
            [
                Neighbour(row, among.paths[row], word, str(among.groups[row]), str(among.splits[row]), distance)
                for row, word, distance in line
                if np.isfinite(distance)
            ]
        )
    return found


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances between rows of unit length; an image without any feature has the length 0."""
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0, dtype=np.float32))


def _themselves(query: Query, paths: Sequence[str], keys: Sequence[bytes]) -> np.ndarray:
    """Which kept image is the very file that is asked about, bool array of shape (asked, kept)."""
    same = np.zeros((len(query.paths), len(paths)), bool)
    places: dict[bytes, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    for number, (path, key) in enumerate(zip(query.paths, query.keys, strict=True)):
        for place in places.get(key, ()):
            same[number, place] = _one_file(path, paths[place])
    return same


def _one_file(a: str, b: str) -> bool:
    return a == b or Path(a).resolve() == Path(b).resolve()
