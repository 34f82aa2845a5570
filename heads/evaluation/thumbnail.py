"""A small picture of an image."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from featcache.data import filesystems
from featcache.data.decoding import ImageError, decode


def thumbnail(path: str | Path, side: int) -> Image.Image | None:
    """An image made to fit in a square of ``side`` pixels, its aspect kept; None where it cannot be read any more."""
    try:
        pixels = decode(filesystems.read(path))
    except (OSError, ImageError):
        return None
    image = Image.fromarray(pixels)
    grey = (pixels[..., :1] == pixels).all()  # radiographs mostly; a third of the bytes
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image.convert("L") if grey else image
