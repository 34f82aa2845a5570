"""A frozen network that is not of the table: what its source says of it, and what it gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from ..data.framing import Framing
from ..errors import UsageError, WeightsError
from ..spec import FeatureSpec, Scaling
from ..system.foreign_errors import last_line

Kind = Literal["map", "tokens", "vector"]
_LARGEST = 1 << 30  # numbers in one array of a network that is kept: VGG16's first map of 4096 x 4096 pixels


@dataclass(frozen=True)
class Stated:
    """What a source says of a network's input; None where it says nothing.

    Attributes
    ----------
    size : side of the square, pixels.
    channels : 1 or 3.
    scaling : the numbers that pixels become.
    framing : how a picture becomes the square.
    silent : why it says nothing of some of it, for whoever is asked to; one line, or empty.
    """

    size: int | None = None
    channels: int | None = None
    scaling: Scaling | None = None
    framing: Framing | None = None
    silent: str = ""


@dataclass(frozen=True)
class Graph:
    """A network for one image, to be built upon.

    Attributes
    ----------
    model : ``openvino.Model`` with one input of shape (1, c, size, size) or (1, size, size, c).
    channels_last : which of the two.
    output : the ``openvino.Output`` that is wanted.
    prefix : tokens that stand before the patches, a class token first; None where nothing says it.
    maps_last : whether the channels of a map that it gives come last; None where its shape has to tell.
    digest : over operations and constants up to the layer, hex, where the layer's name may stand for another one in a
        network that computes the same; None where the network's own digest and the name say it.
    class_token : whether the first of tokens before the patches, if there are any, stands for the image; there may be
        others alone, which say nothing of it.
    """

    model: Any
    channels_last: bool
    output: Any
    prefix: int | None = None
    maps_last: bool | None = None
    digest: str | None = None
    class_token: bool = True


class Network(Protocol):
    """A network, loaded.

    ``digest`` is over its operations and constants as its source gave them; ``others`` are the files whose bytes decide
    it that were not known before it was read.
    """

    digest: str
    others: tuple[Path, ...]

    @property
    def stated(self) -> Stated:
        """What its source says of its input."""

    def graph(self, layer: str) -> Graph:
        """The network up to a layer, ``""`` for the last one; each call gives a new one.

        Raises :class:`UsageError` where there is no such layer.
        """


@dataclass(frozen=True)
class OutputForm:
    """What a layer gives of one image.

    Attributes
    ----------
    kind : ``map``, ``tokens`` or ``vector``.
    shape : without the image's axis, as the network gives it.
    channels_last : of a map.
    prefix : of tokens, how many stand before the patches.
    class_token : whether the first of these stands for the image.
    """

    kind: Kind
    shape: tuple[int, ...]
    channels_last: bool = False
    prefix: int = 0
    class_token: bool = False


def output_form(graph: Graph, name: str) -> OutputForm:
    """What the graph's output is: a map, tokens of a square of patches, or a vector.

    Raises :class:`UsageError` where it is none of these.
    """
    partial = graph.output.get_partial_shape()
    if partial.is_dynamic:
        raise UsageError(f"{name}: this layer's shape, {partial}, depends on the image; expected one shape for all")
    image, *shape = (int(side) for side in graph.output.get_shape())
    if image != 1 or min(shape, default=0) < 1:
        raise UsageError(f"{name}: this layer gives {[image, *shape]} of one image; expected one row")
    if not graph.output.get_element_type().is_real():
        raise UsageError(f"{name}: this layer gives {graph.output.get_element_type().get_type_name()}, not numbers")
    return form_of(shape, graph, name)


def form_of(shape: list[int], graph: Graph, name: str) -> OutputForm:
    """What numbers of a shape are, without the image's axis, as the graph is known to give them.

    Raises :class:`UsageError` where they are no features.
    """
    if len(shape) == 1:
        return OutputForm("vector", tuple(shape))
    if len(shape) == 3:
        return OutputForm("map", tuple(shape), channels_last=_channels_last(graph, shape))
    if len(shape) == 2:
        tokens = shape[0]
        prefix = tokens - math.isqrt(tokens) ** 2 if graph.prefix is None else graph.prefix
        if math.isqrt(tokens - prefix) ** 2 == tokens - prefix > 0:
            return OutputForm("tokens", tuple(shape), prefix=prefix, class_token=graph.class_token and prefix > 0)
    raise UsageError(
        f"{name}: this layer gives {shape} of one image; expected a map, tokens of a square of patches, or a vector"
    )


def _channels_last(graph: Graph, shape: list[int]) -> bool:
    if graph.maps_last is not None:
        return graph.maps_last
    square_first, square_last = shape[0] == shape[1], shape[1] == shape[2]
    return square_first if square_first != square_last else graph.channels_last


def assemble(graph: Graph, spec: FeatureSpec) -> Any:
    """From uint8 images of shape (1, size, size, 3) to the spec's arrays, as an ``openvino.Model``.

    Everything between pixels and what is stored stands in the graph, so that whoever runs it needs no more than it.
    """
    import openvino
    from openvino import opset13 as ops

    assert spec.scaling is not None
    form = output_form(graph, spec.network)
    model = graph.model
    before = model.inputs[0]
    pixels = ops.parameter([1, spec.size, spec.size, 3], openvino.Type.u8, name="images")
    taken = _scaled(ops, pixels, spec.scaling, graph.channels_last)
    wanted = before.get_element_type()
    if not wanted.is_real():
        taken = ops.round(taken, "half_to_even")
    if wanted.get_type_name() != "f32":
        taken = ops.convert(taken, wanted.get_type_name())
    for target in before.get_target_inputs():
        target.replace_source_output(taken.output(0))
    arrays = _arrays(ops, graph.output, form)
    results = []
    for name in spec.arrays:
        if name not in arrays:
            raise UsageError(f"{spec.network}: this layer gives a {form.kind}, which has no {name!r}")
        node = ops.convert(arrays[name], {"float32": "f32", "float16": "f16"}[spec.dtype])
        node.output(0).set_names({f"{name}:0"})
        results.append(ops.result(node, name=name))
    assembled = openvino.Model(results, [pixels], spec.backbone)
    assembled.validate_nodes_and_infer_types()
    return assembled


def _scaled(ops: Any, pixels: Any, scaling: Scaling, channels_last: bool) -> Any:
    import numpy as np

    x = ops.convert(pixels, "f32")
    if scaling.channels == 1:  # of grey pictures, whose channels are equal, each of them
        x = ops.reduce_sum(ops.multiply(x, np.array([0.299, 0.587, 0.114], np.float32)), np.array([3]), True)
    # The mean and deviation of pixels of 0 to 255: one operation less than to scale these first.
    mean, std = (np.array([255.0 * value for value in values], np.float32) for values in (scaling.mean, scaling.std))
    x = ops.divide(ops.subtract(x, mean), std)
    if scaling.order == "bgr":
        x = ops.gather(x, np.array([2, 1, 0]), np.array(3))
    return x if channels_last else ops.transpose(x, np.array([0, 3, 1, 2]))


def _arrays(ops: Any, output: Any, form: OutputForm) -> dict[str, Any]:
    """Every array that can be made of an output, by name."""
    import numpy as np

    values = ops.convert(output, "f32")
    if form.kind == "vector":
        return {"avg": values}
    arrays = {}
    if form.kind == "tokens":
        tokens, channels = form.shape
        side = math.isqrt(tokens - form.prefix)
        if form.class_token:
            arrays["cls"] = ops.gather(values, np.array(0), np.array(1))
        if form.prefix:
            values = ops.gather(values, np.arange(form.prefix, tokens), np.array(1))
        values = ops.reshape(values, np.array([1, side, side, channels]), False)
    elif not form.channels_last:
        values = ops.transpose(values, np.array([0, 2, 3, 1]))
    return {**arrays, "map": values, "avg": ops.reduce_mean(values, np.array([1, 2]), False)}


def require_fits(model: Any, spec: FeatureSpec, where: str) -> None:
    """Raise :class:`WeightsError` where an assembled network is not of the spec."""
    try:
        inputs = [(port.get_element_type().get_type_name(), list(port.get_shape())) for port in model.inputs]
        outputs = [(set(port.get_names()), port.get_element_type().get_type_name()) for port in model.outputs]
        shapes = [list(port.get_shape()) for port in model.outputs]
        largest = max(math.prod(port.get_shape()) for op in model.get_ops() for port in op.outputs())
    except RuntimeError as error:  # of what has no one shape, too
        raise WeightsError(f"{where}: not a network as this version keeps them ({last_line(error)})") from error
    wanted = [("u8", [1, spec.size, spec.size, 3])]
    if inputs != wanted or len(outputs) != len(spec.arrays):
        raise WeightsError(
            f"{where}: takes {inputs} and gives {len(outputs)} arrays; expected {wanted} and {spec.arrays}"
        )
    for name, (held, kind), shape in zip(spec.arrays, outputs, shapes, strict=True):
        if f"{name}:0" not in held or kind != {"float32": "f32", "float16": "f16"}.get(spec.dtype):
            raise WeightsError(f"{where}: gives {sorted(held)} of {kind} where {name!r} of {spec.dtype} was expected")
        if len(shape) != (4 if name == "map" else 2) or shape[0] != 1 or 0 in shape:
            raise WeightsError(f"{where}: gives {name!r} of shape {shape}; expected that of one image")
    if largest > _LARGEST:
        raise WeightsError(f"{where}: computes an array of {largest:,} numbers; expected at most {_LARGEST:,}")
