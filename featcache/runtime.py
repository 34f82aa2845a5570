"""Runtimes: from a batch of pixels to features."""

from __future__ import annotations

import difflib
import importlib.metadata
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from .accelerator import load_tensorflow
from .errors import UsageError
from .spec import FeatureSpec

NAMES = ("auto", "tensorflow")


class OutOfMemoryError(MemoryError):
    """The batch does not fit; a smaller one may."""


class Runtime(Protocol):
    """What the pipeline needs of a runtime.

    ``info`` is recorded with the rows. Calling it with a uint8 array of shape (n, size, size, 3) gives the
    spec's arrays, each with n rows, or raises :class:`OutOfMemoryError`.
    """

    @property
    def info(self) -> Mapping[str, Any]: ...
    @property
    def default_batch(self) -> int: ...
    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]: ...


class PixelsRuntime:
    """Keeps the decoded image itself."""

    info: Mapping[str, Any] = {"name": "none"}
    default_batch = 32

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return {"map": images}


class TensorFlowRuntime:
    """One compiled graph: cast, preprocessing, network, average, cast to what is stored.

    Parameters
    ----------
    model : keras.Model without its top, its weights loaded.
    spec : says the layer, the preprocessing and what is kept.
    """

    def __init__(self, model: Any, spec: FeatureSpec) -> None:
        tf, keras = load_tensorflow()
        gpus = tf.config.list_physical_devices("GPU")
        self.info = {
            "name": "tensorflow",
            "version": importlib.metadata.version("tensorflow"),
            "device": "gpu" if gpus else "cpu",
        }
        self.default_batch = 32 if gpus else 16
        self._exhausted = tf.errors.ResourceExhaustedError
        network = keras.Model(model.inputs, _output(model, spec.layer))
        rank = len(network.outputs[0].shape)
        if rank not in (2, 4):
            raise UsageError(f"layer {spec.layer!r} gives {network.outputs[0].shape}; expected a map or a vector")
        if rank == 2 and "map" in spec.arrays:
            raise UsageError(f"layer {spec.layer!r} gives vectors, not maps: ask for --keep avg")

        def forward(images: Any) -> dict[str, Any]:
            x = preprocess(keras, tf.cast(images, tf.float32), spec.preprocess)
            output = tf.cast(network(x, training=False), tf.float32)
            average = tf.reduce_mean(output, axis=(1, 2)) if rank == 4 else output
            arrays = {"map": output, "avg": average}
            return {name: tf.cast(arrays[name], spec.dtype) for name in spec.arrays}

        signature = [tf.TensorSpec((None, spec.size, spec.size, 3), tf.uint8)]
        self._forward = tf.function(forward, input_signature=signature)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        try:
            return {name: value.numpy() for name, value in self._forward(images).items()}
        except self._exhausted as error:
            raise OutOfMemoryError(str(error).splitlines()[0]) from None


def preprocess(keras: Any, pixels: Any, mode: str) -> Any:
    """What a backbone expects, from float RGB pixels of 0 to 255."""
    if mode in ("caffe", "tf", "torch"):
        return keras.applications.imagenet_utils.preprocess_input(pixels, data_format="channels_last", mode=mode)
    if mode == "rescale":
        return pixels / 255.0
    if mode == "builtin":
        return pixels
    raise UsageError(f"preprocessing {mode!r} is unknown")


def _output(model: Any, layer: str) -> Any:
    if not layer:
        return model.outputs[0]
    names = [found.name for found in model.layers]
    if layer not in names:
        close = difflib.get_close_matches(layer, names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"its last ones are {', '.join(names[-5:])}"
        raise UsageError(f"{model.name} has no layer {layer!r}; {hint}")
    return model.get_layer(layer).output
