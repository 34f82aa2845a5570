"""The images that an audit looks at: all of a set, or the random part of it that was asked for."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from featcache.data import decoding, filesystems
from featcache.data.dataset import Dataset
from featcache.errors import BadImage, UsageError
from featcache.extraction.planning import row_keys
from featcache.store.store import Store
from featcache.system import memory
from featcache.system.interrupts import reading

from ..evaluation.run_folder import data_title
from .image_summary import ImageSummary, summary_of
from .kept_summaries import KeptSummaries, Summaries
from .sketches import Sketches, sketch

_log = logging.getLogger(__name__)
_BYTES_AN_IMAGE = 6_000  # that an audit holds at its peak: sketches, numbers, and what they are compared by
_BYTES_ANYWAY = 100_000_000  # pictures and products held at a time
_TOGETHER = 512  # images


@dataclass(frozen=True)
class AuditedImages:
    """The images of an audit that can be read, and those that cannot.

    Attributes
    ----------
    dataset : the readable ones.
    keys, summaries, sketches : the row key, the summary and the sketch of each of those.
    properties, measured : float arrays of shape (n, 7) each, of the summaries.
    bad : the others, with the reason.
    """

    dataset: Dataset
    keys: list[bytes]
    summaries: Summaries
    sketches: Sketches
    properties: np.ndarray
    measured: np.ndarray
    bad: list[BadImage]


def sampled(own: Dataset, limit: int | None, seed: int) -> Dataset:
    """The set, or so many images of it that were asked for, in whole groups drawn at random.

    Raises :class:`UsageError` for a limit below two.
    """
    if limit is None:
        return own
    if limit < 2:
        raise UsageError(f"--limit {limit}: expected at least 2 images")
    return _part(own, limit, seed)


def require_memory(count: int) -> None:
    """Raise :class:`UsageError` where memory does not hold an audit of so many images."""
    wanted = _BYTES_ANYWAY + count * _BYTES_AN_IMAGE
    if memory.available() < wanted:
        raise UsageError(
            f"memory: {_megabytes(memory.available())} are left beside the {_megabytes(memory.resident())} that the "
            f"process holds, an audit of {count:,} images takes {_megabytes(wanted)}; allow "
            f"{_megabytes(memory.resident() + wanted)}, or look at fewer (--limit N)"
        )


def summarise(
    store: Store, kept: KeptSummaries, dataset: Dataset, on_progress: Callable[[str, int], None]
) -> AuditedImages:
    """Summarise each image, or read the summary that is kept of it.

    ``on_progress`` is called with what is going on and the number of images done.
    """
    keys, unreadable = row_keys(store, dataset.paths)
    there = [(row, key) for row, key in enumerate(keys) if key is not None]
    kept.require_room(sum(key not in kept for _, key in there))
    name = data_title(dataset.root, dataset.synthetic)
    rows: list[int] = []
    bad: list[BadImage] = []
    columns: list[tuple[np.ndarray, ...]] = []
    with reading(os.cpu_count(), "summary") as pool:
        for start in range(0, len(there), _TOGETHER):
            some = there[start : start + _TOGETHER]
            found = list(pool.map(lambda one: _summary(kept, dataset.paths[one[0]], one[1]), some))
            bad += [
                BadImage(dataset.paths[row], one)
                for (row, _), one in zip(some, found, strict=True)
                if isinstance(one, str)
            ]
            good = [(row, key, one) for (row, key), one in zip(some, found, strict=True) if not isinstance(one, str)]
            kept.keep((key, one.summary) for _, key, one in good if one.fresh)
            rows += [row for row, _, _ in good]
            columns += [
                tuple(np.stack(parts) for parts in zip(*(one.columns for _, _, one in good), strict=True))
            ] * bool(good)
            on_progress(f"{name}: looking", start + len(some))
    waves, cells, properties, measured = (
        (np.concatenate(parts) for parts in zip(*columns, strict=True)) if columns else (np.empty((0, 0)),) * 4
    )
    own_keys = [key for row in rows if (key := keys[row]) is not None]
    return AuditedImages(
        dataset.take(rows),
        own_keys,
        Summaries(kept, own_keys),
        Sketches(waves, cells),
        properties,
        measured,
        unreadable + bad,
    )


@dataclass(frozen=True)
class _Taken:
    """A summary, what is held of it, and whether it has to be kept."""

    summary: ImageSummary
    columns: tuple[np.ndarray, ...]
    fresh: bool


def _summary(kept: KeptSummaries, path: str, key: bytes) -> _Taken | str:
    """The summary of a file, or why there is none."""
    one = kept.get(key)
    fresh = one is None
    if one is None:
        try:
            data = filesystems.read(path)
            if hashlib.sha256(data).digest() != key:
                return "it changed while it was read"
            one = summary_of(data)
        except (OSError, decoding.ImageError) as error:
            return str(getattr(error, "strerror", None) or error)
    return _Taken(one, (*sketch(one.square), one.properties, one.measured), fresh)


def _part(dataset: Dataset, most: int, seed: int) -> Dataset:
    """At most so many images in whole groups drawn at random; the dataset itself where it has no more."""
    if len(dataset) <= most:
        return dataset
    taken = whole_groups(dataset.groups, most, seed)
    _log.warning(
        "audit: looking at %d of the %d images of %s, a random sample of whole groups",
        len(taken),
        len(dataset),
        dataset.root,
    )
    return dataset.take(taken.tolist())


def whole_groups(groups: Sequence[str], most: int, seed: int) -> np.ndarray:
    """Positions of at most so many images, in whole groups drawn at random; of all where there are no more."""
    if len(groups) <= most:
        return np.arange(len(groups))
    _, of_group = np.unique(np.asarray(groups, str), return_inverse=True)
    sizes = np.bincount(of_group)
    drawn = np.random.default_rng(seed).permutation(len(sizes))
    taken = np.zeros(len(sizes), bool)
    taken[drawn[np.cumsum(sizes[drawn]) <= most]] = True
    return np.flatnonzero(taken[of_group])


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"
