"""What ``bundle.json`` may hold, as types; see :mod:`heads.bundles.bundle` for what it means.

Whatever names a file, a folder or a class, or is shown, is of a pattern; what only :mod:`heads.evaluation.calibration`
and its like can judge, numbers that must fit each other, they check behind this.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from featcache.features.pooling import POOLINGS
from featcache.system.schema import ClassName, Count, Digest, FileName, Finite, Line, Name, Share

from ..vault.looks import Look
from .drawn_pictures import NAMES

_Bound = Annotated[float, Meta(ge=-1, le=2)]
Pair = tuple[_Bound, _Bound]
_Width = Annotated[int, Meta(ge=1, le=10_000_000)]


class Test(msgspec.Struct):
    """Metrics of a test, as :func:`heads.evaluation.metrics.evaluate` gives them; more may stand beside."""

    accuracy: Share
    accuracy_ci: tuple[Share, Share]
    n: Count | None = None
    balanced_accuracy: Share | None = None
    balanced_accuracy_ci: Pair | None = None
    macro_f1: Share | None = None
    macro_f1_ci: Pair | None = None
    roc_auc: Share | None = None
    roc_auc_ci: Pair | None = None
    recall: dict[ClassName, Share | None] = {}
    recall_ci: dict[ClassName, Pair | None] = {}
    confusion: list[list[Count]] = []


class LabelTest(msgspec.Struct):
    """Of one label, as :func:`heads.evaluation.label_metrics.evaluate_labels` gives it."""

    n: Count
    positives: Count
    roc_auc: Share | None = None
    roc_auc_ci: Pair | None = None
    average_precision: Share | None = None
    average_precision_ci: Pair | None = None


class LabelsTest(msgspec.Struct):
    """Metrics of a test of several labels; more may stand beside."""

    n: Count
    labels: dict[ClassName, LabelTest]
    mean_roc_auc: Share | None = None
    mean_roc_auc_ci: Pair | None = None
    mean_average_precision: Share | None = None
    mean_average_precision_ci: Pair | None = None


class NumberTest(msgspec.Struct):
    """Metrics of a test of numbers; more may stand beside."""

    n: Count
    mae: Finite
    mae_ci: tuple[Finite, Finite] | None = None
    rmse: Finite | None = None
    rmse_ci: tuple[Finite, Finite] | None = None
    r2: Finite | None = None
    r2_ci: tuple[Finite, Finite] | None = None
    spearman: Finite | None = None
    spearman_ci: tuple[Finite, Finite] | None = None


TESTS = {"classes": Test, "labels": LabelsTest, "number": NumberTest}  # by the task's kind


class _Scores(msgspec.Struct):
    test: Test | None = None


class _Temperature(msgspec.Struct, tag_field="method", tag="temperature", forbid_unknown_fields=True):
    rows: Count
    inverse_temperature: Finite


class _Sigmoid(msgspec.Struct, tag_field="method", tag="sigmoid", forbid_unknown_fields=True):
    rows: Count
    slope: list[Finite]
    intercept: list[Finite]


class _Isotonic(msgspec.Struct, tag_field="method", tag="isotonic", forbid_unknown_fields=True):
    rows: Count
    logits: list[list[Finite]]
    shares: list[list[Share]]


_Calibration = _Temperature | _Sigmoid | _Isotonic


class _Threshold(msgspec.Struct):
    value: Share
    wanted: Share
    positives: Count
    negatives: Count
    sensitivity: Share
    sensitivity_ci: tuple[Share, Share]
    specificity: Share


class _Novelty(msgspec.Struct, forbid_unknown_fields=True):
    neighbours: Annotated[int, Meta(ge=1, le=5000)]
    threshold: Annotated[float, Meta(ge=0, le=2)]
    false_alarm: Share
    rows: Annotated[int, Meta(ge=1, le=5000)]


class _Precision(msgspec.Struct, forbid_unknown_fields=True):
    images: Annotated[int, Meta(ge=1, le=1000)]
    median: Annotated[float, Meta(ge=0, le=1e300)]
    largest: Annotated[float, Meta(ge=0, le=1e300)]
    answers: Annotated[float, Meta(ge=0, le=1e3)] | None


class _SelfTest(msgspec.Struct, forbid_unknown_fields=True):
    pictures: Annotated[list[Literal[NAMES]], Meta(min_length=1, max_length=len(NAMES))]  # type: ignore[valid-type]
    steps: Annotated[
        list[Literal["decoding", "resizing", "scaling", "network", "head"]], Meta(min_length=2, max_length=5)
    ]
    made_by: Annotated[dict[Name, Line], Meta(max_length=32)]
    missing: Line | None = None


class _HeadParams(msgspec.Struct):
    """Those that decide what a head computes; the rest is known to its class."""

    units: _Width | Annotated[list[_Width], Meta(min_length=1, max_length=64)]
    activation: Annotated[str, Meta(pattern=r"\A[a-z_]{1,32}\Z")]
    dropout: Share = 0.0
    batch_norm: bool = False


class _Dense(msgspec.Struct, tag_field="kind", tag="dense", forbid_unknown_fields=True):
    params: _HeadParams
    input: tuple[_Width]


class _DenseLabels(msgspec.Struct, tag_field="kind", tag="dense-labels", forbid_unknown_fields=True):
    params: _HeadParams
    input: tuple[_Width]


class _DenseNumber(msgspec.Struct, tag_field="kind", tag="dense-number", forbid_unknown_fields=True):
    params: _HeadParams
    input: tuple[_Width]


class _OwnCNN(msgspec.Struct, tag_field="kind", tag="own-cnn", forbid_unknown_fields=True):
    params: _HeadParams
    input: tuple[_Width, _Width, Literal[3]]


class _Sklearn(msgspec.Struct, tag_field="kind", tag="sklearn", forbid_unknown_fields=True):
    name: Name


class _XGBoost(msgspec.Struct, tag_field="kind", tag="xgboost", forbid_unknown_fields=True):
    name: Name


class _Share(msgspec.Struct, tag_field="kind", tag="share", forbid_unknown_fields=True):
    share: Share


class _LabelWise(msgspec.Struct, tag_field="kind", tag="label-wise", forbid_unknown_fields=True):
    """A model for each label, in files of its own; None where the label had one value alone, with its share."""

    models: Annotated[list[_Sklearn | _XGBoost | _Share], Meta(min_length=1, max_length=1000)]


class _OfClasses(msgspec.Struct, tag_field="kind", tag="classes", forbid_unknown_fields=True):
    task: Literal["binary", "multiclass"]
    classes: list[ClassName] | None


class _OfLabels(msgspec.Struct, tag_field="kind", tag="labels", forbid_unknown_fields=True):
    labels: list[ClassName] | Literal["all"] | None
    column: ClassName | None
    uncertain: Literal["ignore", "zeros", "ones"]


class _OfNumber(msgspec.Struct, tag_field="kind", tag="number", forbid_unknown_fields=True):
    target: ClassName


class Format1(msgspec.Struct, forbid_unknown_fields=True):
    """``bundle.json`` of format 1."""

    format: Literal["featcache-bundle"]
    version: int
    digest: Digest
    task: Name
    classes: Annotated[list[ClassName], Meta(min_length=2, max_length=100_000)]
    spec: dict[str, Any]  # which FeatureSpec reads
    pooling: Literal[POOLINGS]  # type: ignore[valid-type]
    synthetic: bool
    model: _Dense | _OwnCNN | _Sklearn | _XGBoost
    scores: _Scores
    rows: Count
    versions: dict[Name, Line]
    files: dict[FileName, Digest]


class Format2(Format1, forbid_unknown_fields=True, kw_only=True):
    """``bundle.json`` of format 2."""

    calibration: _Temperature | _Sigmoid | _Isotonic | None
    threshold: _Threshold | None
    novelty: _Novelty | None
    warnings: list[Line]
    precision: _Precision | None = None


class Format4(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``bundle.json`` of format 4."""

    format: Literal["featcache-bundle"]
    version: int
    digest: Digest
    task: Name
    learns: _OfClasses | _OfLabels | _OfNumber
    classes: Annotated[list[ClassName], Meta(min_length=1, max_length=100_000)]
    spec: dict[str, Any]  # which FeatureSpec reads
    pooling: Literal[POOLINGS]  # type: ignore[valid-type]
    synthetic: bool
    model: _Dense | _DenseLabels | _DenseNumber | _OwnCNN | _Sklearn | _XGBoost | _LabelWise
    scores: dict[Literal["train", "val", "test"], dict[str, Any]]  # of which the test is checked by what is learnt
    rows: Count
    versions: dict[Name, Line]
    files: dict[FileName, Digest]
    calibration: _Calibration | list[_Calibration | None] | None
    threshold: _Threshold | list[_Threshold | None] | None
    novelty: _Novelty | None
    warnings: list[Line]
    precision: _Precision | None = None
    self_test: _SelfTest | None = None
    look: Look | None = None


FORMATS = {1: Format1, 2: Format2, 3: Format2, 4: Format4}  # 3 differs in its files alone
