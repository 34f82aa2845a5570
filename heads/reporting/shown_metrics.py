"""Which metrics of a test a page shows, and on which axis each is drawn: a table, by the kind of what was learnt."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..evaluation.listing import first_few
from ..evaluation.task_metrics import TASK_METRICS

_FAR = 4
Cell = dict[str, Any]  # ``value low high``, and as text ``text range``


@dataclass(frozen=True)
class Metric:
    """A column of a table of results.

    Attributes
    ----------
    name : its key in a test; the ends of its interval stand beside it, under ``name_ci``.
    title : what the page calls it.
    scale : ``share`` goes from 0 to 1; ``error`` is in the number's own unit, from 0 on; ``bias`` in the same, on both
        sides of 0; ``gain`` is 1 at best, and below 0 where a constant would have done better.
    chance : what says nothing scores, drawn as a dotted line; of classes it is the share of the most frequent one.
    """

    name: str
    title: str
    scale: Literal["share", "error", "bias", "gain"] = "share"
    chance: float | None = None


@dataclass(frozen=True)
class Axis:
    """Where a chart begins and ends, and where its dotted line is (None: nowhere)."""

    low: float
    high: float
    mark: float | None = None

    @property
    def ends(self) -> tuple[str, str]:
        """Both ends as they stand above the chart."""
        return f"{self.low:.3g}", f"{self.high:.3g}"


@dataclass(frozen=True)
class Shown:
    """What a page shows of one kind.

    Attributes
    ----------
    metrics : the first stands for all: models are ranked by it.
    names : what the names of this kind are called.
    mark : what the dotted line is.
    history : of learning curves, the columns drawn and what they are called.
    """

    metrics: tuple[Metric, ...]
    names: str
    mark: str
    history: tuple[tuple[str, str], ...]


SHOWN: dict[str, Shown] = {
    "classes": Shown(
        (
            Metric("accuracy", "accuracy"),
            Metric("balanced_accuracy", "balanced accuracy"),
            Metric("macro_f1", "macro F1"),
            Metric("roc_auc", "ROC area"),
        ),
        "classes",
        "what always naming the most frequent class would give",
        (("accuracy", "accuracy"), ("loss", "loss (cross-entropy)")),
    ),
    "labels": Shown(
        (
            Metric("mean_roc_auc", "mean ROC area", chance=0.5),
            Metric("mean_average_precision", "mean average precision"),
        ),
        "labels",
        "what guessing would give",
        (("accuracy", "share of known labels that are right"), ("loss", "loss (cross-entropy of known labels)")),
    ),
    "number": Shown(
        (
            Metric("mae", "mean absolute error", "error"),
            Metric("rmse", "root mean square error", "error"),
            Metric("r2", "R²", "gain", 0.0),
            Metric("spearman", "rank correlation", "gain", 0.0),
            Metric("mean_error", "bias", "bias", 0.0),
        ),
        "number",
        "what always naming one number would give; of the bias, none",
        (("mae", "mean absolute error"), ("loss", "loss (in standard deviations)")),
    ),
}


def score_title(name: str) -> str:
    """What a search's score is called; greater is better, so that errors are drawn below 0."""
    titles = {
        "accuracy": "accuracy",
        "mean_roc_auc": "mean ROC area",
        "neg_mean_absolute_error": "mean absolute error, with a minus",
        "neg_mae": "mean absolute error, with a minus",
    }
    return titles.get(name, name.replace("_", " "))


def title_of(kind: str, names: Sequence[str]) -> str:
    """What a table about these classes, labels or this number is called."""
    if kind == "labels" and len(names) > 1:
        return f"{len(names)} labels: {first_few(names, 4)}"
    return " / ".join(names)


def cells(test: Mapping[str, Any], kind: str) -> list[Cell | None]:
    """Metrics with their intervals, in the order of :data:`SHOWN`; None where there is too little to say."""
    return [cell_of(test, metric.name, metric.scale) for metric in SHOWN[kind].metrics]


def cell_of(test: Mapping[str, Any], name: str, scale: str = "share") -> Cell | None:
    """One metric; None without an interval, since no metric stands without one."""
    value, interval = test.get(name), test.get(f"{name}_ci")
    if value is None or interval is None:
        return None
    low, high = interval
    if scale in ("share", "gain"):
        text, ends = f"{value:.3f}", f"{low:.2f} to {high:.2f}"
    else:
        sign = "+" if scale == "bias" else ""
        digits = _digits(max(abs(value), (high - low) / 2))
        text, ends = f"{value:{sign}.{digits}f}", f"{low:{sign}.{digits}f} to {high:{sign}.{digits}f}"
    return {"value": value, "low": low, "high": high, "text": text, "range": ends}


def rank(cell: Cell | None, kind: str) -> float:
    """By which models are put in order, the best first; those of which too little is said come last."""
    if cell is None:
        return math.inf
    return float(cell["value"] if TASK_METRICS[kind].lower_is_better else -cell["value"])


def axes(kind: str, rows: Sequence[Sequence[Cell | None]], chance: float | None = None) -> list[Axis]:
    """An axis for each metric, from the cells of all rows; shares have one in common.

    ``chance`` is that of the first metric, where the data decides it.
    """
    metrics = SHOWN[kind].metrics
    first = metrics[0].chance if chance is None else chance
    # What is no better than chance would squeeze all else together: it is drawn as lying off the chart.
    better = [row for row in rows if first is None or row[0] is None or row[0]["low"] > first] or rows
    lows = [
        cell["low"]
        for row in better
        for cell, metric in zip(row, metrics, strict=True)
        if cell and metric.scale == "share"
    ]
    floor = math.floor(min([*lows, 0.9]) * 10) / 10
    found = []
    for place, metric in enumerate(metrics):
        own = [cell for row in rows if (cell := row[place]) is not None]
        mark = first if place == 0 else metric.chance
        if metric.scale == "share":
            found.append(Axis(floor, 1.0, mark))
        elif metric.scale == "gain":
            lowest = min([0.0, *(cell["low"] for cell in own)])
            found.append(Axis(max(-1.0, math.floor(lowest * 10) / 10), 1.0, mark))
        else:
            far = [max(abs(cell["low"]), abs(cell["high"])) for cell in own]
            # A model that is far worse than the middle one would squeeze the rest: it lies off the chart.
            reach = _above(min(max(far), _FAR * statistics.median_low(far))) if far else 1.0
            found.append(Axis(-reach if metric.scale == "bias" else 0.0, reach, mark))
    return found


def _digits(size: float) -> int:
    """Digits behind the point that show three of a number of this size."""
    return 2 if size == 0 else min(6, max(0, 2 - math.floor(math.log10(size))))


def _above(value: float) -> float:
    """The next round number."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next((step * unit for step in (1, 1.5, 2, 3, 4, 5, 6, 8) if step * unit >= value), 10 * unit)
