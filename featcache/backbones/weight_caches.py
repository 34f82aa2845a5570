"""The caches in which Keras and Hugging Face's hub keep weights: where they are, and what of a network is in them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ..errors import UsageError, WeightsError
from ..system import schema
from ..system.foreign_errors import first_line
from ..system.plain_text import printable
from . import imagenet_files, registry
from .weight_pack_file import BRANCH, COMMIT, ENDINGS, is_repository
from .weight_recipes import how_to_get

_INDEX = "model.safetensors.index.json"
_TIMM = r"\A[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?\Z"
_EXAMPLES = "expected names such as vgg16, hf:facebook/dinov2-small[@COMMIT] or timm:resnet18.a1_in1k"


@dataclass(frozen=True)
class CachedWeights:
    """Files of a network in its house's cache; see :class:`featcache.backbones.weight_pack_file.PackedNetwork`."""

    house: str
    source: str
    commit: str
    branch: str
    paths: tuple[Path, ...]


class TensorIndex(msgspec.Struct):
    """What says which tensor is in which file."""

    weight_map: Annotated[dict[str, schema.FileName], Meta(min_length=1)]


def home(house: str) -> Path:
    """The folder of a house's cache on this machine, asked without loading anything of the house."""
    if house == "keras":
        return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser().absolute()
    folder = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    hub = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(folder, "hub")
    return Path(os.path.expandvars(hub)).expanduser().absolute()


def choice_of(house: str) -> str:
    """How a user chooses another folder for a house's cache, as a sentence."""
    variable = {"keras": "KERAS_HOME", "hub": "HF_HOME"}[house]
    return f"The environment's {variable} chooses another place."


def require_name(name: str) -> None:
    """Raise :class:`UsageError` for what can be no network whose weights a pack carries; nothing is loaded for it."""
    house, colon, rest = name.partition(":")
    shown = printable(name[:80], lines=False)
    if not colon:
        if not registry.get(name).keras_name:
            raise UsageError(f"{name} has no weights to pack; {_EXAMPLES}")
    elif house == "xrv":
        raise UsageError(
            f"{shown}: torchxrayvision's weights are pickled files, which no pack carries; copy "
            "~/.torchxrayvision from a machine that has them"
        )
    elif house == "hf":
        repository, at, commit = rest.partition("@")
        if Path(rest).expanduser().is_dir():
            raise UsageError(f"{shown}: is a folder on this machine; copy it as it is, no pack is needed")
        if not is_repository(repository) or (at and not re.search(COMMIT, commit)):
            raise UsageError(f"{shown}: no name on the hub, or no commit of 40 hexadecimal digits; {_EXAMPLES}")
    elif house == "timm":
        if not re.search(_TIMM, rest):
            raise UsageError(f"{shown}: no name of timm's; {_EXAMPLES}")
    else:
        raise UsageError(f"{shown}: no house called {house!r}; {_EXAMPLES}")
    for package, wanted in {"hf": ("huggingface_hub",), "timm": ("timm", "huggingface_hub")}.items():
        missing = [one for one in wanted if colon and house == package and importlib.util.find_spec(one) is None]
        if missing:
            raise UsageError(f"{shown}: needs {missing[0]}; pip install {missing[0]}")


def find(name: str, size: int | None) -> CachedWeights:
    """The files of a network: from its house's cache, and what is not there yet downloaded by the house's own means.

    Parameters
    ----------
    name : as :func:`require_name` lets it pass.
    size : side of the square input in pixels; some of Keras' networks have a file of weights for each.

    Raises
    ------
    UsageError
        The house has no such network.
    WeightsError
        Its weights are neither here nor to be downloaded, or are pickled alone.
    """
    house, _, rest = name.partition(":")
    if house == "hf":
        repository, _, commit = rest.partition("@")
        return _of_hub(name, repository, commit, "config.json")
    if house == "timm":
        repository, _, commit = _timm_repository(rest).partition("@")
        return _of_hub(name, repository, commit)
    backbone = registry.get(name)
    file = imagenet_files.imagenet_file(backbone, size)
    return CachedWeights("keras", file.url, "", "", (imagenet_files.get(file, backbone, home("keras")),))


def _timm_repository(name: str) -> str:
    """Where timm has a network's weights: a repository of the hub, with ``@`` and a commit where timm says one."""
    import timm

    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if config is None:
        raise UsageError(f"timm {timm.__version__} has no network {name!r}; timm.list_models(pretrained=True) has all")
    repository = str(config.hf_hub_id or "")
    if not is_repository(repository.partition("@")[0]):
        raise WeightsError(
            f"timm:{name}: timm has no weights of it on the hub, and others are not packed; give another network, or "
            "copy a file of its weights and give --weights FILE"
        )
    return repository


def _of_hub(name: str, repository: str, commit: str, *needed: str) -> CachedWeights:
    wanted: dict[str, Any] = {
        "repo_id": repository,
        "revision": commit or BRANCH,
        "cache_dir": home("hub"),
        "allow_patterns": [f"*{ending}" for ending in ENDINGS["hub"]],
        "ignore_patterns": ["*/*"],  # what is read of a network lies at the top
    }
    try:
        folder = _snapshot(**wanted)
    except Exception as error:  # of its client, of the network, of the name
        raise WeightsError(_not_here(name, repository, first_line(error))) from error
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.name.endswith(ENDINGS["hub"]) and re.search(r"\A[A-Za-z0-9]", path.name)
    )
    _require_whole(name, repository, folder, paths, needed)
    return CachedWeights("hub", repository, folder.name, "" if commit else BRANCH, tuple(paths))


def _snapshot(**wanted: Any) -> Path:
    """The folder of a commit in the hub's cache, filled by the hub's own client."""
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(snapshot_download(**wanted))
    except Exception:
        # The client takes what is in its cache where the network is down, but not where a proxy is dead.
        with contextlib.suppress(errors.LocalEntryNotFoundError):
            return Path(snapshot_download(**wanted, local_files_only=True))
        raise


def _require_whole(name: str, repository: str, folder: Path, paths: list[Path], needed: tuple[str, ...]) -> None:
    """Raise :class:`WeightsError` where a network's files lack some, as an interrupted download leaves them."""
    held = {path.name for path in paths}
    asked = set(needed)
    if _INDEX in held:
        text = (folder / _INDEX).read_bytes()
        index = schema.read(text, TensorIndex, str(folder / _INDEX), "Remove it, and download it again", WeightsError)
        asked |= set(index["weight_map"].values())
    missing = sorted(asked - held)
    if missing:
        raise WeightsError(_not_here(name, repository, f"{missing[0]} is not in {folder}"))
    if not any(one.endswith(".safetensors") for one in held):
        raise WeightsError(
            f"{name}: {repository} at {folder.name[:12]} holds no *.safetensors; pickled weights are not packed, since "
            "to read them is to run them. Give another network"
        )


def _not_here(name: str, repository: str, reason: str) -> str:
    return (
        f"{name}: its weights are neither in {home('hub')} nor to be downloaded from {repository} on the hub "
        f"({printable(reason[:200], lines=False)}).\n{how_to_get(name)}"
    )
