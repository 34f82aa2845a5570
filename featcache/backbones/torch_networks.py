"""Networks of PyTorch: traced once for one image, named by the trace, and converted from it."""

from __future__ import annotations

import contextlib
import copy
import difflib
import importlib.metadata
import importlib.util
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FeatcacheError, UsageError, WeightsError
from ..system.plain_text import printable
from . import torch_graphs
from .network import Graph, OutputForm, Stated, form_of

_TOLERANCE = 1e-3  # of the largest value: how far a converted network may be from the one that was traced
_SHOWN = 6  # names of layers in a message


@dataclass(frozen=True)
class OutputLayout:
    """What a house knows of the form in which a network gives its last features; None where it does not.

    Attributes
    ----------
    prefix : tokens before the patches.
    class_token : whether the first of them is one that stands for the image.
    maps_last : whether a map's channels come last.
    """

    prefix: int | None = None
    class_token: bool = True
    maps_last: bool | None = None


class TorchNetwork:
    """A ``torch.nn.Module``, held still; see :class:`featcache.backbones.network.Network`.

    Parameters
    ----------
    name : of the network, for messages.
    module : in whatever mode, on whatever device; it is copied.
    stated : what is known of its input; size and channels are needed.
    forward : gives the features of a batch, of the module and the batch; the module's own call otherwise.
    layout : of what comes out.

    Raises
    ------
    UsageError
        It does not take images of this size.
    WeightsError
        It gives nothing that can be kept.
    """

    others: tuple[Path, ...] = ()

    def __init__(
        self,
        name: str,
        module: Any,
        stated: Stated,
        forward: Callable[[Any, Any], Any] | None = None,
        layout: OutputLayout = OutputLayout(),
    ) -> None:
        import torch

        self._name, self.stated, self._layout = name, stated, layout
        self._forward = forward or (lambda network, images: network(images))
        self._module = copy.deepcopy(module).to("cpu", torch.float32).eval()
        self._converted: dict[str, Any] = {}
        self._traced: dict[str, Any] = {"": self._trace("")}
        self.digest = torch_graphs.digest(self._traced[""], name)

    def graph(self, layer: str) -> Graph:
        """The network up to a submodule, or as a whole."""
        if layer not in self._converted:
            if layer not in self._traced:
                self._traced[layer] = self._trace(layer)
            self._converted[layer] = self._convert(self._traced[layer])
        model = self._converted[layer].clone()
        return self._known(layer, model, model.outputs[0].get_node().input_value(0))

    def form(self, layer: str) -> OutputForm:
        """What the network gives up to a layer, as it stands, converted or not."""
        import torch

        with torch.no_grad():
            (given,) = self.features(self._images(), layer)
        return form_of(list(given.shape[1:]), self._known(layer), self._name)

    def placed(self, device: Any, channels_last: bool) -> TorchNetwork:
        """A copy of it on a device, for :meth:`features` of images that lie there; it is not to be converted."""
        import torch

        placed = copy.copy(self)
        placed._module = copy.deepcopy(self._module).to(device)
        if channels_last:
            placed._module.to(memory_format=torch.channels_last)
        return placed

    def _known(self, layer: str, model: Any = None, output: Any = None) -> Graph:
        """What is known of what comes out."""
        if layer:  # which may have other tokens, or none
            return Graph(model, False, output, class_token=self._layout.class_token)
        return Graph(
            model, False, output, self._layout.prefix, self._layout.maps_last, class_token=self._layout.class_token
        )

    def _images(self) -> Any:
        import torch

        size, channels = self.stated.size, self.stated.channels
        assert size is not None
        assert channels is not None
        shape = (1, channels, size, size)
        return torch.from_numpy(np.random.default_rng(0).standard_normal(shape, np.float32))

    def _trace(self, layer: str) -> Any:
        import torch

        if layer and layer not in dict(self._module.named_modules()):
            raise UsageError(self._no_such_layer(layer))
        try:
            with torch.no_grad(), _tracing():
                return torch.jit.trace(_taking(self, layer), self._images(), check_trace=False)
        except FeatcacheError:
            raise
        except Exception as error:  # of any kind, from code that is not ours
            size = self.stated.size
            raise UsageError(
                f"{self._name} does not take one image of {size} x {size} pixels and {self.stated.channels} "
                f"channel(s) ({why(error)}); give another --size"
            ) from error

    def features(self, images: Any, *layers: str) -> list[Any]:
        """The tensors that are wanted of a batch, from one pass; ``""`` is what the network gives."""
        caught: dict[str, Any] = {}

        def catch(layer: str) -> Any:
            def hear(_module: Any, _inputs: Any, given: Any) -> None:
                # A copy, before anything is done in its place.
                caught[layer] = self._tensor(given, f"its layer {layer!r}").clone()

            return self._module.get_submodule(layer).register_forward_hook(hear)

        hooks = [catch(layer) for layer in layers if layer]
        try:
            given = self._forward(self._module, images)
        finally:
            for hook in hooks:
                hook.remove()
        if "" in layers:
            caught[""] = self._tensor(given, "it")
        unused = [layer for layer in layers if layer not in caught]
        if unused:
            raise UsageError(f"{self._name} does not use its layer {unused[0]!r} for an image; name another")
        return [caught[layer] for layer in layers]

    def _tensor(self, given: Any, what: str) -> Any:
        import torch

        found = getattr(given, "last_hidden_state", given)
        if not isinstance(found, torch.Tensor):
            raise UsageError(
                f"{self._name}: {what} gives {type(given).__name__}; expected one tensor: name another --layer, such "
                f"as {', '.join(self._layers()[-_SHOWN:])}"
            )
        return found

    def _layers(self) -> list[str]:
        return [printable(name, lines=False) for name, _ in self._module.named_modules() if name]

    def _no_such_layer(self, layer: str) -> str:
        close = difflib.get_close_matches(layer, self._layers(), n=3, cutoff=0.4)
        said = "did you mean" if close else "its last ones are"
        return f"{self._name} has no layer {layer!r}; {said} {', '.join(close or self._layers()[-_SHOWN:])}"

    def _convert(self, traced: Any) -> Any:
        """As an ``openvino.Model``, proven to compute what the trace does."""
        import openvino
        import torch

        images = self._images()
        try:
            with torch.no_grad(), _tracing():
                wanted = traced(images).float().numpy()
                model = openvino.convert_model(traced, example_input=images)
            model.reshape({model.inputs[0]: list(images.shape)})
            compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            given = compiled(images.numpy())[0]
        except Exception as error:  # an operation that it does not have, of any kind of error
            raise WeightsError(f"{self._name}: OpenVINO cannot convert it ({why(error)}); nothing was kept") from error
        apart = np.abs(given.astype(np.float64) - wanted).max(initial=0) if given.shape == wanted.shape else np.inf
        largest = float(np.abs(wanted).max(initial=0))
        if not apart <= _TOLERANCE * largest:
            raise WeightsError(
                f"{self._name}: as OpenVINO converts it, its features differ by {apart:.3g} from PyTorch's (the "
                f"largest is {largest:.3g}); nothing was kept. Export it to ONNX and give that file"
            )
        return model


