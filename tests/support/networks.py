"""Small networks in files: made here, so that every test knows what they compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SCALED = {"mean": 0.5, "std": 0.25, "resize": "squash"}
SIDE = 16


def convolution(
    seed: int = 0, *, act: str = "Relu", channels: int = 3, side: object = SIDE, name: str = "c"
) -> onnx.ModelProto:
    """One convolution of stride 4, an activation, and its average: outputs ``features`` and ``pooled``."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, 0.3, (8, channels, 4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", f"{name}.w"], [f"{name}.y"], f"{name}.conv", strides=[4, 4]),
        helper.make_node(act, [f"{name}.y"], ["features"], f"{name}.act"),
        helper.make_node("ReduceMean", ["features"], ["pooled"], f"{name}.mean", axes=[2, 3], keepdims=0),
    ]
    return _model(
        nodes, [numpy_helper.from_array(kernel, f"{name}.w")], ["n", channels, side, side], {"features": 4, "pooled": 2}
    )


def tokens(seed: int = 0, prefix: int = 1, side: object = SIDE) -> onnx.ModelProto:
    """16 patches as tokens behind so many others: output ``tokens`` of shape (n, prefix + 16, 8)."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, 0.3, (8, 3, 4, 4)).astype(np.float32)
    first = rng.normal(0, 1, (1, prefix, 8)).astype(np.float32)
    constants = [
        numpy_helper.from_array(kernel, "w"),
        numpy_helper.from_array(first, "first"),
        numpy_helper.from_array(np.array([0, 8, 16]), "shape"),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["y"], strides=[4, 4]),
        helper.make_node("Reshape", ["y", "shape"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["patches"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["patches"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Add", ["first", "mean"], ["prefix"]),
        helper.make_node("Concat", ["prefix", "patches"], ["tokens"], axis=1),
    ]
    if not prefix:
        nodes, constants = (
            [*nodes[:2], helper.make_node("Transpose", ["flat"], ["tokens"], perm=[0, 2, 1])],
            constants[::2],
        )
    return _model(nodes, constants, ["n", 3, side, side], {"tokens": 3})


def numbers(name: str, values: list[int]) -> onnx.TensorProto:
    """A constant of whole numbers."""
    return numpy_helper.from_array(np.array(values), name)


def write(folder: Path, model: onnx.ModelProto, name: str = "small.onnx") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def _model(nodes: list, constants: list, shape: list, outputs: dict[str, int]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * axes) for name, axes in outputs.items()],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_onnx(path: Path, size: int = 16, channels: int = 6, seed: int = 3) -> Path:
    """Two convolutions and a maximum, from (1, 3, size, size) to a map of (1, channels, size / 8, size / 8)."""
    rng = np.random.default_rng(seed)
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
    ends = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in sides.items()}
    constants = [numpy_helper.from_array(values, name) for name, values in kernels.items()]
    graph = helper.make_graph(nodes, "small", [ends["x"]], [ends["y"]], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    path.write_bytes(model.SerializeToString())
    return path
