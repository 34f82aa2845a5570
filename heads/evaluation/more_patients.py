"""What a learning curve says of more patients, as plain values and sentences; or why it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .curve_scores import CURVES
from .learning_curve import LearningCurve
from .learning_forecast import FARTHEST, LEVEL, Measured, PowerLaws, differ_enough, measured
from .metric_titles import TITLES

FEWEST = 20  # patients, and of each class or label
FEWEST_OF_EACH = 5
_COUNTS = 0.005  # of a gain: less is none
_DRAWN = 20  # points of a law, as drawn


def what_more_buys(curve: LearningCurve, kind: str, classes: Sequence[str], more: Sequence[int]) -> dict[str, Any]:
    """The curve, its law, and forecasts: of the headline, and of each class or label.

    Parameters
    ----------
    curve : what was measured.
    kind : of the task.
    classes : names of the targets.
    more : how many patients more, each above 0.

    Returns
    -------
    ``metric``, ``lower_is_better``, ``level`` (of the intervals), ``patients``, ``curve``, ``fit``, ``law``,
    ``forecast``, ``cannot_say``, ``said``, ``classes`` and ``most_to_gain``, as
    :func:`heads.learning_curve` describes them.
    """
    of = CURVES[kind]
    lower = kind == "number"
    few = _too_few(curve, kind, classes)
    told = _told(curve, None, lower, TITLES[of.metric], more, few)
    each: dict[str, Any] = {}
    for place, name in enumerate(classes):
        if not curve.judged[place]:
            each[name] = {"patients": int(curve.having[place]), "cannot_say": "too few patients to judge it by"}
            continue
        own = _told(curve, place, lower, f"{TITLES[of.of_target]} of {name}", more, few) if len(classes) > 1 else told
        own = {key: value for key, value in own.items() if key != "law"}
        each[name] = {"patients": int(curve.having[place]), **own}
    return {
        "metric": of.metric,
        "of_each": of.of_target,
        "lower_is_better": lower,
        "level": LEVEL,
        "patients": int(curve.patients[-1]),
        **told,
        "classes": each,
        "most_to_gain": _most_to_gain(each),
    }


def _too_few(curve: LearningCurve, kind: str, classes: Sequence[str]) -> str | None:
    patients = int(curve.patients[-1])
    if patients < FEWEST:
        return f"{patients} patients are too few to draw a law through; it takes {FEWEST} or more"
    for name, count in zip(classes, curve.having, strict=True) if kind == "classes" else ():
        if count < FEWEST_OF_EACH:
            return f"of {name} there are {count} patients; it takes {FEWEST_OF_EACH} or more of each class"
    if not differ_enough(curve):
        return (
            f"with so few patients of each kind the smallest subset already has {int(curve.patients[0])} of {patients}"
        )
    return None


def _told(
    curve: LearningCurve, target: int | None, lower: bool, name: str, more: Sequence[int], few: str | None
) -> dict[str, Any]:
    """Of one score."""
    of = measured(curve, target, lower)
    patients = int(curve.patients[-1])
    sign = -1 if lower else 1
    ends = _within(of.limits(), lower)
    points = [
        {"patients": int(n), "images": int(images), "score": sign * float(value), "low": low, "high": high}
        for n, images, value, (low, high) in zip(curve.patients, curve.images, of.values, ends, strict=True)
    ]
    why = few or _flat(of, curve, name, lower)
    laws = PowerLaws(of) if why is None else None
    if laws is not None and laws.only_begun():
        why = f"the {name} has only begun to {'fall' if lower else 'rise'}, and where that ends cannot be seen yet"
    if laws is None or why is not None:
        said = f"Cannot say what more patients would buy: {why}."
        nothing = [_unsaid(extra, patients, said) for extra in more]
        return {"curve": points, "fit": None, "law": [], "forecast": nothing, "cannot_say": why, "said": said}
    best = laws.likeliest()
    limit = _within(laws.limit()[None, [0, 2]], lower)[0]
    forecast = [_forecast(laws, extra, patients, name, points[-1]["score"], lower) for extra in more]
    drawn = max([asked["patients"] for asked in forecast if asked["score"] is not None], default=patients)
    return {
        "curve": points,
        "fit": {
            "form": "a + b (n + n0)^-c" if lower else "a - b (n + n0)^-c",
            **best,
            "a": max(0.0, -best["a"]) if lower else best["a"],
            "a_ci": list(limit),
        },
        "law": _law(laws, curve, drawn, lower) if target is None else [],
        "forecast": forecast,
        "cannot_say": None,
        "said": forecast[0]["said"],
    }


def _law(laws: PowerLaws, curve: LearningCurve, farthest: int, lower: bool) -> list[dict[str, float]]:
    """The law from the smallest subset to the farthest forecast."""
    all_of_them = int(curve.patients[-1])
    until, beyond = (
        np.geomspace(start, end, _DRAWN) for start, end in ((curve.patients[0], all_of_them), (all_of_them, farthest))
    )
    drawn = []
    for n in np.r_[until, beyond[1:] if farthest > all_of_them else []]:
        # Of a subset's patients some are always held out, of all of them the most.
        learnt = np.interp(n, curve.patients, curve.learnt) if n < all_of_them else curve.learnt[-1] * n / all_of_them
        low, middle, high = laws.at(float(learnt / curve.learnt[-1]))
        (low, high), (middle, _) = _within(np.array([[low, high], [middle, middle]]), lower)
        drawn.append({"patients": float(n), "score": middle, "low": low, "high": high})
    return drawn


def _forecast(laws: PowerLaws, more: int, patients: int, name: str, now: float, lower: bool) -> dict[str, Any]:
    if patients + more > FARTHEST * patients:
        most = (FARTHEST - 1) * patients
        why = (
            f"Cannot say what {more:,} more patients would buy: no forecast is trusted beyond {FARTHEST} times the "
            f"patients that are there; ask for {most:,} more at most."
        )
        return _unsaid(more, patients, why)
    found = laws.forecast((patients + more) / patients)
    (low, high), (score, _) = _within(np.array([found.score[[0, 2]], found.score[[1, 1]]]), lower)
    least, gain, most_gain = (float(value) for value in found.gain)
    return {
        "more": more,
        "patients": patients + more,
        "score": score,
        "score_ci": [low, high],
        "gain": gain,
        "gain_ci": [least, most_gain],
        "said": _sentence(more, patients + more, name, (least, gain, most_gain), now, (low, high), lower),
    }


def _unsaid(more: int, patients: int, said: str) -> dict[str, Any]:
    return {
        "more": more,
        "patients": patients + more,
        "score": None,
        "score_ci": None,
        "gain": None,
        "gain_ci": None,
        "said": said,
    }


def _flat(of: Measured, curve: LearningCurve, name: str, lower: bool) -> str | None:
    """Why no law can be drawn through a curve that does not rise; None where it does."""
    low, rise, high = of.rise()
    if low > 0:
        return None
    if lower:
        low, rise, high = -high, -rise, -low
    return (
        f"from {curve.patients[0]} to {curve.patients[-1]} patients the {name} changes by {_signed(rise)} "
        f"({_signed(low)} to {_signed(high)}), which may be chance alone"
    )


def _sentence(
    more: int,
    patients: int,
    name: str,
    gain: tuple[float, float, float],
    now: float,
    score: tuple[float, float],
    lower: bool,
) -> str:
    """As a physician may read it."""
    least, middle, most = gain
    way = "lower" if lower else "raise"
    low, high = map(_plain, score)
    after = f"measured with all {patients:,} it would be {low} to {high}, with {_plain(now)} now"
    if least > _COUNTS * (abs(now) if lower else 1):
        said = f"would {way} the {name} by some {_plain(middle)} ({_plain(least)} to {_plain(most)})"
    elif most < 2 * _COUNTS * (abs(now) if lower else 1):
        said = f"would hardly change the {name}: by {_signed(-most if lower else most)} at most"
    else:
        least, most = (-most, -least) if lower else (least, most)
        said = (
            f"may {way} the {name} by some {_plain(middle)}, and may do nothing ({_signed(least)} to {_signed(most)})"
        )
    return f"{more:,} more patients {said}; {after}."


def gain_in_words(forecast: Mapping[str, Any]) -> tuple[str, str]:
    """A gain that a forecast states, and the ends of its interval: ``+0.02`` and ``0.00 to +0.04``."""
    ends = (forecast["gain"], *forecast["gain_ci"])
    value, low, high = ("0.00" if abs(end) < 0.005 else f"{end:+.2f}" for end in ends)
    return value, f"{low} to {high}"


def _most_to_gain(each: dict[str, Any]) -> str | None:
    """Whose score rises most, by the first forecast, of those that are shown to rise by something that counts."""
    gains = {
        name: one["forecast"][0]["gain"]
        for name, one in each.items()
        if one.get("forecast") and one["forecast"][0]["gain"] is not None and one["forecast"][0]["gain_ci"][0] > _COUNTS
    }
    return max(gains, key=lambda name: float(gains[name])) if len(each) > 1 and gains else None


def _within(ends: np.ndarray, lower: bool) -> list[tuple[float, float]]:
    """Pairs of ends of scores that are higher where better, as they are measured, and none that cannot be."""
    pairs = -ends[:, ::-1] if lower else ends
    return [(float(low), float(high)) for low, high in np.clip(pairs, 0, None if lower else 1)]


def _plain(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.3g}"


def _signed(value: float) -> str:
    return "0.00" if round(value, 2) == 0 else f"{value:+.2f}" if abs(value) < 10 else f"{value:+.3g}"
