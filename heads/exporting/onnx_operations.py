"""Operations of OpenVINO as those of ONNX: a table, by OpenVINO's names.

Every shape is known, and what follows from shapes is folded before, so that whatever reshapes can name its result.
What OpenVINO's operations mean: docs.openvino.ai, "Operation Sets"; ONNX's: onnx.ai/onnx/operators, opset 18.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from featcache.errors import UsageError

OPSET = 18


class Writer(Protocol):
    """What takes operations of ONNX down; see :mod:`heads.exporting.onnx_translation`."""

    def constant(self, values: Any, dtype: Any = None) -> str:
        """A constant; gives its name."""

    def add(self, kind: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """An operation; gives the names of what it computes."""


Translated = Callable[[Writer, Any, list[str]], list[str]]


def kind_of(op: Any) -> str:
    """What a message calls an operation."""
    return str(op.get_type_name())


def refuse(op: Any, what: str) -> UsageError:
    """The error for an operation that has no counterpart."""
    return UsageError(f"{kind_of(op)} {what} has no counterpart in ONNX here; export to a file .xml")


def shape_of(op: Any, output: int = 0) -> list[int]:
    """Shape of what an operation computes."""
    return [int(side) for side in op.get_output_shape(output)]


def dtype_of(op: Any, port: int = 0) -> np.dtype:
    """NumPy's type of what enters an operation."""
    return np.dtype(op.input_value(port).get_element_type().to_dtype())


def values_of(op: Any, port: int) -> np.ndarray:
    """What enters an operation, where it is a constant.

    Raises :class:`UsageError` where it is computed from the image.
    """
    node = op.input_value(port).get_node()
    if node.get_type_name() != "Constant":
        raise refuse(op, "with sizes or places that depend on the image")
    return np.array(node.data)


def _plain(kind: str) -> Translated:
    return lambda writer, op, inputs: writer.add(kind, inputs)


