"""The pictures: learning curves, confusion, ROC, precision and recall, reliability, t-SNE, leaderboard, evidence.

Each function returns a ``matplotlib.figure.Figure``; nothing global is touched, no window opens. Classes differ in
shape or line as well as in colour, and the colours (Okabe & Ito 2008) keep apart in grey print and for the colour-blind.
"""

from __future__ import annotations

import functools
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import metrics

from featcache.system import atomic_files

from .intervals import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .reliability import Bins

# Dark to light, so that neighbours differ in grey too.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#D55E00", "#F0E442")
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)), (0, (3, 3)))
_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
GREY = "#666666"


def learning_curves(history: Mapping[str, Sequence[float]], best_epoch: int | None = None, caption: str = "") -> Figure:
    """Accuracy and loss after each epoch, in training and in validation; ``best_epoch`` is marked."""
    figure, axes = canvas(9, 3.6, caption, columns=2)
    for axis, name in zip(axes, ("accuracy", "loss"), strict=True):
        epochs = np.arange(1, len(history[name]) + 1)
        small = {"marker": ".", "markevery": 1} if len(epochs) < 3 else {}
        axis.plot(epochs, history[name], color=COLOURS[0], label="training", **small)
        if f"val_{name}" in history:
            axis.plot(epochs, history[f"val_{name}"], color=COLOURS[1], linestyle="--", label="validation", **small)
        if best_epoch and best_epoch < len(epochs):
            axis.axvline(best_epoch, color=GREY, linestyle=":", linewidth=1, label=f"weights kept (epoch {best_epoch})")
        axis.set(xlabel="epoch", ylabel=name if name == "accuracy" else "loss (cross-entropy)")
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylim(top=1.02)
    axes[1].set_ylim(bottom=0)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def confusion(table: Any, classes: Sequence[str], caption: str = "") -> Figure:
    """Counts, true classes down and predicted ones across, shaded by the share of the true class."""
    counts = np.asarray(table)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.6 + 0.75 * len(classes)
    figure, (axis,) = canvas(size + 0.6, size, caption)
    axis.imshow(shares, cmap="Greys", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        dark = shares[row, column] > 0.5
        text = f"{counts[row, column]}\n{shares[row, column]:.0%}"
        axis.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize=9)
    slant = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if max(map(len, classes)) > 8 else {}
    axis.set_xticks(range(len(classes)), classes, **slant)
    axis.set_yticks(range(len(classes)), classes)
    axis.set(xlabel="predicted", ylabel="true")
    axis.spines[:].set_visible(True)
    return figure


def roc(y: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], caption: str = "") -> Figure:
    """Receiver operating characteristic; of several classes, each against the rest."""
    figure, (axis,) = canvas(4.8, 4.6, caption)
    for place, label in _positives(y, classes):
        false, true, _ = metrics.roc_curve(y == label, probabilities[:, label])
        name = f"{classes[label]}, area {metrics.auc(false, true):.3f}"
        _line(axis, place, false, true, name)
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (1, 3)), label="chance")
    axis.set(xlabel="false positive rate (1 - specificity)", ylabel="true positive rate (sensitivity)")
    return _square(figure, axis, "lower right")


def precision_recall(y: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], caption: str = "") -> Figure:
    """Precision over recall; of several classes, each against the rest."""
    figure, (axis,) = canvas(4.8, 4.6, caption)
    for place, label in _positives(y, classes):
        precision, recall, _ = metrics.precision_recall_curve(y == label, probabilities[:, label])
        mean = metrics.average_precision_score(y == label, probabilities[:, label])
        _line(axis, place, recall, precision, f"{classes[label]}, average {mean:.3f}")
        chance = float((y == label).mean())
        axis.axhline(chance, color=COLOURS[place % len(COLOURS)], linewidth=0.8, linestyle=(0, (1, 3)))
    axis.plot([], [], color=GREY, linewidth=0.8, linestyle=(0, (1, 3)), label="chance: the share of the class")
    axis.set(xlabel="recall (sensitivity)", ylabel="precision (positive predictive value)")
    return _square(figure, axis, "lower left")


def reliability(bins: Bins, classes: Sequence[str], caption: str = "") -> Figure:
    """Stated probabilities against what was found, with the exact interval of each bin, over the images in each."""
    figure, (axis, below) = canvas(4.8, 5.6, caption, rows=2, heights=(5, 1))
    found = bins.hits / bins.counts
    ends = np.array([counted(int(h), int(n)) for h, n in zip(bins.hits, bins.counts, strict=True)]).T
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (1, 3)), label="they mean what they say")
    axis.errorbar(
        bins.stated, found, yerr=[np.maximum(found - ends[0], 0), np.maximum(ends[1] - found, 0)], fmt="o-",
        color=COLOURS[0], linewidth=1, capsize=3, clip_on=False, label="found; 95% interval, images as independent",
    )  # fmt: skip
    two = len(classes) == 2
    axis.set_ylabel(f"share that is {classes[1]}" if two else "share that is right")
    below.vlines(bins.stated, 0, bins.counts, color=COLOURS[0], linewidth=3, clip_on=False)
    few, most = bins.counts.min(), bins.counts.max()
    below.set(
        xlabel=f"stated probability of {classes[1]}" if two else "stated probability of the label", xlim=(0, 1),
        ylim=(0, most * 1.05), yticks=sorted({0, int(most)}),
        ylabel=f"images in a bin\n({few}{f' to {most}' if most > few else ''})",
    )  # fmt: skip
    below.yaxis.label.set_fontsize(8)
    _square(figure, axis, "upper left" if found[-1] < 0.5 or found[0] < 0.5 else "lower right")
    axis.set_aspect("auto")  # as wide as the axis below
    return figure


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
            *points[own].T, s=size, marker=_MARKERS[label % len(_MARKERS)], color=COLOURS[label % len(COLOURS)],
            alpha=0.75, linewidths=0, label=f"{name} ({int(own.sum())})",
        )  # fmt: skip
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


