"""A picture of spreads: every value of each model, and how far each part of chance moves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .canvas import COLOURS, GREY, canvas
from .spread_parts import PARTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRAWN = 500  # values of a model; more would be one blot


def spread_chart(spreads: Mapping[str, Mapping[str, Any]], label: str, caption: str = "") -> Figure:
    """Left, a dot for each division and seed and a line at the mean; right, the parts as standard deviations.

    Parameters
    ----------
    spreads : of models by name, each as :meth:`heads.evaluation.spread_parts.Spread.about` tells it.
    label : what the metric is called.
    caption : above the picture.
    """
    names, count = list(spreads), len(spreads)
    figure, (values, parts) = canvas(9.0, 1.7 + 0.62 * count, caption, columns=2)
    places = np.arange(count)[::-1]
    for place, name in zip(places, names, strict=True):
        table = np.array(spreads[name]["values"], dtype=float)
        repeats, seeds = table.shape
        # Values of one division stand on one line, so that what the seed moves is seen along it.
        heights = np.repeat(place + np.linspace(0.3, -0.3, repeats + 2)[1:-1], seeds)
        step = max(1, table.size // _DRAWN)
        flat = table.ravel()[::step]
        values.plot(flat, heights[::step], "o", ms=3.5, mew=0, alpha=0.55, color=COLOURS[0])
        if spreads[name]["mean"] is not None:
            values.plot([spreads[name]["mean"]] * 2, [place - 0.36, place + 0.36], "-", color="black", lw=1.4)
        height = 0.22
        for number, (part, (_, _)) in enumerate(PARTS.items()):
            deviation, at = spreads[name]["parts"][part], place + (1 - number) * height
            if deviation is None:
                text = "not told apart"
            else:
                parts.barh(at, deviation, height * 0.86, color=COLOURS[number])
                text = "no seed" if part == "seed" and spreads[name]["has_seed"] is False else f"{deviation:.2g}"
            parts.annotate(text, (deviation or 0, at), (3, 0), textcoords="offset points", va="center", fontsize=7)
    values.set_yticks(places, names)
    values.set(xlabel=label, ylim=(-0.5, count - 0.5))
    values.grid(axis="x", linewidth=0.3)
    parts.set_yticks(places, [""] * count)
    parts.locator_params(axis="x", nbins=5)
    parts.set(xlabel="moves it by (standard deviation)", ylim=(-0.5, count - 0.5))
    parts.set_xlim(0, max(parts.get_xlim()[1] * 1.12, 1e-6))
    for axis in (values, parts):
        for edge in places[:-1] - 0.5:
            axis.axhline(edge, color=GREY, linewidth=0.3)
    handles = [_square(COLOURS[number], title) for number, (title, _) in enumerate(PARTS.values())]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _square(colour: str, title: str) -> Any:
    """A square of the legend."""
    from matplotlib.patches import Patch

    return Patch(color=colour, label=title)
