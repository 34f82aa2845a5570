"""Several converted networks as one that computes what they have in common once: layers of one network in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..spec import FeatureSpec
from .openvino_runtime import OpenVINORuntime
from .part_digests import digest_of, operation
from .runtime import array_names

# What has a state or a program of its own inside, which attributes do not tell: each stays its own.
_NEVER_SHARED = frozenset({"If", "Loop", "TensorIterator", "ReadValue", "Assign", "RandomUniform", "Multinomial"})


def joined(models: Sequence[Any], specs: Sequence[FeatureSpec]) -> Any:
    """One ``openvino.Model`` of one input that gives the outputs of all.

    Two operations are one where type, attributes and inputs are the same; constants where their bytes are.

    Parameters
    ----------
    models : each of one input, all of the same shape and type. They are taken apart.
    specs : of each, from which its outputs have their names.

    Returns
    -------
    Model whose outputs are called as :func:`featcache.backbones.runtime.array_names` says.
    """
    import openvino
    from openvino import opset13 as ops

    parameter = models[0].get_parameters()[0]
    known: dict[Any, Any] = {}
    stands_for: dict[str, Any] = {}  # an operation's own name, unique in the process, to the one that is computed
    outputs = []
    for model, spec, names in zip(models, specs, array_names(specs), strict=True):
        for op in model.get_ordered_ops():
            if op.get_type_name() == "Result":
                continue
            stands_for[op.get_name()] = (
                parameter if op.get_type_name() == "Parameter" else _first(op, known, stands_for)
            )
        for array, name in zip(spec.arrays, names, strict=True):
            port = model.output(f"{array}:0").get_node().input_value(0)
            source = stands_for[port.get_node().get_name()].output(port.get_index())
            outputs.append((name, source))
        for op in model.get_ordered_ops():
            _use(stands_for.get(op.get_name(), op), op)
    results = []
    for name, source in outputs:
        source.set_names(set())
        end = ops.convert(source, source.get_element_type().get_type_name())  # its own: two may end in one operation
        end.output(0).set_names({f"{name}:0"})
        results.append(ops.result(end, name=name))
    model = openvino.Model(results, [parameter], models[0].get_friendly_name())
    model.validate_nodes_and_infer_types()
    return model


def on_openvino(models: Sequence[Any], specs: Sequence[FeatureSpec], threads: int | None = None) -> OpenVINORuntime:
    """The runtime of one converted network, or of several layers of one in one pass; the models are taken apart."""
    if len(specs) == 1:
        return OpenVINORuntime(models[0], specs[0], threads)
    names = [name for each in array_names(specs) for name in each]
    return OpenVINORuntime(joined(models, specs), specs[0], threads, names)


def _first(op: Any, known: dict[Any, Any], stands_for: dict[str, Any]) -> Any:
    """The first operation that computes the same: this one, where there was none."""
    if op.get_type_name() in _NEVER_SHARED:
        return op
    inputs = tuple(
        (stands_for[port.get_node().get_name()].get_name(), port.get_index())
        for port in (op.input_value(place) for place in range(op.get_input_size()))
    )
    return known.setdefault((digest_of(operation(op)), inputs), op)


def _use(kept: Any, op: Any) -> None:
    """Have those that take what ``op`` gives take it from ``kept``."""
    if kept.get_name() == op.get_name():
        return
    for place in range(op.get_output_size()):
        for target in op.output(place).get_target_inputs():
            target.replace_source_output(kept.output(place))
