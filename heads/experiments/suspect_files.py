"""The files of a search for wrong labels: a table, a gallery of the first ones, and ``run.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.features.labelled_features import Features

from ..evaluation.canvas import canvas, save_figure
from ..evaluation.gallery import draw_picture, short_name
from ..evaluation.run_folder import data_title, origin_note, write_json, write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = ("path", "about", "label", "suggested", "score", "reason", "part", "group", "copy")
_SHOWN, _ACROSS = 20, 5


def write_suspects(folder: Path, result: Mapping[str, Any], features: Features) -> None:
    """Write ``suspects.csv``, ``suspects.png`` where there are any, and ``run.json``."""
    suspects = result["suspects"]
    rows = [[one[name] if one[name] is not None else "" for name in _COLUMNS] for one in suspects]
    write_table(folder / "suspects.csv", _COLUMNS, rows)
    if suspects:
        title = f"{data_title(features.data, features.synthetic)}, {features.feature_set}: labels that may be wrong"
        save_figure(gallery(suspects, title + origin_note(features)), folder / "suspects.png")
    write_json(folder / "run.json", result)


def gallery(suspects: Sequence[Mapping[str, Any]], caption: str = "") -> Figure:
    """The first suspects, each under the label it has and the one that is suggested."""
    shown = suspects[:_SHOWN]
    more = f"; the first {len(shown)} of {len(suspects)}" if len(suspects) > len(shown) else ""
    across = min(_ACROSS, len(shown))
    down = -(-len(shown) // across)
    figure, axes = canvas(max(6.0, 2.3 * across), 0.6 + 2.8 * down, caption + more, across, down)
    for axis, one in zip(axes, shown, strict=False):
        copied = "; a copy says so" if one["copy"] is not None else ""
        below = f"{short_name(one['path'])}\n{one['score']:.2f}{copied}"
        draw_picture(axis, one["path"], f"{one['label']}\n→ {one['suggested']}", below)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    return figure
