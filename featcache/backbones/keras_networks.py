"""Keras models and layers, as objects or in ``.keras`` files, as networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import FeatcacheError, UsageError, WeightsError
from ..system.plain_text import printable
from . import frozen_graph, keras_files
from .inference_graph import up_to
from .network import Graph, Stated
from .network_files import why
from .tensorflow_setup import load_tensorflow


def of_file(path: Path, size: int | None) -> KerasNetwork:
    """The network in a ``.keras`` file, for a side of its square input in pixels.

    Raises :class:`WeightsError` where the file is damaged, or says anything that is not Keras' own.
    """
    return KerasNetwork(keras_files.load(path), size)


class KerasNetwork:
    """A Keras network; see :class:`featcache.backbones.network.Network`.

    Parameters
    ----------
    model : a functional or Sequential model, or any other model or layer that has been called before.
    size : side of the square input that is asked for, pixels; None for the model's own.

    Raises
    ------
    WeightsError
        It takes something other than images, channels last, or cannot be run as a graph.
    UsageError
        It does not take images of this size, has no weights yet, or gives several outputs.
    """

    others: tuple[Path, ...] = ()

    def __init__(self, model: Any, size: int | None) -> None:
        self._model = model
        self._name = printable(str(model.name), lines=False)
        self._functional = _inputs(model) is not None
        shape, self._dtype = self._input()
        sides, channels = shape[1:3], shape[3]
        own = sides[0]
        if own is not None and size is not None and size != own:
            raise UsageError(f"{self._name}: takes images of {own} x {own}; --size {size} is another model's")
        self.stated = Stated(size=size or own, channels=channels)
        if not self._functional and self.stated.size is None:
            raise UsageError(f"{self._name}: takes images of any size, and nothing says which; give --size")
        # Of a functional model, without the size, so that a model has one digest at all of them.
        graph, outputs = self._frozen(own if self._functional else self.stated.size, self._whole())
        self.digest = frozen_graph.digest(graph, outputs)

    def graph(self, layer: str) -> Graph:
        """The network up to a layer, or to its own output."""
        size = self.stated.size
        assert size is not None  # without one, no features are asked for
        frozen, outputs = self._frozen(size, self._cut(layer))
        if len(outputs) != 1:
            raise UsageError(
                f"{self._name} gives {len(outputs)} outputs; expected one: wrap it in a model that gives the wanted one"
            )
        # Keras numbers layers as they are made, so that their names say little: another build has others.
        digest = frozen_graph.digest(frozen, outputs) if layer else None
        model = _tried(self._name, lambda: frozen_graph.to_openvino(frozen, outputs, self._name))
        return Graph(model, True, model.outputs[0].get_node().input_value(0), digest=digest)

    def _frozen(self, size: int | None, network: Any) -> tuple[Any, list[str]]:
        """A network for one image, of any size where that is None, as a ``GraphDef``; and its outputs' names."""
        tf, keras = load_tensorflow()
        apply = frozen_graph.with_constants(network)
        names: list[str] = []

        def forward(images: Any) -> list[Any]:
            outputs = keras.tree.flatten(apply(images))
            names[:] = [f"features{place}" for place in range(len(outputs))]
            return [tf.identity(output, name=name) for output, name in zip(outputs, names, strict=True)]

        shape = (1, size, size, self.stated.channels or 3)
        return _tried(self._name, lambda: frozen_graph.freeze(forward, shape, self._dtype)), names

    def _whole(self) -> Any:
        """The model with a list of inputs and outputs, however it has them itself."""
        _, keras = load_tensorflow()
        return keras.Model(self._model.inputs, self._model.outputs) if self._functional else self._model

    def _cut(self, layer: str) -> Any:
        if self._functional:
            return up_to(self._model, layer)
        if layer:
            raise UsageError(
                f"{self._name} is neither functional nor Sequential, so that it cannot be cut at {layer!r}; leave "
                "--layer out, or wrap it in a model that gives what is wanted"
            )
        return self._model

    def _input(self) -> tuple[tuple[int | None, ...], str]:
        """Shape and type of its one input."""
        inputs = _inputs(self._model)
        if inputs is None:
            if not self._model.built:
                raise UsageError(f"{self._name} has no weights yet; call it on an image first")
            said = (self._model.get_build_config() or {}).get("input_shape")
            shape = tuple(said) if isinstance(said, list | tuple) and len(said) == 4 else (None, None, None, 3)
            dtype = "float32"
        else:
            if len(inputs) != 1:
                names = ", ".join(printable(one.name, lines=False) for one in inputs)
                raise WeightsError(f"{self._name}: has the inputs {names}; expected one that takes images")
            shape, dtype = tuple(inputs[0].shape), str(inputs[0].dtype)
        if len(shape) != 4:
            raise WeightsError(f"{self._name}: takes {_shown(shape)}; expected images, of four axes")
        _, height, width, channels = shape
        if channels not in (1, 3, None):
            hint = "; channels first is for PyTorch" if shape[1] in (1, 3) else ""
            raise WeightsError(f"{self._name}: takes {_shown(shape)}; expected 1 or 3 channels, on the last axis{hint}")
        if height != width:
            raise WeightsError(f"{self._name}: takes images of {_shown(shape)}; expected squares")
        return shape, dtype


def _inputs(model: Any) -> list[Any] | None:
    """The symbolic inputs of a functional or Sequential model; None of any other."""
    try:
        return list(model.inputs)
    except (AttributeError, ValueError, TypeError):  # by how it is a model: of a class of its own, or not built
        return None


def _tried(name: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (FeatcacheError, MemoryError):
        raise
    except Exception as error:  # whatever a model raises of an image that it does not take, and OpenVINO of a model
        raise WeightsError(f"{name}: cannot be run as a graph on one image ({why(error)})") from error


def _shown(shape: tuple[int | None, ...]) -> str:
    return " x ".join("any" if side is None else str(side) for side in shape)
