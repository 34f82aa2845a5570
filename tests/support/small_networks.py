"""A network in an ONNX file, small enough to be made in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_onnx(path: Path, size: int = 16, channels: int = 6) -> Path:
    """Two convolutions and a maximum, from (1, 3, size, size) to a map of (1, channels, size / 8, size / 8)."""
    import onnx
    from onnx import helper

    rng = np.random.default_rng(3)
    kernels = {
        "a": rng.normal(0, 0.4, (8, 3, 3, 3)).astype(np.float32),
        "b": rng.normal(0, 0.4, (channels, 8, 3, 3)).astype(np.float32),
    }
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["c"], **window),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "b"], ["e"], **window),
        helper.make_node("MaxPool", ["e"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    sides = {"x": [1, 3, size, size], "y": [1, channels, size // 8, size // 8]}
    ends = {name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in sides.items()}
    constants = [onnx.numpy_helper.from_array(values, name) for name, values in kernels.items()]
    graph = helper.make_graph(nodes, "small", [ends["x"]], [ends["y"]], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    path.write_bytes(model.SerializeToString())
    return path
