"""The picture of a learning curve: what was measured, the law through it, and what it forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .canvas import COLOURS, GREY, LINES, MARKERS, canvas
from .metric_titles import TITLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_EACH = {"recall": "class", "roc_auc": "label"}
_SHAPES = 8  # classes drawn: more could not be told apart


def forecast_chart(told: Mapping[str, Any], law: Sequence[Mapping[str, float]], caption: str = "") -> Figure:
    """The headline with its law and forecasts; beside it the same of each class or label, where there are several.

    Parameters
    ----------
    told : as :func:`heads.evaluation.more_patients.what_more_buys` gives it.
    law : points ``patients score low high``; none where nothing can be said.
    caption : what it is of.
    """
    each = [(name, one) for name, one in told["classes"].items() if one.get("curve")]
    each = sorted(each, key=lambda item: -item[1]["patients"])[:_SHAPES] if len(told["classes"]) > 1 else []
    figure, axes = canvas(9.4 if each else 5.6, 4.0, caption, columns=2 if each else 1)
    _headline(axes[0], told, law)
    if each:
        _each(axes[1], each, f"{TITLES[told['of_each']]} of each {_EACH[told['of_each']]}")
    return figure


def _headline(axis: Any, told: Mapping[str, Any], law: Sequence[Mapping[str, float]]) -> None:
    curve, there = told["curve"], told["curve"][-1]["patients"]
    colour = COLOURS[0]
    for later, dash in ((False, "-"), (True, "--")):
        part = [point for point in law if (point["patients"] >= there if later else point["patients"] <= there)]
        if part:
            x = [point["patients"] for point in part]
            low, high = ([point[end] for point in part] for end in ("low", "high"))
            axis.fill_between(x, low, high, color=colour, alpha=0.10 if later else 0.18, linewidth=0)
            label = "what the law forecasts" if later else "the law, 90% band"
            axis.plot(x, [point["score"] for point in part], color=colour, linestyle=dash, label=label)
    x, y = ([point[key] for point in curve] for key in ("patients", "score"))
    ends = [[p["score"] - p["low"] for p in curve], [p["high"] - p["score"] for p in curve]]
    bars = {"color": "black", "markersize": 4.5, "elinewidth": 0.9, "capsize": 0, "zorder": 3}
    axis.errorbar(x, y, yerr=ends, fmt="o", label="measured, 90% interval", **bars)
    asked = [one for one in told["forecast"] if one["score"] is not None]
    if asked:
        x, y = ([one[key] for one in asked] for key in ("patients", "score"))
        ends = [[o["score"] - o["score_ci"][0] for o in asked], [o["score_ci"][1] - o["score"] for o in asked]]
        bars = {"color": COLOURS[6], "markersize": 5.5, "elinewidth": 1.2, "capsize": 3, "zorder": 3}
        axis.errorbar(x, y, yerr=ends, fmt="D", markerfacecolor="white", label="as it would be measured", **bars)
    axis.axvline(there, color=GREY, linewidth=0.8, linestyle=":")
    axis.annotate(
        f"{there:,} there", (there, 1), (3, -9), xycoords=("data", "axes fraction"), textcoords="offset points",
        fontsize=8, color=GREY,
    )  # fmt: skip
    axis.set(xlabel="patients", ylabel=TITLES[told["metric"]])
    axis.set_xlim(left=0)
    axis.legend(loc="lower right", frameon=False, fontsize=8)
    if told["lower_is_better"]:
        axis.set_ylim(bottom=0)
    else:
        axis.set_ylim(top=min(1.02, axis.get_ylim()[1]))


def _each(axis: Any, each: Sequence[tuple[str, Mapping[str, Any]]], called: str) -> None:
    for place, (name, one) in enumerate(each):
        # Of a class there are as many of each subset's patients as of all.
        share = one["patients"] / one["curve"][-1]["patients"]
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        x, y = ([point[key] for point in one["curve"]] for key in ("patients", "score"))
        x = [share * n for n in x]
        axis.plot(x, y, color=colour, marker=marker, markersize=4.5, linestyle=LINES[0], linewidth=1.2, label=name)
        later = [point for point in one["forecast"] if point["score"] is not None]
        if later:
            x = [x[-1], *(share * point["patients"] for point in later)]
            y = [y[-1], *(point["score"] for point in later)]
            axis.plot(x, y, color=colour, marker=marker, markersize=5, markerfacecolor="white", linestyle="--")
    axis.set(xlabel="patients with it", ylabel=called)
    axis.set_xlim(left=0)
    axis.set_ylim(top=1.02)
    axis.legend(loc="lower right", frameon=False, fontsize=8)
