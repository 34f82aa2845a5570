"""A converted network in two parts: what scales its input, and all from its first layer on."""

from __future__ import annotations

from typing import Any

# What scales pixels, orders channels and lays them out; whatever else comes first is a layer.
_ARITHMETIC = ("Convert", "Subtract", "Add", "Multiply", "Divide", "Power", "Round")
_ORDER = ("Transpose", "Gather", "StridedSlice", "Reverse", "ReduceSum")
_SCALING = frozenset((*_ARITHMETIC, *_ORDER))
SCALED = "scaled"  # what the first part calls what it gives


def in_two(model: Any) -> tuple[Any, Any]:
    """Part a network that :func:`featcache.backbones.network.require_fits` knows; ``model`` itself is used up.

    Parameters
    ----------
    model : ``openvino.Model`` from uint8 images of shape (1, size, size, 3) to arrays of features.

    Returns
    -------
    From images to what its first layer is given, float of shape (1, size, size, c) or (1, c, size, size); and from
    there to the arrays, both an ``openvino.Model``.
    """
    import openvino
    from openvino import opset13 as ops

    scaling = model.clone()
    port = _first_layer(scaling)
    given = ops.result(port)
    port.get_tensor().set_names({f"{SCALED}:0"})
    first = openvino.Model([given], scaling.get_parameters(), SCALED)
    port = _first_layer(model)
    taken = ops.parameter(port.get_shape(), port.get_element_type(), name=SCALED)
    for target in port.get_target_inputs():
        target.replace_source_output(taken.output(0))
    return first, openvino.Model(model.get_results(), [taken], model.get_friendly_name())


def _first_layer(model: Any) -> Any:
    """Where what the first layer takes comes out."""
    port = model.inputs[0]
    side = port.get_shape()[1]
    while True:
        targets = list(port.get_target_inputs())
        node = targets[0].get_node() if len(targets) == 1 else None
        if node is None or node.get_type_name() not in _SCALING:
            return port
        shape = list(node.output(0).get_shape())
        if len(shape) != 4 or side not in shape[1:] or shape[1:].count(side) < 2:
            return port
        port = node.output(0)
