"""What an image file shows at a glance: its properties, small grey pictures of it, and what tells its fitness.

One pass over the files, shared by all that audits them. No network is involved, and nothing is kept at full size.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from featcache.data import decoding

from .fitness_measures import measure

SQUARE = 64  # side of the squared picture
LONG = 128  # longer side of the picture that keeps its aspect
CORNERS = (4, 134)  # shape of what is kept of the corners
_CORNER = 48  # of a picture of 256, so a fifth of each side
PROPERTIES = ("width", "height", "aspect", "channels", "bytes", "bytes per pixel", "format")


@dataclass(frozen=True)
class ImageSummary:
    """One image at a glance.

    Attributes
    ----------
    properties : float array of shape (7,): what :data:`PROPERTIES` names, of the file and not of its pixels.
    square : uint8 array of shape (64, 64), grey.
    whole : uint8 array, grey, its longer side 128: the aspect is the image's own.
    corners : float32 array of shape (4, 134): the four corners, coarse, each with what print in it would change.
    histogram : float32 array of shape (32,): share of the pixels in each band of grey.
    measured : float array of shape (7,): what :data:`heads.auditing.fitness_measures.MEASURES` names.
    """

    properties: np.ndarray
    square: np.ndarray
    whole: np.ndarray
    corners: np.ndarray
    histogram: np.ndarray
    measured: np.ndarray


def summary_of(data: bytes) -> ImageSummary:
    """The summary of an encoded image.

    Raises :class:`featcache.data.decoding.ImageError` where it cannot be decoded.
    """
    pixels = decoding.decode(data)
    height, width = pixels.shape[:2]
    grey = Image.fromarray(pixels).convert("L")
    counts = np.array(grey.histogram())
    squashed = np.asarray(grey.resize((256, 256), Image.Resampling.BILINEAR), np.float32)
    scale = LONG / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return ImageSummary(
        np.array([width, height, width / height, *_of_file(data, width * height)], np.float64),
        np.asarray(grey.resize((SQUARE, SQUARE), Image.Resampling.BOX)),
        np.asarray(grey.resize(size, Image.Resampling.BOX)),
        _corners(squashed),
        (counts.reshape(32, 8).sum(axis=1) / counts.sum()).astype(np.float32),
        measure(pixels, grey, counts, squashed),
    )


def _of_file(data: bytes, pixels: int) -> tuple[float, float, float, float]:
    """Channels, bytes, bytes per pixel, and a number for the format."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            channels, kind = len(opened.getbands()), str(opened.format)
    except OSError:  # DICOM
        channels, kind = 1, "DICOM"
    # A number that does not depend on what other formats there are.
    return channels, len(data), len(data) / pixels, float(int.from_bytes(kind.encode()[:6], "big"))


def _corners(picture: np.ndarray) -> np.ndarray:
    """Each corner as means and greatest steps over cells of 6 x 6: burnt-in letters are bright and full of edges."""
    side = _CORNER
    parts = [picture[:side, :side], picture[:side, -side:], picture[-side:, :side], picture[-side:, -side:]]
    corners = []
    for part in parts:
        steps = np.hypot(*np.gradient(part))
        cells = [values.reshape(8, 6, 8, 6) for values in (part, steps)]
        overall = np.array([part.mean(), part.std(), part.max(), (part > 240).mean() * 255, steps.mean(), steps.max()])
        corners.append(np.concatenate([cells[0].mean((1, 3)).ravel(), cells[1].max((1, 3)).ravel(), overall]))
    return np.asarray(corners, np.float32)
