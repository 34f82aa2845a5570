"""From an OpenVINO network to an ONNX file: one operation after the other, by a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from featcache.errors import UsageError

from .onnx_operations import OPSET, TABLE, kind_of

_IR_VERSION = 9  # of the file: what ONNX Runtime 1.16 and later read
_LARGEST = 2_000_000_000  # bytes that one message of protobuf can hold


def to_onnx(model: Any, about: Mapping[str, str]) -> bytes:
    """An ``openvino.Model`` of known shapes as the bytes of an ONNX file.

    Parameters
    ----------
    model : with named inputs and outputs; what it holds that follows from shapes is folded in place.
    about : written into the file's metadata.

    Raises
    ------
    UsageError
        It has operations that the table lacks, or is too large for such a file.
    """
    import onnx
    from openvino.passes import ConstantFolding, Manager

    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(model)
    operations = [op for op in model.get_ordered_ops() if kind_of(op) not in ("Constant", "Parameter", "Result")]
    missing = sorted({kind_of(op) for op in operations} - TABLE.keys())
    if missing:
        raise UsageError(
            f"the network computes {', '.join(missing)}, which is not written to ONNX here; export to .xml"
        )
    notes = _Notes()
    for port in model.inputs:
        notes.names[(port.get_node().get_name(), 0)] = port.get_any_name()
    for op in operations:
        taken = [notes.name(port.get_source_output()) for port in op.inputs()]
        for place, name in enumerate(TABLE[kind_of(op)](notes, op, taken)):
            notes.names[(op.get_name(), place)] = name
    for port in model.outputs:
        given = notes.name(port.get_node().input_value(0))
        notes.nodes.append(onnx.helper.make_node("Identity", [given], [port.get_any_name()]))
    constants = notes.used()
    if sum(len(tensor.raw_data) for tensor in constants) > _LARGEST:
        raise UsageError("the network's weights are over 2 GB, which no ONNX file holds; export to .xml")
    graph = onnx.helper.make_graph(
        notes.nodes,
        "featcache",
        [_described(port) for port in model.inputs],
        [_described(port) for port in model.outputs],
        constants,
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], producer_name="featcache")
    made.ir_version = _IR_VERSION
    onnx.helper.set_model_props(made, dict(about))
    return bytes(made.SerializeToString())


class _Notes:
    """What has been translated; the :class:`heads.exporting.onnx_operations.Writer` of the table's functions."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.names: dict[tuple[str, int], str] = {}
        self._constants: dict[str, Any] = {}

    def constant(self, values: Any, dtype: Any = None) -> str:
        import onnx

        array = np.asarray(values, dtype)
        name = f"c{len(self._constants)}"
        self._constants[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        return name

    def add(self, kind: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        import onnx

        names = [f"v{len(self.nodes)}_{place}" for place in range(outputs)]
        self.nodes.append(onnx.helper.make_node(kind, inputs, names, **attributes))
        return names

    def name(self, port: Any) -> str:
        """What something that is computed, or a constant, is called."""
        node = port.get_node()
        key = (node.get_name(), port.get_index())
        if key not in self.names:
            self.names[key] = self.constant(np.array(node.data))
        return self.names[key]

    def used(self) -> list[Any]:
        """The constants that an operation takes."""
        taken = {name for node in self.nodes for name in node.input}
        return [tensor for name, tensor in self._constants.items() if name in taken]


def _described(port: Any) -> Any:
    import onnx

    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(port.get_element_type().to_dtype()))
    return onnx.helper.make_tensor_value_info(port.get_any_name(), kind, [int(side) for side in port.get_shape()])
