"""The files of a search for wrong labels: a table, a gallery of the first ones, and ``run.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.data import filesystems
from featcache.features.labelled_features import Features

from ..evaluation.canvas import canvas, save_figure
from ..evaluation.run_folder import data_title, origin_note, write_json, write_table
from ..evaluation.thumbnail import thumbnail

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = ("path", "about", "label", "suggested", "score", "reason", "part", "group", "copy")
_SHOWN, _ACROSS = 20, 5
_SIDE = 192  # pixels


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
        small = thumbnail(one["path"], _SIDE)
        if small is None:
            axis.text(
                0.5, 0.5, "no picture", color="white", ha="center", va="center", fontsize=8, transform=axis.transAxes
            )
        else:
            picture = np.asarray(small)
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=_centred(picture))
        # One square for all, so that what stands above and below them is in line.
        axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axis.set_facecolor("black")
        axis.spines[:].set_visible(False)
        axis.set_title(f"{one['label']}\n→ {one['suggested']}", fontsize=8, loc="left")
        copied = "; a copy says so" if one["copy"] is not None else ""
        axis.set_xlabel(f"{_short(one['path'])}\n{one['score']:.2f}{copied}", fontsize=6.5)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    return figure


def _centred(picture: np.ndarray) -> tuple[float, float, float, float]:
    """Where a picture lies in a square of side 1, its aspect kept: left, right, bottom, top."""
    height, width = picture.shape[:2]
    across, down = width / max(height, width), height / max(height, width)
    return (1 - across) / 2, (1 + across) / 2, (1 - down) / 2, (1 + down) / 2


def _short(path: str) -> str:
    name = Path(filesystems.name_of(path)).stem
    return name if len(name) <= 26 else f"{name[:12]}…{name[-12:]}"
