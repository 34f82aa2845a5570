"""What all pictures are drawn on: one look, PNG files written whole, and texts drawn as they are written.

Figures are ``matplotlib.figure.Figure``; nothing global is touched, no window opens. Classes differ in shape or line as
well as in colour, and the colours (Okabe & Ito 2008) keep apart in grey print and for the colour-blind.
"""

from __future__ import annotations

import functools
import io
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.system import atomic_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Dark to light, so that neighbours differ in grey too.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#D55E00", "#F0E442")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)), (0, (3, 3)))
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
GREY = "#666666"
_A_INCH = 14.5  # characters of a caption


def canvas(
    width: float, height: float, caption: str, columns: int = 1, rows: int = 1, heights: Sequence[float] | None = None
) -> tuple[Figure, Sequence[Any]]:
    """An empty figure and its axes, row by row; sizes in inches."""
    figure = _plain_figure()(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, height_ratios=heights).ravel())
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    if caption:
        figure.suptitle(_wrapped(caption, width), fontsize=8.5, color="#333333", x=0.01, ha="left")
    return figure, axes


def _wrapped(caption: str, width: float) -> str:
    """A caption no wider than its figure, which would else be as wide as it."""
    wrapper = textwrap.TextWrapper(max(30, int(width * _A_INCH)), break_long_words=False, break_on_hyphens=False)
    return "\n".join(wrapper.fill(line) for line in caption.split("\n"))


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, bbox_inches="tight", facecolor="white")
    atomic_files.write_bytes(path, buffer.getbuffer())
    return path


@functools.cache
def _plain_figure() -> type[Figure]:
    """A figure that draws every text as it is written.

    A ``$`` in a class name begins no formula, and what is no character, as in a file name that is not UTF-8, is drawn
    as a question mark.
    """
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.ticker import FuncFormatter

    class PlainFigure(Figure):
        def draw(self, renderer: Any) -> None:
            for axis in (axis for axes in self.axes for axis in (axes.xaxis, axes.yaxis)):
                formatter = axis.get_major_formatter()
                if isinstance(formatter, FuncFormatter):  # the labels that were given; they are set while it is drawn
                    axis.set_major_formatter(FuncFormatter(functools.partial(_drawn_tick, formatter.func)))
            for text in self.findobj(Text):
                text.set_parse_math(False)
                text.set_text(_drawable(text.get_text()))
            super().draw(renderer)

    return PlainFigure


def _drawn_tick(named: Callable[..., str], *place: Any) -> str:
    return _drawable(str(named(*place)))


def _drawable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
