"""Where a network comes from that is not of the table: a prefix or an ending says who reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError, WeightsError
from ..spec import are_random
from ..system.user_paths import expanded
from . import keras_networks, network_files
from .network import Network

_LONGEST = 60  # characters of a label
_KERAS = ".keras"
OWN_WEIGHTS = "imagenet"  # the default of --weights; any other network then has those that its source gives


@dataclass(frozen=True)
class Source:
    """A network that is found and not loaded.

    Attributes
    ----------
    label : what people call it; a plain name, which decides nothing.
    kind : what decides the network besides its files: the house, its release, the name there, the seed.
    files : those whose bytes decide it.
    open : loads it for a side of its square input in pixels, or for its own where that is None.
    lasting : whether these decide it for good, so that what is known of it may be remembered; of an object they do not.
    """

    label: str
    kind: str
    files: tuple[Path, ...]
    open: Callable[[int | None], Network]
    lasting: bool = True


def _timm(name: str, weights: str) -> Source:
    from . import timm_house

    return timm_house.find(name, weights)


def _transformers(name: str, weights: str) -> Source:
    from . import transformers_house

    return transformers_house.find(name, weights)


def _torchxrayvision(name: str, weights: str) -> Source:
    from . import xrv_house

    return xrv_house.find(name, weights)


# Each house by its prefix: a function of the name there and of --weights, which imports what it needs.
HOUSES: dict[str, Callable[[str, str], Source]] = {"timm": _timm, "hf": _transformers, "xrv": _torchxrayvision}


def in_house(asked: str) -> bool:
    """Whether a name in a house is meant, such as ``timm:NAME``."""
    house, colon, _ = asked.partition(":")
    return bool(colon) and house in HOUSES


def is_of_table(asked: Any) -> bool:
    """Whether the table of backbones is meant, and no file, house or object."""
    if not isinstance(asked, str):
        return False
    if in_house(asked):
        return False
    return Path(asked).suffix.lower() not in _endings() and not _is_saved_model(Path(asked))


def is_of_torch(asked: Any) -> bool:
    """Whether what is asked for is a network of PyTorch's: a house's name, or a module."""
    return in_house(asked) if isinstance(asked, str) else _framework(asked) == "torch"


def find(asked: Any, weights: str = OWN_WEIGHTS, identity: str | None = None) -> Source:
    """The network that is asked for by a path, a house's name or as an object.

    Raises
    ------
    UsageError
        Nobody reads such a thing.
    WeightsError
        There is no such file.
    """
    if not isinstance(asked, str | os.PathLike):
        return _of_object(asked, weights, identity)
    if identity is not None:
        raise UsageError("identity names a callable; a network in a file, or of a house, is known by what it computes")
    text = os.fspath(asked)
    if in_house(text):
        house, _, name = text.partition(":")
        return HOUSES[house](name, weights)
    path = expanded(text)
    if weights != OWN_WEIGHTS:
        raise UsageError(f"--weights {weights} goes with no file of a network: {path.name} holds its own")
    if not path.exists():
        raise WeightsError(
            f"{text}: no such file; expected a network ({', '.join(_endings())}, or a SavedModel's folder)"
        )
    return of_file(path)


def of_file(path: Path) -> Source:
    """The network in a file, or in a SavedModel's folder, that is there."""
    path = path.absolute()
    ending = path.suffix.lower()
    if ending == _KERAS:
        return Source(label(path.stem), "Keras", (path,), lambda size: keras_networks.of_file(path, size))
    form = network_files.SAVED_MODEL if _is_saved_model(path) else network_files.FORMATS.get(ending)
    if form is None:
        raise UsageError(f"{path}: nobody here reads this; expected {', '.join(_endings())}, or a SavedModel's folder")
    files = form.files(path)
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise WeightsError(f"{missing[0]}: no such file; a network in {form.name} form has it beside {path.name}")
    return Source(label(path.stem), form.name, tuple(files), lambda size: network_files.FileNetwork(path, form, size))


def label(text: str) -> str:
    """A plain name for a network, of whatever it is called."""
    plain = re.sub(r"[^A-Za-z0-9._]+", "_", text).strip("._")[:_LONGEST] or "network"
    # What begins so is taken for weights that know nothing.
    return f"file_{plain}" if are_random(plain) or not plain[0].isalnum() else plain


def asked_label(asked: str) -> str:
    """The label that what is asked for would be given, whether it is there or not."""
    if in_house(asked):
        name = asked.partition(":")[2]
        return label(name.partition("@")[0].rstrip("/").rpartition("/")[2])
    path = Path(asked)
    return label(path.stem if path.suffix.lower() in _endings() else path.name)


def is_called(network: str, asked: str) -> bool:
    """Whether a network's label is one that what is asked for would be given; with whatever weights, of a house."""
    wanted = asked_label(asked)
    return network == wanted or (in_house(asked) and network.endswith(f".{wanted}"))


def is_function(asked: Any) -> bool:
    """Whether a plain callable is meant: no name, no path, and no model of a framework that is read here."""
    return callable(asked) and not isinstance(asked, str | os.PathLike) and _framework(asked) is None


def _of_object(network: Any, weights: str, identity: str | None) -> Source:
    framework, kind = _framework(network), type(network).__name__
    if framework is None:
        raise UsageError(f"{kind}: no network that is read here; expected a name, a path, a model or a function")
    if identity is not None:
        what = {"keras": "a Keras model", "torch": "a torch.nn.Module"}[framework]
        raise UsageError(f"identity names a callable; {what} is known by what it computes")
    if weights != OWN_WEIGHTS:
        raise UsageError(f"weights {weights!r} go with no object: {kind} holds its own")
    if framework == "keras":
        name = label(network.name)
        return Source(name, "Keras", (), lambda size: keras_networks.KerasNetwork(network, size), lasting=False)
    from . import torch_networks

    return Source(label(kind), "torch", (), lambda size: torch_networks.of_object(network, size), lasting=False)


def _framework(network: Any) -> str | None:
    """Whose model an object is, told by where its classes come from; nothing is imported for it."""
    made_of = {(of.__module__.partition(".")[0], of.__name__) for of in type(network).__mro__}
    known = {"keras": ("keras", "Layer"), "torch": ("torch", "Module")}
    return next((name for name, base in known.items() if base in made_of), None)


def _is_saved_model(path: Path) -> bool:
    return (path / "saved_model.pb").is_file()


def _endings() -> list[str]:
    return [*network_files.FORMATS, _KERAS]
