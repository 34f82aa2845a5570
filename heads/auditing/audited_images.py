"""The images that an audit looks at: all of a set, or a random part of it that memory has room for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from featcache.data.dataset import Dataset
from featcache.errors import BadImage, UsageError
from featcache.extraction.planning import row_keys
from featcache.store.store import Store
from featcache.system import memory

from ..evaluation.run_folder import data_title
from .image_summary import Look, take_looks

_log = logging.getLogger(__name__)
_BYTES_AN_IMAGE = 100_000  # that an audit takes at its peak: the look, its details, and what they are compared by
_LEAST = 50  # images; of fewer, where memory holds no more, an audit says nothing


@dataclass(frozen=True)
class AuditedImages:
    """The images of an audit that can be read, and those that cannot.

    Attributes
    ----------
    dataset : the readable ones.
    keys, looks : the row key and the look of each of those.
    bad : the others, with the reason.
    """

    dataset: Dataset
    keys: list[bytes]
    looks: list[Look]
    bad: list[BadImage]


def sampled(own: Dataset, other: Dataset | None, limit: int | None, seed: int) -> tuple[Dataset, Dataset | None]:
    """Both sets, or of each a random part that memory has room for.

    Raises :class:`UsageError` for a limit below two, and where memory holds no look at 50 images.
    """
    if limit is not None and limit < 2:
        raise UsageError(f"--limit {limit}: expected at least 2 images")
    count = len(own) + (0 if other is None else len(other))
    share = min(1.0, memory.available() / (count * _BYTES_AN_IMAGE))
    if share * len(own) < min(_LEAST, len(own)):
        wanted = memory.resident() + count * _BYTES_AN_IMAGE
        raise UsageError(
            f"memory: {_megabytes(memory.available())} are left beside the {_megabytes(memory.resident())} that the "
            f"process holds, too little for a look at {min(_LEAST, len(own))} images; allow {_megabytes(wanted)} for "
            f"all {count}"
        )
    own = _part(own, min(len(own) if limit is None else limit, int(share * len(own))), seed)
    return own, None if other is None else _part(other, int(share * len(other)), seed)


def look_at(store: Store, dataset: Dataset, on_progress: Callable[[str, int], None]) -> AuditedImages:
    """Take a look at each image; ``on_progress`` is called with what is going on and the number of images done."""
    keys, unreadable = row_keys(store, dataset.paths)
    there = [i for i, key in enumerate(keys) if key is not None]
    name = data_title(dataset.root, dataset.synthetic)
    looks, bad = take_looks([dataset.paths[i] for i in there], lambda done: on_progress(f"{name}: looking", done))
    good = [i for i, look in zip(there, looks, strict=True) if look is not None]
    good_keys = [key for i in good if (key := keys[i]) is not None]
    good_looks = [look for look in looks if look is not None]
    return AuditedImages(dataset.take(good), good_keys, good_looks, unreadable + bad)


def _part(dataset: Dataset, most: int, seed: int) -> Dataset:
    """At most so many images in whole groups drawn at random; the dataset itself where it has no more."""
    if len(dataset) <= most:
        return dataset
    _, of_group = np.unique(np.asarray(dataset.groups, str), return_inverse=True)
    sizes = np.bincount(of_group)
    drawn = np.random.default_rng(seed).permutation(len(sizes))
    taken = np.zeros(len(sizes), bool)
    taken[drawn[np.cumsum(sizes[drawn]) <= most]] = True
    _log.warning(
        "audit: looking at %d of the %d images of %s, a random sample of whole groups",
        int(sizes[taken].sum()),
        len(dataset),
        dataset.root,
    )
    return dataset.take(np.flatnonzero(taken[of_group]).tolist())


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"
