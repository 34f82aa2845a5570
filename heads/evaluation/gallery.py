"""Small pictures of images in the cells of a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from featcache.data import filesystems

from .thumbnail import thumbnail

_SIDE = 192  # pixels


def draw_picture(axis: Any, path: str, above: str, below: str) -> None:
    """An image in a black square, its aspect kept, with words above and below it; all cells are of one size, so that
    these are in line."""
    small = thumbnail(path, _SIDE)
    if small is None:
        axis.text(0.5, 0.5, "no picture", color="white", ha="center", va="center", fontsize=8)
    else:
        picture = np.asarray(small)
        height, width = picture.shape[:2]
        across, down = width / max(height, width), height / max(height, width)
        place = ((1 - across) / 2, (1 + across) / 2, (1 - down) / 2, (1 + down) / 2)
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=place)
    axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axis.set_facecolor("black")
    axis.spines[:].set_visible(False)
    axis.set_title(above, fontsize=8, loc="left")
    axis.set_xlabel(below, fontsize=6.5)


def short_name(path: str, most: int = 26) -> str:
    """A file's name without its ending, its middle left out where it is longer than ``most`` characters."""
    name, half = Path(filesystems.name_of(path)).stem, (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"
