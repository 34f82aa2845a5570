"""A frozen network as one function from uint8 pixels to what is stored: the same for every runtime."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from ..errors import UsageError
from ..spec import FeatureSpec
from .runtime import named
from .tensorflow_setup import load_tensorflow


def cut(model: Any, *specs: FeatureSpec) -> Any:
    """The network up to the specs' layers, as a keras.Model with an output for each.

    Raises :class:`UsageError` where there is no such layer, or its output is not what the spec keeps.
    """
    networks = [_cut(model, spec) for spec in specs]
    if len(networks) == 1:
        return networks[0]
    import keras  # which whoever built the model has loaded, on a backend of his own

    return keras.Model(model.inputs, [network.outputs[0] for network in networks])


def _cut(model: Any, spec: FeatureSpec) -> Any:
    network = up_to(model, spec.layer)
    rank = len(network.outputs[0].shape)
    if rank not in (2, 4):
        raise UsageError(f"layer {spec.layer!r} gives {network.outputs[0].shape}; expected a map or a vector")
    if rank == 2 and "map" in spec.arrays:
        raise UsageError(f"layer {spec.layer!r} gives vectors, not maps: ask for --keep avg")
    return network


def pixels_to_features(apply: Callable[[Any], Any], *specs: FeatureSpec) -> Callable[[Any], dict[str, Any]]:
    """Cast, preprocessing, network, average, and cast to what is stored, in TensorFlow.

    Parameters
    ----------
    apply : what :func:`cut` gave, from preprocessed images to the layer's output; of several specs, to a list of these.
    specs : say the preprocessing, which is one, and what is kept.

    Returns
    -------
    Function from a uint8 tensor of shape (n, size, size, 3) to the specs' arrays, each with n rows, named as
    :func:`featcache.backbones.runtime.array_names` says.
    """
    tf, keras = load_tensorflow()
    features = scaled_to_features(apply, *specs)
    return lambda images: features(preprocess(keras, tf.cast(images, tf.float32), specs[0].preprocess))


def scaled_to_features(apply: Callable[[Any], Any], *specs: FeatureSpec) -> Callable[[Any], dict[str, Any]]:
    """The same from preprocessed images on."""
    tf, keras = load_tensorflow()

    def forward(images: Any) -> dict[str, Any]:
        given = apply(images)
        kept = named(specs, [arrays(tf.cast(output, tf.float32)) for output in keras.tree.flatten(given)])
        return {name: tf.identity(tf.cast(values, specs[0].dtype), name=name) for name, values in kept.items()}

    def arrays(values: Any) -> dict[str, Any]:
        return {"map": values, "avg": tf.reduce_mean(values, axis=(1, 2)) if len(values.shape) == 4 else values}

    return forward


def preprocess(keras: Any, pixels: Any, mode: str) -> Any:
    """What a backbone expects, from float RGB pixels of 0 to 255."""
    if mode in ("caffe", "tf", "torch"):
        return keras.applications.imagenet_utils.preprocess_input(pixels, data_format="channels_last", mode=mode)
    if mode == "rescale":
        return pixels / 255.0
    if mode == "builtin":
        return pixels
    raise UsageError(f"preprocessing {mode!r} is unknown")


def up_to(model: Any, layer: str) -> Any:
    """A functional network up to a layer, ``""`` for its output, as a keras.Model with one output.

    Raises :class:`UsageError` where there is no such layer, or it gives several outputs.
    """
    import keras

    outputs = keras.tree.flatten(_layer(model, layer)) if layer else model.outputs
    if len(outputs) != 1:
        found = f"layer {layer!r} of {model.name}" if layer else model.name
        makers = ", ".join(dict.fromkeys(output._keras_history.operation.name for output in outputs))
        raise UsageError(
            f"{found} gives {len(outputs)} outputs; choose the --layer that makes the wanted one: {makers}"
        )
    return keras.Model(model.inputs, outputs[0])


def _layer(model: Any, layer: str) -> Any:
    """What a layer gives, by its name."""
    names = [known.name for known in model.layers]
    if layer not in names:
        close = difflib.get_close_matches(layer, names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"its last ones are {', '.join(names[-5:])}"
        raise UsageError(f"{model.name} has no layer {layer!r}; {hint}")
    try:
        return model.get_layer(layer).output
    except (AttributeError, ValueError) as error:
        raise UsageError(f"layer {layer!r} of {model.name} is used more than once, and gives no one output") from error
