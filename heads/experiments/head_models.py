"""The heads that are trained by name: the dense head on features, and the own CNN on pixels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from featcache.backbones import openvino_runtime
from featcache.backbones.weights import network_parameters
from featcache.data.tasks import Task
from featcache.errors import UsageError
from featcache.features.labelled_features import Features
from featcache.spec import FeatureSpec
from featcache.store.store import Store

from ..training.cnn_classifier import OwnCNNClassifier
from ..training.dense_head_classifier import DenseHeadClassifier
from ..training.dense_head_multilabel_classifier import DenseHeadMultilabelClassifier
from ..training.dense_head_regressor import DenseHeadRegressor
from ..training.epoch_estimator import EpochEstimator, Layer
from .reference import defaults

HEADS = ("dense", "own-cnn")
# By what is learnt, and how.
MODELS: dict[tuple[str, str], type[EpochEstimator]] = {
    ("classes", "dense"): DenseHeadClassifier,
    ("classes", "own-cnn"): OwnCNNClassifier,
    ("labels", "dense"): DenseHeadMultilabelClassifier,
    ("number", "dense"): DenseHeadRegressor,
}
_OURS: dict[str, dict[str, Any]] = {
    "labels": {"activation": "relu", "dropout": 0.25, "learning_rate": 0.001, "epochs": 40},
    "number": {"activation": "relu", "dropout": 0.25, "learning_rate": 0.001, "epochs": 100},
}
_POOLED = {"flatten": "flatten", "avg": "global average", "max": "global maximum", "cls": "class token"}


def head_model(task: Task, model: str, seed: int, settings: Mapping[str, Any]) -> EpochEstimator:
    """A head, unfitted: the reference's settings for the task, changed by ``settings``.

    Raises :class:`UsageError` for an unknown task, model or hyperparameter, and for a value that no fit can take.
    """
    kind = MODELS.get((task.kind, model))
    if kind is None:
        there = [name for of, name in MODELS if of == task.kind]
        raise UsageError(f"model {model!r} does not learn task {task.name}; expected one of {', '.join(there)}")
    known = kind().get_params()
    chosen = {**settings_of(task, model), **settings, "random_state": seed}
    odd = sorted(set(chosen) - set(known))
    if odd:
        raise UsageError(f"model {model} has no {', '.join(odd)}; it has {', '.join(sorted(known))}")
    estimator = kind(**chosen)
    estimator.check()
    return estimator


def settings_of(task: Task, model: str) -> dict[str, Any]:
    """Settings before any are chosen: the reference's, and for tasks that it has not ours."""
    return {**_OURS[task.kind], "units": 256} if task.kind in _OURS else defaults(task.name, model)


def layer_table(estimator: Any, features: Features, cache: str | os.PathLike[str]) -> list[Layer]:
    """The layers of a fitted head, from the frozen network (which the cache keeps) to the output."""
    spec = features.spec
    layers: list[Layer] = []
    if spec.backbone != "pixels":
        name = f"{spec.network} (frozen{', to ' + spec.layer if spec.layer else ''})"
        count = network_parameters(spec) if spec.of_table else _kept_parameters(spec, cache)
        layers.append(Layer(name, features.map_shape, count))
        layers.append(Layer(_POOLED[features.pooling], features.X.shape[1:], 0))
    return [*layers, *estimator.layers()]


def _kept_parameters(spec: FeatureSpec, cache: str | os.PathLike[str]) -> int:
    with Store(cache) as store:
        return openvino_runtime.parameters(store.converted(spec.in_float32))


def parameter_counts(layers: Sequence[Layer], model: str) -> dict[str, int]:
    """Parameters in all, and those that were trained, as ``total`` and ``trainable``."""
    total = sum(layer.parameters for layer in layers)
    frozen = 0 if model == "own-cnn" else layers[0].parameters
    # Of batch normalisation, half are statistics, which no gradient changes.
    moving = sum(layer.parameters // 2 for layer in layers if layer.name == "batch normalisation")
    return {"total": total, "trainable": total - frozen - moving}
