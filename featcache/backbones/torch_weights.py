"""Weights of a house's network: its own, drawn at random, or those of a file; a file runs nothing."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import WeightsError
from ..system.user_paths import expanded
from .network_sources import OWN_WEIGHTS, label

_ENDINGS = (".safetensors", ".pt", ".pth", ".bin")
_SHOWN = 3  # names of tensors in a message


@dataclass(frozen=True)
class HouseWeights:
    """What ``--weights`` asks of a house: ``file``, else ``seed``, else its own where both are None."""

    seed: int | None = None
    file: Path | None = None

    @property
    def own(self) -> bool:
        """Whether the house's own are meant."""
        return self.seed is None and self.file is None

    @property
    def kind(self) -> str:
        """What decides them besides the file's bytes."""
        return "own" if self.own else "file" if self.seed is None else f"random{self.seed}"

    @property
    def files(self) -> tuple[Path, ...]:
        """Those whose bytes decide them."""
        return () if self.file is None else (self.file,)

    def label(self, name: str) -> str:
        """What people call a network of this name with these weights; the name comes last."""
        if self.seed is not None:
            return f"random{self.seed}.{label(name)}"
        return label(name) if self.file is None else f"{label(self.file.stem)[:30]}.{label(name)}"


def parse(text: str) -> HouseWeights:
    """Read ``imagenet``, which here means the house's own, ``random``, ``random:SEED``, or a path.

    Raises :class:`WeightsError` where the path is no file, or none of tensors.
    """
    if text == OWN_WEIGHTS:
        return HouseWeights()
    match = re.fullmatch(r"random(?::(\d{1,10}))?", text)
    if match:
        return HouseWeights(seed=int(match[1] or 0))
    path = expanded(text).absolute()
    if not path.is_file() or path.suffix.lower() not in _ENDINGS:
        raise WeightsError(
            f"weights {text!r}: no such file; expected imagenet (the network's own), random[:SEED], or a file "
            f"({', '.join(_ENDINGS)}) of its tensors"
        )
    return HouseWeights(file=path)


@contextlib.contextmanager
def seeded(weights: HouseWeights) -> Iterator[None]:
    """Networks built within have the initial weights of the seed; the program's own drawing is left alone."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights.seed or 0)
        yield


def tensors(path: Path, classes: tuple[type, ...] = ()) -> dict[str, Any]:
    """The tensors of a file, by name.

    Parameters
    ----------
    path : ``.safetensors``, or what ``torch.save`` wrote of tensors.
    classes : whose objects the file may hold as well, where these are known to do no harm.

    Raises :class:`WeightsError` where it is damaged, or holds anything that would have to be run.
    """
    import torch

    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        with torch.serialization.safe_globals(list(classes)):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, by what is wrong; PyTorch's advice is to run it all the same
        wanted = re.search(r"Unsupported global: GLOBAL ([\w.]+)", str(error))
        reason = f"it wants {wanted[1]}" if wanted else type(error).__name__
        raise WeightsError(
            f"{path}: not a file of tensors alone, or damaged ({reason}); nothing in it was run. Expected safetensors, "
            "or a state_dict that torch.save wrote"
        ) from error
    if isinstance(found, torch.nn.Module):
        return dict(found.state_dict())
    for name in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    if not isinstance(found, dict) or not all(isinstance(one, torch.Tensor) for one in found.values()):
        raise WeightsError(f"{path}: holds {type(found).__name__}; expected tensors by name (a state_dict)")
    return {str(name): tensor for name, tensor in found.items()}


def put(module: Any, given: dict[str, Any], path: Path, dropped: Callable[[str], bool] = lambda name: False) -> None:
    """Load tensors into a network, each of them and no other.

    Parameters
    ----------
    module : the network.
    given : tensors by name.
    path : where they come from, for the message.
    dropped : says of which names the network has cut off what they belong to.

    Raises :class:`WeightsError` where they are not of this network.
    """
    given = {name: tensor for name, tensor in given.items() if not dropped(name)}
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    missing = [name for name in wanted if name not in given]
    odd = [name for name in given if name not in wanted]
    unlike = [
        f"{name} of {tuple(given[name].shape)} for {shape}"
        for name, shape in wanted.items()
        if name in given and tuple(given[name].shape) != shape
    ]
    said = [
        f"{len(names)} {what} ({', '.join(names[:_SHOWN])})"
        for what, names in (("missing", missing), ("unknown", odd), ("of another shape", unlike))
        if names
    ]
    if said:
        raise WeightsError(f"{path}: not of this network: of its {len(wanted)} tensors {'; '.join(said)}")
    module.load_state_dict(given, strict=True)
