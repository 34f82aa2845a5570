"""The one way from an image file to pixels, for training and prediction alike.

:data:`RECIPE` names the rules below and is part of every feature's identity. To change any rule:
raise the number at its end, and say in the change log what moved.

- Formats: JPEG, PNG, TIFF, BMP, WebP, GIF, JPEG 2000, PNM, told by content; DICOM with the extra ``dicom``.
- Several frames: the first.
- More than :data:`MAX_PIXELS` pixels: an error, before anything is decompressed.
- EXIF orientation is applied.
- Grey of more than 8 bits (and floats) is stretched from its own darkest to its own brightest value
  onto 0..255: 10, 12, 14 and 16 bit data come in the same container and the file does not say which.
- Alpha is composited on black; palettes, CMYK and the rest convert to RGB; grey is repeated three times.
- Resizing is bilinear with antialiasing, straight to ``size x size``, whatever the aspect, unless a
  :class:`~featcache.data.framing.Framing` says otherwise, which then stands in the feature spec.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from . import dicom
from .framing import SQUASH, Framing, frame

RECIPE = "decode-1"
MAX_PIXELS = 80_000_000

_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000", "PPM")
Image.init()  # plugins register here, once, and not under the decoding threads


class ImageError(ValueError):
    """An image that cannot be decoded; the message is the reason, without the path."""


def decode(data: bytes, size: int | None = None, framing: Framing = SQUASH) -> np.ndarray:
    """Pixels of an encoded image.

    Parameters
    ----------
    data : bytes
        The whole file.
    size : int, optional
        Side of the square to resize to, in pixels; None keeps the size of the file.
    framing : Framing, optional
        How the picture becomes a square.

    Returns
    -------
    uint8 array of shape (height, width, 3), RGB, 0 to 255.

    Raises
    ------
    ImageError
        The bytes are no supported image, are cut short, or promise too many pixels.
    """
    image = picture(data)
    return _levels(image) if size is None else square(image, size, framing)


def picture(data: bytes) -> Image.Image:
    """The picture of an encoded image in its own size, of mode L, RGB, or F holding 0..255, as in :func:`decode`."""
    if not data:
        raise ImageError("the file is empty")
    try:
        if dicom.is_dicom(data):
            pixels = dicom.pixels(data, MAX_PIXELS)
            return Image.fromarray(pixels) if pixels.ndim == 3 else _stretch(pixels)
        return _open(data)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"not an image of a supported format ({', '.join(_FORMATS)}, DICOM)") from None
    except Image.DecompressionBombError:
        raise ImageError(f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # decoders raise of every kind on damaged files
        raise ImageError(f"cannot be decoded: {error or type(error).__name__}") from error


def square(image: Image.Image, size: int, framing: Framing = SQUASH) -> np.ndarray:
    """What :func:`decode` gives of a picture, framed; uint8 array of shape (size, size, 3)."""
    return _levels(frame(image, size, framing))


def _levels(image: Image.Image) -> np.ndarray:
    """A picture as RGB, uint8."""
    if image.mode == "F":  # kept in floats until here: rounding comes after the resampling
        image = Image.fromarray(np.clip(np.asarray(image) + 0.5, 0, 255).astype(np.uint8))
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels)


def _open(data: bytes) -> Image.Image:
    """Decode to mode L, RGB, or F holding 0..255."""
    image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} is more than {MAX_PIXELS:,} pixels")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tile = [int(image.tag_v2.get(tag, 0)) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)]
        if tile[0] * tile[1] > MAX_PIXELS:  # a small picture may stand in the corner of a vast tile
            raise ImageError(f"tiles of {tile[0]} x {tile[1]} are more than {MAX_PIXELS:,} pixels")
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode == "L" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _stretch(np.asarray(image))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        black = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, layer).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _stretch(values: np.ndarray) -> Image.Image:
    """Map the array's own range onto 0..255, as a float image; a constant array becomes black."""
    grey = values.astype(np.float64)
    if not np.isfinite(grey).all():
        raise ImageError("holds NaN or infinite pixels")
    low, high = grey.min(), grey.max()
    scaled = (grey - low) * (255.0 / (high - low)) if high > low else np.zeros_like(grey)
    return Image.fromarray(scaled.astype(np.float32))
