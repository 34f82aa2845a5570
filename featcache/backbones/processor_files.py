"""What a ``preprocessor_config.json`` of transformers says, as far as it can be done here; all else is named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ..data.framing import Framing, crop_for
from ..errors import WeightsError
from ..spec import Scaling
from ..system import schema
from ..system.plain_text import printable
from .network import Stated

NAME = "preprocessor_config.json"
ADVICE = "Get the file again, or give --mean, --std, --resize and --size"
_Side = Annotated[int, Meta(ge=1, le=4096)]
_Numbers = Annotated[list[Annotated[float, Meta(ge=-1e6, le=1e6)]], Meta(min_length=1, max_length=3)]
_Number = Annotated[float, Meta(ge=-1e6, le=1e6)]


class _Sides(msgspec.Struct, forbid_unknown_fields=True):
    height: _Side | None = None
    width: _Side | None = None
    shortest_edge: _Side | None = None
    longest_edge: _Side | None = None


class _Processor(msgspec.Struct):
    """What is read; anything else that a processor does is called ``do_`` something, and looked for by that."""

    image_processor_type: schema.Name | None = None
    feature_extractor_type: schema.Name | None = None
    do_resize: bool | None = None
    do_center_crop: bool | None = None
    do_rescale: bool | None = None
    do_normalize: bool | None = None
    size: _Side | _Sides | None = None
    crop_size: _Side | _Sides | None = None
    resample: Annotated[int, Meta(ge=0, le=5)] | None = None
    rescale_factor: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    image_mean: _Numbers | _Number | None = None
    image_std: _Numbers | _Number | None = None
    crop_pct: Annotated[float, Meta(ge=0.1, le=1)] | None = None


# Processors that resize, crop, rescale and normalize, in this order: whether a size that is one number is a square,
# and whether the centre is cut out where the file does not say so.
_KNOWN = {"ViT": (True, False), "Siglip": (False, False), "DeiT": (True, True), "CLIP": (False, True)}
_KNOWN |= {"Bit": (False, True), "ConvNext": (False, False)}
_ENDINGS = ("FeatureExtractor", "ImageProcessor", "ImageProcessorFast", "ImageProcessorPil")
_DONE = {"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"}
_INTERPOLATIONS = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


class _NotDoneError(Exception):
    """What a processor says and is not done here, in words."""


def stated(path: Path, channels: int) -> Stated:
    """What the file says of a network's input.

    Where that cannot be done here, the parts concerned are None, and ``silent`` says why.

    Raises :class:`WeightsError` where the file is no such description.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Stated(channels=channels, silent=f"there is no {NAME} beside its weights")
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    plain = schema.read(text, _Processor, str(path), ADVICE, WeightsError)
    said = msgspec.convert(plain, _Processor)
    reasons = []
    try:
        scaling = _scaling(said, channels)
    except _NotDoneError as error:
        scaling = None
        reasons.append(str(error))
    try:
        size, framing = _framing(said, plain)
    except _NotDoneError as error:
        size, framing = None, None
        reasons.append(str(error))
    return Stated(size, channels, scaling, framing, f"{NAME}: {'; '.join(reasons)}" if reasons else "")


def _kind(said: _Processor) -> str:
    name = said.image_processor_type or said.feature_extractor_type or ""
    for ending in _ENDINGS:
        if name.removesuffix(ending) in _KNOWN and name.endswith(ending):
            return name.removesuffix(ending)
    raise _NotDoneError(f"a {name or 'processor without a type'} is not one whose steps are known here")


def _scaling(said: _Processor, channels: int) -> Scaling:
    _kind(said)
    factor = 255 * (1.0 if said.do_rescale is False else said.rescale_factor or 1 / 255)
    factor = 1.0 if abs(factor - 1) < 1e-9 else factor  # as of 0.00392156862745098
    if said.do_normalize is False:
        mean, std = [0.0], [1.0]
    else:
        if said.image_mean is None or said.image_std is None:
            raise _NotDoneError("it normalizes, and does not say by which image_mean and image_std")
        mean, std = ([one] if isinstance(one, float) else list(one) for one in (said.image_mean, said.image_std))
    if channels == 1:
        mean, std = mean[:1], std[:1]
    if not {len(mean), len(std)} <= {1, channels} or min(std) <= 0:
        raise _NotDoneError(f"image_mean {mean} and image_std {std} are not of {channels} channel(s)")
    mean, std = ([one / factor for one in values] for values in (mean, std))
    return Scaling(tuple(mean), tuple(std), 1 if channels == 1 else 3)


def _framing(said: _Processor, plain: dict[str, Any]) -> tuple[int, Framing]:
    kind = _kind(said)
    number_is_square, crops = _KNOWN[kind]
    others = [name for name, value in plain.items() if name.startswith("do_") and name not in _DONE and value]
    if others:
        raise _NotDoneError(f"{printable(', '.join(others), lines=False)[:100]} is not done here")
    if said.do_resize is False:
        raise _NotDoneError("it does not resize, and a network here takes one size")
    if said.resample not in _INTERPOLATIONS:
        raise _NotDoneError(f"resample {said.resample} is not done here; expected {_INTERPOLATIONS}")
    interpolation = _INTERPOLATIONS[said.resample]
    square, side = _resized(said.size, number_is_square)
    if kind == "ConvNext":
        return _of_convnext(said, side, interpolation)
    crops = crops if said.do_center_crop is None else said.do_center_crop
    if not crops:
        if not square:
            raise _NotDoneError(f"it resizes the shorter side to {side} and cuts nothing off: no square")
        return side, Framing("squash", 1.0, interpolation, "floor")
    kept = _square(said.crop_size, "crop_size")
    if kept > side:
        raise _NotDoneError(f"it resizes to {side} and then cuts {kept} out, which is more")
    return kept, Framing("squash" if square else "crop", crop_for(kept, side), interpolation, "floor")


def _of_convnext(said: _Processor, side: int, interpolation: str) -> tuple[int, Framing]:
    if side >= 384:  # a rule of that processor
        return side, Framing("squash", 1.0, interpolation, "floor")
    if said.crop_pct is None:
        raise _NotDoneError("it does not say crop_pct")
    return side, Framing("crop", crop_for(side, int(side / said.crop_pct)), interpolation, "floor")


def _resized(size: int | _Sides | None, number_is_square: bool) -> tuple[bool, int]:
    """Whether both sides are resized to one, or the shorter one; and to what."""
    if isinstance(size, _Sides) and size.shortest_edge is not None:
        if size.longest_edge is not None or size.height is not None or size.width is not None:
            raise _NotDoneError("its size says more than shortest_edge")
        return False, size.shortest_edge
    if isinstance(size, int):
        return number_is_square, size
    return True, _square(size, "size")


def _square(size: int | _Sides | None, what: str) -> int:
    if isinstance(size, int):
        return size
    if size is None or size.height is None or size.height != size.width:
        shown = "nothing" if size is None else f"{size.width} x {size.height}"
        raise _NotDoneError(f"{what} is {shown}; expected a square")
    return size.height