def _broadcast(kind: str) -> Translated:
    def translate(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
        if op.get_attributes().get("auto_broadcast", "numpy") not in ("numpy", "none"):
            raise refuse(op, f"with auto_broadcast {op.get_attributes()['auto_broadcast']!r}")
        if kind == "Div" and dtype_of(op).kind != "f":
            raise refuse(op, "of whole numbers")
        return writer.add(kind, inputs)

    return translate


def _reduce(kind: str) -> Translated:
    def translate(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
        axes = np.atleast_1d(values_of(op, 1)).astype(np.int64)
        keep = int(op.get_attributes()["keep_dims"])
        return writer.add(kind, [inputs[0], writer.constant(axes)], keepdims=keep)

    return translate


def _reshaped(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    return writer.add("Reshape", [inputs[0], writer.constant(np.array(shape_of(op), np.int64))])


def _expanded(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    if op.get_attributes()["mode"] not in ("numpy", "bidirectional"):
        raise refuse(op, f"of mode {op.get_attributes()['mode']!r}")
    return writer.add("Expand", [inputs[0], writer.constant(np.array(shape_of(op), np.int64))])


def _window(op: Any) -> dict[str, Any]:
    """Strides and the like; OpenVINO has worked out the padding that ``same_upper`` and its like come to."""
    given = op.get_attributes()
    valid = given["auto_pad"] == "valid"
    pads = [0] * (2 * len(given["strides"])) if valid else [*given["pads_begin"], *given["pads_end"]]
    window: dict[str, Any] = {"strides": list(given["strides"]), "pads": [int(pad) for pad in pads]}
    if "dilations" in given:
        window["dilations"] = list(given["dilations"])
    if "kernel" in given:
        window["kernel_shape"] = list(given["kernel"])
        window["ceil_mode"] = int(given["rounding_type"] != "floor")
    return window


def _convolution(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    return writer.add("Conv", inputs, **_window(op))


def _group_convolution(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    groups, out, *rest = (int(side) for side in op.get_input_shape(1))
    shape = np.array([groups * out, *rest], np.int64)
    kernel = op.input_value(1).get_node()
    if kernel.get_type_name() == "Constant":
        weights = writer.constant(np.array(kernel.data).reshape(shape))
    else:
        (weights,) = writer.add("Reshape", [inputs[1], writer.constant(shape)])
    return writer.add("Conv", [inputs[0], weights], group=groups, **_window(op))


def _max_pool(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    if len(op.outputs()) > 1 and op.output(1).get_target_inputs():
        raise refuse(op, "whose places are used")
    return writer.add("MaxPool", inputs, **_window(op))


def _average_pool(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    excluded = op.get_attributes().get("exclude-pad", op.get_attributes().get("exclude_pad"))
    return writer.add("AveragePool", inputs, count_include_pad=int(not excluded), **_window(op))


def _matmul(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    given = op.get_attributes()
    taken = []
    for port, transposed in enumerate((given["transpose_a"], given["transpose_b"])):
        rank = len(op.get_input_shape(port))
        if not transposed or rank < 2:
            taken.append(inputs[port])
            continue
        node = op.input_value(port).get_node()
        if node.get_type_name() == "Constant":
            taken.append(writer.constant(np.ascontiguousarray(np.swapaxes(np.array(node.data), -1, -2))))
        else:
            axes = [*range(rank - 2), rank - 1, rank - 2]
            taken += writer.add("Transpose", [inputs[port]], perm=axes)
    return writer.add("MatMul", taken)


def _transpose(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    order = values_of(op, 1).astype(int).tolist() or list(range(len(shape_of(op))))[::-1]
    return writer.add("Transpose", inputs[:1], perm=order)


def _concat(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    return writer.add("Concat", inputs, axis=int(op.get_attributes()["axis"]))


def _split(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    axis = int(values_of(op, 1))
    count = len(op.outputs())
    sizes = np.array([shape_of(op, output)[axis] for output in range(count)], np.int64)
    return writer.add("Split", [inputs[0], writer.constant(sizes)], count, axis=axis)


def _gather(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    if op.get_attributes().get("batch_dims", 0):
        raise refuse(op, "of batches")
    return writer.add("Gather", inputs[:2], axis=int(values_of(op, 2)))


def _slice(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    starts, stops, steps = (np.atleast_1d(values_of(op, port)).astype(np.int64) for port in (1, 2, 3))
    axes = np.atleast_1d(values_of(op, 4)).astype(np.int64) if len(inputs) > 4 else np.arange(len(starts))
    return writer.add("Slice", [inputs[0], *(writer.constant(part) for part in (starts, stops, axes, steps))])


def _strided_slice(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    begin, end = values_of(op, 1), values_of(op, 2)
    steps = values_of(op, 3) if len(inputs) > 3 else np.ones_like(begin)
    given = op.get_attributes()
    masks = {
        name: [*given[f"{name}_mask"], *[0] * len(begin)]
        for name in ("begin", "end", "new_axis", "shrink_axis", "ellipsis")
    }
    rank = len(op.get_input_shape(0))
    named = sum(not (masks["new_axis"][i] or masks["ellipsis"][i]) for i in range(len(begin)))
    parts: list[tuple[int, int, int, int]] = []
    axis = 0
    for i in range(len(begin)):
        if masks["ellipsis"][i]:
            axis += rank - named
            continue
        if masks["new_axis"][i]:
            continue
        side, start, stop, step = int(op.get_input_shape(0)[axis]), int(begin[i]), int(end[i]), int(steps[i])
        if masks["shrink_axis"][i]:
            start = start % side
            start, stop, step = start, start + 1, 1
        else:
            start = (0 if step > 0 else side - 1) if masks["begin"][i] else start
            stop = (side if step > 0 else -side - 1) if masks["end"][i] else stop
        parts.append((start, stop, axis, step))
        axis += 1
    columns = [writer.constant(np.array(column, np.int64)) for column in zip(*parts, strict=True)]
    taken = writer.add("Slice", [inputs[0], *columns]) if parts else inputs[:1]
    return _reshaped(writer, op, taken)


def _pad(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    mode = {"constant": "constant", "reflect": "reflect", "edge": "edge"}.get(op.get_attributes()["pad_mode"])
    if mode is None:
        raise refuse(op, f"of mode {op.get_attributes()['pad_mode']!r}")
    pads = writer.constant(np.concatenate([values_of(op, 1), values_of(op, 2)]).astype(np.int64))
    value = inputs[3:4] if mode == "constant" else []
    return writer.add("Pad", [inputs[0], pads, *value], mode=mode)


def _convert(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    import onnx

    target = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(op.get_output_element_type(0).to_dtype()))
    return writer.add("Cast", inputs[:1], to=int(target))


def _clamp(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    ends = [writer.constant(op.get_attributes()[name], dtype_of(op)) for name in ("min", "max")]
    return writer.add("Clip", [inputs[0], *ends])


def _elu(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    return writer.add("Elu", inputs, alpha=float(op.get_attributes()["alpha"]))


def _hard_sigmoid(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    return writer.add("HardSigmoid", inputs[:1], alpha=1 / 6, beta=0.5)


def _softmax(kind: str) -> Translated:
    return lambda writer, op, inputs: writer.add(kind, inputs, axis=int(op.get_attributes()["axis"]))


def _swish(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    inner = writer.add("Mul", inputs) if len(inputs) > 1 else inputs
    return writer.add("Mul", [inputs[0], *writer.add("Sigmoid", inner)])


def _gelu(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    dtype = dtype_of(op)

    def times(value: str, number: float) -> str:
        return writer.add("Mul", [value, writer.constant(number, dtype)])[0]

    (x,) = inputs
    if str(op.get_attributes().get("approximation_mode", "erf")).lower() == "erf":
        (curve,) = writer.add("Erf", [times(x, 1 / math.sqrt(2))])
    else:
        (cube,) = writer.add("Mul", [x, *writer.add("Mul", [x, x])])
        (inner,) = writer.add("Add", [x, times(cube, 0.044715)])
        (curve,) = writer.add("Tanh", [times(inner, math.sqrt(2 / math.pi))])
    return writer.add("Mul", [times(x, 0.5), *writer.add("Add", [curve, writer.constant(1, dtype)])])


def _prelu(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    slope = inputs[1]
    rank, sides = len(op.get_input_shape(0)), list(op.get_input_shape(1))
    if len(sides) == 1 and sides[0] != 1 and rank > 2:  # one for each channel
        shape = np.array([sides[0], *[1] * (rank - 2)], np.int64)
        (slope,) = writer.add("Reshape", [slope, writer.constant(shape)])
    return writer.add("PRelu", [inputs[0], slope])


def _round(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    if str(op.get_attributes()["mode"]).lower() != "half_to_even":
        raise refuse(op, f"of mode {op.get_attributes()['mode']!r}")
    return writer.add("Round", inputs)


def _mvn(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    given, dtype = op.get_attributes(), dtype_of(op)
    axes = writer.constant(np.atleast_1d(values_of(op, 1)).astype(np.int64))
    (centred,) = writer.add("Sub", [inputs[0], *writer.add("ReduceMean", [inputs[0], axes], keepdims=1)])
    if not given["normalize_variance"]:
        return [centred]
    variance = writer.add("ReduceMean", [*writer.add("Mul", [centred, centred]), axes], keepdims=1)
    eps = writer.constant(given["eps"], dtype)
    if str(given["eps_mode"]).lower() == "inside_sqrt":
        spread = writer.add("Sqrt", writer.add("Add", [*variance, eps]))
    else:
        spread = writer.add("Add", [*writer.add("Sqrt", variance), eps])
    return writer.add("Div", [centred, *spread])


def _squared_difference(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    (apart,) = writer.add("Sub", inputs)
    return writer.add("Mul", [apart, apart])


def _normalize_l2(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    given = op.get_attributes()
    axes = writer.constant(np.atleast_1d(values_of(op, 1)).astype(np.int64))
    total = writer.add("ReduceSumSquare", [inputs[0], axes], keepdims=1)
    eps = writer.constant(given["eps"], dtype_of(op))
    kept = writer.add("Add" if given["eps_mode"] == "add" else "Max", [*total, eps])
    return writer.add("Div", [inputs[0], *writer.add("Sqrt", kept)])


def _batch_norm(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    return writer.add("BatchNormalization", inputs, epsilon=float(op.get_attributes()["epsilon"]))


def _interpolate(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    given = op.get_attributes()
    mode = {"nearest": "nearest", "linear_onnx": "linear", "linear": "linear", "cubic": "cubic"}.get(given["mode"])
    if mode is None or given["antialias"] or any([*given["pads_begin"], *given["pads_end"]]):
        raise refuse(op, f"of mode {given['mode']!r}, with padding or antialiasing")
    attributes: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": given["coordinate_transformation_mode"],
        "cubic_coeff_a": float(given["cube_coeff"]),
    }
    if mode == "nearest":
        attributes["nearest_mode"] = "floor" if given["nearest_mode"] == "simple" else given["nearest_mode"]
    sizes = writer.constant(np.array(shape_of(op), np.int64))
    return writer.add("Resize", [inputs[0], "", "", sizes], **attributes)


def _attention(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    if len(inputs) != 3 or op.get_attributes()["causal"]:
        raise refuse(op, "with a mask or a scale of its own")
    query, key, value = inputs
    rank, width = len(op.get_input_shape(1)), int(op.get_input_shape(0)[-1])
    turned = writer.add("Transpose", [key], perm=[*range(rank - 2), rank - 1, rank - 2])
    product = writer.add("MatMul", [query, *turned])
    scaled = writer.add("Mul", [*product, writer.constant(1 / math.sqrt(width), dtype_of(op))])
    return writer.add("MatMul", [*writer.add("Softmax", scaled, axis=-1), value])


def _space_to_batch(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    """Padded, cut into blocks, and the blocks put first."""
    block, before, after = (values_of(op, port).astype(np.int64) for port in (1, 2, 3))
    (padded,) = writer.add("Pad", [inputs[0], writer.constant(np.concatenate([before, after]))])
    sides = np.array(op.get_input_shape(0)) + before + after
    rank = len(sides)
    cut = [number for side, part in zip(sides[1:], block[1:], strict=True) for number in (side // part, part)]
    (parts,) = writer.add("Reshape", [padded, writer.constant(np.array([sides[0], *cut], np.int64))])
    order = [*(2 * axis for axis in range(1, rank)), 0, *(2 * axis - 1 for axis in range(1, rank))]
    return _reshaped(writer, op, writer.add("Transpose", [parts], perm=order))


def _batch_to_space(writer: Writer, op: Any, inputs: list[str]) -> list[str]:
    """The inverse of :func:`_space_to_batch`."""
    block, before, after = (values_of(op, port).astype(np.int64) for port in (1, 2, 3))
    sides = np.array(op.get_input_shape(0))
    rank, batch = len(sides), int(sides[0] // math.prod(block))
    parts = np.array([*block[1:], batch, *sides[1:]], np.int64)
    (cut,) = writer.add("Reshape", [inputs[0], writer.constant(parts)])
    order = [rank - 1, *(place for axis in range(1, rank) for place in (rank - 1 + axis, axis - 1))]
    (mixed,) = writer.add("Transpose", [cut], perm=order)
    whole = np.array([batch, *(sides[1:] * block[1:])], np.int64)
    (joined,) = writer.add("Reshape", [mixed, writer.constant(whole)])
    stops = whole - after
    columns = [writer.constant(column) for column in (before, stops, np.arange(rank))]
    return writer.add("Slice", [joined, *columns])


TABLE: dict[str, Translated] = {
    **{
        kind: _broadcast(theirs)
        for kind, theirs in {
            "Add": "Add",
            "Subtract": "Sub",
            "Multiply": "Mul",
            "Divide": "Div",
            "Maximum": "Max",
            "Minimum": "Min",
            "Power": "Pow",
            "Equal": "Equal",
            "Greater": "Greater",
            "GreaterEqual": "GreaterOrEqual",
            "Less": "Less",
            "LessEqual": "LessOrEqual",
            "LogicalAnd": "And",
            "LogicalOr": "Or",
            "Select": "Where",
        }.items()
    },
    **{
        kind: _plain(theirs)
        for kind, theirs in {
            "Relu": "Relu",
            "Sigmoid": "Sigmoid",
            "Tanh": "Tanh",
            "Exp": "Exp",
            "Log": "Log",
            "Sqrt": "Sqrt",
            "Abs": "Abs",
            "Negative": "Neg",
            "Floor": "Floor",
            "Ceiling": "Ceil",
            "Erf": "Erf",
            "Sin": "Sin",
            "Cos": "Cos",
            "Sign": "Sign",
            "SoftPlus": "Softplus",
            "SoftSign": "Softsign",
            "HSwish": "HardSwish",
            "Mish": "Mish",
            "LogicalNot": "Not",
            "Tile": "Tile",
        }.items()
    },
    **{
        kind: _reduce(kind)
        for kind in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2")
    },
    "Reshape": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Broadcast": _expanded,
    "Convolution": _convolution,
    "GroupConvolution": _group_convolution,
    "MaxPool": _max_pool,
    "AvgPool": _average_pool,
    "MatMul": _matmul,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "VariadicSplit": _split,
    "Gather": _gather,
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    "Pad": _pad,
    "Convert": _convert,
    "Clamp": _clamp,
    "Elu": _elu,
    "HSigmoid": _hard_sigmoid,
    "Softmax": _softmax("Softmax"),
    "LogSoftmax": _softmax("LogSoftmax"),
    "Swish": _swish,
    "Gelu": _gelu,
    "PRelu": _prelu,
    "Round": _round,
    "MVN": _mvn,
    "SquaredDifference": _squared_difference,
    "NormalizeL2": _normalize_l2,
    "BatchNormInference": _batch_norm,
    "Interpolate": _interpolate,
    "ScaledDotProductAttention": _attention,
    "SpaceToBatch": _space_to_batch,
    "BatchToSpace": _batch_to_space,
}
