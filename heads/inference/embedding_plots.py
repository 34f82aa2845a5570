"""The picture of a t-SNE: rows as points in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.canvas import COLOURS, MARKERS, canvas

if TYPE_CHECKING:
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
    size = float(np.clip(4000 / max(1, len(points)), 4, 28))
    for label, name in enumerate(classes):
        own = y == label
        axis.scatter(
            *points[own].T,
            s=size,
            marker=MARKERS[label % len(MARKERS)],
            color=COLOURS[label % len(COLOURS)],
            alpha=0.75,
            linewidths=0,
            label=f"{name} ({int(own.sum())})",
        )
    if wrong is not None:
        kind = {"facecolors": "none", "edgecolors": "black", "linewidths": 1.1}
        axis.scatter(*points[wrong].T, s=4 * size + 30, marker="o", label=f"misclassified ({int(wrong.sum())})", **kind)
        labels = [] if names is None else [(row, names[row]) for row in _apart(points, np.flatnonzero(wrong))]
        for row, name in labels:
            axis.annotate(name, points[row], xytext=(7, 5), textcoords="offset points", fontsize=6.5)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(True)
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0, markerscale=1.6)
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
