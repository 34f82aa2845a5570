"""A Keras network as a TensorFlow graph whose weights are constants: made, read by OpenVINO, named by what it does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np

from .part_digests import digest_of
from .tensorflow_setup import load_tensorflow

# What a node says of where it runs and what its state is called, which is no part of what it computes.
_ASIDE = ("config", "config_proto", "executor_type", "shared_name", "container")


def with_constants(network: Any) -> Callable[[Any], Any]:
    """A Keras layer or model as a function of its input, for inference, its weights written out as constants."""
    tf, keras = load_tensorflow()
    held = [(variable, np.asarray(variable)) for variable in network.variables]

    def apply(x: Any) -> Any:
        constants = [(variable, tf.constant(value)) for variable, value in held]
        with keras.StatelessScope(state_mapping=constants):
            return network(x, training=False)

    return apply


def freeze(function: Callable[[Any], Any], shape: Sequence[int | None], dtype: str) -> Any:
    """The graph of a function of one tensor ``images``, as a ``GraphDef``.

    Weights that stand in it as constants need no function to be frozen, which takes three times as long. A tensor that
    the function took from outside becomes a constant as well; a variable raises :class:`ValueError`.
    """
    tf, _ = load_tensorflow()
    signature = [tf.TensorSpec(shape, dtype, name="images")]
    graph = tf.function(function, input_signature=signature, autograph=False).get_concrete_function().graph
    written = graph.as_graph_def()
    taken = {inner.op.name: outer for outer, inner in graph.captures}
    for node in written.node:
        if node.name in taken:
            value = taken[node.name]
            if value.dtype in (tf.resource, tf.variant):
                raise ValueError(f"it computes with a variable that Keras does not know of ({node.name})")
            node.op = "Const"
            node.attr.clear()
            node.attr["dtype"].type = value.dtype.as_datatype_enum
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return written


def to_openvino(graph: Any, outputs: Sequence[str], name: str) -> Any:
    """The graph as an ``openvino.Model`` with these outputs; it goes through a file, which OpenVINO reads without its
    Python converter."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.pb"
        path.write_bytes(graph.SerializeToString())
        graph_read = openvino.Core().read_model(path)
        # Keras' activations leave outputs that nobody asked for.
        return openvino.Model(
            [graph_read.output(f"{output}:0") for output in outputs], graph_read.get_parameters(), name
        )


def digest(graph: Any, outputs: Sequence[str]) -> str:
    """SHA-256 over the operations and constants that outputs come from, hex; names count for nothing."""
    values = _Reader(graph.library.function).values(graph.node, {})
    return digest_of([b"tensorflow", *(values[output] for output in outputs)]).hex()


class _Reader:
    """Names every value by how it comes about: operation, attributes, and the values that go in."""

    def __init__(self, functions: Iterable[Any]) -> None:
        self._written = {function.signature.name: function for function in functions}
        self._known: dict[str, bytes] = {}

    def values(self, nodes: Iterable[Any], given: Mapping[str, bytes]) -> dict[str, bytes]:
        """The digest of each node by its name; ``given`` are those of a function's arguments."""
        known = dict(given)
        by_name = {node.name: node for node in nodes}
        before = {name: {_base(one) for one in node.input} for name, node in by_name.items()}
        for name in TopologicalSorter(before).static_order():
            if name not in known:
                known[name] = self._node(by_name[name], known)
        return known

    def _node(self, node: Any, known: Mapping[str, bytes]) -> bytes:
        data = [_value(one, known) for one in node.input if not one.startswith("^")]
        first = sorted(known[_base(one)] for one in node.input if one.startswith("^"))
        return digest_of([node.op, *self._attributes(node.attr), b"of", *data, b"after", *first])

    def _attributes(self, attributes: Mapping[str, Any]) -> list[bytes | str]:
        said = sorted(name for name in attributes if not name.startswith("_") and name not in _ASIDE)
        return [part for name in said for part in (name, self._attribute(attributes[name]))]

    def _attribute(self, value: Any) -> bytes:
        tf, _ = load_tensorflow()
        if value.HasField("tensor"):
            array = tf.make_ndarray(value.tensor)
            content = repr(array.tolist()) if array.dtype == object else array.tobytes()
            return digest_of([b"tensor", str(value.tensor.dtype), str(array.shape), content])
        functions = [value.func] if value.HasField("func") else list(value.list.func)
        if functions:
            return digest_of(
                [part for one in functions for part in (self._function(one.name), *self._attributes(one.attr))]
            )
        return bytes(value.SerializeToString(deterministic=True))

    def _function(self, name: str) -> bytes:
        if name not in self._known:
            self._known[name] = b"itself"  # within itself
            function = self._written[name]
            given = {
                one.name: digest_of([b"argument", str(place), str(one.type)])
                for place, one in enumerate(function.signature.input_arg)
            }
            known = self.values(function.node_def, given)
            results = [_value(function.ret[one.name], known) for one in function.signature.output_arg]
            effects = sorted(known[node] for node in function.control_ret.values())
            self._known[name] = digest_of([b"function", *results, b"after", *effects])
        return self._known[name]


def _base(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]


def _value(name: str, known: Mapping[str, bytes]) -> bytes:
    """Which of a node's outputs goes in."""
    return digest_of([known[_base(name)], name.partition(":")[2]])
