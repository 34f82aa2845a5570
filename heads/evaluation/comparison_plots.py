"""Pictures of several beside each other: models by their scores, candidates of a search, contenders by their speed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .canvas import COLOURS, GREY, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Place(NamedTuple):
    """A model's place on a leaderboard: its cross-validated score, the deviation of that over folds, and on test what
    it came to, with its interval; each None where there is too little to say."""

    name: str
    cv: float
    std: float
    test: float | None
    interval: Sequence[float] | None


def leaderboard(
    rows: Sequence[Place], label: str, chance: tuple[str, float], best: float | None = None, caption: str = ""
) -> Figure:
    """Each model: cross-validated with the spread over folds, and on test with its interval.

    Parameters
    ----------
    rows : the models, best first.
    label : what they are compared by.
    chance : what no model at all would do, and how it is called.
    best : what a model without fault would have, where that is the end of the scale.
    caption : above the picture.
    """
    figure, (axis,) = canvas(7.2, 1.6 + 0.42 * len(rows), caption)
    places = np.arange(len(rows))[::-1]
    unknown = float("nan")
    test = np.array([unknown if row.test is None else row.test for row in rows])
    low, high = np.array([row.interval or (unknown, unknown) for row in rows]).T
    axis.errorbar(
        test,
        places - 0.13,
        xerr=[np.maximum(test - low, 0), np.maximum(high - test, 0)],
        fmt="o",
        color=COLOURS[0],
        capsize=3,
        label="test, 95% interval",
    )
    axis.errorbar(
        [row.cv for row in rows],
        places + 0.13,
        xerr=[row.std for row in rows],
        fmt="s",
        mfc="white",
        color=COLOURS[1],
        capsize=3,
        label="cross-validation, best of its grid, ± deviation over folds",
    )
    axis.axvline(chance[1], color=GREY, linestyle=":", linewidth=1, label=chance[0])
    axis.set_yticks(places, [row.name for row in rows])
    axis.set(xlabel=label)
    if best is not None:
        axis.set_xlim(None, best + 0.01)
    axis.grid(axis="x", linewidth=0.3)
    figure.legend(loc="outside lower center", frameon=False, fontsize=8)
    return figure


def heat_maps(
    names: Sequence[str], rows: Sequence[Sequence[Any]], scores: Sequence[float], caption: str = ""
) -> Figure:
    """Score of a search over each pair of its parameters, the mean over the others; of one parameter, one column.

    Parameters
    ----------
    names : the parameters, at most four of which are drawn, those that matter most first.
    rows : their values, a row for each candidate.
    scores : of the candidates; NaN where one failed.
    """
    values = [list(dict.fromkeys(str(v) for v in _sorted({row[i] for row in rows}))) for i in range(len(names))]
    cells = [[values[i].index(str(row[i])) for i in range(len(names))] for row in rows]
    means = [[_mean(cells, scores, {i: k}) for k in range(len(levels))] for i, levels in enumerate(values)]
    spread = [np.nanmax(of_levels) - np.nanmin(of_levels) for of_levels in means]
    drawn = sorted(range(len(names)), key=lambda i: -spread[i])[:4]
    pairs = list(itertools.combinations(drawn, 2)) or [(drawn[0], drawn[0])]
    columns = min(3, len(pairs))
    down = -(-len(pairs) // columns)
    figure, axes = canvas(1.2 + 3.4 * columns, 0.8 + 2.6 * down, caption, columns, down)
    top = float(np.nanmax(scores))
    limits = {"vmin": min(float(np.nanmin(scores)), top - 0.05), "vmax": top}  # a hair's breadth shall look like one
    for axis, (across, up) in zip(axes, pairs, strict=False):
        one = across == up
        table = np.full((len(values[up]), 1 if one else len(values[across])), np.nan)
        for k, j in np.ndindex(*table.shape):
            table[k, j] = _mean(cells, scores, {up: k} if one else {up: k, across: j})
        image = axis.imshow(table, cmap="cividis", aspect="auto", **limits)
        for k, j in np.ndindex(*table.shape):
            if np.isfinite(table[k, j]):
                red, green, blue, _ = image.cmap(image.norm(table[k, j]))
                dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
                text = f"{table[k, j]:.3f}"
                axis.text(j, k, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
        axis.set_xticks(*(((), ()) if one else (range(len(values[across])), values[across])), fontsize=8)
        axis.set_yticks(range(len(values[up])), values[up], fontsize=8)
        axis.set(xlabel="" if one else names[across].replace("_", " "), ylabel=names[up].replace("_", " "))
        axis.spines[:].set_visible(True)
    for axis in axes[len(pairs) :]:
        axis.set_visible(False)
    return figure


def _mean(cells: Sequence[Sequence[int]], scores: Sequence[float], where: Mapping[int, int]) -> float:
    """Mean score of the candidates that have these values and did not fail; NaN where there are none."""
    chosen = [s for cell, s in zip(cells, scores, strict=True) if all(cell[i] == k for i, k in where.items())]
    sound = [score for score in chosen if np.isfinite(score)]
    return float(np.mean(sound)) if sound else float("nan")


def _sorted(values: Any) -> list[Any]:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return sorted(values) if numbers else sorted(values, key=str)


def speeds(rows: Sequence[Mapping[str, Any]], unit: str, caption: str = "") -> Figure:
    """Bars of the pace of each contender, or of its seconds where there is no unit; whiskers from least to most.

    A roof is a line. ``rows`` are those of :func:`heads.benchmark.timing.rows`.
    """
    name, label = ("pace", unit) if unit else ("seconds", "seconds")
    bars = [row for row in rows if not row["roof"]]
    figure, (axis,) = canvas(7.5, 1.5 + 0.5 * len(bars) + 0.2 * caption.count("\n"), caption)
    middle = np.array([row[name] for row in bars])
    spread = np.abs([[row[name] - row[f"{name}_{end}"] for row in bars] for end in ("min", "max")])
    places = np.arange(len(bars))
    colours = [COLOURS[0] if row["ours"] else "#B0B0B0" for row in bars]
    axis.barh(places, middle, xerr=spread, color=colours, height=0.62, error_kw={"ecolor": "black", "capsize": 3})
    for place, row, end in zip(places, bars, middle + spread[1], strict=True):
        text = f"{row[name]:,.0f}" if row[name] >= 100 else f"{row[name]:.3g}"
        axis.annotate(text, (end, place), (6, 0), textcoords="offset points", va="center", fontsize=9)
    for row in rows:
        if row["roof"]:
            axis.axvline(row[name], color=COLOURS[6], linestyle="--", linewidth=1.2)
            axis.annotate(
                row["name"],
                (row[name], -0.5),
                (0, 3),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=8,
                color=COLOURS[6],
                annotation_clip=False,
            )
    most = max((middle + spread[1]).max(), *(row[name] for row in rows))
    axis.set_xlim(right=most * 1.15)
    axis.set(yticks=places, yticklabels=[row["name"] for row in bars], xlabel=label)
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
    return figure
