"""Class-activation maps from kept maps: which cells speak for a class, a label or a higher number, without running the
backbone.

A cell's contribution is the gradient of the class's logit with respect to the map, times the map, summed over channels,
in units of the logit; positive speaks for the class. Of a label it is the same of that label's own logit, and of a
number of the number itself, in its own unit: positive raises it. After average pooling into one layer these are the
class-activation maps of Zhou et al. (2016, "Learning deep features for discriminative localization"). After flattening
they are those that Draelos & Carin (2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional
neural networks", arXiv:2011.08891) prove to add up to the logit, but for a constant, where the layers behind the map
are linear; with relu, that holds for the units that are on. Grad-CAM (Selvaraju et al. 2017) averages the gradient over
the cells first: the same after average pooling, and elsewhere it can light up cells that the class does not use, so it
is not what is done here.

A cell is not its square of the image alone: VGG16's last map sees 212 of 224 pixels from each cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
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
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVR, LinearSVC, LinearSVR
from sklearn.utils.validation import check_is_fitted

from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.errors import UsageError
from featcache.features.pooling import pool
from featcache.features.stored_rows import StoredRows

from ..training.calibrated_ridge import CalibratedRidgeClassifier
from ..training.cnn_classifier import OwnCNNClassifier
from ..training.dense_head import DenseHead
from ..training.dense_head_classifier import DenseHeadClassifier
from ..training.label_wise import LabelWiseClassifier

_BLOCK_BYTES = 64 << 20
_IMAGES = 16  # through the own CNN at a time: their maps are some five times as large
_LINEAR = (
    *(LogisticRegression, RidgeClassifier, CalibratedRidgeClassifier),
    *(SGDClassifier, LinearSVC, LinearDiscriminantAnalysis),
)
_LINEAR_NUMBERS = (Ridge, LinearRegression, Lasso, ElasticNet, LinearSVR)
_ORDERS = {"l1": 1, "l2": 2, "max": np.inf}
_Gradient = Callable[[np.ndarray, np.ndarray], np.ndarray]


def contributions(
    estimator: Any, maps: np.ndarray | StoredRows, pooling: str, target: np.ndarray | int | None = None
) -> np.ndarray:
    """What each cell of a map adds to the logit of a class or of a label, or to a number.

    Parameters
    ----------
    estimator : fitted: a dense head, whatever it learnt; a linear classifier or regression of sklearn, alone or in a
        pipeline behind StandardScaler, Normalizer or PCA (of unit rows the length counts as given, so that a map adds
        up to the decision function, but for a constant), or such a classifier for each label; or a
        :class:`heads.OwnCNNClassifier`.
    maps : array of shape (n, h, w, c), or :class:`featcache.StoredRows` of that shape; images for the own CNN, whose
        map is what its dense layers see.
    pooling : how the estimator's rows came from maps: ``flatten``, ``avg`` or ``max``; ``map`` for the own CNN. Cells
        that share a channel's maximum share its gradient.
    target : position of a class or a label for each row, or one for all; None takes the predicted class, or the most
        probable label. Of a number it is 0.

    Returns
    -------
    float32 array of shape (n, h, w); for the own CNN the map's own height and width.

    Raises
    ------
    UsageError
        A model without such a map, another pooling, maps that do not fit the model, or an unknown class or label.
    """
    of_block = _explainer(estimator, pooling)
    if maps.ndim != 4:
        raise UsageError(f"found maps of shape {maps.shape}; expected (n, height, width, channels)")
    targets = _checked(target, len(maps), len(getattr(estimator, "classes_", (0,))))
    rows = max(1, _BLOCK_BYTES // (4 * math.prod(maps.shape[1:])))
    blocks = [
        of_block(maps[start : start + rows], None if targets is None else targets[start : start + rows])
        for start in range(0, len(maps), rows)
    ]
    return np.concatenate(blocks).astype(np.float32) if blocks else np.empty((0, *maps.shape[1:3]), np.float32)


def require_map(estimator: Any, pooling: str) -> None:
    """Raise :class:`UsageError` where a model has no class-activation map, before anything is computed for it."""
    _explainer(estimator, pooling)


def _explainer(estimator: Any, pooling: str) -> Callable[[np.ndarray, np.ndarray | None], np.ndarray]:
    """From maps and targets to contributions, for one block."""
    check_is_fitted(estimator)
    own_cnn = isinstance(estimator, OwnCNNClassifier)
    expected = ("map",) if own_cnn else ("flatten", "avg", "max")
    if pooling not in expected:
        raise UsageError(f"pooling {pooling!r}: expected {' or '.join(expected)} for this model")
    if own_cnn:
        return _of_own_cnn(estimator)
    gradient = estimator.logit_gradient if isinstance(estimator, DenseHead) else _of_linear(estimator)

    def of_block(block: np.ndarray, target: np.ndarray | None) -> np.ndarray:
        block = block.astype(np.float32, copy=False)
        rows = pool(block, pooling)
        if rows.shape[1] != estimator.n_features_in_:
            raise UsageError(
                f"maps of {block.shape[1:]} make rows of {rows.shape[1]} by {pooling}; this model was fitted on rows "
                f"of {estimator.n_features_in_}"
            )
        if target is None:
            target = _said(estimator, rows)
        return _spread(block, gradient(rows, target), pooling)

    return of_block


def _spread(maps: np.ndarray, gradient: np.ndarray, pooling: str) -> np.ndarray:
    """Gradient with respect to pooled rows, taken back through the pooling, times the maps, summed over channels."""
    if pooling == "flatten":
        return np.einsum("nhwc,nhwc->nhw", maps, gradient.reshape(maps.shape))
    if pooling == "avg":
        return np.einsum("nhwc,nc->nhw", maps, gradient) / math.prod(maps.shape[1:3])
    top = maps == maps.max(axis=(1, 2), keepdims=True)
    return np.einsum("nhwc,nc->nhw", maps * (top / top.sum(axis=(1, 2), keepdims=True)), gradient)


def _of_own_cnn(estimator: OwnCNNClassifier) -> Callable[[np.ndarray, np.ndarray | None], np.ndarray]:
    """Its convolutions make the map, and its dense layers are a dense head on the flattened map."""
    _, keras = load_tensorflow()
    network = estimator.to_keras()
    flatten = next(layer for layer in network.layers if isinstance(layer, keras.layers.Flatten))
    body = keras.Model(network.inputs[0], flatten.input)
    weights = network.get_weights()[len(body.weights) :]
    head = DenseHeadClassifier(tuple(kernel.shape[1] for kernel in weights[:-2:2]), activation=estimator.activation)
    head.weights_, head.classes_ = weights, np.arange(len(estimator.classes_))
    head.n_features_in_ = len(weights[0])

    def of_block(images: np.ndarray, target: np.ndarray | None) -> np.ndarray:
        if images.shape[1:] != estimator.image_shape_:
            raise UsageError(f"images of {images.shape[1:]}; this network was fitted on {estimator.image_shape_}")
        parts = []
        for start in range(0, len(images), _IMAGES):
            maps = body(images[start : start + _IMAGES]).numpy()
            parts.append(
                contributions(head, maps, "flatten", None if target is None else target[start : start + _IMAGES])
            )
        return np.concatenate(parts)

    return of_block


def _said(estimator: Any, rows: np.ndarray) -> np.ndarray:
    """The predicted class of each row; of several labels the most probable one; 0 of a number."""
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return np.zeros(len(rows), np.int64)
    if isinstance(classes, list):  # of each label, 0 and 1
        return np.asarray(estimator.predict_proba(rows)).argmax(axis=1)
    return np.searchsorted(classes, estimator.predict(rows))


def _of_linear(estimator: Any) -> _Gradient:
    """Each feature's weight in the decision function, for rows as they come, before the pipeline's scaling."""
    steps = _steps(estimator)
    if not isinstance(steps[-1], LabelWiseClassifier):
        return _of_chain(steps)
    # Of a label of one value alone nothing speaks.
    own = [None if isinstance(one, float) else _of_chain([*steps[:-1], *_steps(one)]) for one in steps[-1].models_]

    def gradient(rows: np.ndarray, target: np.ndarray) -> np.ndarray:
        found = np.zeros(rows.shape)
        for label in np.unique(target):
            of_label, asked = own[label], target == label
            if of_label is not None:
                found[asked] = of_label(rows[asked], np.ones(int(asked.sum()), np.int64))
        return found

    return gradient


def _steps(estimator: Any) -> list[Any]:
    steps = [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else [estimator]
    return [step for step in steps if step is not None and not (isinstance(step, str) and step == "passthrough")]


def _of_chain(steps: list[Any]) -> _Gradient:
    """The same of one linear model behind others."""
    *before, model = steps
    unit = 1.0
    if isinstance(model, TransformedTargetRegressor) and isinstance(model.transformer_, StandardScaler):
        unit = float(model.transformer_.scale_[0])
        *within, model = _steps(model.regressor_)
        before += within
    known = all(isinstance(step, StandardScaler | Normalizer | PCA) for step in before)
    of_number = isinstance(model, _LINEAR_NUMBERS) or (isinstance(model, SVR) and model.kernel == "linear")
    if not (known and (of_number or isinstance(model, _LINEAR))):
        name = " > ".join(type(step).__name__ for step in (*before, model))
        raise UsageError(
            f"{name} has no class-activation map; there is one of the dense head, of the own CNN, and of "
            f"{', '.join(cls.__name__ for cls in (*_LINEAR, *_LINEAR_NUMBERS))}, a linear SVR, alone or behind "
            "StandardScaler, Normalizer or PCA"
        )
    weights = np.atleast_2d(model.coef_) * unit
    if len(weights) == 1 and not of_number:
        weights = np.concatenate([-weights, weights])
    for step in reversed(before):
        if isinstance(step, StandardScaler) and step.scale_ is not None:
            weights = weights / step.scale_
        elif isinstance(step, PCA):
            weights = (weights / np.sqrt(step.explained_variance_) if step.whiten else weights) @ step.components_

    def gradient(rows: np.ndarray, target: np.ndarray) -> np.ndarray:
        length = np.ones((len(rows), 1))
        for step in before:
            if isinstance(step, Normalizer):
                own = np.linalg.norm(rows, _ORDERS[step.norm], axis=1, keepdims=True)
                length = length * np.where(own == 0, 1, own)  # as Normalizer leaves rows of zeros
            rows = step.transform(rows)
        return np.asarray(weights[target] / length)

    return gradient


def _checked(target: np.ndarray | int | None, count: int, n_classes: int) -> np.ndarray | None:
    if target is None:
        return None
    targets = np.broadcast_to(np.asarray(target), (count,)) if np.ndim(target) == 0 else np.asarray(target)
    if targets.shape != (count,) or targets.dtype.kind not in "iu":
        raise UsageError(
            f"found targets of shape {targets.shape}, {targets.dtype}; expected {count} positions of classes or labels"
        )
    if count and not 0 <= targets.min() <= targets.max() < n_classes:
        raise UsageError(
            f"targets go from {targets.min()} to {targets.max()}; expected positions in {n_classes} classes or labels"
        )
    return targets
