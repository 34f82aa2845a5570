"""A map that ``tsne`` drew, kept in its run folder so that new images can be shown on it.

::

    map.json           what was drawn, and the SHA-256 of the other file
    map.safetensors    points (n, 2), row keys (n, 32), labels (n,); then mean (d,) and components (k, d), where the
                       rows were projected before

No features are kept: those of the map's images are read from the cache by their keys when new ones are placed. So a run
folder tells of the images no more than ``tsne.csv`` does, and which files they were. Both files may come from anywhere,
and are checked where they are read.

To change the format: raise ``version``, and keep reading the older ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from featcache.errors import DataError, WeightsError
from featcache.system import atomic_files, schema, tensor_files

from .neighbour_embedding import Embedding, Projection

_ABOUT, _TENSORS = "map.json", "map.safetensors"
_AGAIN = "Draw it again with 'tsne'."


class _About(msgspec.Struct, forbid_unknown_fields=True):
    """What ``map.json`` holds."""

    format: Literal["featcache-map"]
    version: Literal[1]
    feature_set: schema.FileName
    spec: Annotated[str, Meta(pattern=r"\A[0-9a-f]{8}\Z")]
    pooling: schema.Name
    bundle: schema.DigestOrNone
    classes: Annotated[list[schema.ClassName], Meta(min_length=1, max_length=65_536)]
    note: schema.Line
    tensors: schema.Digest


@dataclass(frozen=True)
class FeatureMap:
    """A map of images.

    Attributes
    ----------
    embedding : where they stand, and what their rows went through before.
    keys : row key of each.
    labels : int array of shape (n,), positions in ``classes``.
    classes : their names.
    feature_set : of the features that were drawn.
    spec : the first 8 hex digits of their spec.
    pooling : of these features.
    bundle : SHA-256 of the ``bundle.json`` of the head whose first dense layer was drawn; empty where it was the
        features themselves.
    note : what must stand on every picture of it.
    """

    embedding: Embedding
    keys: list[bytes]
    labels: np.ndarray
    classes: tuple[str, ...]
    feature_set: str
    spec: str
    pooling: str
    bundle: str
    note: str

    @property
    def what(self) -> str:
        """What was drawn, in words."""
        return "first dense layer" if self.bundle else f"features, {self.pooling}"


def write_map(folder: Path, drawn: FeatureMap) -> None:
    """Keep a map in a run folder."""
    projection = drawn.embedding.projection
    tensors = [
        drawn.embedding.points,
        np.frombuffer(b"".join(drawn.keys), np.uint8).reshape(-1, 32),
        drawn.labels.astype(np.int32),
        *([] if projection is None else [projection.mean, projection.components]),
    ]
    tensor_files.write_tensors(folder / _TENSORS, tensors)
    about = _About(
        format="featcache-map",
        version=1,
        feature_set=drawn.feature_set,
        spec=drawn.spec,
        pooling=drawn.pooling,
        bundle=drawn.bundle,
        classes=list(drawn.classes),
        note=drawn.note,
        tensors=atomic_files.sha256_file(folder / _TENSORS),
    )
    atomic_files.write_bytes(folder / _ABOUT, (json.dumps(msgspec.to_builtins(about), indent=1) + "\n").encode())


def read_map(folder: Path) -> FeatureMap:
    """Read what :func:`write_map` wrote; raises :class:`DataError` where it is anything else, or not there."""
    try:
        text = (folder / _ABOUT).read_bytes()
    except (OSError, ValueError) as error:  # the last: a name that no path can have
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{folder}: found no map ({_ABOUT}: {why}); expected the run folder of a 'tsne'") from error
    about = schema.read(text, _About, str(folder / _ABOUT), _AGAIN, DataError)
    try:
        if atomic_files.sha256_file(folder / _TENSORS) != about["tensors"]:
            raise DataError(f"{folder / _TENSORS}: not the file that {_ABOUT} was written with. {_AGAIN}")
        tensors = tensor_files.read_tensors(folder / _TENSORS)
    except (OSError, WeightsError) as error:
        raise DataError(f"{folder / _TENSORS}: cannot be read ({error}). {_AGAIN}") from error
    _check(folder / _TENSORS, tensors, len(about["classes"]))
    points, keys, labels, *projection = tensors
    return FeatureMap(
        Embedding(points, Projection(*projection) if projection else None),
        [key.tobytes() for key in keys],
        labels,
        tuple(about["classes"]),
        about["feature_set"],
        about["spec"],
        about["pooling"],
        about["bundle"],
        about["note"],
    )


def _check(path: Path, tensors: list[np.ndarray], classes: int) -> None:
    """Raise :class:`DataError` unless the tensors are those of a map."""

    def require(sound: Any, what: str) -> None:
        if not sound:
            raise DataError(f"{path}: found {[(str(t.dtype), t.shape) for t in tensors]}, expected {what}. {_AGAIN}")

    require(len(tensors) in (3, 5), "3 arrays, or 5")
    points, keys, labels, *projection = tensors
    count = len(points) if points.ndim else 0
    require(points.shape == (count, 2) and points.dtype == np.float64 and count >= 4, "points of shape (n, 2), float64")
    require(keys.shape == (count, 32) and keys.dtype == np.uint8, "row keys of shape (n, 32), uint8")
    require(labels.shape == (count,) and labels.dtype == np.int32, "labels of shape (n,), int32")
    require(labels.min() >= 0 and labels.max() < classes, f"labels from 0 to {classes - 1}")
    for array in projection:
        require(array.dtype == np.float32, "mean and components in float32")
    if projection:
        mean, components = projection
        require(mean.ndim == 1 and components.ndim == 2 and len(components) > 0, "mean (d,) and components (k, d)")
        require(components.shape[1] == len(mean), "components as wide as the mean")
    for array in (points, *projection):
        require(np.isfinite(array).all(), "finite values")
