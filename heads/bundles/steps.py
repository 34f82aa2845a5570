"""A bundle's way from a file to an answer, step by step: the same functions that :func:`heads.predict` goes through.

``decoding`` makes pixels of a file, ``resizing`` the square that the network takes, ``scaling`` the numbers that its
first layer is given, ``network`` the row that the head sees, ``head`` the answer. ``pixels`` have neither scaling nor
network: their row is the square.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featcache.backbones import openvino_runtime, registry
from featcache.backbones import weights as network_weights
from featcache.backbones.first_layer import SCALED, in_two
from featcache.backbones.network import require_fits
from featcache.data import decoding
from featcache.features.pooled_rows import array_for
from featcache.features.pooling import pool
from featcache.spec import FeatureSpec

from .integrity import CONVERTED

Arrays = dict[str, np.ndarray]


def decoded(data: bytes) -> np.ndarray:
    """Pixels of a file, (height, width) or (height, width, 3): uint8, or float32 of 0 to 255 where it has more bits."""
    return np.asarray(decoding.picture(data))


def resized(pixels: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """The square that is made of decoded pixels, uint8 of shape (size, size, 3)."""
    return decoding.square(Image.fromarray(pixels), spec.size, spec.framing)


class NetworkInTwo:
    """A bundle's network: ``scale`` and ``features``, one behind the other what predicting computes in one.

    Parameters
    ----------
    spec : what its features are.
    network : the bundle's file of it.
    """

    def __init__(self, spec: FeatureSpec, network: Path) -> None:
        self._spec = spec
        parts = _on_openvino if network.name == CONVERTED else _on_tensorflow
        self._scale, self._features, self.runtime = parts(spec, network)

    def scale(self, squares: np.ndarray) -> np.ndarray:
        """What the first layer is given of squares (n, size, size, 3); an array with n rows."""
        return self._scale(np.ascontiguousarray(squares))

    def features(self, scaled: np.ndarray) -> Arrays:
        """The spec's arrays, each with n rows."""
        return self._features(np.ascontiguousarray(scaled))

    def rows(self, scaled: np.ndarray, pooling: str) -> np.ndarray:
        """What the head sees, (n, d)."""
        return pooled(self.features(scaled), self._spec, pooling)


def pooled(arrays: Arrays, spec: FeatureSpec, pooling: str) -> np.ndarray:
    """The rows of a head out of the spec's arrays."""
    return pool(arrays[array_for(spec, spec.id, pooling)], pooling)


_Parts = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], Arrays], str]


def _on_openvino(spec: FeatureSpec, network: Path) -> _Parts:
    model = openvino_runtime.read(network)
    require_fits(model, spec, str(network))
    first, rest = in_two(model)
    # Scaling is of float32 in every precision: what follows rounds what it is given.
    scale = openvino_runtime.OpenVINORuntime(first, spec.in_float32, arrays=(SCALED,), at_once=True)
    features = openvino_runtime.OpenVINORuntime(rest, spec, at_once=True)
    return lambda squares: scale(squares)[SCALED], features, "openvino"


def _on_tensorflow(spec: FeatureSpec, network: Path) -> _Parts:
    from featcache.backbones.inference_graph import cut, preprocess, scaled_to_features
    from featcache.backbones.tensorflow_setup import load_tensorflow

    tf, keras = load_tensorflow()
    source = network_weights.WeightsSource("kept", path=str(network))
    layers = cut(network_weights.build(registry.get(spec.backbone), spec.size, source, spec.precision), spec)
    function: Any = tf.function(scaled_to_features(lambda x: layers(x, training=False), spec), autograph=False)

    def scale(squares: np.ndarray) -> np.ndarray:
        given: np.ndarray = preprocess(keras, tf.cast(squares, tf.float32), spec.preprocess).numpy()
        return given

    return scale, lambda x: {name: value.numpy() for name, value in function(x).items()}, "tensorflow"
