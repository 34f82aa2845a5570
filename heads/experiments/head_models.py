"""The heads that are trained by name: the dense head on features, and the own CNN on pixels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from featcache.backbones import openvino_runtime
from featcache.backbones.weights import network_parameters
from featcache.errors import UsageError
from featcache.features.labelled_features import Features
from featcache.spec import FeatureSpec
from featcache.store.store import Store

from ..training.cnn_classifier import OwnCNNClassifier
from ..training.dense_head_classifier import DenseHeadClassifier
from ..training.epoch_classifier import EpochClassifier
from ..training.epoch_estimator import Layer
from .reference import defaults

MODELS: dict[str, type[EpochClassifier]] = {"dense": DenseHeadClassifier, "own-cnn": OwnCNNClassifier}
_POOLED = {"flatten": "flatten", "avg": "global average", "max": "global maximum", "cls": "class token"}


def head_model(task: str, model: str, seed: int, settings: Mapping[str, Any]) -> EpochClassifier:
    """A head, unfitted: the reference's settings for the task, changed by ``settings``.

    Raises :class:`UsageError` for an unknown task, model or hyperparameter, and for a value that no fit can take.
    """
    if model not in MODELS:
        raise UsageError(f"model {model!r} is unknown; expected one of {', '.join(MODELS)}")
    known = MODELS[model]().get_params()
    chosen = {**defaults(task, model), **settings, "random_state": seed}
    odd = sorted(set(chosen) - set(known))
    if odd:
        raise UsageError(f"model {model} has no {', '.join(odd)}; it has {', '.join(sorted(known))}")
    estimator = MODELS[model](**chosen)
    estimator.check()
    return estimator


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
