"""``fit_head``: train one head on kept features, evaluate it, draw it, and keep it as a bundle."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import featcache
from featcache.backbones.weights import network_parameters
from featcache.errors import UsageError
from featcache.features.loading import Features
from featcache.system.timer import Stopwatch

from ..auditing.audit import audited
from ..bundles.saving import save_bundle
from ..evaluation import plots
from ..evaluation.canvas import save_figure
from ..evaluation.decision import check_wishes, settle
from ..evaluation.metrics import evaluate, scores
from ..evaluation.run_folder import (
    origin_note,
    require_out,
    run_folder,
    stamp,
    write_evaluation,
    write_json,
    write_predictions,
    write_table,
)
from ..evaluation.splits import Partition, partition
from ..training.cnn_classifier import OwnCNNClassifier
from ..training.dense_head_classifier import DenseHeadClassifier
from ..training.epoch_classifier import EpochClassifier, Layer, OnEpoch
from .reference import defaults

_log = logging.getLogger(__name__)
MODELS: dict[str, type[EpochClassifier]] = {"dense": DenseHeadClassifier, "own-cnn": OwnCNNClassifier}


@dataclass(frozen=True)
class Fitted:
    """A fitted head with what it was fitted on, and the result as plain values."""

    result: dict[str, Any]
    estimator: EpochClassifier
    features: Features
    parts: Partition
    probabilities: np.ndarray

    @property
    def layers(self) -> list[Layer]:
        """The layer table, from the frozen network to the output."""
        return _layers(self.estimator, self.features)


def fit_head(
    task: str = "multiclass",
    *,
    model: str = "dense",
    backbone: str | None = None,
    pooling: str = "flatten",
    classes: Sequence[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    group_regex: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    validation_fraction: float = 0.2,
    calibration: str | None = None,
    sensitivity: float | None = None,
    audit: bool = False,
    on_epoch: OnEpoch | None = None,
    **settings: Any,
) -> Fitted:
    """Train a head with the report's settings for the task, or with others.

    Parameters
    ----------
    task, classes, data, group_regex, cache : as in :func:`featcache.load`.
    model : ``dense``, on a frozen backbone's features, or ``own-cnn``, on pixels.
    backbone : None takes the one extracted last.
    pooling : ``flatten``, ``avg`` or ``max``.
    out : folder for the results; None makes one in ``runs``.
    seed : of the initial weights, batches, dropout, and of parts that the data does not give.
    validation_fraction : share of the training rows that a missing test part takes, and then a missing validation part.
    calibration : ``temperature``, ``isotonic`` or ``sigmoid``, learnt on the validation rows; see
        :mod:`heads.evaluation.calibration`.
    sensitivity : of two classes, the share of the second one that the label must find on the validation rows; see
        :mod:`heads.evaluation.operating_point`. The figures are then those of the labels it gives.
    audit : audit the images first where that was never done; what was found stands in ``warnings`` either way.
    on_epoch : called after each epoch with its number and figures.
    settings : hyperparameters of :class:`heads.DenseHeadClassifier` or :class:`heads.OwnCNNClassifier`.

    Returns
    -------
    The result; its files are in ``out``: ``run.json``, ``history.csv``, ``predictions.csv``, figures, and ``bundle/``.

    Raises
    ------
    DataError
        No features, or a class that is missing from a part or cannot be divided.
    UsageError
        An unknown model or hyperparameter.
    """
    estimator = _estimator(task, model, seed, settings)
    check_wishes(calibration, sensitivity)
    require_out(out)
    watch = Stopwatch()
    loaded = load_for(model, task, backbone, pooling, classes, data, group_regex, cache)
    watch.lap("load")
    features, cautions = audited(loaded, task, data, group_regex, cache, audit)
    watch.lap("audit")
    check_wishes(calibration, sensitivity, len(features.classes))
    parts = partition(features, validation_fraction, seed)
    backbone_name = "own-cnn" if model == "own-cnn" else features.spec.backbone
    with run_folder(out, "fit-head", task, backbone_name) as folder:
        return _fit(
            folder, estimator, features, parts, task, model, seed, cache, on_epoch, calibration, sensitivity, cautions,
            watch,
        )  # fmt: skip


def _fit(
    folder: Path, estimator: EpochClassifier, features: Features, parts: Partition, task: str, model: str, seed: int,
    cache: str | os.PathLike[str], on_epoch: OnEpoch | None, method: str | None, sensitivity: float | None,
    cautions: Sequence[str], watch: Stopwatch,
) -> Fitted:  # fmt: skip
    train, val = (features.take(rows) for rows in (parts.train, parts.val))
    fitting: Any = estimator
    fitting.fit(train.X, train.y, validation_data=(val.X, val.y), on_epoch=on_epoch)
    seconds = watch.lap("train")
    raw = np.asarray(estimator.predict_proba(features.X))
    trust = settle(features, parts, raw, method, sensitivity)
    probabilities, threshold = trust.probabilities, trust.value
    judged = {
        name: scores(features.y[rows], probabilities[rows], threshold)
        for name, rows in parts.parts().items()
        if name != "test"
    }
    test = evaluate(
        features.y[parts.test], probabilities[parts.test], features.groups[parts.test], features.classes, threshold
    )
    watch.lap("evaluate")
    total, trainable = _parameters(_layers(estimator, features), model)
    result = {
        **stamp("fit-head", features, parts.parts()),
        "task": task,
        "classes": list(features.classes),
        "feature_set": features.feature_set,
        "model": model,
        "synthetic": features.synthetic,
        "parameters": {"total": total, "trainable": trainable},
        "hyperparameters": _plain(estimator.get_params()),
        "epochs_run": fitting.n_iter_,
        "best_epoch": fitting.best_epoch_,
        **judged,
        "test": test,
        **trust.result,
        "warnings": [*cautions, *trust.warnings],
        "made": list(parts.made),
        "seconds": round(seconds, 2),
        "images_per_second": round(len(train) * fitting.n_iter_ / seconds, 1),
        "phases": watch.phases,
        "seed": seed,
        "run": str(folder),
        "bundle": str(folder / "bundle"),
    }
    fitted = Fitted(result, estimator, features, parts, probabilities)
    save_bundle(
        folder / "bundle", estimator, features, parts.train, task=task, scores={**judged, "test": test}, cache=cache,
        calibration=trust.calibration, threshold=trust.threshold, warnings=[*cautions, *trust.warnings],
    )  # fmt: skip
    watch.lap("bundle")
    _write_run(folder, fitted, watch)
    return fitted


def load_for(
    model: str,
    task: str,
    backbone: str | None,
    pooling: str,
    classes: Sequence[str] | None,
    data: str | os.PathLike[str] | None,
    group_regex: str | None,
    cache: str | os.PathLike[str],
) -> Features:
    """The features that a model learns from; pixels are decoded where they are not kept yet."""
    if model == "own-cnn":
        featcache.extract(data, "pixels", group_regex=group_regex, cache=cache, skip_bad=False)
        backbone, pooling = "pixels", "map"
    elif pooling == "map":
        raise UsageError("a dense head takes rows: choose --pooling flatten, avg or max")
    return featcache.load(
        backbone, task=task, classes=classes, pooling=pooling, data=data, group_regex=group_regex, cache=cache
    )


def _estimator(task: str, model: str, seed: int, settings: Mapping[str, Any]) -> EpochClassifier:
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


def _layers(estimator: Any, features: Features) -> list[Layer]:
    spec = features.spec
    table: list[Layer] = []
    if spec.backbone != "pixels":
        count = network_parameters(spec)
        name = f"{spec.backbone} (frozen{', to ' + spec.layer if spec.layer else ''})"
        table.append(Layer(name, features.map_shape, count))
        pooled = {"flatten": "flatten", "avg": "global average", "max": "global maximum"}[features.pooling]
        table.append(Layer(pooled, features.X.shape[1:], 0))
    return [*table, *estimator.layers()]


def _parameters(layers: Sequence[Layer], model: str) -> tuple[int, int]:
    """Parameters in all, and those that were trained."""
    total = sum(layer.parameters for layer in layers)
    frozen = 0 if model == "own-cnn" else layers[0].parameters
    # Of batch normalisation, half are statistics, which no gradient changes.
    moving = sum(layer.parameters // 2 for layer in layers if layer.name == "batch normalisation")
    return total, total - frozen - moving


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in params.items()}


def _write_run(folder: Path, fitted: Fitted, watch: Stopwatch) -> None:
    result, features, estimator = fitted.result, fitted.features, fitted.estimator
    history: dict[str, list[float]] = getattr(estimator, "history_")  # noqa: B009
    rows = zip(range(1, result["epochs_run"] + 1), *history.values(), strict=True)
    write_table(folder / "history.csv", ("epoch", *history), [tuple(row) for row in rows])
    parts = fitted.parts.parts()
    order = np.concatenate(list(parts.values()))
    names = [name for name, part in parts.items() for _ in part]
    threshold = result["threshold"]["value"] if result["threshold"] else None
    write_predictions(folder / "predictions.csv", features, order, names, fitted.probabilities[order], threshold)
    title = f"{features.feature_set if result['model'] == 'dense' else 'own CNN'}, {result['task']}"
    curves = plots.learning_curves(history, result["best_epoch"], title + origin_note(features))
    save_figure(curves, folder / "curves.png")
    test = parts["test"]
    write_evaluation(folder, features, test, fitted.probabilities[test], result["test"], f"{title}, test")
    watch.lap("draw")
    write_json(folder / "run.json", result)
    if not (folder / "bundle" / "network.safetensors").exists() and features.spec.backbone != "pixels":
        _log.warning(
            "bundle: the network's weights are not kept in this cache, so the bundle predicts only where the features "
            "are cached; extract at least one new image with this version to keep them"
        )
