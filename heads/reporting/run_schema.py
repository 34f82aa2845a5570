"""What ``run.json`` of each verb holds at least, where it is read back; more may stand beside it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from featcache.system.schema import ClassName, Count, Finite, Line, Place, Share

from ..bundles import bundle_schema
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
    test: dict[str, Any]  # which TESTS reads
    best_epoch: Annotated[int, Meta(ge=0)] | None = None
    cross_validated: _CrossValidated | None = None
    leave_out: _LeftOut | None = None
    threshold: dict[ClassName, Any] | None = None  # of classes Threshold reads it
    calibration: dict[str, Any] | None = None
    spread: Spread | None = None


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
    test: dict[str, Any]  # which TESTS reads
    best_std: float | None = None
    tied: Count = 1
    top: list[_Candidate] = []
    spread: Spread | None = None


class _Row(msgspec.Struct):
    name: str
    best_params: _Settings
    test: dict[str, Any]  # which TESTS reads
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


class Evaluate(Run, kw_only=True):
    """``evaluate``."""

    test: dict[str, Any]  # which TESTS reads
    bundle: Place = ""
    internal: dict[str, Any] | None = None
    trained_on: Count = 0


class _Copies(msgspec.Struct):
    paths: list[Place]
    labels: list[str]
    splits: list[str]


class _NearCopies(msgspec.Struct):
    a: Place
    b: Place
    similarity: Finite
    labels: tuple[str, str]
    splits: tuple[str, str]
    kind: str


class _TornGroup(msgspec.Struct):
    group: str
    splits: list[str]
    images: Count


_Correlation = Annotated[float, Meta(ge=-1, le=1)]


class _Probe(msgspec.Struct):
    probe: str
    score: _Correlation
    score_ci: tuple[_Correlation, _Correlation]
    chance: Share
    flag: bool
    label: str = ""
    of: Literal["image", "metadata"] = "image"
    measure: str = ""
    names_label: bool = False
    p_value: Share | None = None
    verdict: str | None = None


class _Inflation(msgspec.Struct):
    image_wise: Finite
    group_wise: Finite
    difference: Finite
    interval: tuple[Finite, Finite] | None = None


class _Matched(msgspec.Struct):
    effective_patients: Finite
    fewest_patients: Finite
    score: Share | None = None
    ci: tuple[Share, Share] | None = None


class _Without(msgspec.Struct):
    plain: Share
    plain_ci: tuple[Share, Share]
    matched: _Matched
    probes: list[str]
    said: str
    net: Share | None = None
    net_ci: tuple[Share, Share] | None = None
    difference: Finite | None = None
    difference_ci: tuple[Finite, Finite] | None = None


class _BadFile(msgspec.Struct):
    path: Place
    reason: str


class _Together(msgspec.Struct):
    column: str
    label: str
    strength: Share
    p: Share
    groups: Count


class _Absent(msgspec.Struct):
    label: str
    column: str
    value: str
    expected: Finite
    class_: str = msgspec.field(name="class")


class _Unbalanced(msgspec.Struct):
    column: str
    value: str
    part: str
    share: Share
    overall: Share


class _Differing(msgspec.Struct):
    column: str
    own: Finite
    other: Finite
    p: Share
    value: str | None


class _SetsApart(msgspec.Struct):
    columns: list[_Differing] = []
    alone: dict[Literal["own", "other"], list[str]] = {}


class _Against(msgspec.Struct):
    data: Place
    near_duplicates: list[_NearCopies] = []
    metadata: _SetsApart | None = None


class Audit(Run, kw_only=True):
    """``audit``."""

    duplicates: list[_Copies] = []
    near_duplicates: list[_NearCopies] = []
    split_leaks: dict[str, Count] = {}
    group_leaks: list[_TornGroup] = []
    shortcuts: list[_Probe] = []
    without_shortcuts: _Without | None = None
    confounding: list[_Together] = []
    absent: list[_Absent] = []
    unbalanced: list[_Unbalanced] = []
    unreadable: list[_BadFile] = []
    quality: dict[str, list[Place]] = {}
    leak_inflation: _Inflation | None = None
    against: _Against | None = None


class _Suspect(msgspec.Struct):
    path: Place
    label: Line
    suggested: Line
    score: Share
    reason: str
    about: Line | None = None
    part: str = ""
    group: str = ""
    copy: Place | None = None


class _Confused(msgspec.Struct):
    label: Line
    likely: Line
    images: Count
    wrong: Annotated[float, Meta(ge=0)]
    about: Line | None = None


class _Asked(msgspec.Struct):
    name: Line
    test: dict[str, Any]  # which TESTS reads


class LabelErrors(Run, kw_only=True):
    """``label-errors``."""

    feature_set: str
    suspects: list[_Suspect]
    estimated_wrong: Count
    labels: Count
    pairs: list[_Confused] = []
    left_out: list[str] = []
    models: list[_Asked] = []


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


VERBS = {
    "fit-head": FitHead,
    "grid": Grid,
    "baselines": Baselines,
    "evaluate": Evaluate,
    "audit": Audit,
    "label-errors": LabelErrors,
    "learning-curve": LearningCurve,
}
