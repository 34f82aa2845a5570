"""Write a fitted model without pickle, and read it back: heads as plain tensors, sklearn by skops, XGBoost as UBJ."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline

from featcache.errors import BundleError
from featcache.system import tensor_files

from ..training.cnn_classifier import OwnCNNClassifier
from ..training.dense_head_classifier import DenseHeadClassifier
from ..training.dense_head_multilabel_classifier import DenseHeadMultilabelClassifier
from ..training.dense_head_regressor import DenseHeadRegressor
from ..training.label_wise import LabelWiseClassifier
from . import skops_files, ubjson
from .model_checks import check_booster

_HEAD, _SKOPS, _UBJ = "head.safetensors", "model.skops", "model.ubj"
FILES = (_HEAD, _SKOPS, _UBJ)
OF_LABEL = re.compile(r"label-\d{3}\.(?:skops|ubj)")  # of a model that learnt each label by itself
_HEADS: dict[str, Any] = {
    "dense": DenseHeadClassifier,
    "dense-labels": DenseHeadMultilabelClassifier,
    "dense-number": DenseHeadRegressor,
    "own-cnn": OwnCNNClassifier,
}
_OF_KIND = {"dense-labels": "labels", "dense-number": "number"}


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
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    if type(last) is LabelWiseClassifier:
        if last is not estimator and len(estimator.steps) > 1:  # what all labels share is kept once
            skops_files.write(folder / _SKOPS, make_pipeline(*(step for _, step in estimator.steps[:-1])), "a pipeline")
        return {"kind": "label-wise", "models": [_write_label(folder, i, one) for i, one in enumerate(last.models_)]}
    return _write_model(folder, estimator, _SKOPS, _UBJ)


def _write_label(folder: Path, label: int, model: Any) -> dict[str, Any]:
    """The model of one label, or the share of a label that had one value alone."""
    if isinstance(model, float):
        return {"kind": "share", "share": model}
    return _write_model(folder, model, *_of_label(label))


def _of_label(label: int) -> tuple[str, str]:
    return f"label-{label:03d}.skops", f"label-{label:03d}.ubj"


def _write_model(folder: Path, estimator: Any, skops: str, ubj: str) -> dict[str, Any]:
    """A model of sklearn or XGBoost, into these files."""
    from xgboost import XGBModel

    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    kind = "sklearn"
    if isinstance(last, XGBModel):
        kind = "xgboost"
        last.get_booster().save_model(folder / ubj)
        _check_ubj(folder / ubj)
        before = [step for _, step in estimator.steps[:-1]] if isinstance(estimator, Pipeline) else []
        estimator = make_pipeline(*before) if before else None
    if estimator is not None:
        skops_files.write(folder / skops, estimator, type(last).__name__)
    return {"kind": kind, "name": type(last).__name__}


def read(folder: Path, about: Mapping[str, Any], n_classes: int, files: Container[str], learns: str = "classes") -> Any:
    """Read what :func:`write` wrote; ``files`` are those that were proven, and no other is opened.

    ``n_classes`` are classes, labels, or 1 for a number; ``learns`` is the kind of task.

    Raises :class:`BundleError`, or ValueError, KeyError or TypeError where ``about`` is not what it returned.
    """
    kind = about["kind"]
    if kind in _HEADS:
        if _OF_KIND.get(kind, "classes") != learns:
            raise BundleError(f"a model of kind {kind!r} for a task of {learns}")
        _require_files(kind, {name for name in FILES if name in files}, {_HEAD}, {_HEAD})
        return _head(_HEADS[kind], folder, about, n_classes)
    if kind == "label-wise":
        if learns != "labels" or len(about["models"]) != n_classes:
            raise BundleError(f"{len(about['models'])} models of labels for a task of {learns} with {n_classes}")
        _require_files(kind, {name for name in FILES if name in files}, set(), {_SKOPS})
        models = [_read_label(folder, label, one, files) for label, one in enumerate(about["models"])]
        each = LabelWiseClassifier.of(models)
        return _behind(skops_files.read(folder / _SKOPS), each, _SKOPS) if _SKOPS in files else each
    if kind not in ("sklearn", "xgboost"):
        raise BundleError(f"a model of kind {kind!r} is unknown; expected one of {', '.join((*_HEADS, 'sklearn'))}")
    if learns == "labels":
        raise BundleError(f"a model of kind {kind!r} for a task of labels")
    return _read_model(folder, about, files, (_SKOPS, _UBJ), numbers=learns == "number")


def _read_label(folder: Path, label: int, about: Mapping[str, Any], files: Container[str]) -> Any:
    if about["kind"] == "share":
        return float(about["share"])
    return _read_model(folder, about, files, _of_label(label), numbers=False)


def _read_model(
    folder: Path, about: Mapping[str, Any], files: Container[str], names: tuple[str, str], *, numbers: bool
) -> Any:
    """A model of sklearn or XGBoost out of two files, of which it needs one or both."""
    skops, ubj = names
    kind = about["kind"]
    held = FILES if skops in FILES else names
    there = {name for name in held if name in files}
    wanted = {skops} if kind == "sklearn" else {ubj}
    _require_files(kind, there, wanted, wanted | ({skops} if kind == "xgboost" else set()))
    model = skops_files.read(folder / skops) if skops in there else None
    gives = "predict" if numbers else "predict_proba"
    if kind == "sklearn":
        if not hasattr(model, gives):
            what = "numbers" if numbers else "probabilities"
            raise BundleError(f"{skops} holds a {type(model).__name__}, which gives no {what}")
        return model
    from xgboost import XGBClassifier, XGBRegressor
    from xgboost.core import XGBoostError

    _check_ubj(folder / ubj)
    booster = XGBRegressor() if numbers else XGBClassifier()
    try:
        booster.load_model(folder / ubj)
    except XGBoostError as error:
        raise BundleError(f"{ubj}: not read by XGBoost ({str(error).strip().splitlines()[0][:200]})") from error
    return booster if model is None else _behind(model, booster, skops)


def _behind(before: Any, model: Any, name: str) -> Pipeline:
    """A model behind the steps of a pipeline out of the file ``name``."""
    if not isinstance(before, Pipeline):
        raise BundleError(f"{name} holds a {type(before).__name__}; expected what stands before the model")
    return make_pipeline(*(step for _, step in before.steps), model)


def _require_files(kind: str, there: set[str], least: set[str], most: set[str]) -> None:
    if not least <= there <= most:
        raise BundleError(
            f"a model of kind {kind!r} in {', '.join(sorted(there)) or 'no file'}; expected {', '.join(sorted(least))}"
        )


def _check_ubj(path: Path) -> None:
    """Raise :class:`BundleError` where XGBoost would be led astray."""
    try:
        model = ubjson.parse(path.read_bytes())
    except ValueError as error:
        raise BundleError(f"{path.name}: no model of XGBoost: {error}") from error
    check_booster(model)


def _head(cls: type, folder: Path, about: Mapping[str, Any], n_classes: int) -> Any:
    params = dict(about["params"])
    if isinstance(params.get("units"), list):
        params["units"] = tuple(params["units"])
    head = cls(**params)
    if isinstance(head, DenseHeadMultilabelClassifier):
        head.n_outputs_ = n_classes
    elif not isinstance(head, DenseHeadRegressor):
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
