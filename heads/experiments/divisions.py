"""New divisions of all patients into the parts that a run has, so that what a division decides can be seen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from featcache.errors import DataError, UsageError
from featcache.features.labelled_features import Features

from ..evaluation.clusters import group_codes
from ..evaluation.splits import Partition
from ..training.rows_aside import groups_aside, whole_strata

MOST = 1000


def check_counts(seeds: int, repeats: int) -> None:
    """Raise :class:`UsageError` for numbers of seeds or repeats that there cannot be."""
    for name, count in (("--seeds", seeds), ("--repeats", repeats)):
        if not 1 <= count <= MOST:
            raise UsageError(f"{name} {count}: expected 1 to {MOST:,}; 1 is the run's own alone")


def division_strata(features: Features, parts: Partition) -> np.ndarray:
    """What divisions keep in proportion, int array of shape (n,); strata that are no classes, and of which a part
    would have less than a row, are merged."""
    if features.task.kind == "classes":
        return features.strata
    return whole_strata(features.strata, min(len(parts.test), max(1, len(parts.val))) / len(features))


def divisions(features: Features, parts: Partition, repeats: int, seed: int) -> list[Partition]:
    """As many divisions of all rows as asked for; of one, the run's own.

    Parameters
    ----------
    features : Features
        Groups stay whole, strata in proportion. What the features themselves are plays no part: two sets of features
        of the same images are divided alike.
    parts : Partition
        The run's own, whose sizes the new parts have, as nearly as groups allow.
    repeats : int
        How many.
    seed : int
        What they are drawn from.

    Raises
    ------
    DataError
        There are too few groups to divide, or a class would be missing from a part.
    """
    if repeats == 1:
        return [parts]
    strata, groups, count = division_strata(features, parts), group_codes(features.groups, len(features)), len(features)
    judged, watched = len(parts.test) / count, len(parts.val) / (count - len(parts.test))
    made = []
    for number in range(repeats):
        try:
            rest, test = _aside(strata, groups, judged, derived_seed(seed, number, 0))
            train, val = _aside(strata[rest], groups[rest], watched, derived_seed(seed, number, 1))
        except ValueError as error:
            raise DataError(
                f"--repeats: the {len(set(features.groups))} patients or other groups cannot be divided anew into "
                f"train, val and test ({error}). Give more images, or leave --repeats out"
            ) from error
        made.append(Partition(np.sort(rest[train]), np.sort(rest[val]), np.sort(test)))
        _require_every_class(features, made[-1])
    return made


def derived_seed(seed: int, *place: int) -> int:
    """A seed of its own for each place, by NumPy's mixing of entropy."""
    return int(np.random.SeedSequence((seed, *place)).generate_state(1)[0]) % (2**31 - 1)


def division_digest(features: Features, made: Sequence[Partition]) -> str:
    """What two runs have in common that judged on the same images, division by division: 16 hex digits."""
    digest = hashlib.sha256()
    for parts in made:
        digest.update(b"".join(sorted(features.keys[i] for i in parts.test)) + b"|")
    return digest.hexdigest()[:16]


def _aside(strata: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    codes, of_group = (np.unique(values, return_inverse=True)[1] for values in (strata, groups))
    return groups_aside(codes, of_group, fraction, seed)


def _require_every_class(features: Features, parts: Partition) -> None:
    if features.task.kind != "classes":
        return
    for name, rows in parts.parts().items():
        missing = np.flatnonzero(np.bincount(features.y[rows], minlength=len(features.classes)) == 0)
        if len(missing):
            raise DataError(
                f"--repeats: in a new division the {name} part has no images of {features.classes[missing[0]]}: there "
                "are too few patients or other groups of that class. Add some, leave the class out with --classes, "
                "or leave --repeats out"
            )
