"""A fitted model and its calibration as operations of OpenVINO: what can be written down as a chain of them.

Every model gives scores of shape (1, n_classes), whose softmax are its probabilities: logits, or logarithms where a
model gives anything else. Calibration works on logarithms of probabilities, which keep the digits that probabilities
near 0 and 1 lose in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from featcache.errors import UsageError

from ..evaluation.calibration import LEAST
from ..training.architectures import BN_EPSILON
from ..training.dense_head_classifier import DenseHeadClassifier

EXPORTABLE = (
    "the dense head; LogisticRegression, LinearDiscriminantAnalysis, SGDClassifier(loss='log_loss'), or a linear SVM "
    "calibrated by sigmoid, alone or in a pipeline behind StandardScaler, MinMaxScaler, MaxAbsScaler, Normalizer or PCA"
)
_FAR = np.float32(-1e30)  # what is added to leave a class out of a sum of powers


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
        return _dense_scores(estimator, x)
    *before, last = [step for _, step in estimator.steps] if type(estimator) is Pipeline else [estimator]
    for step in before:
        if step is not None and not (isinstance(step, str) and step == "passthrough"):
            x = _looked_up(_TRANSFORMERS, step)(step, x)
    return _looked_up(_MODELS, last)(last, x)


def calibrated(given: Any, calibration: Mapping[str, Any] | None) -> Any:
    """Probabilities of scores, mended as :func:`heads.evaluation.calibration.calibrate` does; shape (1, n_classes)."""
    from openvino import opset13 as ops

    if calibration is None:
        return ops.softmax(given, 1)
    logs = ops.maximum(ops.log_softmax(given, 1), _row(np.log(LEAST)))
    if calibration["method"] == "temperature":
        return ops.softmax(ops.multiply(logs, _row(calibration["inverse_temperature"])), 1)
    n_classes = int(logs.get_output_shape(0)[1])
    odds = _odds(logs, n_classes)
    if calibration["method"] == "sigmoid":
        line = _add(ops.multiply(odds, _row(calibration["slope"])), calibration["intercept"])
        shares = ops.sigmoid(ops.negative(line))
    else:
        curves = [
            _curve(ops.gather(odds, np.array([column]), np.array(1)), x, share)
            for column, (x, share) in enumerate(zip(calibration["logits"], calibration["shares"], strict=True))
        ]
        shares = ops.concat(curves, 1) if len(curves) > 1 else curves[0]
    if n_classes == 2:
        return ops.concat([ops.subtract(_row(1), shares), shares], 1)
    total = ops.reduce_sum(shares, np.array([1]), True)
    even = ops.broadcast(_row(1 / n_classes), np.array([1, n_classes]))
    divided = ops.divide(shares, ops.maximum(total, _row(np.finfo(np.float32).tiny)))
    return ops.select(ops.greater(total, _row(0)), divided, even)


# -- heads -------------------------------------------------------------------------------------------


def _dense_scores(head: DenseHeadClassifier, x: Any) -> Any:
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
        x = activations[head.activation](_affine(x, next(left), next(left)))
        if head.batch_norm:
            gamma, beta, mean, variance = (next(left) for _ in range(4))
            x = _add(ops.multiply(_add(x, -mean), _row(gamma / np.sqrt(variance + BN_EPSILON))), beta)
    return _of_decision(_affine(x, next(left), next(left)))


# -- sklearn -----------------------------------------------------------------------------------------


def _standard(scaler: StandardScaler, x: Any) -> Any:
    from openvino import opset13 as ops

    x = x if scaler.mean_ is None or not scaler.with_mean else _add(x, -scaler.mean_)
    return x if scaler.scale_ is None else ops.divide(x, _row(scaler.scale_))


def _min_max(scaler: MinMaxScaler, x: Any) -> Any:
    from openvino import opset13 as ops

    x = _add(ops.multiply(x, _row(scaler.scale_)), scaler.min_)
    return ops.clamp(x, *(float(end) for end in scaler.feature_range)) if scaler.clip else x


def _max_abs(scaler: MaxAbsScaler, x: Any) -> Any:
    from openvino import opset13 as ops

    x = ops.divide(x, _row(scaler.scale_))
    return ops.clamp(x, -1.0, 1.0) if getattr(scaler, "clip", False) else x


def _normalizer(scaler: Normalizer, x: Any) -> Any:
    from openvino import opset13 as ops

    axis = np.array([1])
    length = {
        "l1": lambda: ops.reduce_sum(ops.abs(x), axis, True),
        "l2": lambda: ops.sqrt(ops.reduce_sum(ops.multiply(x, x), axis, True)),
        "max": lambda: ops.reduce_max(ops.abs(x), axis, True),
    }[scaler.norm]()
    return ops.divide(x, ops.select(ops.equal(length, _row(0)), _row(1), length))


def _pca(pca: PCA, x: Any) -> Any:
    from openvino import opset13 as ops

    x = _affine(_add(x, -pca.mean_), pca.components_.T)
    return ops.divide(x, _row(np.sqrt(pca.explained_variance_))) if pca.whiten else x


def _decision(model: Any, x: Any) -> Any:
    """The decision function of a linear model, shape (1, 1) for two classes."""
    return _affine(x, np.atleast_2d(model.coef_).T, np.atleast_1d(model.intercept_))


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
    lines = _add(ops.multiply(_decision(svm, x), _row(slopes)), np.array(levels))
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
}


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
    return ops.concat([ops.multiply(decision, _row(0)), decision], 1)


def _one_against_rest(decision: Any) -> Any:
    """Scores where each class's sigmoid is divided by the sum of all."""
    from openvino import opset13 as ops

    if decision.get_output_shape(0)[1] == 1:
        return _of_decision(decision)
    return ops.negative(ops.softplus(ops.negative(decision)))


