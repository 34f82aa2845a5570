"""A picture as few numbers, by which copies find each other among many: frequencies of its details, and its shades.

The frequencies are those of a cosine transform, in which a mirrored picture has other signs and a turned one rows for
columns: what it is by each of the eight symmetries of the square follows without a look at it, and so do numbers that
are the same for all eight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .image_summary import SQUARE
from .picture_alignment import details

MARGIN = 3  # pixels of it left out on each side: frames, and where a blur ends
_FREQUENCIES = 24  # of 58: finer ones do not outlive another encoding
_CELLS = 16  # a side
_SHADES = 8  # a side

# How a picture comes from another: rows for columns first, then rows in reverse, then columns in reverse.
SYMMETRIES: dict[str, tuple[bool, bool, bool]] = {
    "": (False, False, False),
    "mirrored": (False, False, True),
    "mirrored top to bottom": (False, True, False),
    "turned by 180 degrees": (False, True, True),
    "turned by 90 degrees": (True, False, True),
    "turned by 270 degrees": (True, True, False),
    "mirrored and turned by 90 degrees": (True, True, True),
    "mirrored and turned by 270 degrees": (True, False, False),
}


@dataclass(frozen=True)
class Sketches:
    """Sketches of n pictures.

    Attributes
    ----------
    details : int8 array of shape (n, 576): amplitudes of the 24 x 24 lowest frequencies of the details, each picture's
        largest being 127; all zero where it has none.
    cells : uint16 array of shape (n, 256): sums of the shades of 4 x 4 pixels, of 16 x 16 cells.
    """

    details: np.ndarray
    cells: np.ndarray

    def __len__(self) -> int:
        return len(self.details)

    def take(self, rows: np.ndarray) -> Sketches:
        """Those of some pictures."""
        return Sketches(self.details[rows], self.cells[rows])

    def __add__(self, other: Sketches) -> Sketches:
        """Those of two sets, one after the other."""
        return Sketches(np.concatenate([self.details, other.details]), np.concatenate([self.cells, other.cells]))


def turned(picture: np.ndarray, how: str) -> np.ndarray:
    """A picture, array of shape (height, width), as it comes from itself by a symmetry; turns are clockwise."""
    transposed, down, across = SYMMETRIES[how]
    picture = picture.T if transposed else picture
    return np.ascontiguousarray(picture[:: -1 if down else 1, :: -1 if across else 1])


def sketch(square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and cells of a squared picture, uint8 array of shape (64, 64), as :class:`Sketches` holds them."""
    inner = details(square)[MARGIN:-MARGIN, MARGIN:-MARGIN]
    waves = _WAVES @ inner @ _WAVES.T
    waves *= 127 / max(float(np.abs(waves).max()), 1e-6)
    side = SQUARE // _CELLS
    cells = square.reshape(_CELLS, side, _CELLS, side).sum(axis=(1, 3), dtype=np.uint16)
    return np.rint(waves).astype(np.int8).ravel(), cells.ravel()


def frequencies(waves: np.ndarray, how: str = "") -> np.ndarray:
    """Frequencies as rows of unit length, as they were if the pictures came from these by a symmetry."""
    transposed, down, across = SYMMETRIES[how]
    tables = waves.reshape(-1, _FREQUENCIES, _FREQUENCIES).astype(np.float32)
    if transposed:
        tables = tables.transpose(0, 2, 1)
    signs = np.where(np.arange(_FREQUENCIES) % 2, -1, 1).astype(np.float32)
    if down:
        tables = tables * signs[:, None]
    if across:
        tables = tables * signs
    return of_unit_length(tables.reshape(len(waves), -1))


def invariants(waves: np.ndarray) -> np.ndarray:
    """What no symmetry changes, float32 array of shape (n, 300): how strong frequencies are, in either direction."""
    tables = np.sqrt(np.abs(waves.reshape(-1, _FREQUENCIES, _FREQUENCIES).astype(np.float32)))
    return np.asarray((tables + tables.transpose(0, 2, 1))[:, *np.triu_indices(_FREQUENCIES)])


def shades(cells: np.ndarray) -> np.ndarray:
    """Pictures as 8 x 8 shades, whatever their brightness and contrast: rows of unit length."""
    step, pixels = _CELLS // _SHADES, (SQUARE // _SHADES) ** 2
    sums = cells.reshape(-1, _SHADES, step, _SHADES, step).sum(axis=(2, 4), dtype=np.float32)
    return normalised((sums / np.float32(pixels)).reshape(len(cells), -1))


def normalised(rows: np.ndarray) -> np.ndarray:
    """Rows minus their mean, of unit length; in place."""
    rows -= rows.mean(axis=1, keepdims=True)
    return of_unit_length(rows)


def of_unit_length(rows: np.ndarray) -> np.ndarray:
    """Rows of unit length; in place."""
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return rows


def _waves(side: int) -> np.ndarray:
    """The lowest frequencies of an orthonormal cosine transform (DCT-II), array of shape (24, side)."""
    places = np.pi * (np.arange(side) + 0.5) / side
    waves = np.sqrt(2 / side) * np.cos(np.arange(_FREQUENCIES)[:, None] * places)
    waves[0] /= np.sqrt(2)
    return np.asarray(waves, np.float32)


_WAVES = _waves(SQUARE - 2 * MARGIN)
