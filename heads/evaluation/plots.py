"""Pictures of one model: learning curves, confusion, ROC, precision and recall, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import metrics

from .canvas import COLOURS, GREY, LINES, canvas
from .intervals import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .reliability import Bins


def learning_curves(history: Mapping[str, Sequence[float]], best_epoch: int | None = None, caption: str = "") -> Figure:
    """The metric and the loss after each epoch, in training and in validation; ``best_epoch`` is marked.

    The metric is accuracy (of several labels the share of known ones that are right), of a number ``mae``.
    """
    figure, axes = canvas(9, 3.6, caption, columns=2)
    metric = "accuracy" if "accuracy" in history else "mae"
    called = {"mae": "mean absolute error", "loss": f"loss ({'cross-entropy' if metric == 'accuracy' else 'scaled'})"}
    for axis, name in zip(axes, (metric, "loss"), strict=True):
        epochs = np.arange(1, len(history[name]) + 1)
        small = {"marker": ".", "markevery": 1} if len(epochs) < 3 else {}
        axis.plot(epochs, history[name], color=COLOURS[0], label="training", **small)
        if f"val_{name}" in history:
            axis.plot(epochs, history[f"val_{name}"], color=COLOURS[1], linestyle="--", label="validation", **small)
        if best_epoch and best_epoch < len(epochs):
            axis.axvline(best_epoch, color=GREY, linestyle=":", linewidth=1, label=f"weights kept (epoch {best_epoch})")
        axis.set(xlabel="epoch", ylabel=called.get(name, name))
        axis.xaxis.get_major_locator().set_params(integer=True)
    if metric == "accuracy":
        axes[0].set_ylim(top=1.02)
    else:
        axes[0].set_ylim(bottom=0)
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


def reliability_diagram(bins: Bins, classes: Sequence[str], caption: str = "") -> Figure:
    """Stated probabilities against what was found, with the exact interval of each bin, over the images in each."""
    figure, (axis, below) = canvas(4.8, 5.6, caption, rows=2, heights=(5, 1))
    found = bins.hits / bins.counts
    ends = np.array([counted(int(h), int(n)) for h, n in zip(bins.hits, bins.counts, strict=True)]).T
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (1, 3)), label="they mean what they say")
    axis.errorbar(
        bins.stated,
        found,
        yerr=[np.maximum(found - ends[0], 0), np.maximum(ends[1] - found, 0)],
        fmt="o-",
        color=COLOURS[0],
        linewidth=1,
        capsize=3,
        clip_on=False,
        label="found; 95% interval, images as independent",
    )
    two = len(classes) == 2
    axis.set_ylabel(f"share that is {classes[1]}" if two else "share that is right")
    below.vlines(bins.stated, 0, bins.counts, color=COLOURS[0], linewidth=3, clip_on=False)
    few, most = bins.counts.min(), bins.counts.max()
    below.set(
        xlabel=f"stated probability of {classes[1]}" if two else "stated probability of the label",
        xlim=(0, 1),
        ylim=(0, most * 1.05),
        yticks=sorted({0, int(most)}),
        ylabel=f"images in a bin\n({few}{f' to {most}' if most > few else ''})",
    )
    below.yaxis.label.set_fontsize(8)
    _square(figure, axis, "upper left" if found[-1] < 0.5 or found[0] < 0.5 else "lower right")
    axis.set_aspect("auto")  # as wide as the axis below
    return figure


def _positives(y: np.ndarray, classes: Sequence[str]) -> list[tuple[int, int]]:
    """Place in the picture and label of each curve: of two classes one, else every class that has rows and others."""
    labels = [1] if len(classes) == 2 else range(len(classes))
    return [(place, label) for place, label in enumerate(labels) if 0 < (y == label).sum() < len(y)]


def _line(axis: Any, place: int, x: np.ndarray, y: np.ndarray, label: str) -> None:
    kind = {"color": COLOURS[place % len(COLOURS)], "linestyle": LINES[place % len(LINES)]}
    axis.plot(x, y, label=label, linewidth=1.8, clip_on=False, **kind)


def _square(figure: Figure, axis: Any, corner: str) -> Figure:
    axis.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    axis.legend(loc=corner, frameon=False, fontsize=8)
    return figure
