"""The picture of a t-SNE: rows as points in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation.canvas import COLOURS, MARKERS, canvas

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
    figure, (axis,) = canvas(6.6, 5.6, caption)
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
    figure, (axis,) = canvas(6.6, 5.6, caption)
    pale = {"alpha": 0.3, "linewidths": 0}
    _classes(axis, points, y, classes, "{name}, map ({count})", s=0.8 * _size(len(points)), **pale)
    size = float(np.clip(6000 / max(1, len(new)), 22, 70))
    _classes(axis, new, new_y, classes, "{name}, new ({count})", s=size, edgecolors="black", linewidths=0.9, zorder=3)
    if wrong is not None:
        _rings(axis, new[wrong], 3.2 * size)
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
    for row, name in [] if names is None else [(row, names[row]) for row in _apart(points, rows)]:
        axis.annotate(name, points[row], xytext=(7, 5), textcoords="offset points", fontsize=6.5, zorder=5)


def _size(count: int) -> float:
    """Of a point, so that many do not hide each other."""
    return float(np.clip(4000 / max(1, count), 4, 28)) if count <= 20_000 else 1.5


def _framed(figure: Figure, axis: Axes) -> Figure:
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(True)
    legend = axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0)
    handles: list[Any] = list(legend.legend_handles)
    for handle in handles:  # as large, and as dark, as is easily told apart
        handle.set_alpha(1)
        handle.set_sizes([40])
    return figure


def _apart(points: np.ndarray, rows: np.ndarray) -> list[int]:
    """Those rows whose names can stand beside them without covering one another, at most 20."""
    across, up = np.maximum(np.ptp(points, axis=0), 1e-9) * (0.28, 0.03)  # size of a name
    chosen: list[int] = []
    for row in rows.tolist():
        gaps = np.abs(points[chosen] - points[row])
        if len(chosen) < 20 and not ((gaps[:, 0] < across) & (gaps[:, 1] < up)).any():
            chosen.append(row)
    return chosen
