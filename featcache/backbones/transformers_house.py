"""Networks of transformers: ``hf:FOLDER``, or ``hf:NAME[@COMMIT]`` of the hub; no code of theirs is run."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ..errors import FeatcacheError, UsageError, WeightsError
from ..system import schema
from ..system.user_paths import expanded
from . import hub, processor_files, torch_weights
from .network_sources import Source
from .torch_networks import OutputLayout, TorchNetwork, releases, why
from .weight_caches import TensorIndex, home
from .weight_recipes import how_to_get

_CONFIG = "config.json"
_NAME = r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?"
_COMMIT = r"[0-9a-f]{40}"
_WANTED = ["*.json", "*.safetensors"]  # no pickled weights, and no code
_TOKENS = ("cls_token", "class_embedding", "class_token")
_Side = Annotated[int, Meta(ge=1, le=4096)]
_Width = Annotated[int, Meta(ge=1, le=65_536)]


class _Config(msgspec.Struct):
    """What is read of ``config.json`` before anything is built by it; it may hold more."""

    model_type: schema.Name
    hidden_size: _Width | None = None
    intermediate_size: Annotated[int, Meta(ge=1, le=1 << 20)] | None = None
    num_hidden_layers: Annotated[int, Meta(ge=1, le=1000)] | None = None
    num_attention_heads: Annotated[int, Meta(ge=1, le=4096)] | None = None
    num_channels: Annotated[int, Meta(ge=1, le=1000)] | None = None
    num_register_tokens: Annotated[int, Meta(ge=0, le=1000)] | None = None
    image_size: _Side | list[_Side] | dict[str, _Side] | None = None
    patch_size: _Side | list[_Side] | dict[str, _Side] | None = None


@dataclass(frozen=True)
class _Hub:
    """A name on the hub, at a commit."""

    name: str
    commit: str


def find(name: str, asked: str) -> Source:
    """The network in a folder, or of this name on the hub; ``asked`` is what ``--weights`` says.

    Raises
    ------
    UsageError
        transformers is not installed, or this is no name.
    WeightsError
        It is not here, holds code or pickled weights alone; nothing is loaded then.
    """
    installed = releases("transformers", "hf")
    weights = torch_weights.parse(asked)
    folder = expanded(name)
    if name and folder.is_dir():
        return _of_folder(folder.absolute(), folder.absolute().name, installed, weights)
    match = re.fullmatch(rf"({_NAME})(?:@({_COMMIT}))?", name)
    if not match:
        raise WeightsError(
            f"hf:{name[:80]!r}: no such folder, and no name on the hub; expected a folder with {_CONFIG}, or such as "
            "hf:facebook/dinov2-small, with @ and a commit's 40 hexadecimal digits where one is meant"
        )
    asked_for = _Hub(match[1], match[2] or _commit(match[1]))
    snapshot = home("hub") / f"models--{asked_for.name.replace('/', '--')}" / "snapshots" / asked_for.commit
    label = asked_for.name.rpartition("/")[2]
    if (snapshot / _CONFIG).is_file() and (not weights.own or list(snapshot.glob("*.safetensors"))):
        return _of_folder(snapshot, label, f"{installed} {asked_for.commit}", weights)
    kind = f"{installed} {asked_for.name} {asked_for.commit} {weights.kind}"
    opened = functools.partial(_open_hub, asked_for, weights)
    return Source(weights.label(label), kind, weights.files, opened)


def _of_folder(folder: Path, name: str, installed: str, weights: torch_weights.HouseWeights) -> Source:
    files = _checked(folder, weights)
    opened = functools.partial(_open, folder, f"hf:{name}", weights)
    return Source(weights.label(name), f"{installed} {weights.kind}", (*files, *weights.files), opened)


def _checked(folder: Path, weights: torch_weights.HouseWeights) -> tuple[Path, ...]:
    """The files that decide the network, once it is known that they are data and no code."""
    config = folder / _CONFIG
    if not config.is_file():
        raise WeightsError(f"{folder}: holds no {_CONFIG}; expected a network that transformers' save_pretrained wrote")
    said = [path for path in (config, folder / processor_files.NAME) if path.is_file()]
    for path in said:
        try:
            plain = schema.parse(path.read_bytes(), str(path), "Get the folder again.", WeightsError)
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
        if isinstance(plain, dict) and "auto_map" in plain:
            raise WeightsError(
                f"{path}: wants code of its own to be run (auto_map), which is never done here; nothing was loaded. "
                "Whoever trusts it exports the network to ONNX, and gives that file"
            )
        if path == config:
            schema.check(plain, _Config, str(config), "Get the folder again.", WeightsError)
    if not weights.own:
        return tuple(said)
    tensors = sorted(folder.glob("*.safetensors"))
    if not tensors:
        pickled = sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")])
        held = f"its weights are pickled ({pickled[0].name}), and could run code" if pickled else "it has no weights"
        raise WeightsError(
            f"{folder}: {held}; nothing was loaded. Expected *.safetensors, as save_pretrained writes them"
        )
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return (*said, *tensors)
    schema.read(index.read_bytes(), TensorIndex, str(index), "Get the folder again.", WeightsError)
    return (*said, index, *tensors)


def _open(folder: Path, name: str, weights: torch_weights.HouseWeights, size: int | None) -> TorchNetwork:
    plain = schema.read((folder / _CONFIG).read_bytes(), _Config, str(folder / _CONFIG), "Get it again.", WeightsError)
    channels = plain.get("num_channels", 3)
    if channels not in (1, 3):
        raise WeightsError(f"{name}: takes {channels} channels; expected 1 or 3")
    stated = processor_files.stated(folder / processor_files.NAME, channels)  # first: building takes long
    own = plain.get("image_size")
    side = size or stated.size or (own if isinstance(own, int) else None)
    if side is None:
        raise UsageError(f"{name}: nothing says the size of its images ({stated.silent}); give --size")
    stated = replace(stated, size=side)
    model = _built(folder, name, weights)
    model = getattr(model, "vision_model", model)  # of those for pictures and text
    return TorchNetwork(name, model, stated, lambda one, images: one(pixel_values=images), _layout(model))


def _built(folder: Path, name: str, weights: torch_weights.HouseWeights) -> Any:
    import torch
    import transformers

    # A configuration may name other kernels of attention, which would be code from elsewhere.
    plainly = {"trust_remote_code": False, "attn_implementation": "eager"}
    quiet = transformers.utils.logging
    before = quiet.get_verbosity()
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    try:
        if not weights.own:
            with torch_weights.seeded(weights):
                config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
                model = transformers.AutoModel.from_config(config, dtype=torch.float32, **plainly)
            if weights.file is not None:
                torch_weights.put(model, torch_weights.tensors(weights.file), weights.file)
            return model
        model, told = transformers.AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **plainly,
        )
    except FeatcacheError:
        raise
    except Exception as error:  # of its configuration, its tensors, or an architecture that it does not have
        raise WeightsError(f"{name}: transformers cannot load it ({why(error)}); nothing was kept") from error
    finally:
        quiet.set_verbosity(before)
    # It would draw these at random. What pools comes after the features that are kept.
    missing = sorted(str(one) for one in told["missing_keys"] if "pooler" not in str(one))
    if missing:
        raise WeightsError(
            f"{name}: its files lack {len(missing)} of its tensors ({', '.join(missing[:3])}), which would be drawn at "
            "random; get the folder again"
        )
    return model


def _layout(model: Any) -> OutputLayout:
    config = model.config
    token = any(name.rpartition(".")[2] in _TOKENS for name, _ in model.named_parameters())
    extra = int(getattr(config, "num_register_tokens", 0) or 0)
    return OutputLayout(int(token) + extra, token, maps_last=False)


def _commit(name: str) -> str:
    """The commit that a name stands for: the one that is here, else the hub's.

    What was downloaded once goes on to be meant, so that one call gives what the last one did.
    """
    known = home("hub") / f"models--{name.replace('/', '--')}" / "refs" / "main"
    try:
        text = known.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        text = ""
    if re.fullmatch(_COMMIT, text):
        return text
    try:
        import huggingface_hub

        with hub.client():
            found = str(huggingface_hub.HfApi().model_info(name, timeout=10).sha)
    except Exception as error:  # of its client, of the network, of the name
        raise WeightsError(_recipe(name, why(error, 120))) from error
    if not re.fullmatch(_COMMIT, found):
        raise WeightsError(_recipe(name, "the hub names no commit"))
    return found


def _open_hub(asked_for: _Hub, weights: torch_weights.HouseWeights, size: int | None) -> TorchNetwork:
    import huggingface_hub

    try:
        with hub.client():
            given = huggingface_hub.snapshot_download(asked_for.name, revision=asked_for.commit, allow_patterns=_WANTED)
    except Exception as error:  # of its client, of the network, of the disk
        raise WeightsError(_recipe(asked_for.name, why(error, 120))) from error
    folder = Path(given)
    _checked(folder, weights)
    return _open(folder, f"hf:{asked_for.name}", weights, size)


def _recipe(name: str, reason: str) -> str:
    folder = name.rpartition("/")[2]
    return (
        f"hf:{name}: is not here, and cannot be downloaded ({reason}).\nDo one of these:\n"
        f"{how_to_get(f'hf:{name}')};\n"
        f"  - copy a folder of its config.json, preprocessor_config.json and *.safetensors here, and give\n"
        f"      --backbone hf:{folder}"
    )