def of_object(module: Any, size: int | None) -> TorchNetwork:
    """A ``torch.nn.Module`` that the caller has built.

    Raises :class:`UsageError` where no size is given: nothing of a module says it.
    """
    name = type(module).__name__
    if size is None:
        raise UsageError(f"{name}: nothing says the size of its images; give size, in pixels")
    found = [part.in_channels for part in module.modules() if type(part).__name__ == "Conv2d"][:1]
    if found and found[0] not in (1, 3):
        raise UsageError(f"{name}: its first convolution takes {found[0]} channels; expected 1 or 3")
    for channels in found or (3, 1):
        try:
            return TorchNetwork(name, module, Stated(size=size, channels=channels))
        except UsageError:
            if channels == (found or (3, 1))[-1]:
                raise
    raise AssertionError("unreachable")


def releases(package: str, extra: str) -> str:
    """The releases of a house's package and of PyTorch, which decide what a name in it stands for.

    Raises :class:`UsageError` where one of them is not installed.
    """
    missing = [name for name in ("torch", package) if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"{', '.join(missing)} is not installed here; run: pip install 'featcache[{extra}]'")
    return " ".join(f"{name}-{importlib.metadata.version(name)}" for name in (package, "torch"))


def why(error: BaseException, longest: int = 300) -> str:
    """What others say, in one line of so many characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = printable("; ".join(lines[:3]), lines=False) or type(error).__name__
    return textwrap.shorten(text, longest, placeholder="…")


def _taking(network: TorchNetwork, layer: str) -> Any:
    """A module from images to the tensor that is wanted."""
    import torch

    class Taking(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network._module

        def forward(self, images: Any) -> Any:
            return network.features(images, layer)[0]

    return Taking().eval()


@contextlib.contextmanager
def _tracing() -> Iterator[None]:
    """Without PyTorch's fused transformer layers, which no trace can be converted of, and its warnings."""
    import torch

    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
