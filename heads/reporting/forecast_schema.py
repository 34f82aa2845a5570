"""What ``run.json`` of a learning curve holds at least, where it is read back."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from featcache.system.schema import ClassName, Count, Finite, Line

from .run_schema import Run

_Pair = tuple[Finite, Finite]


class _Measured(msgspec.Struct):
    patients: Annotated[int, Meta(ge=1, le=2**53)]
    images: Count
    score: Finite
    low: Finite
    high: Finite


class _OfLaw(msgspec.Struct):
    patients: Annotated[float, Meta(gt=0, le=1e15)]
    score: Finite
    low: Finite
    high: Finite


class _Forecast(msgspec.Struct):
    more: Count
    patients: Annotated[int, Meta(ge=1, le=2**53)]
    said: Line
    score: Finite | None = None
    score_ci: _Pair | None = None
    gain: Finite | None = None
    gain_ci: _Pair | None = None


class _Target(msgspec.Struct):
    patients: Count
    curve: list[_Measured] = []
    forecast: list[_Forecast] = []
    cannot_say: Line | None = None


class LearningCurve(Run, kw_only=True):
    """``learning-curve``."""

    metric: Literal["balanced_accuracy", "mean_roc_auc", "mae"]
    of_each: Literal["recall", "roc_auc", "mae"]
    lower_is_better: bool
    said: Line
    curve: Annotated[list[_Measured], Meta(min_length=2)]
    law: list[_OfLaw] = []
    forecast: Annotated[list[_Forecast], Meta(min_length=1)]
    classes: dict[ClassName, _Target]
    cannot_say: Line | None = None
    most_to_gain: ClassName | None = None
    feature_set: str
