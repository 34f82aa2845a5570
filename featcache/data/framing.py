"""How a picture of any shape becomes the square that a network takes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal

from msgspec import Meta
from PIL import Image

RESIZES = ("squash", "crop", "pad")
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class Framing:
    """From a picture to a square; the default is what networks of the table are given.

    Attributes
    ----------
    resize : ``squash`` both sides to the square's; ``crop``: the shorter side, aspect kept, then the centre;
        ``pad``: the longer side, aspect kept, black around it.
    crop : side of the square as a share of the side that is resized to, 0.1 to 1: 0.875 resizes to 256 for 224.
    interpolation : always with antialiasing.
    centre : where an odd number of pixels is cut away, the smaller part goes first (``floor``), or what Python's
        ``round`` says (``round``, as torchvision does).
    """

    resize: Literal[RESIZES] = "squash"  # type: ignore[valid-type]
    crop: Annotated[float, Meta(ge=0.1, le=1)] = 1.0
    interpolation: Literal[INTERPOLATIONS] = "bilinear"  # type: ignore[valid-type]
    centre: Literal["round", "floor"] = "round"

    def plain(self) -> dict[str, Any]:
        """What differs from the default, as JSON takes it."""
        return {name: value for name, value in asdict(self).items() if value != getattr(SQUASH, name)}

    def scaled_side(self, size: int) -> int:
        """The side that is resized to, so that ``size`` pixels of it are kept."""
        # As a decimal number: 224 / 0.7 is a little less than 320 in binary ones.
        return math.floor(size / Fraction(repr(self.crop)))


SQUASH = Framing()


def crop_for(size: int, side: int) -> float:
    """The share that has a picture resized to ``side`` pixels, of which ``size`` are kept."""
    digits = 10**6
    return max(1, size * digits // side) / digits  # a little less rather than more: its side is rounded down


def frame(image: Image.Image, size: int, framing: Framing = SQUASH) -> Image.Image:
    """The square of ``size`` x ``size`` pixels that a network is given of a picture."""
    side = framing.scaled_side(size)
    scaled = _scaled(image, side, framing)
    if scaled.size == (size, size):
        return scaled
    width, height = scaled.size
    left, top = _half(width - size, framing), _half(height - size, framing)
    return scaled.crop((left, top, left + size, top + size))  # beyond the picture: black


def _scaled(image: Image.Image, side: int, framing: Framing) -> Image.Image:
    width, height = image.size
    if framing.resize == "squash":
        wanted = (side, side)
    else:
        # The other side is cut off to whole pixels, as torchvision and transformers do.
        short, long = min(width, height), max(width, height)
        base = short if framing.resize == "crop" else long
        wanted = (max(1, side * width // base), max(1, side * height // base))
    if wanted == image.size:
        return image
    return image.resize(wanted, Image.Resampling[framing.interpolation.upper()])


def _half(spare: int, framing: Framing) -> int:
    return round(spare / 2) if framing.centre == "round" else spare // 2
