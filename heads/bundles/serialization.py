"""Write a fitted model without pickle, and read it back: heads as plain tensors, sklearn by skops, XGBoost as UBJ."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline

from featcache.errors import BundleError
from featcache.system import tensor_files

from ..training.cnn_classifier import OwnCNNClassifier
from ..training.dense_head_classifier import DenseHeadClassifier
from . import skops_files, ubjson
from .model_checks import check_booster

_HEAD, _SKOPS, _UBJ = "head.safetensors", "model.skops", "model.ubj"
FILES = (_HEAD, _SKOPS, _UBJ)
_HEADS = {"dense": DenseHeadClassifier, "own-cnn": OwnCNNClassifier}


def write(folder: Path, estimator: Any) -> dict[str, Any]:
    """Write a fitted model into ``folder``; returns what :func:`read` needs to know besides.

    Raises :class:`BundleError` for a model that cannot be read back without trusting it.
    """
    for kind, cls in _HEADS.items():
        if type(estimator) is cls:
            tensor_files.write_tensors(folder / _HEAD, estimator.weights_)
            params = estimator.get_params()
            params["random_state"] = _plain_seed(params["random_state"])
            return {"kind": kind, "params": params, "input": _input_shape(estimator)}
    from xgboost import XGBClassifier

    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    kind = "sklearn"
    if isinstance(last, XGBClassifier):
        kind = "xgboost"
        last.get_booster().save_model(folder / _UBJ)
        _check_ubj(folder)
        before = [step for _, step in estimator.steps[:-1]] if isinstance(estimator, Pipeline) else []
        estimator = make_pipeline(*before) if before else None
    if estimator is not None:
        skops_files.write(folder / _SKOPS, estimator, type(last).__name__)
    return {"kind": kind, "name": type(last).__name__}


def read(folder: Path, about: Mapping[str, Any], n_classes: int, files: Container[str]) -> Any:
    """Read what :func:`write` wrote; ``files`` are those that were proven, and no other is opened.

    Raises :class:`BundleError`, or ValueError, KeyError or TypeError where ``about`` is not what it returned.
    """
    kind = about["kind"]
    wanted = {"sklearn": {_SKOPS}, "xgboost": {_UBJ}}.get(kind, {_HEAD})
    there = {name for name in FILES if name in files}
    if not wanted <= there <= wanted | ({_SKOPS} if kind == "xgboost" else set()):
        raise BundleError(
            f"a model of kind {kind!r} in {', '.join(sorted(there)) or 'no file'}; expected {wanted.pop()}"
        )
    if kind in _HEADS:
        return _head(_HEADS[kind], folder, about, n_classes)
    if kind not in ("sklearn", "xgboost"):
        raise BundleError(f"a model of kind {kind!r} is unknown; expected one of {', '.join((*_HEADS, 'sklearn'))}")
    model = skops_files.read(folder / _SKOPS) if _SKOPS in there else None
    if kind == "sklearn":
        if not hasattr(model, "predict_proba"):
            raise BundleError(f"{_SKOPS} holds a {type(model).__name__}, which gives no probabilities")
        return model
    from xgboost import XGBClassifier
    from xgboost.core import XGBoostError

    _check_ubj(folder)
    booster = XGBClassifier()
    try:
        booster.load_model(folder / _UBJ)
    except XGBoostError as error:
        raise BundleError(f"{_UBJ}: not read by XGBoost ({str(error).strip().splitlines()[0][:200]})") from error
    if model is None:
        return booster
    if not isinstance(model, Pipeline):
        raise BundleError(f"{_SKOPS} holds a {type(model).__name__}; expected what stands before the model")
    return make_pipeline(*(step for _, step in model.steps), booster)


def _check_ubj(folder: Path) -> None:
    """Raise :class:`BundleError` where XGBoost would be led astray."""
    try:
        model = ubjson.parse((folder / _UBJ).read_bytes())
    except ValueError as error:
        raise BundleError(f"{_UBJ}: no model of XGBoost: {error}") from error
    check_booster(model)


def _head(cls: type, folder: Path, about: Mapping[str, Any], n_classes: int) -> Any:
    params = dict(about["params"])
    if isinstance(params.get("units"), list):
        params["units"] = tuple(params["units"])
    head = cls(**params)
    head.classes_ = np.arange(n_classes)
    shape = tuple(about["input"])
    head.weights_ = tensor_files.read_tensors(folder / _HEAD)
    if cls is OwnCNNClassifier:
        head.image_shape_ = shape
        side = ((shape[0] - 2) // 2 - 2) // 2  # after two convolutions and two poolings, as Flatten sees it
        if shape[0] != shape[1] or shape[0] < 10 or 64 * side**2 * 128 > sum(weight.size for weight in head.weights_):
            raise BundleError(f"{_HEAD} holds too few numbers for images of {shape[0]} x {shape[1]}")
    else:
        head.n_features_in_ = shape[0]
    if [weight.shape for weight in head.weights_] != head.weight_shapes():
        raise BundleError(f"{_HEAD} holds tensors of other shapes than this head has")
    return head


def _input_shape(head: Any) -> list[int]:
    return list(head.image_shape_) if isinstance(head, OwnCNNClassifier) else [head.n_features_in_]


def _plain_seed(seed: Any) -> int | None:
    """A seed as JSON can hold it; a generator's state says nothing to a reader."""
    return int(seed) if isinstance(seed, int | np.integer) else None
