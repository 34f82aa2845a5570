"""Runtimes: what the pipeline needs of one, and which one to take."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from ..errors import UsageError
from ..spec import FORMER_PRECISIONS, FeatureSpec
from . import torch_setup
from .precisions import on_processor, openvino_installed, require_on_processor
from .tensorflow_setup import gpu_likely

_log = logging.getLogger(__name__)
T = TypeVar("T")

NAMES = ("auto", "tensorflow", "openvino", "torch")

# Converting a network takes 1 to 7 s once (VGG16 to InceptionResNetV2), saves up to a third of the time of each
# image, and from then on the time to load TensorFlow and to build the network (4 to 8 s) of every extraction.
_REPAYS = 200  # images


class OutOfMemoryError(MemoryError):
    """The batch does not fit; a smaller one may."""


class Runtime(Protocol):
    """From a batch of pixels to features.

    ``info`` is recorded with the rows, and is no part of their identity. ``batches`` are the numbers of images a call
    that are worth trying, the usual one first. Calling it with a uint8 array of shape (n, size, size, 3) gives the
    arrays that :func:`array_names` lists, each with n rows, or raises :class:`OutOfMemoryError`.
    """

    @property
    def info(self) -> Mapping[str, Any]:
        """What computes: ``name``, and where there is one, ``version`` and ``device``."""

    @property
    def batches(self) -> tuple[int, ...]:
        """Numbers of images a call that are worth trying."""

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]: ...


def array_names(specs: Sequence[FeatureSpec]) -> list[tuple[str, ...]]:
    """What a runtime calls the arrays of each spec that it computes: of one, as the spec does."""
    if len(specs) == 1:
        return [specs[0].arrays]
    return [tuple(f"{place}/{array}" for array in spec.arrays) for place, spec in enumerate(specs)]


def named(specs: Sequence[FeatureSpec], arrays: Iterable[Mapping[str, T]]) -> dict[str, T]:
    """The arrays that a runtime gives, by what it calls them, of all that can be made of each spec's layer."""
    of_specs = zip(specs, array_names(specs), arrays, strict=True)
    return {name: made[array] for spec, names, made in of_specs for array, name in zip(spec.arrays, names, strict=True)}


def apart(specs: Sequence[FeatureSpec], given: Mapping[str, T]) -> list[dict[str, T]]:
    """The arrays of each spec, as that calls them, of all that a runtime gave."""
    of_specs = zip(specs, array_names(specs), strict=True)
    return [{array: given[name] for array, name in zip(spec.arrays, names, strict=True)} for spec, names in of_specs]


class PixelsRuntime:
    """Keeps the decoded image itself."""

    info: Mapping[str, Any] = {"name": "none"}
    batches = (32,)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return {"map": images}


def check(asked: str, precision: str) -> None:
    """Raise :class:`UsageError` where what is asked for cannot be had."""
    if asked not in NAMES:
        raise UsageError(f"runtime {asked!r} is unknown; expected one of {', '.join(NAMES)}")
    if asked == "torch":
        torch_setup.check(precision)
        return
    if asked == "tensorflow" and precision == "int8":
        raise UsageError(f"runtime {asked!r} computes no int8; take openvino")
    if asked != "openvino":
        return
    if not openvino_installed():
        raise UsageError("runtime 'openvino' is not installed here; run: pip install openvino, or take tensorflow")
    require_on_processor(precision)


def choose(asked: str, spec: FeatureSpec, images: int, converted: bool) -> str:
    """The runtime to take, ``tensorflow``, ``openvino`` or, where it is asked for, ``torch``.

    Parameters
    ----------
    asked : one of :data:`NAMES`.
    spec : OpenVINO serves the precisions that the processor has, and alone has int8.
    images : how many there are to compute.
    converted : whether the network has been converted before.
    """
    if asked != "auto":
        return asked
    if spec.precision == "int8":
        return "openvino"
    if spec.precision in FORMER_PRECISIONS or not openvino_installed() or gpu_likely():
        return "tensorflow"
    if spec.precision not in on_processor():
        _log.warning(
            "%s: this processor does not have it, so TensorFlow works it out in float32: it takes longer than "
            "--precision float32, and is no better",
            spec.precision,
        )
        return "tensorflow"
    if spec.precision != "float32":  # which is asked for to be fast
        return "openvino"
    return "openvino" if converted or images >= _REPAYS else "tensorflow"
