"""Networks of torchxrayvision, trained on radiographs: ``xrv:NAME``, of one channel."""

from __future__ import annotations

import contextlib
import difflib
import functools
import io
import re
from pathlib import Path
from typing import Any

from ..data.framing import Framing
from ..errors import UsageError, WeightsError
from ..spec import Scaling
from . import torch_weights
from .network import Stated
from .network_sources import Source
from .torch_networks import OutputLayout, TorchNetwork, releases, why

# Its networks take pixels of -1024 to 1024, of the square in the middle.
_SCALING = Scaling((0.5,), (0.5 / 1024,), channels=1)
_FRAMING = Framing("crop", centre="floor")


def find(name: str, asked: str) -> Source:
    """The network of this name; ``asked`` is what ``--weights`` says.

    Raises
    ------
    UsageError
        torchxrayvision is not installed, or this is no name.
    WeightsError
        There is no such file of weights.
    """
    installed = releases("torchxrayvision", "xrv")
    if not re.fullmatch(r"(densenet|resnet)\d+-res\d{2,4}-[a-z0-9_]+", name):
        raise UsageError(
            f"xrv:{name[:80]!r} is no network that is read here; expected one such as xrv:densenet121-res224-all, or "
            "xrv:resnet50-res512-all"
        )
    weights = torch_weights.parse(asked)
    kind = f"{installed} {name} {weights.kind}"
    return Source(weights.label(name), kind, weights.files, functools.partial(_open, name, weights))


def _open(name: str, weights: torch_weights.HouseWeights, size: int | None) -> TorchNetwork:
    from torchxrayvision import models

    if name not in models.model_urls:
        known = [one for one in models.model_urls if one.startswith(("densenet", "resnet"))]
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known
        raise UsageError(f"torchxrayvision has no network {name!r}; it has {', '.join(close)}")
    own = int(name.split("-")[1].removeprefix("res"))
    if size not in (None, own):
        raise UsageError(f"--size {size}: xrv:{name} takes images of {own} pixels, and no others")
    with torch_weights.seeded(weights):
        network = _built(name)
    path = weights.file or (_downloaded(name) if weights.own else None)
    if path is not None:
        # Its own files are pickled networks; their classes are let in by name, and nothing else is.
        given = torch_weights.tensors(path, _classes() if weights.own else ())
        given = {one.removeprefix("model."): tensor for one, tensor in given.items()}
        torch_weights.put(network, given, path, lambda one: one.startswith(("classifier.", "fc.", "op_threshs")))
    layout = OutputLayout(maps_last=False)
    return TorchNetwork(f"xrv:{name}", network, Stated(own, 1, _SCALING, _FRAMING), _features, layout)


def _built(name: str) -> Any:
    """Up to the map before pooling; what classifies is left away."""
    import torch
    from torchxrayvision import models

    if name.startswith("densenet"):
        network = models.DenseNet(weights=None)
        network.classifier = torch.nn.Identity()
        return network
    import torchvision

    network = getattr(torchvision.models, name.split("-")[0])(weights=None)
    network.conv1 = torch.nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    network.fc = torch.nn.Identity()
    return network


def _features(network: Any, images: Any) -> Any:
    if hasattr(network, "features"):
        return network.features(images)
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    return network.layer4(network.layer3(network.layer2(network.layer1(x))))


def _downloaded(name: str) -> Path:
    from torchxrayvision import models

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # which it prints on
            return Path(models.get_weights(name))
    except Exception as error:  # of urllib's, and the system's
        url = models.model_urls[name]["weights_url"]
        raise WeightsError(
            f"xrv:{name}: its own weights are not here and cannot be downloaded ({why(error, 120)}). Get {url} and "
            "put it into ~/.torchxrayvision/models_data; or give --weights FILE (.safetensors of this network), or "
            "--weights random to try"
        ) from error


def _classes() -> tuple[type, ...]:
    """Of the layers that a DenseNet or a ResNet is made of; building one runs nothing from a file."""
    import torch
    import torchvision
    from torchxrayvision import models

    parts = (models.DenseNet(weights=None), torchvision.models.resnet50(weights=None))
    return tuple({type(part) for network in parts for part in network.modules()} | {torch.nn.Sigmoid, set})
