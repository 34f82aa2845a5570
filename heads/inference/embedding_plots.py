"""The picture of a t-SNE: rows as points in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation.canvas import COLOURS, MARKERS, canvas

_WIDTH = 5.6  # inches of the map
_LONGEST = 28  # characters of a name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def scatter(
    points: np.ndarray,
    y: np.ndarray,
    classes: Sequence[str],
    wrong: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    caption: str = "",
) -> Figure:
    """A map of rows in two dimensions.

    Parameters
    ----------
    points : array of shape (n, 2).
    y : int array of shape (n,), classes counted from 0.
    wrong : bool array of shape (n,): rows that were misclassified are ringed.
    names : what each row is called; those of misclassified rows are written beside them, where there is room.
    """
    figure, axis = _sheet(points, caption)
    size = _size(len(points))
    _classes(axis, points, y, classes, "{name} ({count})", s=size, alpha=0.75, linewidths=0)
    if wrong is not None:
        _rings(axis, points[wrong], 4 * size + 30)
        _named(axis, points, np.flatnonzero(wrong), names)
    return _framed(figure, axis)


def overlay(
    points: np.ndarray,
    y: np.ndarray,
    new: np.ndarray,
    new_y: np.ndarray,
    classes: Sequence[str],
    wrong: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    caption: str = "",
) -> Figure:
    """New rows over a map of others: the map's own pale and small, the new ones large and edged.

    Parameters
    ----------
    points : array of shape (n, 2), the map's own.
    y : int array of shape (n,), their classes, counted from 0.
    new : array of shape (m, 2).
    new_y : int array of shape (m,), their classes.
    wrong : bool array of shape (m,): new rows that were misclassified are ringed.
    names : what each new row is called; written beside those misclassified, or beside all where none can be, where
        there is room.
    """
    figure, axis = _sheet(np.concatenate([points, new]), caption)
    pale = {"alpha": 0.3, "linewidths": 0}
    _classes(axis, points, y, classes, "{name}, map ({count})", s=0.8 * _size(len(points)), **pale)
    size = float(np.clip(2500 / max(1, len(new)), 12, 60))
    _classes(axis, new, new_y, classes, "{name}, new ({count})", s=size, edgecolors="black", linewidths=0.9, zorder=3)
    if wrong is not None:
        _rings(axis, new[wrong], 2.5 * size + 30)
    _named(axis, new, np.arange(len(new)) if wrong is None else np.flatnonzero(wrong), names)
    return _framed(figure, axis)


def _classes(axis: Axes, points: np.ndarray, y: np.ndarray, classes: Sequence[str], words: str, **look: Any) -> None:
    """The points of each class that has any, in its colour and shape."""
    for label, name in enumerate(classes):
        own = y == label
        count = int(own.sum())
        if count:
            marker, colour = MARKERS[label % len(MARKERS)], COLOURS[label % len(COLOURS)]
            axis.scatter(
                *points[own].T, marker=marker, color=colour, label=words.format(name=name, count=count), **look
            )


def _rings(axis: Axes, points: np.ndarray, size: float) -> None:
    look: dict[str, Any] = {"facecolors": "none", "edgecolors": "black", "linewidths": 1.1, "zorder": 4}
    axis.scatter(points[:, 0], points[:, 1], s=size, marker="o", label=f"misclassified ({len(points)})", **look)


def _named(axis: Axes, points: np.ndarray, rows: np.ndarray, names: Sequence[str] | None) -> None:
    if names is None or not len(rows):
        return
    middle = np.mean(axis.get_xlim())
    for row in _apart(points, rows, 1 / _scale(axis)):
        outwards = points[row, 0] < middle  # a name on the outer side would run out of the picture
        name = names[row] if len(names[row]) <= _LONGEST else f"{names[row][: _LONGEST - 1]}…"
        axis.annotate(
            name,
            points[row],
            xytext=(7 if outwards else -7, 5),
            ha="left" if outwards else "right",
            textcoords="offset points",
            fontsize=6.5,
            zorder=5,
        )


def _sheet(points: np.ndarray, caption: str) -> tuple[Figure, Axes]:
    """A figure as high as the points want it, and its axis, on which a length means the same in any direction."""
    low, high = points.min(axis=0), points.max(axis=0)
    wide, tall = np.maximum(high - low, 1e-9)
    height = float(np.clip(_WIDTH * tall / wide, 0.5 * _WIDTH, 1.3 * _WIDTH))
    figure, (axis,) = canvas(_WIDTH + 2.6, height + 0.5, caption)
    side = max(wide / _WIDTH, tall / height) * 1.08 / 2
    middle = (low + high) / 2
    axis.set_xlim(middle[0] - side * _WIDTH, middle[0] + side * _WIDTH)
    axis.set_ylim(middle[1] - side * height, middle[1] + side * height)
    axis.set_aspect("equal", adjustable="box")
    return figure, axis


def _scale(axis: Axes) -> float:
    """Inches that a unit takes, about."""
    left, right = axis.get_xlim()
    return _WIDTH / (right - left)


def _size(count: int) -> float:
    """Of a point, so that many do not hide each other."""
    return float(np.clip(4000 / max(1, count), 4, 28)) if count <= 20_000 else 1.5


def _framed(figure: Figure, axis: Axes) -> Figure:
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(True)
    legend = axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0)
    handles: list[Any] = list(legend.legend_handles)
    for handle in handles:  # as large as is easily told apart
        handle.set_alpha(max(handle.get_alpha() or 1, 0.5))
        handle.set_sizes([40 if handle.get_linewidths()[0] else 22])
    return figure


def _apart(points: np.ndarray, rows: np.ndarray, inch: float) -> list[int]:
    """Those rows whose names can stand beside them without covering one another, at most 20."""
    across, up = 1.7 * inch, 0.15 * inch  # size of a name
    chosen: list[int] = []
    for row in rows.tolist():
        gaps = np.abs(points[chosen] - points[row])
        if len(chosen) < 20 and not ((gaps[:, 0] < across) & (gaps[:, 1] < up)).any():
            chosen.append(row)
    return chosen
