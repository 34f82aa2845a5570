"""Write a fitted model without pickle, and read it back: heads as plain tensors, sklearn by skops, XGBoost as UBJ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline

from featcache import frozen
from featcache.errors import BundleError

from .cnn import OwnCNNClassifier
from .dense_head import DenseHeadClassifier

_HEAD, _SKOPS, _UBJ = "head.safetensors", "model.skops", "model.ubj"
FILES = (_HEAD, _SKOPS, _UBJ)
_HEADS = {"dense": DenseHeadClassifier, "own-cnn": OwnCNNClassifier}
# Beyond what skops trusts by itself: the insides of sklearn's own estimators, and nothing that can run code.
_TRUSTED = frozenset(
    [
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
    ]
)


def write(folder: Path, estimator: Any) -> dict[str, Any]:
    """Write a fitted model into ``folder``; returns what :func:`read` needs to know besides.

    Raises :class:`BundleError` for a model that cannot be read back without trusting it.
    """
    for kind, cls in _HEADS.items():
        if type(estimator) is cls:
            frozen.write_tensors(folder / _HEAD, estimator.weights_)
            params = estimator.get_params()
            params["random_state"] = _plain_seed(params["random_state"])
            return {"kind": kind, "params": params, "input": _input_shape(estimator)}
    import skops.io
    from xgboost import XGBClassifier

    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    kind = "sklearn"
    if isinstance(last, XGBClassifier):
        kind = "xgboost"
        last.get_booster().save_model(folder / _UBJ)
        before = [step for _, step in estimator.steps[:-1]] if isinstance(estimator, Pipeline) else []
        estimator = make_pipeline(*before) if before else None
    if estimator is not None:
        skops.io.dump(estimator, folder / _SKOPS)
        unknown = sorted(set(skops.io.get_untrusted_types(file=folder / _SKOPS)) - _TRUSTED)
        if unknown:
            raise BundleError(f"{type(last).__name__} cannot be kept in a bundle: it holds {', '.join(unknown)}")
    return {"kind": kind, "name": type(last).__name__}


def read(folder: Path, about: Mapping[str, Any], n_classes: int) -> Any:
    """Read what :func:`write` wrote.

    Raises :class:`BundleError`, or ValueError, KeyError or TypeError where ``about`` is not what it returned.
    """
    kind = about["kind"]
    if kind in _HEADS:
        return _head(_HEADS[kind], folder, about, n_classes)
    if kind not in ("sklearn", "xgboost"):
        raise BundleError(f"a model of kind {kind!r} is unknown; expected one of {', '.join((*_HEADS, 'sklearn'))}")
    import skops.io

    model: Any = None
    if (folder / _SKOPS).exists():
        unknown = sorted(set(skops.io.get_untrusted_types(file=folder / _SKOPS)) - _TRUSTED)
        if unknown:
            raise BundleError(f"{_SKOPS} holds {', '.join(unknown)}, which is not on the list of what may be loaded")
        model = skops.io.load(folder / _SKOPS, trusted=sorted(_TRUSTED))
    if kind == "sklearn":
        return model
    from xgboost import XGBClassifier

    booster = XGBClassifier()
    booster.load_model(folder / _UBJ)
    return make_pipeline(*(step for _, step in model.steps), booster) if model is not None else booster


def _head(cls: type, folder: Path, about: Mapping[str, Any], n_classes: int) -> Any:
    params = dict(about["params"])
    if isinstance(params.get("units"), list):
        params["units"] = tuple(params["units"])
    head = cls(**params)
    head.classes_ = np.arange(n_classes)
    shape = tuple(about["input"])
    if cls is OwnCNNClassifier:
        head.image_shape_ = shape
    else:
        head.n_features_in_ = shape[0]
    head.weights_ = frozen.read_tensors(folder / _HEAD)
    wanted = head.weight_shapes()
    found = [weight.shape for weight in head.weights_]
    if found != wanted:
        raise BundleError(f"{_HEAD} holds tensors of other shapes than this head has")
    return head


def _input_shape(head: Any) -> list[int]:
    return list(head.image_shape_) if isinstance(head, OwnCNNClassifier) else [head.n_features_in_]


def _plain_seed(seed: Any) -> int | None:
    """A seed as JSON can hold it; a generator's state says nothing to a reader."""
    return int(seed) if isinstance(seed, int | np.integer) else None
