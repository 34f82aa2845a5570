"""``fit_head``: train one head on kept features, evaluate it, draw it, and keep it as a bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from featcache.data.tasks import Task, about_task, as_task
from featcache.errors import UsageError
from featcache.features.feature_request import FeatureRequest
from featcache.features.labelled_features import Features
from featcache.system.timer import Stopwatch

from ..bundles.answer_error import answer_error, close_calls, told
from ..bundles.saving import save_bundle
from ..evaluation.decision import Settled, check_wishes
from ..evaluation.judgement import Views, judged, sets_judged
from ..evaluation.run_folder import require_out, run_folder, stamp
from ..evaluation.splits import Partition
from ..evaluation.task_metrics import TASK_METRICS
from ..training.epoch_estimator import EpochEstimator, Layer, OnEpoch
from .calibration_patients import scores_of_validation
from .divisions import check_counts
from .head_models import head_model, layer_table, parameter_counts
from .head_run import write_head_run
from .held_out import cross_validated, each_left_out
from .judged_part import look_at_test, require_shown
from .spread import Repeats, planned
from .training_data import TrainingData, training_data


@dataclass(frozen=True)
class Fitted:
    """A fitted head with what it was fitted on, and the result as plain values.

    Attributes
    ----------
    result : dict of str to object
        What ``run.json`` holds.
    estimator : EpochEstimator
        The head.
    features : Features
        The rows of every part.
    parts : Partition
        Positions of the rows of train, val and test.
    probabilities : array of shape (n, n_classes)
        Of every row, calibrated where that was asked; of several labels (n, n_labels), of a number the numbers, (n,).
    layers : list of Layer
        The layer table, from the frozen network to the output.
    """

    result: dict[str, Any]
    estimator: EpochEstimator
    features: Features
    parts: Partition
    probabilities: np.ndarray
    layers: list[Layer]


@dataclass(frozen=True)
class _Wishes:
    """What a head is fitted for: which features, which model, how its probabilities are mended and its label chosen."""

    request: FeatureRequest
    model: str
    seed: int
    calibration: str | None
    sensitivity: float | None
    cv: int | None
    leave_out: str | None
    views: Views
    repeated: Repeats | None
    final: bool


def fit_head(
    task: str | Task = "multiclass",
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
    cv: int | None = None,
    leave_out: str | None = None,
    by: str | None = None,
    per_patient: str | None = None,
    prevalence: float | None = None,
    seeds: int = 1,
    repeats: int = 1,
    final: bool = False,
    on_epoch: OnEpoch | None = None,
    **settings: Any,
) -> Fitted:
    """Train a head with the reference's settings for the task, or with others.

    Parameters
    ----------
    task : {"binary", "multiclass"} or Task, optional
        What is to be learnt; see :func:`featcache.load`.
    model : {"dense", "own-cnn"}, optional
        ``dense`` learns from a frozen backbone's features, ``own-cnn`` from pixels.
    backbone : str, optional
        A backbone, or the id of a feature set; None takes the one extracted last.
    pooling : {"flatten", "avg", "max"}, optional
        How a map becomes a row.
    classes : sequence of str, optional
        Two or more class names, in place of the task's own.
    data : str or path, optional
        Folder or manifest of the images; None takes that of the last extract.
    group_regex : str, optional
        Where in the file name the patient stands.
    cache : str or path, optional
        Folder of the store.
    out : str or path, optional
        Folder for the results; None makes one in ``runs``.
    seed : int, optional
        Of the initial weights, batches, dropout, and of parts that the data does not give.
    validation_fraction : float, optional
        Share of the training rows that a missing test part takes, and then a missing validation part.
    calibration : {"temperature", "isotonic", "sigmoid"}, optional
        Learnt on the validation rows; see :mod:`heads.evaluation.calibration`.
    sensitivity : float, optional
        Of two classes, the share of the second one that the label must find on the validation rows; see
        :mod:`heads.evaluation.operating_point`. The metrics are then those of the labels it gives.
    audit : bool, optional
        Audit the images first where that was never done; what an audit found stands in ``warnings`` either way.
    cv : int, optional
        Besides, judge the same settings by so many folds, groups whole: of all images, each by a head that did not
        learn from it.
    leave_out : str, optional
        Besides, judge them on each site in turn by a head that learnt from all the others: a column of metadata.
    by : str, optional
        Columns of metadata, ``sex,view,age:0-40-65-``: ``test`` then has ``subgroups``, metrics of each, and which of
        them differ.
    per_patient : {"mean", "max", "noisy-or"}, optional
        How the images of a patient are made one answer: ``test`` then has ``per_patient``, the same metrics of
        patients.
    prevalence : float, optional
        How frequent the second of two classes, or each label, is where the model is to be used: ``test`` then has
        ``predictive_values``, what a call means there.
    seeds : int, optional
        Besides, train the same head with so many seeds on each division, 1 to 1,000. ``spread`` then
        says how far the headline metric moves with each part of chance: :mod:`heads.evaluation.spread_parts`.
    repeats : int, optional
        And on so many new divisions of all patients, of the sizes of the run's own parts; of 1, on these alone.
        Calibration and ``sensitivity`` play no part in it.
    final : bool, optional
        Show the metrics of a test part that is locked (``vault lock``), and note that this was the final look.
    on_epoch : callable, optional
        Called after each epoch with its number and the latest metrics.
    **settings : object
        Hyperparameters of :class:`heads.DenseHeadClassifier` or :class:`heads.OwnCNNClassifier`.

    Returns
    -------
    Fitted
        The head and its result, where ``conformal`` is how often sets of a coverage of 0.9 hold the truth of the test
        rows (:func:`heads.evaluation.conformal_coverage.conformal_coverage`); the files are in ``out``: ``run.json``,
        ``history.csv``, ``predictions.csv``, ``test_answers.csv``, figures, and ``bundle/``. ``look`` says which look
        at its test images it was. Where they are locked and ``final`` is not asked for, ``test``, ``conformal`` and
        ``look`` are None, ``hidden`` says why, and nothing that is written tells what the head gives them.

    Raises
    ------
    DataError
        No features, or a class that is missing from a part or cannot be divided.
    UsageError
        An unknown model or hyperparameter, or a value that no fit can take; or locked images would be learnt from.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import featcache
    >>> from featcache.data.synthetic import write_sample
    >>> from heads import fit_head
    >>> folder = Path(tempfile.mkdtemp())
    >>> images = write_sample(folder / "images", train=5, test=2)
    >>> extracted = featcache.extract(images, "pixels", size=8, cache=folder / "cache")
    >>> fitted = fit_head(backbone="pixels", units=4, epochs=2, cache=folder / "cache", out=folder / "run")
    >>> fitted.result["test"]["n"], fitted.result["epochs_run"]
    (8, 2)
    >>> fitted.probabilities.shape
    (28, 4)
    """
    learns = as_task(task, classes)
    estimator = head_model(learns, model, seed, settings)
    check_wishes(calibration, sensitivity)
    check_counts(seeds, repeats)
    if cv is not None and cv < 2:
        raise UsageError(f"--cv {cv}: expected at least 2 folds")
    require_out(out)
    watch = Stopwatch()
    request = FeatureRequest(
        backbone=backbone,
        task=learns,
        pooling=pooling,
        data=data,
        group_regex=group_regex,
        cache=cache,
    )
    learnt_from = training_data(
        request,
        audit=audit,
        seed=seed,
        watch=watch,
        from_pixels=model == "own-cnn",
        validation_fraction=validation_fraction,
        final=final,
    )
    features = learnt_from.features
    dividing = {"--cv": cv is not None, "--leave-out": leave_out is not None, "--repeats": repeats > 1}
    require_shown(cache, features, learnt_from.sealed, dividing=dividing, showing={"--seeds": seeds > 1})
    repeated = planned(learnt_from, seeds, repeats, seed, in_memory=False)
    views = Views(by, per_patient, prevalence)
    views.check(features)
    wishes = _Wishes(request, model, seed, calibration, sensitivity, cv, leave_out, views, repeated, final)
    if learns.kind == "classes":
        check_wishes(calibration, sensitivity, len(features.classes))
    with run_folder(out, "fit-head", learns.name, "own-cnn" if model == "own-cnn" else features.spec.network) as folder:
        return _fit(folder, wishes, estimator, learnt_from, on_epoch, watch)


def _fit(
    folder: Path,
    wishes: _Wishes,
    estimator: EpochEstimator,
    learnt_from: TrainingData,
    on_epoch: OnEpoch | None,
    watch: Stopwatch,
) -> Fitted:
    features, parts = learnt_from.features, learnt_from.parts
    train, val = (features.take(rows) for rows in (parts.train, parts.val))
    fitting: Any = estimator
    fitting.fit(train.X, train.y, validation_data=(val.X, val.y), on_epoch=on_epoch)
    seconds = watch.lap("train")
    measures = TASK_METRICS[features.task.kind]
    raw = measures.outputs(estimator, features.X)
    judging = parts if learnt_from.sealed is None else replace(parts, test=parts.test[:0])
    settled = measures.settle(features, judging, raw, wishes.calibration, wishes.sensitivity)
    metrics = _metrics(learnt_from, settled, wishes.views)
    of_test = settled.probabilities[parts.test]
    looked = look_at_test(
        folder,
        "fit-head",
        features,
        parts.test,
        {wishes.model: of_test},
        cache=wishes.request.cache,
        threshold=settled.value,
        final=wishes.final,
        sealed=learnt_from.sealed,
    )
    held_out, sets = scores_of_validation(features, parts.val, raw, settled), None
    if learnt_from.sealed is None:
        sets = sets_judged(features, parts.test, of_test, held_out, settled.value, wishes.views)
    watch.lap("evaluate")
    besides, by_folds = _besides(wishes, estimator, features, watch)
    warnings = [*learnt_from.warnings, *settled.warnings]
    epochs = fitting.n_iter_
    layers = layer_table(estimator, features, wishes.request.cache)
    result = {
        **stamp("fit-head", features, parts.parts()),
        "task": wishes.request.learns.name,
        "learns": about_task(features.task),
        "classes": list(features.classes),
        "feature_set": features.feature_set,
        "model": wishes.model,
        "synthetic": features.synthetic,
        "parameters": parameter_counts(layers, wishes.model),
        "hyperparameters": _plain(estimator.get_params()),
        "epochs_run": epochs,
        "best_epoch": fitting.best_epoch_,
        **metrics,
        **looked,
        **besides,
        **settled.result,
        "conformal": sets,
        "precision": _of_precision(estimator, learnt_from, settled, wishes.request.cache),
        "warnings": warnings,
        "made": list(parts.made),
        "seconds": round(seconds, 2),
        "images_per_second": round(len(train) * epochs / seconds, 1),
        "phases": watch.phases,
        "seed": wishes.seed,
        "run": str(folder),
        "bundle": str(folder / "bundle"),
    }
    save_bundle(
        folder / "bundle",
        estimator,
        features,
        parts.train,
        scores={part: told for part, told in metrics.items() if told is not None},
        look=looked["look"],
        cache=wishes.request.cache,
        calibration=settled.calibration,
        threshold=settled.threshold,
        warnings=warnings,
        held_out=held_out,
    )
    watch.lap("bundle")
    if wishes.repeated is not None:
        name = "own CNN" if wishes.model == "own-cnn" else features.feature_set
        wishes.repeated.write(folder, {wishes.model: result["spread"]}, f"{name}, {result['task']}")
    write_head_run(folder, result, fitting.history_, learnt_from, settled, watch, by_folds)
    return Fitted(result, estimator, features, parts, settled.probabilities, layers)


def _metrics(learnt_from: TrainingData, settled: Settled, views: Views) -> dict[str, Any]:
    """The metrics of each part, those of test with intervals; None of a test part that is sealed."""
    features, parts = learnt_from.features, learnt_from.parts
    outputs, threshold, measures = settled.probabilities, settled.value, TASK_METRICS[features.task.kind]
    train, val = (measures.scores(features.y[rows], outputs[rows], threshold) for rows in (parts.train, parts.val))
    test = None
    if learnt_from.sealed is None:
        test = judged(features, parts.test, outputs[parts.test], threshold, views)
    return {"train": train, "val": val, "test": test}


def _besides(
    wishes: _Wishes, estimator: EpochEstimator, features: Features, watch: Stopwatch
) -> tuple[dict[str, Any], np.ndarray | None]:
    """What heads of the same settings give images that they did not learn from, where that is asked for.

    By folds, also what they give each.
    """
    found: dict[str, Any] = {}
    outputs: np.ndarray | None = None
    if wishes.cv is not None:
        found["cross_validated"], outputs = cross_validated(estimator, features, wishes.cv, wishes.seed, wishes.views)
        watch.lap("cross-validate")
    if wishes.leave_out is not None:
        found["leave_out"] = each_left_out(estimator, features, wishes.leave_out, wishes.seed)
        watch.lap("leave out")
    if wishes.repeated is not None:
        spread = wishes.repeated.of_head(estimator, watched=True)
        found["spread"] = wishes.repeated.about(spread)
        watch.lap("spread")
    return found, outputs


def _of_precision(
    estimator: EpochEstimator, learnt_from: TrainingData, settled: Settled, cache: str | os.PathLike[str]
) -> dict[str, Any] | None:
    """What features of less than float32 may do to the answers of the test part; of a sealed one, to those of val."""
    features, parts = learnt_from.features, learnt_from.parts
    rows = parts.test if learnt_from.sealed is None else parts.val
    measured = answer_error(estimator, features, settled.calibration, settled.value, cache)
    test = settled.probabilities[rows]
    close = close_calls(measured, features.task.kind, test, settled.value)
    return told(features.spec.precision, measured, close, len(rows))


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in params.items()}
