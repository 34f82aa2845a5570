"""A fitted model as operations of OpenVINO: what can be written down as a chain of them.

Every model of classes gives scores of shape (1, n_classes), whose softmax are its probabilities: logits, or logarithms
where a model gives anything else. Of several labels each has such scores of its own, of two classes, not having it and
having it; a model of a number gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC, LinearSVR

from featcache.errors import UsageError

from ..evaluation.calibration import LEAST
from ..training.architectures import BN_EPSILON
from ..training.calibrated_ridge import CalibratedRidgeClassifier
from ..training.dense_head import DenseHead
from ..training.dense_head_classifier import DenseHeadClassifier
from ..training.dense_head_multilabel_classifier import DenseHeadMultilabelClassifier
from ..training.dense_head_regressor import DenseHeadRegressor
from ..training.label_wise import LabelWiseClassifier
from .calibration_graph import calibrated
from .graph_parts import add, affine, column, row

EXPORTABLE = (
    "the dense head; LogisticRegression, LinearDiscriminantAnalysis, SGDClassifier(loss='log_loss'), the ridge of the "
    "baselines, or a linear SVM calibrated by sigmoid, or such a one for each label; Ridge, LinearRegression, Lasso, "
    "ElasticNet or LinearSVR; "
    "alone or in a pipeline behind StandardScaler, MinMaxScaler, MaxAbsScaler, Normalizer or PCA"
)


def scores(estimator: Any, x: Any) -> Any:
    """What a fitted model makes of features.

    Parameters
    ----------
    estimator : a :class:`heads.DenseHeadClassifier`, or a model or pipeline of sklearn.
    x : node of shape (1, n_features), float32.

    Returns
    -------
    Node of shape (1, n_classes), whose softmax are the probabilities.

    Raises
    ------
    UsageError
        A model that is no such chain.
    """
    if type(estimator) is DenseHeadClassifier:
        return _of_decision(_dense_output(estimator, x))
    last, x = _behind(estimator, x)
    return _looked_up(_MODELS, last)(last, x)


def label_probabilities(estimator: Any, x: Any, calibration: Sequence[Mapping[str, Any] | None] | None) -> Any:
    """Probabilities of several labels, mended as :func:`heads.evaluation.label_decision.calibrate_labels` does.

    Parameters
    ----------
    estimator : a :class:`heads.DenseHeadMultilabelClassifier`, or a :class:`heads.LabelWiseClassifier`, alone or in a
        pipeline.
    x : node of shape (1, n_features), float32.
    calibration : of each label, or None.

    Returns
    -------
    Node of shape (1, n_labels).

    Raises
    ------
    UsageError
        A model that is no such chain.
    """
    from openvino import opset13 as ops

    if type(estimator) is DenseHeadMultilabelClassifier:
        logits = _dense_output(estimator, x)
        if calibration is None:
            return ops.sigmoid(logits)
        labels = [_of_decision(column(logits, label)) for label in range(estimator.n_outputs_)]
    else:
        last, x = _behind(estimator, x)
        if type(last) is not LabelWiseClassifier:
            raise UsageError(f"{type(last).__name__} is no chain that can be exported; these are: {EXPORTABLE}")
        labels = [_label_scores(one, x) for one in last.models_]
    each = calibration or [None] * len(labels)
    columns = [column(calibrated(given, one), 1) for given, one in zip(labels, each, strict=True)]
    return ops.concat(columns, 1) if len(columns) > 1 else columns[0]


def number(estimator: Any, x: Any) -> Any:
    """The number that a model gives.

    Parameters
    ----------
    estimator : a :class:`heads.DenseHeadRegressor`, or a linear model of sklearn, alone or in a pipeline.
    x : node of shape (1, n_features), float32.

    Returns
    -------
    Node of shape (1, 1).

    Raises
    ------
    UsageError
        A model that is no such chain.
    """
    if type(estimator) is DenseHeadRegressor:
        return _dense_output(estimator, x)
    last, x = _behind(estimator, x)
    if type(last) not in _NUMBERS:
        raise UsageError(f"{type(last).__name__} is no chain that can be exported; these are: {EXPORTABLE}")
    return _decision(last, x)


# -- heads -------------------------------------------------------------------------------------------


def _dense_output(head: DenseHead, x: Any) -> Any:
    """What the last layer gives, before its softmax or sigmoid."""
    from openvino import opset13 as ops

    activations: dict[str, Callable[[Any], Any]] = {
        "relu": ops.relu,
        "sigmoid": ops.sigmoid,
        "tanh": ops.tanh,
        "elu": lambda value: ops.elu(value, 1.0),
        "gelu": lambda value: ops.gelu(value, "erf"),
        "linear": lambda value: value,
    }
    left = iter(head.weights_)
    for _ in range((len(head.weights_) - 2) // (6 if head.batch_norm else 2)):
        x = activations[head.activation](affine(x, next(left), next(left)))
        if head.batch_norm:
            gamma, beta, mean, variance = (next(left) for _ in range(4))
            x = add(ops.multiply(add(x, -mean), row(gamma / np.sqrt(variance + BN_EPSILON))), beta)
    return affine(x, next(left), next(left))


# -- sklearn -----------------------------------------------------------------------------------------


def _behind(estimator: Any, x: Any) -> tuple[Any, Any]:
    """The last step of a pipeline, and what comes to it."""
    *before, last = [step for _, step in estimator.steps] if type(estimator) is Pipeline else [estimator]
    for step in before:
        if step is not None and not (isinstance(step, str) and step == "passthrough"):
            x = _looked_up(_TRANSFORMERS, step)(step, x)
    return last, x


def _label_scores(model: Any, x: Any) -> Any:
    """Scores of one label's model; of a label of one value alone, the logarithms of its share."""
    from openvino import opset13 as ops

    if isinstance(model, float):
        logs = np.log(np.clip([[1 - model, model]], LEAST, 1))
        return ops.add(ops.multiply(column(x, 0), row(0)), row(logs))
    return scores(model, x)


