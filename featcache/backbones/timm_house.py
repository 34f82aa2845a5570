"""Networks of timm: ``timm:NAME``, with the preprocessing that timm keeps for each."""

from __future__ import annotations

import contextlib
import difflib
import functools
import re
from pathlib import Path
from typing import Any

from ..data.framing import INTERPOLATIONS, Framing, crop_for
from ..errors import UsageError, WeightsError
from ..spec import Scaling
from . import hub, torch_weights
from .network import Stated
from .network_sources import Source
from .torch_networks import OutputLayout, TorchNetwork, releases, why
from .weight_caches import home
from .weight_recipes import how_to_get

_RESIZES = {"center": "crop", "squash": "squash", "border": "pad"}


def find(name: str, asked: str) -> Source:
    """The network of this name; ``asked`` is what ``--weights`` says.

    Raises
    ------
    UsageError
        timm is not installed, or this is no name.
    WeightsError
        There is no such file of weights.
    """
    installed = releases("timm", "timm")
    if not re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?", name):
        raise UsageError(f"timm:{name[:80]!r} is no name of timm's; expected one such as timm:convnext_tiny.fb_in1k")
    weights = torch_weights.parse(asked)
    kind = f"{installed} {name} {weights.kind}"
    files = (*weights.files, *(_cached(name) if weights.own else ()))
    return Source(weights.label(name), kind, files, functools.partial(_open, name, weights))


def _cached(name: str) -> list[Path]:
    """The files of timm's own weights that the hub's cache holds: what is known of a network must not outlive them."""
    return sorted(home("hub").glob(f"models--timm--{name}*/snapshots/*/*.safetensors"))


def _open(name: str, weights: torch_weights.HouseWeights, size: int | None) -> TorchNetwork:
    import timm

    if not timm.is_model(name):
        base = name.partition(".")[0]
        close = difflib.get_close_matches(name, timm.list_models(pretrained=True), n=3, cutoff=0.5)
        tags = list(timm.list_models(f"{base}.*", pretrained=True))[:5] if timm.is_model(base) else []
        hint = f"; did you mean {', '.join(tags or close)}" if tags or close else ""
        raise UsageError(f"timm {timm.__version__} has no network {name!r}{hint}")
    model = _built(name, weights, size)
    if weights.file is not None:
        classifier = model.pretrained_cfg.get("classifier") or ()
        cut = tuple(f"{one}." for one in ((classifier,) if isinstance(classifier, str) else classifier))
        torch_weights.put(
            model, torch_weights.tensors(weights.file), weights.file, lambda one: bool(cut) and one.startswith(cut)
        )
    stated = _stated(name, timm.data.resolve_model_data_config(model), model, size)
    return TorchNetwork(f"timm:{name}", model, stated, lambda one, images: one.forward_features(images), _layout(model))


def _built(name: str, weights: torch_weights.HouseWeights, size: int | None) -> Any:
    import timm

    try:
        with torch_weights.seeded(weights), hub.client() if weights.own else contextlib.nullcontext():
            try:
                return timm.create_model(name, pretrained=weights.own, num_classes=0, img_size=size)
            except TypeError as error:
                if size is None or "img_size" not in str(error):
                    raise
            return timm.create_model(name, pretrained=weights.own, num_classes=0)
    except Exception as error:  # of many kinds: a network of its own, a hub's client, a file
        if not weights.own:
            raise UsageError(f"timm:{name} cannot be built for --size {size} ({why(error)})") from error
        raise WeightsError(
            f"timm:{name}: its own weights are not here and cannot be downloaded ({why(error, 120)}).\n"
            f"Do one of these:\n{how_to_get(f'timm:{name}')};\n"
            "  - give --weights FILE (.safetensors or .pth of this network);\n"
            "  - to try things out, with features that know nothing: --weights random"
        ) from error


def _stated(name: str, config: dict[str, Any], model: Any, size: int | None) -> Stated:
    channels, *sides = config["input_size"]
    if channels not in (1, 3) or sides[0] != sides[1]:
        raise UsageError(f"timm:{name} takes {config['input_size']}; expected 1 or 3 channels and a square")
    side = size or int(sides[0])
    mode, crop, interpolation = config["crop_mode"], config["crop_pct"], config["interpolation"]
    framing = None
    if mode in _RESIZES and interpolation in INTERPOLATIONS and crop <= 1:
        # A border has the mean's colour there, and is black here; it is left to whoever asks.
        framing = None if mode == "border" else Framing(_RESIZES[mode], crop_for(side, int(side / crop)), interpolation)
    mean, std = tuple(config["mean"]), tuple(config["std"])
    if channels == 1:
        mean, std = mean[:1], std[:1]
    silent = "" if framing else f"timm frames its pictures by {mode}, {interpolation}, crop {crop}"
    return Stated(side, channels, Scaling(mean, std, channels), framing, silent)


def _layout(model: Any) -> OutputLayout:
    token = getattr(model, "has_class_token", None)
    if token is None:
        token = getattr(model, "cls_token", None) is not None or not hasattr(model, "num_prefix_tokens")
    form = getattr(model, "output_fmt", None)
    return OutputLayout(getattr(model, "num_prefix_tokens", None), bool(token), str(form).endswith("NHWC"))
