"""Which models see rows through inner products or distances alone, so that they may be given the n coordinates of
:mod:`heads.search.gram_projection`, and what has to be seen to where they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.svm import SVC, SVR

from ..training.calibrated_ridge import CalibratedRidgeClassifier
from ..training.label_wise import LabelWiseClassifier

_KERNELS = ("linear", "rbf", "poly", "polynomial", "sigmoid")
# A penalty below this part of the rows' squares leaves the solution to the last digits of their products.
LEAST_PENALTY = 1e-10


def projects(model: Any) -> bool:
    """Whether a model sees rows through inner products or distances alone.

    Where ties or a solver's last step could decide a label, :mod:`heads.search.projection_check` looks at each fit
    besides. Newton's conjugate gradients take another path in other coordinates, and NuSVC has many solutions where
    rows are copies: these go the ordinary way.
    """
    known = _KNOWN.get(type(model))
    return known is not None and known(model)


def approximate(model: Any) -> bool:
    """Whether probabilities and decisions of the projected model differ by more than rounding.

    Those of a solver that stops near its solution do, and those of neighbours, which weigh the nearest without end.
    """
    return isinstance(_inner(model), LogisticRegression | KNeighborsClassifier)


def keeps_the_precision(model: Any, rows: np.ndarray) -> bool:
    """Whether a model computes with these rows as with the projection, which is in float64."""
    half = rows.dtype.kind == "f" and rows.dtype.itemsize < 8
    return not (half and isinstance(_inner(model), Ridge | KernelRidge))


def made_ready(model: Any, rows: np.ndarray, train: np.ndarray) -> bool:
    """Whether an unfitted model learns the same from the projection as from the rows ``train``; it is given the width
    of its kernel where that would follow from the columns."""
    inner = _inner(model)
    if isinstance(inner, Ridge | KernelRidge):
        largest = float(np.square(rows[train], dtype=np.float64).sum())
        if np.min(inner.alpha) < LEAST_PENALTY * largest:
            return False
    if getattr(inner, "kernel", "linear") == "linear":
        return True
    width = getattr(inner, "gamma", None)
    if width == "auto" or (width is None and isinstance(inner, KernelRidge)):
        inner.set_params(gamma=1 / rows.shape[1])
    elif width == "scale":
        if isinstance(model, CalibratedClassifierCV | LabelWiseClassifier):
            return False  # the rows of each inner fold, or label, have a width of their own
        variance = float(rows[train].var(dtype=np.float64))
        inner.set_params(gamma=1 / (rows.shape[1] * variance) if variance else 1.0)
    return True


def _inner(model: Any) -> Any:
    """The model within those that calibrate it, learn it for each label, or scale its targets."""
    while True:
        if isinstance(model, CalibratedClassifierCV | LabelWiseClassifier):
            model = model.estimator
        elif isinstance(model, TransformedTargetRegressor):
            model = model.regressor
        else:
            return model


def _logistic(model: LogisticRegression) -> bool:
    by_norm = getattr(model, "penalty", "l2") in ("l2", "deprecated") and not getattr(model, "l1_ratio", None)
    return by_norm and model.solver == "lbfgs" and not model.warm_start


def _ridge(model: Ridge | RidgeClassifier) -> bool:
    return model.solver in ("auto", "cholesky", "svd") and not model.positive


def _neighbours(model: KNeighborsClassifier | KNeighborsRegressor) -> bool:
    euclidean = model.metric == "euclidean" or (model.metric == "minkowski" and model.p == 2)
    return euclidean and not model.metric_params and model.weights in ("uniform", "distance")


def _kernel(model: SVC | SVR | KernelRidge) -> bool:
    return isinstance(model.kernel, str) and model.kernel in _KERNELS


def _calibrated(model: CalibratedClassifierCV) -> bool:
    inner = model.estimator
    return type(inner) in (SVC, RidgeClassifier) and model.method == "sigmoid" and projects(inner)


def _scaled_target(model: TransformedTargetRegressor) -> bool:
    return type(model.regressor) in (SVR, Ridge, KernelRidge) and projects(model.regressor)


_KNOWN: dict[type, Callable[[Any], bool]] = {
    CalibratedClassifierCV: _calibrated,
    CalibratedRidgeClassifier: lambda _: True,
    KernelRidge: _kernel,
    KNeighborsClassifier: _neighbours,
    KNeighborsRegressor: _neighbours,
    LabelWiseClassifier: lambda model: projects(model.estimator),
    LogisticRegression: _logistic,
    Ridge: _ridge,
    RidgeClassifier: _ridge,
    SVC: _kernel,
    SVR: _kernel,
    TransformedTargetRegressor: _scaled_target,
}
