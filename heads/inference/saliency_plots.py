"""The pictures of saliency: evidence laid over an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation.canvas import canvas

if TYPE_CHECKING:
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

_FINE = 20  # cells; ticks of a finer map would run together


def evidence_colours() -> ListedColormap:
    """Colours of evidence from 0, which is transparent, to 1.

    They are those of plasma, whose lightness rises evenly for every kind of colour vision, and which has neither the
    greys nor the white of a radiograph.
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    levels = np.linspace(0, 1, 256)
    colours = colormaps["plasma"](levels)
    colours[:, 3] = 0.8 * levels
    return ListedColormap(colours)


def evidence(
    pictures: Sequence[tuple[Any, Any]],
    titles: Sequence[tuple[str, str]],
    cells: tuple[int, int],
    caption: str = "",
    unit: str = "logit",
) -> Figure:
    """Images with and without the evidence laid over them, one under the other for several pairs, side by side for one.

    Parameters
    ----------
    pictures : pairs of an image and its overlay, as PIL images or arrays.
    titles : of each pair's two pictures.
    cells : rows and columns of the map; ticks on the edge of an overlay show how coarse it is.
    unit : what the cells add to.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap

    down, across = (1, 2) if len(pictures) == 1 else (2, len(pictures))
    shapes = [np.shape(plain)[:2] for plain, _ in pictures]
    height = 2.9 * max(high / wide for high, wide in shapes)
    figure, axes = canvas(2.9 * across + 0.9, down * (height + 0.25) + 0.3, caption, across, down)
    for place, (pair, words, (high, wide)) in enumerate(zip(pictures, titles, shapes, strict=True)):
        for kind, (picture, title) in enumerate(zip(pair, words, strict=True)):
            axis = axes[kind * (across if down == 2 else 1) + place]
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255, aspect="equal")
            axis.set_title(title, fontsize=8.5, loc="left")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if kind and max(cells) <= _FINE:
                axis.set_xticks(np.linspace(0, wide, cells[1] + 1) - 0.5, [])
                axis.set_yticks(np.linspace(0, high, cells[0] + 1) - 0.5, [])
    colours = evidence_colours()(np.linspace(0, 1, 256))
    on_grey = ListedColormap(0.5 + (colours[:, :3] - 0.5) * colours[:, 3:])
    bar = figure.colorbar(ScalarMappable(cmap=on_grey), ax=axes, shrink=0.8, aspect=30, pad=0.02, ticks=[0, 0.5, 1])
    bar.set_label(f"{unit}, share of the strongest cell", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure
