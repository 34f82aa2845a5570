"""What ``run.json`` of each verb holds at least, where it is read back; more may stand beside it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from featcache.system.schema import ClassName, Count, Finite, Line, Place, Share

from ..bundles import bundle_schema
from ..vault.locks import Hidden
from ..vault.looks import Look
from .sets_schema import Conformal
from .spread_schema import Spread

_Settings = dict[str, Any]
_Seconds = Annotated[float, Meta(ge=0, le=1e12)]


class LabelTest(bundle_schema.LabelTest):
    """Of one label, with what a page shows besides."""

    sensitivity: Share | None = None
    sensitivity_ci: bundle_schema.Pair | None = None
    specificity: Share | None = None
    specificity_ci: bundle_schema.Pair | None = None
    threshold: Share | None = None


class LabelsTest(bundle_schema.LabelsTest):
    """Metrics of a test of several labels."""

    labels: dict[ClassName, LabelTest]  # type: ignore[assignment]  # which is read, and never written


class NumberTest(bundle_schema.NumberTest):
    """Metrics of a test of numbers."""

    mean_error: Finite | None = None
    mean_error_ci: tuple[Finite, Finite] | None = None


TESTS = {"classes": bundle_schema.Test, "labels": LabelsTest, "number": NumberTest}  # by the task's kind


class Patients(msgspec.Struct):
    """How the answers of each patient's images were made one, beside metrics of the same shape as a test's."""

    n: Count
    how: Line
    mixed: Count = 0
    left_out: Count = 0


class _Predictive(msgspec.Struct):
    ppv: Share | None = None
    ppv_ci: bundle_schema.Pair | None = None
    npv: Share | None = None
    npv_ci: bundle_schema.Pair | None = None


class PredictiveValues(msgspec.Struct):
    """What calls mean at a prevalence, by what is called."""

    prevalence: Share
    of: dict[ClassName, _Predictive]


class _Subgroup(msgspec.Struct):
    images: Count
    patients: Count
    value: Finite | None = None
    ci: tuple[Finite, Finite] | None = None
    positives: Count | dict[ClassName, Count] | None = None


class _Gap(msgspec.Struct):
    best: Line
    worst: Line
    difference: Finite
    p: Share
    p_corrected: Share
    shown: bool


class _Column(msgspec.Struct):
    subgroups: dict[Line, _Subgroup]
    gap: _Gap | None = None
    labels: list[ClassName] = []


class _Worst(msgspec.Struct):
    column: Line
    subgroup: Line
    value: Finite
    ci: tuple[Finite, Finite] | None = None


class Subgroups(msgspec.Struct):
    """As :func:`heads.evaluation.subgroup_metrics.subgroup_metrics` gives them."""

    metric: Literal["roc_auc", "mean_roc_auc", "mae"]
    columns: dict[Line, _Column]
    worst: _Worst | None = None


class Learns(msgspec.Struct):
    """What was to be learnt; runs of earlier versions, which were all of classes, do not say."""

    kind: Literal["classes", "labels", "number"] = "classes"


class Run(msgspec.Struct):
    """Of any verb; earlier versions left out what has a default."""

    verb: str | None = None
    finished: str | None = None
    data: Place = ""
    classes: list[ClassName] | dict[ClassName, Any] = []
    learns: Learns = msgspec.field(default_factory=Learns)
    weights: str = ""
    pooling: str | None = None
    synthetic: bool = False
    images: Count | None = None
    groups: Count | None = None
    per_split: dict[str, dict[str, Count]] | None = None
    warnings: list[str] = []
    made: list[str] = []
    seconds: _Seconds | None = None
    look: Look | None = None
    hidden: Hidden | None = None


class _CrossValidated(msgspec.Struct):
    folds: Count
    test: dict[str, Any]  # which TESTS reads


class _Site(msgspec.Struct):
    site: Line
    n: Count
    test: dict[str, Any] | None  # which TESTS reads
    why: str | None = None
    patients: Count = 0


class _LeftOut(msgspec.Struct):
    column: Line
    sites: list[_Site]


class Threshold(msgspec.Struct):
    """From which probability on the second of two classes is called."""

    value: Share


class FitHead(Run, kw_only=True):
    """``fit-head``."""

    model: str
    feature_set: str
    hyperparameters: _Settings
    test: dict[str, Any] | None = None  # which TESTS reads; None where it is hidden
    best_epoch: Annotated[int, Meta(ge=0)] | None = None
    cross_validated: _CrossValidated | None = None
    leave_out: _LeftOut | None = None
    threshold: dict[ClassName, Any] | None = None  # of classes Threshold reads it
    calibration: dict[str, Any] | None = None
    spread: Spread | None = None
    conformal: Conformal | None = None


class _Candidate(msgspec.Struct):
    rank: int
    score: float
    std: float
    params: _Settings


class Grid(Run, kw_only=True):
    """``grid``."""

    model: str
    feature_set: str
    candidates: Count
    folds: Count
    best_params: _Settings
    best_score: float
    score_name: Line = "accuracy"
    test: dict[str, Any] | None = None  # which TESTS reads; None where it is hidden
    best_std: float | None = None
    tied: Count = 1
    top: list[_Candidate] = []
    spread: Spread | None = None
    conformal: Conformal | None = None


class _Row(msgspec.Struct):
    name: str
    best_params: _Settings
    test: dict[str, Any] | None = None  # which TESTS reads; None where it is hidden
    seconds: _Seconds | None = None
    spread: Spread | None = None


class _Patient(msgspec.Struct):
    group: str
    images: Count
    change: Finite


class Influence(msgspec.Struct):
    """As :func:`heads.evaluation.ridge_influence.shortened` gives it."""

    metric: Literal["accuracy", "mae"]
    value: Finite
    groups: Count
    most: _Patient


class Baselines(Run, kw_only=True):
    """``baselines``."""

    feature_set: str
    rows: Annotated[list[_Row], Meta(min_length=1)]
    influence: Influence | None = None
    conformal: Conformal | None = None


class Evaluate(Run, kw_only=True):
    """``evaluate``."""

    test: dict[str, Any] | None = None  # which TESTS reads; None where it is hidden
    bundle: Place = ""
    internal: dict[str, Any] | None = None
    trained_on: Count = 0
    conformal: Conformal | None = None
