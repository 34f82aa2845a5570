"""What more images would buy, as plain values that a page draws: scores by patients, the law, and forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..evaluation.metric_titles import TITLES
from ..evaluation.more_patients import gain_in_words
from .run_reader import Run
from .shown_metrics import title_of

_WIDE, _HIGH = 160.0, 80.0  # the box, which grows downwards


def forecast_view(run: Run) -> dict[str, Any]:
    """A run of ``learning-curve``.

    ``title features run said cannot_say metric of_each lower most_to_gain``; ``chart``, ``ticks`` of both axes,
    ``points`` and ``asked`` (``x y low high``), ``lines`` and ``bands`` of the law up to the patients that are there
    and beyond, and ``there``; ``forecasts``, rows of the table; ``classes``, ``name patients now gain``.
    """
    about = run.about
    several = len(run.classes) > 1
    return {
        "title": title_of(run.kind, run.classes),
        "features": about["feature_set"],
        "run": run.folder.name,
        "said": about["said"],
        "cannot_say": about.get("cannot_say"),
        "metric": TITLES[about["metric"]],
        "of_each": TITLES[about["of_each"]],
        "lower": about["lower_is_better"],
        "most_to_gain": about.get("most_to_gain"),
        "chart": _chart(about),
        "now": about["curve"][-1],
        "forecasts": [_told(one, about["lower_is_better"]) for one in about["forecast"]],
        "classes": [_class(name, one) for name, one in about["classes"].items()] if several else [],
    }


def _class(name: str, one: Mapping[str, Any]) -> dict[str, Any]:
    first = next(iter(one.get("forecast") or ()), None)
    gain = None
    if first is not None and first.get("gain") is not None and first.get("gain_ci"):
        gain = gain_in_words(first)
    now = (one.get("curve") or [None])[-1]
    return {"name": name, "patients": one["patients"], "now": now, "gain": gain, "why": one.get("cannot_say")}


def _told(one: Mapping[str, Any], lower: bool) -> dict[str, Any]:
    """A row of the table: ``more``, and as text ``score range`` and ``gain``, None where nothing is said."""
    if one.get("score") is None or not one.get("score_ci") or one.get("gain") is None or not one.get("gain_ci"):
        return {"more": one["more"], "score": None}
    score, low, high = (f"{value:.3g}" if lower else f"{value:.2f}" for value in (one["score"], *one["score_ci"]))
    return {"more": one["more"], "score": score, "range": f"{low} to {high}", "gain": gain_in_words(one)}


def _chart(about: Mapping[str, Any]) -> dict[str, Any]:
    from matplotlib.ticker import MaxNLocator

    curve, law = about["curve"], about.get("law") or []
    asked = [one for one in about["forecast"] if one.get("score") is not None and one.get("score_ci")]
    ends = [point[end] for point in (*curve, *law) for end in ("low", "high")]
    ends += [end for one in asked for end in one["score_ci"]]
    there = curve[-1]["patients"]
    most = max([there, *(one["patients"] for one in asked), *(point["patients"] for point in law)])
    steps = [1, 2, 2.5, 5, 10]
    across: Any = MaxNLocator(5, steps=steps, integer=True).tick_values(0, most)
    up: Any = MaxNLocator(5, steps=steps).tick_values(min(ends), max(max(ends), min(ends) + 1e-3))
    low, high = float(up[0]), float(up[-1])

    def x(patients: float) -> float:
        return round(_WIDE * patients / (1.04 * most), 2)

    def y(score: float) -> float:
        return round(_HIGH * (high - score) / (high - low), 2)

    def placed(point: Mapping[str, Any], ends: Sequence[float]) -> dict[str, float]:
        return {"x": x(point["patients"]), "y": y(point["score"]), "low": y(ends[0]), "high": y(ends[1])}

    parts = {
        "now": [point for point in law if point["patients"] <= there],
        "later": [point for point in law if point["patients"] >= there],
    }
    return {
        "wide": _WIDE,
        "high": _HIGH,
        "there": x(there),
        "across": [{"at": x(tick), "text": f"{tick:,.0f}"} for tick in across.tolist() if 0 <= tick <= 1.04 * most],
        "up": [{"at": y(tick), "text": f"{tick:g}"} for tick in up.tolist()],
        "points": [placed(point, (point["low"], point["high"])) for point in curve],
        "asked": [placed(one, one["score_ci"]) for one in asked],
        "lines": {name: _path((x(p["patients"]), y(p["score"])) for p in part) for name, part in parts.items() if part},
        "bands": {
            name: _path(
                [(x(p["patients"]), y(p["high"])) for p in part]
                + [(x(p["patients"]), y(p["low"])) for p in reversed(part)]
            )
            for name, part in parts.items()
            if part
        },
    }


def _path(points: Any) -> str:
    return " ".join(f"{x},{y}" for x, y in points)