def _odds(logs: Any, n_classes: int) -> Any:
    """Log-odds of each class against the others, of logarithms of probabilities; (1, 1) for the second of two."""
    from openvino import opset13 as ops

    if n_classes == 2:
        first, second = (ops.gather(logs, np.array([column]), np.array(1)) for column in (0, 1))
        return ops.subtract(second, first)
    others = ops.add(logs, np.eye(n_classes, dtype=np.float32) * _FAR)  # row k: all classes but k
    largest = ops.reduce_max(others, np.array([1]), True)
    summed = ops.reduce_sum(ops.exp(ops.subtract(others, largest)), np.array([1]), True)
    against = ops.reshape(ops.add(ops.log(summed), largest), np.array([1, n_classes]), False)
    return ops.subtract(logs, against)


def _curve(x: Any, places: list[float], heights: list[float]) -> Any:
    """A rising curve through points, level beyond its ends, as ``numpy.interp`` draws it; x of shape (1, 1)."""
    from openvino import opset13 as ops

    at, height = np.asarray(places, np.float64), np.asarray(heights, np.float64)
    if len(at) == 1:
        return ops.add(ops.multiply(x, _row(0)), _row(height[0]))
    width = np.maximum(np.diff(at), 1e-7)  # where it jumps: the narrowest slope that float32 holds
    part = ops.clamp(ops.divide(_add(x, -at[:-1]), _row(width)), 0.0, 1.0)
    return _add(ops.reduce_sum(ops.multiply(part, _row(np.diff(height))), np.array([1]), True), height[:1])


def _affine(x: Any, kernel: np.ndarray, bias: np.ndarray | None = None) -> Any:
    from openvino import opset13 as ops

    product = ops.matmul(x, np.ascontiguousarray(kernel, np.float32), False, False)
    return product if bias is None else _add(product, bias)


def _add(x: Any, values: Any) -> Any:
    from openvino import opset13 as ops

    return ops.add(x, _row(values))


def _row(values: Any) -> np.ndarray:
    """A constant that is added to or multiplied with rows of shape (1, n)."""
    return np.atleast_2d(np.asarray(values, np.float32))
