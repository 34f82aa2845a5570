"""Pictures of nobody, drawn by code: what a bundle carries to show that it answers elsewhere as it did here.

Each is of a kind that programs read differently, and of a shape that has to be scaled down one way and up the other:
rings that get finer outwards, so that another filter or none shows; channels that differ, so that another order does.
"""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image

# Not called as images are, since a bundle may lie among images that are looked for by their names.
NAMES = ("self-test-0.picture", "self-test-1.picture", "self-test-2.picture")
_QUALITY, _TURNED = 88, 6  # EXIF: to be turned by 90 degrees


@functools.cache
def drawn_pictures() -> tuple[bytes, ...]:
    """The files, as :data:`NAMES` names them.

    A JPEG in colour that its EXIF header says to turn, with the colours at half the resolution; a PNG of 16-bit grey
    that leaves both ends of its range empty; and a PNG of grey behind transparency.
    """
    return _colour(), _grey_of_16_bits(), _grey_behind_transparency()


def _colour() -> bytes:
    height, width = 300, 380
    rings = [_rings(height, width, finest, centre) for finest, centre in ((2.2, 0.5), (3.1, 0.2), (5.3, 0.8))]
    pixels = np.stack(rings, axis=2)
    pixels[:, : width // 8] = (0.85, 0.3, 0.1)  # a plain area, whose colour alone says the order of channels
    pixels[height // 3 : height // 2, width // 2 :] *= np.array([1.0, 0.2, 0.6])
    exif = Image.Exif()
    exif[0x0112] = _TURNED
    return _written(np.rint(255 * pixels).astype(np.uint8), "JPEG", quality=_QUALITY, subsampling=2, exif=exif)


def _grey_of_16_bits() -> bytes:
    height, width = 130, 340
    ramp = np.linspace(0, 1, width)[None, :]
    grey = 0.6 * _rings(height, width, 2.5, 0.35) + 0.4 * ramp
    return _written((5_000 + 39_000 * grey).astype(np.uint16), "PNG")  # both bytes matter, and 65,535 is far away


def _grey_behind_transparency() -> bytes:
    height, width = 350, 120
    grey = _rings(height, width, 2.8, 0.65)
    opaque = np.clip(np.linspace(1.4, 0.1, height)[:, None] + 0 * grey, 0, 1)
    return _written(np.rint(255 * np.stack([grey, opaque], axis=2)).astype(np.uint8), "PNG")


def _rings(height: int, width: int, finest: float, centre: float) -> np.ndarray:
    """0 to 1: rings around a point that far across, down to so many pixels a period in the farthest corner."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    squared = (x - centre * width) ** 2 + (y - (1 - centre) * height) ** 2
    return 0.5 + 0.5 * np.cos(np.pi / finest * squared / np.sqrt(squared.max()))


def _written(pixels: np.ndarray, form: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **how)
    return buffer.getvalue()
