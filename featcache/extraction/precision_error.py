"""How far features of a lower precision are from those of float32, measured on some of the user's own images.

Both rows of these images stand in the store, those of float32 in a set of their own; what is kept beside the set says
which images they are, and what came out. Losing it costs the statement, never a feature.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from ..data.dataset import Dataset
from ..errors import StoreError
from ..store.store import Store
from ..system import atomic_files, schema
from .extract_paths import extract_paths
from .planning import row_keys
from .request import Resolved

_log = logging.getLogger(__name__)
_IMAGES = 32
_FILE = "precision.json"
_Distance = Annotated[float, Meta(ge=0, le=1e300)]


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    """What the file may hold."""

    reference: schema.FileName
    keys: Annotated[list[schema.Digest], Meta(min_length=1, max_length=_IMAGES)]
    median: _Distance
    largest: _Distance


@dataclass(frozen=True)
class PrecisionError:
    """What was measured.

    Attributes
    ----------
    reference : id of the set that holds the rows of float32.
    keys : row keys of the images.
    median, largest : distance between an image's two rows (averages over the map), as a share of the length of
        float32's.
    """

    reference: str
    keys: tuple[bytes, ...]
    median: float
    largest: float

    def about(self) -> dict[str, Any]:
        """``images``, ``median``, ``largest`` and ``reference``, as results have them."""
        return {
            "images": len(self.keys),
            "median": self.median,
            "largest": self.largest,
            "reference": self.reference,
        }


def measure(
    store: Store, feature_set: str, dataset: Dataset, in_float32: Callable[[], Resolved]
) -> PrecisionError | None:
    """Measure the error of a set and keep it beside the set; what was measured on as many images stands.

    Parameters
    ----------
    store : holds the set, and takes the rows of float32.
    feature_set : id of a set of a lower precision.
    dataset : the images: 32 of them are taken, those of the training part where there is one, by their keys, so that
        it is the same ones everywhere.
    in_float32 : the way to compute the same features in float32; asked only where there is something to compute.

    Returns
    -------
    None where none of the images is in the set.
    """
    some = _some(store, feature_set, dataset)
    known = recorded(store, feature_set)
    if known is not None and len(known.keys) >= len(some):
        return known
    if not some:
        return None
    done = extract_paths(store, in_float32(), list(some.values()))
    present = store.rows(done.feature_set)
    keys = tuple(key for key in some if key in present)  # all of them, unless a file has just changed
    if not keys:
        return None
    ours, theirs = (store.read(name, keys, "avg").astype(np.float64) for name in (feature_set, done.feature_set))
    apart = distances(ours, theirs)
    error = PrecisionError(done.feature_set, keys, float(np.median(apart)), float(apart.max()))
    record = _Record(error.reference, [key.hex() for key in keys], error.median, error.largest)
    text = json.dumps(msgspec.to_builtins(record), indent=1)
    atomic_files.write_bytes(_place(store, feature_set), text.encode())
    return error


def distances(rows: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Distance between rows, each as a share of the length of its reference; float64 array of shape (n,)."""
    lengths = np.linalg.norm(reference, axis=1)
    # A row of zeros has no length to be a share of.
    lengths = np.where(lengths > 0, lengths, lengths.max(initial=0.0) or 1.0)
    return np.linalg.norm(rows - reference, axis=1) / lengths


def recorded(store: Store, feature_set: str) -> PrecisionError | None:
    """What was measured of a set, where all rows that it was measured on are still there; None otherwise."""
    path = _place(store, feature_set)
    try:
        values = schema.read(path.read_bytes(), _Record, str(path), "The next extract measures it anew")
    except StoreError as error:
        _log.warning("%s", error)
        return None
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("%s: cannot be read (%s)", path, error.strerror)
        return None
    keys = tuple(bytes.fromhex(key) for key in values["keys"])
    there = store.feature_sets()
    for name in (feature_set, values["reference"]):
        if name not in there or not set(keys) <= store.rows(name).keys():
            return None
    return PrecisionError(values["reference"], keys, float(values["median"]), float(values["largest"]))


def _some(store: Store, feature_set: str, dataset: Dataset) -> dict[bytes, str]:
    """The path of each image that is taken, by its key."""
    keys, _ = row_keys(store, dataset.paths)
    present = store.rows(feature_set)
    wanted = "train" if "train" in dataset.splits else None
    candidates = {
        key: path
        for key, path, split in zip(keys, dataset.paths, dataset.splits, strict=True)
        if key is not None and key in present and (wanted is None or split == wanted)
    }
    return {key: candidates[key] for key in sorted(candidates)[:_IMAGES]}


def _place(store: Store, feature_set: str) -> Path:
    return schema.inside(store.features, feature_set) / _FILE
