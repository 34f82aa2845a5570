"""What a run says about its spread, where it is read back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from featcache.system.schema import Count, Finite, Line

from .shown_metrics import SHOWN

_Deviation = Annotated[float, Meta(ge=0, le=1e300)]
_Draws = Annotated[int, Meta(ge=1, le=1000)]


class _Parts(msgspec.Struct):
    test_images: _Deviation | None
    split: _Deviation | None
    seed: _Deviation | None


class _Candidate(msgspec.Struct):
    params: dict[str, Any]
    mean: Finite | None


class _Winner(msgspec.Struct):
    first: Count
    tied: Count
    of: Count
    candidates: list[_Candidate]


class Spread(msgspec.Struct):
    """As :meth:`heads.experiments.spread.Repeats.about` gives it."""

    metric: Literal["accuracy", "mean_roc_auc", "mae"]
    repeats: _Draws
    seeds: _Draws
    has_seed: bool | None
    mean: Finite | None
    parts: _Parts
    total: _Deviation | None
    values: list[list[Finite | None]]
    divisions: Line
    winner: _Winner | None = None
    split_ci: tuple[_Deviation, _Deviation] | None = None


def odd_spread(spread: Mapping[str, Any], kind: str) -> str:
    """What does not fit together in a spread of a task of this kind; empty where all does."""
    if spread["metric"] != SHOWN[kind].metrics[0].name:
        return f"its spread is of {spread['metric']}, and its test of {SHOWN[kind].metrics[0].name}"
    rows, columns = spread["repeats"], spread["seeds"]
    if len(spread["values"]) != rows or any(len(row) != columns for row in spread["values"]):
        return f"its spread has not {rows} x {columns} values, as it says"
    return ""
