"""A plain function of images as a network: it runs in this process, and keeps to what its first call gave."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import FeatcacheError, UsageError, WeightsError
from ..spec import FeatureSpec
from ..system.foreign_errors import first_line
from .network import Kind
from .network_proof import pictures, prove
from .runtime import OutOfMemoryError

_BATCHES = (16, 32, 8)  # images a call that are worth trying
Function = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Given:
    """What a function gives of one image.

    Attributes
    ----------
    kind : a map of shape (h, w, c), tokens (t, c) of which the last are a square of patches, or a vector (c,).
    shape : the same, as numbers.
    """

    kind: Kind
    shape: tuple[int, ...]

    @property
    def prefix(self) -> int:
        """Tokens that stand before the patches, the class token first."""
        return self.shape[0] - math.isqrt(self.shape[0]) ** 2 if self.kind == "tokens" else 0


def digest(identity: str) -> str:
    """What stands for what a function computes, as its owner names it: SHA-256, hex."""
    return hashlib.sha256(b"callable\0" + identity.encode()).hexdigest()


def first_call(function: Function, size: int, name: str) -> Given:
    """What a function gives of an image, by trying.

    Raises :class:`UsageError` where it is no array of one row for one image.
    """
    return given_by(_rows(function, pictures(size)[:1], name).shape[1:], name)


def given_by(shape: tuple[int, ...], name: str) -> Given:
    """What rows of a shape are.

    Raises :class:`UsageError` where they are no features.
    """
    if len(shape) in (1, 2, 3) and min(shape) > 0:
        kinds: dict[int, Kind] = {1: "vector", 2: "tokens", 3: "map"}
        return Given(kinds[len(shape)], shape)
    raise UsageError(f"{name} gives {shape} of one image; expected a map (h, w, c), tokens (t, c), or a vector (c,)")


class CallableRuntime:
    """A function, proven, as what computes; see :class:`featcache.backbones.runtime.Runtime`.

    Parameters
    ----------
    function : takes uint8 RGB of shape (n, size, size, 3), and gives n rows.
    spec : says what is kept.
    given : what it gave before, which it must give again.

    Raises
    ------
    WeightsError
        It gives something else, what is not finite, the same for any image, or another thing at each call.
    """

    def __init__(self, function: Function, spec: FeatureSpec, given: Given) -> None:
        self._function, self._spec, self._given = function, spec, given
        self._together = prove(self._compute, spec, self._compute)
        self.batches = _BATCHES if self._together else (1,)
        self.info: Mapping[str, Any] = {"name": "callable"}

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        if self._together:
            return self._compute(images)
        rows = [self._compute(images[place : place + 1]) for place in range(len(images))]
        return {name: np.concatenate([row[name] for row in rows]) for name in self._spec.arrays}

    def _compute(self, images: np.ndarray) -> dict[str, np.ndarray]:
        spec, given = self._spec, self._given
        rows = _rows(self._function, images, spec.network)
        if rows.shape[1:] != given.shape:
            raise WeightsError(
                f"{spec.network} gives {rows.shape[1:]} of an image, and gave {given.shape} before; one identity means "
                "one shape. Nothing of this block was kept"
            )
        if not np.isfinite(rows).all():
            raise WeightsError(
                f"{spec.network} gives NaN or infinite values of an image; nothing of this block was kept"
            )
        arrays = _arrays(rows, given)
        with np.errstate(over="ignore"):
            kept = {name: arrays[name].astype(spec.dtype) for name in spec.arrays}
        if not all(np.isfinite(array).all() for array in kept.values()):
            raise WeightsError(
                f"{spec.network} gives values beyond {spec.dtype}; ask for float32. Nothing of this block was kept"
            )
        return kept


def _arrays(rows: np.ndarray, given: Given) -> dict[str, np.ndarray]:
    """Every array that can be made of rows, by name."""
    if given.kind == "vector":
        return {"avg": rows}
    arrays = {}
    if given.kind == "tokens":
        arrays["cls"] = rows[:, 0]
        side = math.isqrt(given.shape[0])
        rows = rows[:, given.prefix :].reshape(len(rows), side, side, given.shape[1])
    return {**arrays, "map": rows, "avg": rows.mean(axis=(1, 2), dtype=np.float32)}


def _rows(function: Function, images: np.ndarray, name: str) -> np.ndarray:
    """What a function gives, as float32 with a row for each image."""
    try:
        # A copy, so that whatever it does to its images it does to none of ours.
        result = function(images.copy())
    except (FeatcacheError, OutOfMemoryError):
        raise
    except MemoryError as error:
        raise OutOfMemoryError(first_line(error)) from error
    try:
        rows = np.asarray(result)
    except Exception as error:  # of a kind that is someone else's
        raise UsageError(
            f"{name} gives a {type(result).__name__}, which NumPy does not take ({first_line(error)})"
        ) from error
    if rows.dtype.kind not in "fiu" or rows.ndim < 2 or len(rows) != len(images):
        raise UsageError(
            f"{name} gives {type(result).__name__} of {rows.dtype} and shape {rows.shape} for {len(images)} image(s); "
            f"expected numbers, {len(images)} row(s)"
        )
    return rows.astype(np.float32, copy=False)
