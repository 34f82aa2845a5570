"""What an image file shows at a glance: its properties, small grey pictures of it, and whether it is fit to learn from.

One pass over the files, shared by all that audits them. No network is involved, and nothing is kept at full size.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from featcache.data import decoding, filesystems
from featcache.errors import BadImage
from featcache.system.interrupts import reading

SQUARE = 64  # side of the squared picture
LONG = 128  # longer side of the picture that keeps its aspect
_CORNER = 48  # of a picture of 256, so a fifth of each side
_TINY = 64  # pixels; below it little shows
_FLAT = 2.0  # grey levels of deviation; below it an image is blank
_CELLS = 16  # a side, of the coarse shades by which a negative is known; then correlations with what the set shares
_SHARED, _AGAINST = 0.5, 0.3
_MOST_AGAINST = 0.25  # of a set; where more are, nobody can say which are the negatives
_FEW = 8  # images, of which nothing is said
_LOW_CONTRAST = 40  # grey levels between the 2nd and the 98th percentile
PROPERTIES = ("width", "height", "aspect", "channels", "bytes", "bytes per pixel", "format")


@dataclass(frozen=True)
class Look:
    """One image at a glance.

    Attributes
    ----------
    properties : float array of shape (7,): what :data:`PROPERTIES` names, of the file and not of its pixels.
    square : uint8 array of shape (64, 64), grey.
    whole : uint8 array, grey, its longer side 128: the aspect is the image's own.
    corners : float32 array of shape (4, 150): the four corners, coarse, each with what print in it would change.
    histogram : float32 array of shape (32,): share of the pixels in each band of grey.
    spread : grey levels between the 2nd and the 98th percentile; ``deviation``, their standard deviation.
    """

    properties: np.ndarray
    square: np.ndarray
    whole: np.ndarray
    corners: np.ndarray
    histogram: np.ndarray
    spread: float
    deviation: float

    def faults(self) -> list[str]:
        """What is wrong with it by itself: ``tiny``, ``blank``, ``low contrast``; see :func:`inverted`."""
        faults = []
        if min(self.properties[:2]) < _TINY:
            faults.append("tiny")
        if self.deviation < _FLAT:
            return [*faults, "blank"]
        if self.spread < _LOW_CONTRAST:
            faults.append("low contrast")
        return faults


def take_looks(
    paths: Sequence[str], on_done: Callable[[int], None] = lambda done: None
) -> tuple[list[Look | None], list[BadImage]]:
    """A look at each file; None where it cannot be decoded, with the reason in the second list.

    ``on_done`` is called now and then with the number of files that are done.
    """
    looks: list[Look | None] = []
    bad: list[BadImage] = []
    with reading(os.cpu_count(), "look") as pool:
        for path, taken in zip(paths, pool.map(_try, paths), strict=True):
            if isinstance(taken, Look):
                looks.append(taken)
            else:
                looks.append(None)
                bad.append(BadImage(path, taken))
            if len(looks) % 50 == 0:
                on_done(len(looks))
    return looks, bad


def _try(path: str) -> Look | str:
    try:
        return look(filesystems.read(path))
    except (OSError, decoding.ImageError) as error:
        return str(getattr(error, "strerror", None) or error)


def look(data: bytes) -> Look:
    """A look at an encoded image.

    Raises :class:`featcache.data.decoding.ImageError` where it cannot be decoded.
    """
    pixels = decoding.decode(data)
    height, width = pixels.shape[:2]
    grey = Image.fromarray(pixels).convert("L")
    levels = np.asarray(grey)
    low, high = np.percentile(levels, (2, 98))
    scale = LONG / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Look(
        np.array([width, height, width / height, *_of_file(data, width * height)], np.float64),
        np.asarray(grey.resize((SQUARE, SQUARE), Image.Resampling.BOX)),
        np.asarray(grey.resize(size, Image.Resampling.BOX)),
        _corners(np.asarray(grey.resize((256, 256), Image.Resampling.BILINEAR), np.float32)),
        (np.bincount(levels.ravel() // 8, minlength=32) / levels.size).astype(np.float32),
        float(high - low),
        float(levels.std()),
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


def inverted(looks: Sequence[Look]) -> list[bool]:
    """Which images are negatives of what the others show.

    Only a set can tell: what is dark on bright in a chest's negative is so in any picture of cells under a microscope.
    An image is taken for a negative where its coarse shades run against those that the set shares (the first principal
    direction of all), in a set whose images mostly share them and of which few run against them. Of 920 real
    radiographs one was taken for a negative; of their negatives, one among ten, 97 in 100 were found. Of 14 sets of
    other pictures (cells, photographs, faces, digits, textures) none had any.
    """
    if len(looks) < _FEW:
        return [False] * len(looks)
    side = SQUARE // _CELLS
    cells = np.stack([look.square.reshape(_CELLS, side, _CELLS, side).mean((1, 3)).ravel() for look in looks])
    cells -= cells.mean(axis=1, keepdims=True)
    cells /= np.maximum(np.linalg.norm(cells, axis=1, keepdims=True), 1e-9)
    alike = cells @ np.linalg.eigh(cells.T @ cells)[1][:, -1]
    if np.median(alike) < 0:
        alike = -alike
    if np.median(alike) < _SHARED or (alike < 0).mean() > _MOST_AGAINST:
        return [False] * len(looks)
    return [bool(value < -_AGAINST) for value in alike]
