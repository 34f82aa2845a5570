"""The whole of a bundle as one network: an image in, probabilities or a number out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from featcache.backbones import openvino_runtime
from featcache.backbones.network import require_fits
from featcache.errors import BundleError, UsageError

from ..bundles.bundle import Bundle
from .calibration_graph import calibrated
from .head_graph import EXPORTABLE, label_probabilities, number, scores

INPUT = "images"
OUTPUTS = {"classes": "probabilities", "labels": "probabilities", "number": "values"}  # by what was learnt
_GRAPHS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "classes": lambda model, x, calibration: calibrated(scores(model, x), calibration),
    "labels": label_probabilities,
    "number": lambda model, x, calibration: number(model, x),
}


def compose(bundle: Bundle, network: Path | None) -> Any:
    """From uint8 images of shape (1, size, size, 3), RGB, to probabilities of shape (1, n_classes) or (1, n_labels), or
    numbers of shape (1, 1), float32.

    Parameters
    ----------
    bundle : whose model, pooling and calibration it is.
    network : the converted network; None for pixels.

    Returns
    -------
    openvino.Model
        With the input ``images`` and the output that :data:`OUTPUTS` names.

    Raises
    ------
    UsageError
        The model is no chain of operations that can be exported.
    WeightsError, BundleError
        The network does not fit.
    """
    import openvino
    from openvino import opset13 as ops

    images, arrays = _arrays(bundle, network)
    if bundle.pooling == "map":
        raise UsageError(f"a model on whole maps is no chain that can be exported; these are: {EXPORTABLE}")
    try:
        x = ops.convert(_pooled(arrays, bundle.pooling), "f32")
        output = OUTPUTS[bundle.task.kind]
        given = _GRAPHS[bundle.task.kind](bundle.estimator, x, bundle.about["calibration"])
        result = ops.result(given, name=output)
        given.output(0).set_names({output})
        model = openvino.Model([result], [images], "featcache")
        model.validate_nodes_and_infer_types()
    except (RuntimeError, KeyError) as error:  # of a file of someone else's, whose parts need not fit each other
        said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise BundleError(f"{bundle.folder}: its model does not fit its features ({said[:200]})") from error
    if list(model.outputs[0].get_shape()) != [1, len(bundle.classes)]:
        raise BundleError(
            f"{bundle.folder}: its model gives {list(model.outputs[0].get_shape())}; expected {len(bundle.classes)} "
            f"{output}"
        )
    return model


def _arrays(bundle: Bundle, network: Path | None) -> tuple[Any, dict[str, Any]]:
    """What takes the image, and what the network makes of it, by name."""
    import openvino
    from openvino import opset13 as ops

    spec = bundle.spec
    if network is None:
        images = ops.parameter([1, spec.size, spec.size, 3], openvino.Type.u8, name=INPUT)
        images.output(0).set_names({INPUT})
        return images, {"map": images}
    model = openvino_runtime.read(network)
    require_fits(model, spec, str(network))
    (images,) = model.get_parameters()
    images.set_friendly_name(INPUT)
    images.output(0).set_names({INPUT})
    ports = {name: port.get_node().input_value(0) for name, port in zip(spec.arrays, model.outputs, strict=True)}
    return images, ports


def _pooled(arrays: dict[str, Any], pooling: str) -> Any:
    """As :mod:`featcache.features.pooled_rows` makes rows of what is kept, of shape (1, n_features)."""
    from openvino import opset13 as ops

    if pooling == "cls":
        return arrays["cls"]
    if "map" not in arrays or (pooling == "avg" and "avg" in arrays):
        return arrays["avg"]
    if pooling == "flatten":
        return ops.reshape(arrays["map"], np.array([1, -1]), False)
    maps = ops.convert(arrays["map"], "f32")
    return (ops.reduce_max if pooling == "max" else ops.reduce_mean)(maps, np.array([1, 2]), False)