def _standard(scaler: StandardScaler, x: Any) -> Any:
    from openvino import opset13 as ops

    x = x if scaler.mean_ is None or not scaler.with_mean else add(x, -scaler.mean_)
    return x if scaler.scale_ is None else ops.divide(x, row(scaler.scale_))


def _min_max(scaler: MinMaxScaler, x: Any) -> Any:
    from openvino import opset13 as ops

    x = add(ops.multiply(x, row(scaler.scale_)), scaler.min_)
    return ops.clamp(x, *(float(end) for end in scaler.feature_range)) if scaler.clip else x


def _max_abs(scaler: MaxAbsScaler, x: Any) -> Any:
    from openvino import opset13 as ops

    x = ops.divide(x, row(scaler.scale_))
    return ops.clamp(x, -1.0, 1.0) if getattr(scaler, "clip", False) else x


def _normalizer(scaler: Normalizer, x: Any) -> Any:
    from openvino import opset13 as ops

    axis = np.array([1])
    length = {
        "l1": lambda: ops.reduce_sum(ops.abs(x), axis, True),
        "l2": lambda: ops.sqrt(ops.reduce_sum(ops.multiply(x, x), axis, True)),
        "max": lambda: ops.reduce_max(ops.abs(x), axis, True),
    }[scaler.norm]()
    return ops.divide(x, ops.select(ops.equal(length, row(0)), row(1), length))


def _pca(pca: PCA, x: Any) -> Any:
    from openvino import opset13 as ops

    x = affine(add(x, -pca.mean_), pca.components_.T)
    return ops.divide(x, row(np.sqrt(pca.explained_variance_))) if pca.whiten else x


def _decision(model: Any, x: Any) -> Any:
    """The decision function of a linear model, shape (1, 1) for two classes."""
    return affine(x, np.atleast_2d(model.coef_).T, np.atleast_1d(model.intercept_))


def _softmax_model(model: Any, x: Any) -> Any:
    return _of_decision(_decision(model, x))


def _logistic(model: LogisticRegression, x: Any) -> Any:
    each = model.solver == "liblinear" or getattr(model, "multi_class", None) == "ovr"
    return _one_against_rest(_decision(model, x)) if each else _softmax_model(model, x)


def _sgd(model: SGDClassifier, x: Any) -> Any:
    if model.loss != "log_loss":
        raise UsageError(
            f"SGDClassifier(loss={model.loss!r}) is no chain that can be exported; these are: {EXPORTABLE}"
        )
    return _one_against_rest(_decision(model, x))


def _calibrated_svm(model: CalibratedClassifierCV, x: Any) -> Any:
    from openvino import opset13 as ops

    (fitted, *others) = model.calibrated_classifiers_
    svm, curves = fitted.estimator, fitted.calibrators
    linear = type(svm) in (LinearSVC, RidgeClassifier) or (
        type(svm) is SVC and svm.kernel == "linear" and len(svm.classes_) == 2
    )
    if others or not linear or not all(hasattr(curve, "a_") for curve in curves):
        raise UsageError(
            f"CalibratedClassifierCV of {type(svm).__name__} is no chain that can be exported; these are: {EXPORTABLE}"
        )
    slopes, levels = ([getattr(curve, name) for curve in curves] for name in ("a_", "b_"))
    lines = add(ops.multiply(_decision(svm, x), row(slopes)), np.array(levels))
    return _one_against_rest(ops.negative(lines))


_TRANSFORMERS: dict[type, Callable[[Any, Any], Any]] = {
    StandardScaler: _standard,
    MinMaxScaler: _min_max,
    MaxAbsScaler: _max_abs,
    Normalizer: _normalizer,
    PCA: _pca,
}
_MODELS: dict[type, Callable[[Any, Any], Any]] = {
    LogisticRegression: _logistic,
    LinearDiscriminantAnalysis: _softmax_model,
    SGDClassifier: _sgd,
    CalibratedClassifierCV: _calibrated_svm,
    CalibratedRidgeClassifier: _softmax_model,
}


_NUMBERS = (Ridge, LinearRegression, Lasso, ElasticNet, LinearSVR)


def _looked_up(table: Mapping[type, Callable[[Any, Any], Any]], part: Any) -> Callable[[Any, Any], Any]:
    if type(part) not in table:
        raise UsageError(f"{type(part).__name__} is no chain that can be exported; these are: {EXPORTABLE}")
    return table[type(part)]


# -- parts -------------------------------------------------------------------------------------------


def _of_decision(decision: Any) -> Any:
    """Scores of logits; of the single one of two classes, the first has 0."""
    from openvino import opset13 as ops

    if decision.get_output_shape(0)[1] > 1:
        return decision
    return ops.concat([ops.multiply(decision, row(0)), decision], 1)


def _one_against_rest(decision: Any) -> Any:
    """Scores where each class's sigmoid is divided by the sum of all."""
    from openvino import opset13 as ops

    if decision.get_output_shape(0)[1] == 1:
        return _of_decision(decision)
    return ops.negative(ops.softplus(ops.negative(decision)))
