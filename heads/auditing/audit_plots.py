"""The pictures of an audit: what each probe reaches, and images that show the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.data import filesystems

from ..evaluation.canvas import COLOURS, GREY, canvas
from .findings import gravest_first
from .image_summary import LONG

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 12
_PROBES = 30


def probes(rows: Sequence[Mapping[str, Any]], caption: str = "") -> Figure:
    """The score of each probe with its interval, beside chance; what is flagged is filled. Of many, the highest."""
    several = len({row["label"] for row in rows}) > 1
    if len(rows) > _PROBES:
        caption += f"; the {_PROBES} highest of {len(rows)}"
        rows = sorted(rows, key=lambda row: -row["score"])[:_PROBES]
    figure, (axis,) = canvas(7.2, 1.5 + 0.42 * len(rows), caption)
    places = np.arange(len(rows))[::-1]
    for place, row in zip(places, rows, strict=True):
        low, high = row["score_ci"]
        colour = COLOURS[6] if row["flag"] else COLOURS[0]
        axis.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
        axis.plot(
            row["score"],
            place,
            marker="D" if row["flag"] else "o",
            color=colour,
            markersize=7,
            markerfacecolor=colour if row["flag"] else "white",
        )
    axis.axvline(rows[0]["chance"], color=GREY, linestyle=":", linewidth=1)
    axis.plot([], [], color=GREY, linestyle=":", linewidth=1, label="guessing")
    axis.plot([], [], color=COLOURS[6], marker="D", label="shortcut")
    axis.plot([], [], color=COLOURS[0], marker="o", markerfacecolor="white", label="none shown")
    axis.set_yticks(places, [f"{row['probe']}: {row['label']}" if several else f"{row['probe']} alone" for row in rows])
    axis.set(
        xlabel=f"{rows[0]['measure']} without seeing the subject, 95% interval",
        xlim=(min(0, *(row["score_ci"][0] for row in rows)), 1.02),
        ylim=(-0.6, len(rows) - 0.4),
    )
    axis.grid(axis="x", linewidth=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def shown(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of pairs, those that :func:`pairs` draws."""
    return gravest_first(rows)[:_SHOWN]


def pairs(rows: Sequence[Mapping[str, Any]], pictures: Mapping[str, np.ndarray], caption: str = "") -> Figure:
    """The pairs that matter most side by side: labels in conflict first, then across splits, then the most alike."""
    drawn = shown(rows)
    columns = 3 if len(drawn) > 4 else 2
    down = -(-len(drawn) // columns)
    more = f"; the first {len(drawn)} of {len(rows)} pairs" if len(rows) > len(drawn) else ""
    figure, axes = canvas(4.2 * columns, 0.5 + 2.35 * down, caption + more, columns, down)
    for axis, row in zip(axes, drawn, strict=False):
        left, right = (_framed(pictures[row[side]]) for side in ("a", "b"))
        axis.imshow(
            np.concatenate([left, np.full((LONG, 4), 255, np.uint8), right], axis=1), cmap="gray", vmin=0, vmax=255
        )
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        said = [row["kind"]] if row["kind"] != "same class" else []
        head = ", ".join([f"alike {row['similarity']:.2f}", *filter(None, [row["how"]]), *said])
        names = [
            " ".join(part for part in (split, label) if part)
            for split, label in zip(row["splits"], row["labels"], strict=True)
        ]
        axis.set_title(head, fontsize=8, loc="left")
        axis.set_xlabel(
            "   |   ".join(f"{_short(row[side])} ({name})" for side, name in zip("ab", names, strict=True)), fontsize=6
        )
    for axis in axes[len(drawn) :]:
        axis.set_visible(False)
    return figure


def _framed(picture: np.ndarray) -> np.ndarray:
    """Centred in a black square."""
    frame = np.zeros((LONG, LONG), np.uint8)
    height, width = picture.shape
    top, left = (LONG - height) // 2, (LONG - width) // 2
    frame[top : top + height, left : left + width] = picture
    return frame


def _short(path: str) -> str:
    name = Path(filesystems.name_of(path)).stem
    return name if len(name) <= 18 else f"{name[:8]}…{name[-8:]}"