def leaderboard(rows: Sequence[Mapping[str, Any]], chance: float, caption: str = "") -> Figure:
    """Accuracy of each model: cross-validated with the spread over folds, and on test with its interval."""
    figure, (axis,) = canvas(7.2, 1.6 + 0.42 * len(rows), caption)
    places = np.arange(len(rows))[::-1]
    low, high = np.array([row["test"]["accuracy_ci"] for row in rows]).T
    test = np.array([row["test"]["accuracy"] for row in rows])
    axis.errorbar(
        test, places - 0.13, xerr=[np.maximum(test - low, 0), np.maximum(high - test, 0)], fmt="o", color=COLOURS[0],
        capsize=3, label="test, 95% interval",
    )  # fmt: skip
    cv, std = (np.array([row[name] for row in rows]) for name in ("cv_score", "cv_std"))
    axis.errorbar(cv, places + 0.13, xerr=std, fmt="s", mfc="white", color=COLOURS[1], capsize=3,
                  label="cross-validation, best of its grid, ± deviation over folds")  # fmt: skip
    axis.axvline(chance, color=GREY, linestyle=":", linewidth=1, label="most frequent class")
    axis.set_yticks(places, [row["name"] for row in rows])
    axis.set(xlabel="accuracy", xlim=(None, 1.01))
    axis.grid(axis="x", linewidth=0.3)
    figure.legend(loc="outside lower center", frameon=False, fontsize=8)
    return figure


def speeds(rows: Sequence[Mapping[str, Any]], unit: str, caption: str = "") -> Figure:
    """Bars of the pace of each contender (or of its seconds, where there is no unit), whiskers from least to most; a roof is
    a line. ``rows`` are those of :func:`heads.benchmark.timing.rows`."""
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
            axis.annotate(row["name"], (row[name], -0.5), (0, 3), textcoords="offset points", ha="center", va="bottom",
                          fontsize=8, color=COLOURS[6], annotation_clip=False)  # fmt: skip
    most = max((middle + spread[1]).max(), *(row[name] for row in rows))
    axis.set_xlim(right=most * 1.15)
    axis.set(yticks=places, yticklabels=[row["name"] for row in bars], xlabel=label)
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
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


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, bbox_inches="tight", facecolor="white")
    atomic_files.write_bytes(path, buffer.getbuffer())
    return path


def canvas(
    width: float, height: float, caption: str, columns: int = 1, rows: int = 1, heights: Sequence[float] | None = None
) -> tuple[Figure, Sequence[Any]]:
    """An empty figure and its axes, row by row; sizes in inches."""
    figure = _plain_figure()(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, height_ratios=heights).ravel())
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    if caption:
        figure.suptitle(caption, fontsize=8.5, color="#333333", x=0.01, ha="left")
    return figure, axes


@functools.cache
def _plain_figure() -> type[Figure]:
    """A figure that draws every text as it is written: a ``$`` in a class name begins no formula, and what is no
    character, as in a file name that is not UTF-8, is drawn as a question mark."""
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


def _apart(points: np.ndarray, rows: np.ndarray) -> list[int]:
    """Those rows whose names can stand beside them without covering one another, at most 20."""
    across, up = np.maximum(np.ptp(points, axis=0), 1e-9) * (0.28, 0.03)  # size of a name
    chosen: list[int] = []
    for row in rows.tolist():
        gaps = np.abs(points[chosen] - points[row])
        if len(chosen) < 20 and not ((gaps[:, 0] < across) & (gaps[:, 1] < up)).any():
            chosen.append(row)
    return chosen


def _positives(y: np.ndarray, classes: Sequence[str]) -> list[tuple[int, int]]:
    """Place in the picture and label of each curve: of two classes one, else every class that has rows and others."""
    labels = [1] if len(classes) == 2 else range(len(classes))
    return [(place, label) for place, label in enumerate(labels) if 0 < (y == label).sum() < len(y)]


def _line(axis: Any, place: int, x: np.ndarray, y: np.ndarray, label: str) -> None:
    kind = {"color": COLOURS[place % len(COLOURS)], "linestyle": _LINES[place % len(_LINES)]}
    axis.plot(x, y, label=label, linewidth=1.8, clip_on=False, **kind)


def _square(figure: Figure, axis: Any, corner: str) -> Figure:
    axis.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    axis.legend(loc=corner, frameon=False, fontsize=8)
    return figure
