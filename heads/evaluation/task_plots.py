"""Pictures of what is no class: predicted numbers against true ones, figures of many labels, and of subgroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .canvas import COLOURS, GREY, canvas
from .metric_titles import TITLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DENSE = 2000  # points from which on they are drawn as a density


def predicted_against_true(
    y: np.ndarray, predicted: np.ndarray, test: Mapping[str, Any], name: str, caption: str = ""
) -> Figure:
    """Predictions over the true numbers, with the line on which they are equal, and the figures that tell the errors.

    Parameters
    ----------
    y, predicted : arrays of shape (n,).
    test : as :func:`heads.evaluation.number_metrics.evaluate_numbers` gives it.
    name : of the number.
    """
    figure, (axis,) = canvas(5.0, 5.0, caption)
    low, high = (float(end(np.r_[y, predicted])) for end in (np.min, np.max))
    margin = 0.04 * (high - low) or 1.0
    ends = (low - margin, high + margin)
    dense = len(y) > _DENSE
    line = {"color": "black" if dense else GREY, "linewidth": 1.0, "linestyle": (0, (4, 3))}
    axis.plot(ends, ends, label="predicted = true", zorder=3, **line)
    if dense:
        axis.hexbin(y, predicted, gridsize=55, extent=(*ends, *ends), mincnt=1, bins="log", cmap="Blues", linewidths=0)
        axis.plot([], [], "h", color=COLOURS[0], markersize=6, label="images, the darker the more")
    else:
        alpha = float(np.clip(60 / len(y) ** 0.75, 0.25, 0.8))
        axis.scatter(y, predicted, s=16, color=COLOURS[0], alpha=alpha, linewidths=0, label="an image")
    lines = [f"n = {test['n']:,}", _with_interval("MAE", test, "mae"), _with_interval("R2", test, "r2")]
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2}
    axis.text(0.03, 0.97, "\n".join(lines), transform=axis.transAxes, va="top", fontsize=8.5, bbox=box, zorder=4)
    axis.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"true {name}", ylabel=f"predicted {name}")
    axis.legend(loc="lower right", frameon=False, fontsize=8)
    return figure


def label_chart(test: Mapping[str, Any], caption: str = "") -> Figure:
    """ROC area and average precision of each label with their intervals, the best area first, means above.

    Labels of too few images stand below in grey.

    Parameters
    ----------
    test : as :func:`heads.evaluation.label_metrics.evaluate_labels` gives it.
    """
    labels = test["labels"]
    told = sorted(
        (one for one in labels if labels[one]["roc_auc"] is not None), key=lambda one: -labels[one]["roc_auc"]
    )
    few = [one for one in labels if labels[one]["roc_auc"] is None]
    names = (["mean"] if told else []) + told + few
    figure, axes = canvas(8.6, 1.5 + 0.3 * len(names), caption, columns=2)
    places = list(range(len(names)))
    for axis, figure_name, title, chance in (
        (axes[0], "roc_auc", "ROC area", lambda one: 0.5),
        (axes[1], "average_precision", "average precision", lambda one: labels[one]["prevalence"]),
    ):
        for place, name in zip(places, names, strict=True):
            if name in few:
                axis.text(0.5, place, "too few", color=GREY, fontsize=8, style="italic", va="center", ha="center")
                continue
            mean = place == 0
            value, ends = (test[f"mean_{figure_name}"], test[f"mean_{figure_name}_ci"]) if mean else (
                labels[name][figure_name], labels[name][f"{figure_name}_ci"]
            )  # fmt: skip
            _dot(axis, value, ends, place, "black" if mean else COLOURS[0], "D" if mean else "o")
            if not mean:
                axis.plot([chance(name)] * 2, [place - 0.28, place + 0.28], color=GREY, linewidth=1.2)
        axis.set(xlim=(0, 1.02), ylim=(len(names) - 0.4, -0.6), xlabel=title)
        axis.set_xticks(np.linspace(0, 1, 6), ["0", "0.2", "0.4", "0.6", "0.8", "1"], fontsize=8.5)
        axis.grid(axis="x", linewidth=0.3)
        axis.set_axisbelow(True)
    axes[0].set_yticks(places, [_counted(one, labels[one]) if one in labels else one for one in names], fontsize=8.5)
    axes[0].set_title("in brackets: images that have it, of those that know", fontsize=8, color=GREY, loc="left")
    axes[1].set_yticks(places, [""] * len(names))
    for tick, name in zip(axes[0].get_yticklabels(), names, strict=True):
        tick.set_color(GREY if name in few else "black")
    axes[0].plot([], [], "o", color=COLOURS[0], label="a label, 95% interval")
    axes[0].plot([], [], "D", color="black", label="mean of the labels that are told")
    axes[0].plot([], [], "|", color=GREY, markersize=9, label="chance")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def subgroup_chart(found: Mapping[str, Any], caption: str = "") -> Figure:
    """The figure of each subgroup with its interval, by column; beside each column whether its gap is chance.

    Parameters
    ----------
    found : as :func:`heads.evaluation.subgroup_metrics.subgroup_metrics` gives it.
    """
    columns = found["columns"]
    rows = sum(len(about["subgroups"]) + 1 for about in columns.values())
    figure, (axis,) = canvas(7.4, 1.3 + 0.29 * rows, caption)
    ends = [end for about in columns.values() for part in about["subgroups"].values() for end in part["ci"] or ()]
    left, right = (min(ends), max(ends)) if ends else (0.0, 1.0)
    ticks: list[tuple[float, str, bool]] = []
    place = 0
    for number, (column, about) in enumerate(columns.items()):
        colour = COLOURS[number % 4]
        axis.text(0.012, place, column, transform=axis.get_yaxis_transform(), fontsize=9, weight="bold", va="center")
        axis.text(
            1.0, place, _gap(about["gap"]), transform=axis.get_yaxis_transform(), fontsize=8, va="center", ha="right",
            color="black" if about["gap"] and about["gap"]["shown"] else GREY,
        )  # fmt: skip
        for name, part in about["subgroups"].items():
            place += 1
            there = part["value"] is not None
            ticks.append((place, _counted(name, part), there))
            if there:
                _dot(axis, part["value"], part["ci"], place, colour, "o")
            else:
                centre = (left + right) / 2
                axis.text(centre, place, part["note"], color=GREY, fontsize=8, style="italic", va="center", ha="center")
        place += 1
        axis.axhline(place - 0.5, color="#DDDDDD", linewidth=0.6)
    margin = 0.06 * (right - left) or 0.1
    title = TITLES[found["metric"]]
    better = "more" if found["higher_is_better"] else "less"
    axis.set(
        xlim=(left - margin, right + margin),
        ylim=(place - 0.4, -0.7),
        xlabel=f"{title}, 95% interval ({better} is better)",
    )
    axis.set_yticks([at for at, _, _ in ticks], [text for _, text, _ in ticks], fontsize=8.5)
    for tick, (_, _, there) in zip(axis.get_yticklabels(), ticks, strict=True):
        tick.set_color("black" if there else GREY)
    axis.grid(axis="x", linewidth=0.3)
    axis.set_axisbelow(True)
    return figure


def _dot(axis: Any, value: float, ends: Sequence[float] | None, place: float, colour: str, marker: str) -> None:
    reached = None if ends is None else [[max(value - ends[0], 0)], [max(ends[1] - value, 0)]]
    axis.errorbar(value, place, xerr=reached, fmt=marker, color=colour, capsize=3, markersize=5.5, linewidth=1.2)


def _with_interval(title: str, test: Mapping[str, Any], name: str) -> str:
    value, ends = test[name], test[f"{name}_ci"]
    if value is None:
        return f"{title} not defined"
    return f"{title} {value:#.3g}" + (f" ({ends[0]:#.3g} to {ends[1]:#.3g})" if ends else "")


def _counted(name: str, about: Mapping[str, Any]) -> str:
    if "n" in about:
        return f"{name} ({about['positives']:,} of {about['n']:,})"
    positives = f", {about['positives']:,} positive" if isinstance(about["positives"], int) else ""
    return f"{name} ({about['images']:,} images of {about['patients']:,} patients{positives})"


def _gap(gap: Mapping[str, Any] | None) -> str:
    if gap is None:
        return "nothing to compare"
    told = f"gap {gap['difference']:#.2g}, p = {gap['p_corrected']:.2g} corrected"
    return told if gap["shown"] else f"{told}: may be chance"
