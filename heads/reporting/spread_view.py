"""What a page shows of spreads, as plain values: each model's values and parts, and which order of models survives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..evaluation.spread_parts import PARTS, compared, part_in_words
from ..evaluation.task_metrics import TASK_METRICS
from .shown_metrics import Axis

_DRAWN = 300  # values of a model; more would be one blot


def spread_view(board: Mapping[str, Any]) -> dict[str, Any] | None:
    """A table of the models of a board that have a spread; None where none has.

    Returns
    -------
    dict or None
        ``rows``, in the board's order, of ``name features run mean total parts dots has_seed winner repeats seeds``:
        ``parts`` have ``text``, ``share`` of the widest of all, and ``range``, a 95% interval where there is one;
        ``dots`` are places in a box of 100 by 100. ``axis``; ``explained``, names and words of the parts;
        ``survives``, of each model but the first that was judged on the same divisions how often the first is better;
        ``apart``, how many were judged on others.
    """
    rows = [row for row in board["rows"] if row.get("spread")]
    if not rows:
        return None
    tables = [_values(row["spread"]) for row in rows]
    known = np.concatenate([table[np.isfinite(table)] for table in tables])
    axis = _axis(known)
    deviations = [value for row in rows for value in row["spread"]["parts"].values() if value is not None]
    widest = max([0.0, *deviations])
    first, *others = rows
    beside = [row for row in others if row["spread"]["divisions"] == first["spread"]["divisions"]]
    return {
        "title": board["title"],
        "metric": board["shown"].metrics[0].title,
        "lower": board["lower"],
        "axis": axis,
        "rows": [_row(row, table, axis, widest) for row, table in zip(rows, tables, strict=True)],
        "explained": list(PARTS.values()),
        "first": f"{first['name']}, {first['features']}",
        "survives": [found for row in beside if (found := _survives(first, row, board["kind"]))],
        "apart": len(others) - len(beside),
    }


def _row(row: Mapping[str, Any], table: np.ndarray, axis: Axis, widest: float) -> dict[str, Any]:
    spread = row["spread"]
    return {
        **{name: row[name] for name in ("name", "features", "run")},
        **{name: spread[name] for name in ("has_seed", "repeats", "seeds")},
        "winner": spread.get("winner"),
        "mean": _number(spread["mean"]),
        "at": None if spread["mean"] is None else _at(spread["mean"], axis),
        "total": _number(spread["total"]),
        "parts": [
            {
                "text": part_in_words(spread, part, _shown),
                "share": (spread["parts"][part] or 0.0) / widest if widest else 0.0,
                "range": _range(spread) if part == "split" else "",
            }
            for part in PARTS
        ],
        "dots": _dots(table, axis),
        "still": spread["parts"]["test_images"] == 0,
    }


def _range(spread: Mapping[str, Any]) -> str:
    return " to ".join(_shown(end) for end in spread.get("split_ci") or ())


def _survives(first: Mapping[str, Any], other: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """How often the first is better, on divisions and seeds that both have."""
    one, two = _values(first["spread"]), _values(other["spread"])
    seeds = min(one.shape[1], two.shape[1])
    found = compared(one[:, :seeds], two[:, :seeds], TASK_METRICS[kind].lower_is_better)
    return found and {
        **found,
        "name": other["name"],
        "features": other["features"],
        "run": other["run"],
        "difference": f"{found['difference']:+.3g}",
    }


def _values(spread: Mapping[str, Any]) -> np.ndarray:
    return np.array(spread["values"], dtype=float)


def _dots(table: np.ndarray, axis: Axis) -> list[tuple[float, float]]:
    """Those of one division on one height, so that what the seed moves is seen along it."""
    heights = np.repeat(np.linspace(0, 100, len(table) + 2)[1:-1], table.shape[1])
    step = max(1, math.ceil(table.size / _DRAWN))
    flat = table.ravel()
    return [
        (_at(float(flat[i]), axis), round(float(heights[i]), 1))
        for i in range(0, table.size, step)
        if np.isfinite(flat[i])
    ]


def _axis(known: np.ndarray) -> Axis:
    """From below the lowest value to above the highest, in round numbers."""
    if not len(known):
        return Axis(0.0, 1.0)
    low, high = float(known.min()), float(known.max())
    unit = 10.0 ** math.floor(math.log10(max(high - low, 1e-3 * max(abs(low), abs(high), 1e-6))))
    return Axis(math.floor(low / unit) * unit, math.ceil(high / unit + 1e-9) * unit)


def _at(value: float, axis: Axis) -> float:
    return round(100 * (value - axis.low) / (axis.high - axis.low), 2)


def _number(value: float | None) -> str | None:
    return None if value is None else _shown(value)


def _shown(value: float) -> str:
    """Three digits behind the point, and of small values two that count."""
    if value == 0 or 0.01 <= abs(value) < 100:
        return f"{value:.3f}"
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.4g}"
