"""The files of a search for neighbours: a table, and each image beside those that are nearest to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..evaluation.canvas import canvas, save_figure
from ..evaluation.gallery import draw_picture, short_name
from ..evaluation.run_folder import write_table
from .nearest_images import Neighbour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = ("image", "rank", "path", "label", "distance", "group", "part")
_SHOWN = 12  # images in the picture
_WIDE = 25  # characters over a picture


def neighbour_rows(paths: Sequence[str], found: Sequence[Sequence[Neighbour]]) -> list[dict[str, Any]]:
    """One row for each neighbour of each image, in order: ``image rank path label distance group part``."""
    return [
        {"image": path, "rank": rank, **{name: getattr(one, name) for name in _COLUMNS[2:]}}
        for path, nearest in zip(paths, found, strict=True)
        for rank, one in enumerate(nearest, 1)
    ]


def write_neighbours(
    folder: Path, paths: Sequence[str], said: Sequence[str], found: Sequence[Sequence[Neighbour]], caption: str
) -> dict[str, Any]:
    """Write ``neighbours.csv`` and ``neighbours.png``; ``said`` is what stands over each image.

    Returns
    -------
    ``figures`` and ``csv``, paths.
    """
    rows = [[row[name] for name in _COLUMNS] for row in neighbour_rows(paths, found)]
    write_table(folder / "neighbours.csv", _COLUMNS, rows)
    picture = save_figure(_gallery(paths, said, found, caption), folder / "neighbours.png")
    return {"figures": [str(picture)], "csv": str(folder / "neighbours.csv")}


def _gallery(paths: Sequence[str], said: Sequence[str], found: Sequence[Sequence[Neighbour]], caption: str) -> Figure:
    shown = min(len(paths), _SHOWN)
    more = f"; the first {shown} of {len(paths)} images" if len(paths) > shown else ""
    across = 1 + max((len(nearest) for nearest in found[:shown]), default=0)
    figure, axes = canvas(max(5.0, 1.75 * across), 0.6 + 2.2 * shown, caption + more, across, shown)
    for place, axis in enumerate(axes):
        row, column = divmod(place, across)
        if column == 0:
            draw_picture(axis, paths[row], _fitting(said[row]), f"asked about\n{short_name(paths[row], 24)}")
        elif column <= len(found[row]):
            one = found[row][column - 1]
            draw_picture(
                axis, one.path, _fitting(one.label or "no label"), f"{one.distance:.3f}\n{short_name(one.path, 24)}"
            )
        else:
            axis.set_visible(False)
    return figure


def _fitting(words: str) -> str:
    return words if len(words) <= _WIDE else f"{words[: _WIDE - 1]}…"
