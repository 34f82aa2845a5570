"""Features on TensorFlow: the reference, and the way to use a GPU."""

from __future__ import annotations

import importlib.metadata
import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..spec import FeatureSpec
from .inference_graph import cut, pixels_to_features
from .runtime import OutOfMemoryError
from .tensorflow_setup import load_tensorflow

_log = logging.getLogger(__name__)
_CPU_BATCHES, _GPU_BATCHES = (16, 32, 8), (32, 64, 128)
_TOLERANCE = 1e-5  # of the largest feature: how far two ways to compute the same may differ
_TRIALS = 3


class TensorFlowRuntime:
    """One compiled graph from pixels to what is stored.

    Parameters
    ----------
    model : keras.Model without its top, its weights loaded.
    specs : say the layers, the preprocessing, which is one, and what is kept.
    xla : compile with XLA: True, False, or None for what is faster, which only a GPU leaves open: on CPUs TensorFlow's
        own kernels (oneDNN) are.
    """

    def __init__(self, model: Any, *specs: FeatureSpec, xla: bool | None = None) -> None:
        tf, _ = load_tensorflow()
        gpus = tf.config.list_physical_devices("GPU")
        self.batches = _GPU_BATCHES if gpus else _CPU_BATCHES
        self._exhausted = tf.errors.ResourceExhaustedError
        network, side = cut(model, *specs), specs[0].size
        forward = pixels_to_features(lambda x: network(x, training=False), *specs)
        signature = [tf.TensorSpec((None, side, side, 3), tf.uint8)]
        plain = tf.function(forward, input_signature=signature, autograph=False)
        compiled = tf.function(forward, input_signature=signature, autograph=False, jit_compile=True)
        if xla is None and gpus:
            probe = np.random.default_rng(0).integers(0, 256, (self.batches[0], side, side, 3), np.uint8)
            xla = faster_and_equal(self._numpy(plain), self._numpy(compiled), probe)
        # A program is compiled for one size of batch, and cuDNN looks for its kernels anew at each.
        self._fixed_size = bool(xla or gpus)
        self._largest = 0
        self._forward = self._numpy(compiled if xla else plain)
        self.info = {
            "name": "tensorflow",
            "version": importlib.metadata.version("tensorflow"),
            "device": "gpu" if gpus else "cpu",
            **({"xla": True} if xla else {}),
        }

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self._largest = max(self._largest, len(images))
        missing = self._largest - len(images) if self._fixed_size else 0
        try:
            if not missing:
                return self._forward(images)
            padded = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
            return {name: rows[: len(images)] for name, rows in self._forward(padded).items()}
        except self._exhausted as error:
            self._largest = 0
            raise OutOfMemoryError(str(error).splitlines()[0]) from None

    @staticmethod
    def _numpy(function: Callable[[Any], dict[str, Any]]) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        return lambda images: {name: value.numpy() for name, value in function(images).items()}


def faster_and_equal(
    reference: Callable[[np.ndarray], dict[str, np.ndarray]],
    other: Callable[[np.ndarray], dict[str, np.ndarray]],
    images: np.ndarray,
) -> bool:
    """Whether ``other`` takes less time than ``reference`` on these images and gives the same, within 1e-5 of the
    largest value."""
    tf, _ = load_tensorflow()
    try:
        wanted, given = reference(images), other(images)  # compiles
    except tf.errors.OpError as error:  # a kernel that the compiler does not have
        _log.debug("not to be compiled: %s", error)
        return False
    if any(np.abs(given[name] - rows).max() > _TOLERANCE * np.abs(rows).max() for name, rows in wanted.items()):
        return False
    seconds: dict[Callable, list[float]] = {reference: [], other: []}
    for _ in range(_TRIALS):
        for way, taken in seconds.items():
            started = time.perf_counter()
            way(images)
            taken.append(time.perf_counter() - started)
    return min(seconds[other]) < min(seconds[reference])
