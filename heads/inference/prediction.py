"""A kept model on images it has not seen: ``predict`` and ``evaluate``."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featcache.errors import DataError, UsageError
from featcache.extraction.planning import choose_data, of_patients
from featcache.features.labelled_features import Features
from featcache.store.store import Store

from ..auditing.audit_record import join_groups, read_record
from ..auditing.audited_targets import told_of
from ..bundles.answer_error import told
from ..bundles.answer_sets import require_sets
from ..bundles.bundle import Bundle, open_bundle
from ..evaluation.conformal_sets import SETS
from ..evaluation.judgement import Views, judged, sets_judged
from ..evaluation.kept_answers import FILE, write_kept_answers
from ..evaluation.operating_point import operating_point
from ..evaluation.patients import check_per_patient
from ..evaluation.patients import per_patient as one_a_patient
from ..evaluation.run_folder import (
    data_title,
    origin_note,
    require_out,
    run_folder,
    stamp,
    write_evaluation,
    write_json,
    write_predictions,
)
from ..vault.locks import hidden, locked
from ..vault.looks import Shown, look
from ..vault.proofs import proof_of_look
from .answer_neighbours import answer_neighbours
from .bundle_features import bundle_features, known_images, unlabelled_images
from .feature_map import FeatureMap
from .map_overlay import fitting_map, write_overlay
from .neighbour_files import write_neighbours
from .recheck import rechecked, require_recheckable
from .unlike_training import distances_to_training, unlike_training

_log = logging.getLogger(__name__)


def predict(
    bundle: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]],
    *,
    weights: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    skip_bad: bool = False,
    recheck: bool = False,
    per_patient: str | None = None,
    group_regex: str | None = None,
    coverage: float | None = None,
    on_map: str | os.PathLike[str] | None = None,
    neighbours: int | None = None,
    among: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Label images.

    Parameters
    ----------
    bundle : str or path-like
        A bundle's folder.
    images : sequence of str or path-like
        Image files, folders (searched to any depth), or manifests.
    weights : str, optional
        The network's weights, where the bundle holds none: ``imagenet`` or a file.
    cache : str or path-like, optional
        The features are kept here; what is there already is not computed again.
    skip_bad : bool, optional
        Go on without images that cannot be decoded.
    recheck : bool, optional
        Of a model of features in less than float32: compute the images whose answers that might have changed once more
        in float32, whose answers then stand.
    per_patient : {"mean", "max", "noisy-or"}, optional
        Give an answer for each patient besides; see :func:`heads.evaluation.patients.per_patient`. Whose an image is
        says its name (``group_regex``, else as in well-known collections) or its DICOM header.
    group_regex : str, optional
        Pattern whose first group, found in a file's name, is its patient.
    coverage : float, optional
        Give each image a set of answers besides, that holds the truth so often, 0.5 to 0.99; see
        :meth:`heads.bundles.bundle.Bundle.sets`.
    on_map : str or path-like, optional
        The run folder of a :func:`tsne` of this bundle, or of its features: the images are shown on that map, which
        stays as it is. The features of the map's own images are read from the cache.
    neighbours : int, optional
        Show so many of the images that the model learnt from, the nearest to each image, and who taught it the answer.
    among : str or path-like, optional
        The data with those images, whose features are in the cache; the last extract's by default.
    out : str or path-like, optional
        Folder for ``map.png`` and ``map.csv``, with ``on_map``, and ``neighbours.png`` and ``neighbours.csv``, with
        ``neighbours``; by default a new one in ``runs``.

    Returns
    -------
    dict
        ``rows``: ``path label probabilities unlike_training distance close rechecked`` of each image, in order (of
        several labels ``labels``, a list, in place of ``label``; of a number ``value`` in place of both); ``task``;
        ``classes``;
        ``skipped``, paths; ``threshold``, the probability of the second of two classes from which on it is the label,
        or None; ``novelty``, what ``distance`` is measured by; ``warnings``, what must stand beside; ``synthetic``;
        ``precision``, None for features of float32, else the error that was measured (``images median largest
        answers``, see :mod:`heads.bundles.answer_error`), how many answers are ``close`` to another one, ``of`` how
        many, and with ``recheck`` how many were ``rechecked`` and have ``changed``. ``close`` of a row is None where
        that is not known: with ``recheck`` all are then computed again.
        ``unlike_training`` is whether the image is farther from those that the model learnt from than 99 in 100 of
        their own kind (see :mod:`heads.bundles.out_of_distribution`): what the model says of it is then a guess. It and
        ``distance`` (0 to 2) are None where the bundle holds nothing to tell by. With ``on_map`` or ``neighbours`` also
        ``figures``, ``csv`` and ``run``, paths. With ``neighbours`` each row also has ``neighbours`` (``path label
        group part distance``, the nearest first) and ``taught_by``, the patients without whom a ridge on the same
        features would answer most differently (:func:`heads.inference.taught_by.taught_by`), or None. With
        ``per_patient`` also ``patients``: ``patient images`` and the answer of each. With ``coverage`` each row also
        has its ``set``, a list of classes (of several labels ``answers``, of each "yes", "no" or "cannot say"; of a
        number its ``interval``), and ``conformal`` says what is promised: ``coverage``, ``patients`` that calibrate,
        ``each``, ``few`` and ``between``, see :func:`heads.evaluation.conformal_coverage.promised`; else it is None.
        Nothing is promised of images unlike training, and of patients in ``patients``.

    Raises
    ------
    BundleError
        The bundle is damaged, or made for other features.
    DataError
        No images, or bad ones without ``skip_bad``; no map, or features of its images that are not in the cache.
    UsageError
        The map shows other features than the bundle's, or ``out`` is there and not empty.
    WeightsError
        The network's weights are not to be had.
    UsageError
        ``recheck`` of features that are of float32 already; a ``coverage`` for which the bundle has scores of too few
        patients, or none.

    See Also
    --------
    evaluate_bundle : Judges the model on labelled images.

    Examples
    --------
    A model of dark and bright images, and its label for a dark one:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> import featcache, heads
    >>> from heads.bundles.saving import save_bundle
    >>> folder = Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> for name, grey in (("covid", 60), ("normal", 160)):
    ...     (folder / "images" / name).mkdir(parents=True)
    ...     for number in range(12):
    ...         pixels = rng.normal(grey, 20, (64, 64)).clip(0, 255).astype(np.uint8)
    ...         Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    >>> cache = folder / "cache"
    >>> extracted = featcache.extract(folder / "images", backbone="pixels", size=32, cache=cache)
    >>> f = featcache.load("pixels", task="binary", cache=cache)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression()).fit(f.X, f.y)
    >>> rows = np.arange(len(f))
    >>> bundle = save_bundle(folder / "bundle", model, f, rows, task="binary", scores={}, cache=cache)
    >>> result = heads.predict(bundle, [folder / "images" / "covid" / "0.png"], cache=cache)
    >>> result["rows"][0]["label"], sorted(result["rows"][0]["probabilities"])
    ('covid', ['covid', 'normal'])
    """
    opened = open_bundle(bundle)
    if recheck:
        require_recheckable(opened)
    promise = None
    if coverage is not None:
        promise = require_sets(opened.held_out, opened.task.kind, opened.classes, coverage)
    if out is not None and on_map is None and neighbours is None:
        raise UsageError("--out is where a map or neighbours are drawn; give --on-map or --neighbours with it")
    if among is not None and neighbours is None:
        raise UsageError("--among says where neighbours are looked for; give --neighbours with it")
    if neighbours is not None and neighbours < 1:
        raise UsageError(f"--neighbours {neighbours}: expected 1 or more")
    drawn = _map_to_draw_on(on_map, opened, out)
    if group_regex is not None and per_patient is None:
        raise UsageError("--group-regex says whose an image is; give --per-patient with it")
    if per_patient is not None:
        check_per_patient(per_patient, opened.task.kind, len(opened.classes))
    given = unlabelled_images(opened, images)
    if not len(given.y):
        raise DataError("no images to predict")
    features, bad = bundle_features(opened, given, weights, cache, skip_bad)
    shape = (0,) if opened.task.kind == "number" else (0, len(opened.classes))
    probabilities = opened.predict_proba(features) if len(features) else np.empty(shape)
    distances, unlike = distances_to_training(opened, features, cache)
    close = opened.close_calls(probabilities)
    precision = told(opened.spec.precision, opened.about["precision"], close, len(features))
    again = np.zeros(len(features), dtype=bool)
    if recheck and precision is not None:
        again = np.ones(len(features), dtype=bool) if close is None else close
        before = opened.labels(probabilities)
        if again.any():
            paths = [features.paths[i] for i in np.flatnonzero(again)]
            probabilities[again] = rechecked(opened, paths, weights, cache)
        after = opened.labels(probabilities)
        changed = int((after != before).reshape(len(after), -1).any(axis=1).sum()) if len(features) else 0
        precision |= {"rechecked": int(again.sum()), "changed": changed}
    sets = []
    if coverage is not None and len(features):
        sets = SETS[opened.task.kind].said(opened.sets(probabilities, coverage), opened.classes)
    rows = [
        {
            "path": path,
            **said,
            **(sets[i] if sets else {}),
            "unlike_training": flag,
            "distance": distance,
            "close": None if close is None else bool(close[i]),
            "rechecked": bool(again[i]),
        }
        for i, (path, said, flag, distance) in enumerate(
            zip(features.paths, _said(opened, probabilities), unlike, distances, strict=True)
        )
    ]
    result = {
        "rows": rows,
        "task": opened.task.name,
        "classes": list(opened.classes),
        "skipped": [image.path for image in bad],
        "threshold": opened.threshold,
        "conformal": promise,
        "novelty": opened.about["novelty"],
        "precision": precision,
        "warnings": opened.warnings,
        "synthetic": opened.synthetic,
    }
    if per_patient is not None:
        result["patients"] = _of_patients(opened, features, probabilities, per_patient, group_regex, cache)
    if (drawn is not None or neighbours is not None) and len(features):
        answers = opened.labels(probabilities)
        with run_folder(out, "predict", opened.spec.network) as folder:
            result |= {"figures": [], "run": str(folder)}
            if neighbours is not None:
                near = answer_neighbours(opened, features, answers, neighbours, among, cache)
                for number, row in enumerate(rows):
                    row |= near.told(number)
                said = [f"model: {words}" for words in told_of(opened.task, answers, opened.classes)]
                caption = f"what {Path(bundle)} says, and the nearest images that it learnt from{origin_note(features)}"
                result |= write_neighbours(folder, features.paths, said, near.nearest, caption)
            if drawn is not None:
                overlay = write_overlay(folder, drawn, opened, features, answers, cache, labelled=False)
                result |= overlay | {"figures": [*result["figures"], *overlay["figures"]]}
    return result


def evaluate_bundle(
    bundle: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    *,
    split: str | None = None,
    group_regex: str | None = None,
    weights: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    skip_bad: bool = False,
    on_map: str | os.PathLike[str] | None = None,
    by: str | None = None,
    per_patient: str | None = None,
    prevalence: float | None = None,
    final: bool = False,
    out: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Judge a kept model on labelled images.

    Parameters
    ----------
    bundle : str or path-like
        A bundle's folder.
    data : str or path-like, optional
        A folder or manifest; the last extract's by default. Images of classes that the model does not know are left
        out, and counted.
    split : str, optional
        Only this part of the data, such as ``test``.
    group_regex : str, optional
        Pattern whose first group, found in a file's name, is its patient or other group.
    weights : str, optional
        The network's weights, where the bundle holds none: ``imagenet`` or a file.
    cache : str or path-like, optional
        The features are kept here; what is there already is not computed again.
    skip_bad : bool, optional
        Go on without images that cannot be decoded.
    on_map : str or path-like, optional
        As of :func:`predict`: ``map.png`` and ``map.csv`` show these images on the map of that run, colours being
        their labels.
    by, per_patient : str, optional
        As of :func:`fit_head`.
    prevalence : float, optional
        As of :func:`fit_head`.
    final : bool, optional
        Show the metrics of images that are locked (``vault lock``), and note that this was the final look.
    out : str or path-like, optional
        Folder for figures, ``predictions.csv`` and ``run.json``; by default a new one in ``runs``.

    Returns
    -------
    dict
        ``test``, metrics with intervals, copies and what any audit in this cache took for one patient counting as one
        group; ``internal``, the metrics from when the model was made; ``trained_on``, how many of these images it
        learnt from; ``other_classes``, how many were left out; ``threshold``, what the bundle's gives here, or None;
        ``conformal``, how often sets of a coverage of 0.9 hold the truth, see
        :func:`heads.evaluation.conformal_coverage.conformal_coverage`, or None of a bundle without held-out scores;
        ``unlike_training``, how many of these images are unlike the training ones, beside the share that would be by
        chance, or None; ``precision``, as :func:`predict` has it; ``warnings``, what must stand beside; ``figures``,
        paths; ``look``, which look at these images it was; ``looks_of_model``, what the notes of this cache say of the
        look at the model's own test images; and more, as ``run.json`` holds it. Of images of which some are locked,
        without ``final``, ``test`` and ``look`` are None, and ``hidden`` says why.

    Raises
    ------
    BundleError
        The bundle is damaged, or made for other features.
    DataError
        No images of the model's classes, or bad ones without ``skip_bad``; no map, or features of its images that are
        not in the cache.
    UsageError
        ``out`` is there and not empty, the map shows other features than the bundle's, or images that are locked.

    See Also
    --------
    heads.evaluation.metrics.evaluate : The metrics.
    compare : Judges two models on the same images.

    Examples
    --------
    A model of dark and bright images, on images that are a little brighter:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> import featcache, heads
    >>> from heads.bundles.saving import save_bundle
    >>> folder = Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> for place, light in (("here", 0), ("there", 20)):
    ...     for name, grey in (("covid", 60), ("normal", 160)):
    ...         (folder / place / name).mkdir(parents=True)
    ...         for number in range(12):
    ...             pixels = rng.normal(grey + light, 20, (64, 64)).clip(0, 255).astype(np.uint8)
    ...             Image.fromarray(pixels).save(folder / place / name / f"{number}.png")
    >>> cache = folder / "cache"
    >>> extracted = featcache.extract(folder / "here", backbone="pixels", size=32, cache=cache)
    >>> f = featcache.load("pixels", task="binary", cache=cache)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression()).fit(f.X, f.y)
    >>> rows = np.arange(len(f))
    >>> bundle = save_bundle(folder / "bundle", model, f, rows, task="binary", scores={}, cache=cache)
    >>> result = heads.evaluate_bundle(bundle, folder / "there", cache=cache, out=folder / "run")
    >>> result["test"]["accuracy"], [round(end, 2) for end in result["test"]["accuracy_ci"]]
    (1.0, [0.87, 1.0])
    """
    opened = open_bundle(bundle)
    drawn = _map_to_draw_on(on_map, opened, out)
    with Store(cache) as store:
        dataset = choose_data(store, data, group_regex)
    known, left_out = known_images(opened, dataset, split)
    features, bad = bundle_features(opened, known, weights, cache, skip_bad)
    features = join_groups(features, cache)
    views = Views(by, per_patient, prevalence)
    views.check(features)
    own = opened.about["look"]
    of_model = None if own is None else proof_of_look(cache, own, "its own test part").said  # before this look is noted
    sealed = None if final else hidden(locked(cache, features.keys))
    if sealed is not None and on_map is not None:
        raise UsageError(f"{sealed['reason']}; --on-map would show them, so leave it out")
    with run_folder(out, "evaluate", str(opened.about["task"]), opened.spec.network) as folder:
        probabilities = opened.predict_proba(features)
        every = np.arange(len(features))
        looked: dict[str, Any] = {"look": None, "hidden": sealed}
        test, sets = None, None
        if sealed is None:
            if opened.held_out is not None:
                sets = sets_judged(features, every, probabilities, opened.held_out, opened.threshold, views)
            test = judged(features, every, probabilities, opened.threshold, views)
            answers = {str(opened.about["model"]["kind"]): probabilities}
            shown = Shown("evaluate", folder.name, str(opened.about["task"]), answers)
            looked = {"look": look(cache, features.keys, shown, final)}
            write_kept_answers(folder / FILE, features, every, answers, opened.threshold)
        unlike = unlike_training(opened, features, cache)
        seen = int(opened.trained_on(features.keys).sum())
        if seen:
            _log.warning(
                "%d of these %d images %s in the model's training data: the metrics overestimate it",
                seen,
                len(features),
                "was" if seen == 1 else "were",
            )
        missing = [name for name, count in opened.task.counts(features.y, opened.classes).items() if not count]
        if missing:
            _log.warning("no images of %s: the metrics say nothing about it", ", ".join(missing))
        point = None
        if opened.threshold is not None and opened.task.kind == "classes" and sealed is None:
            point = operating_point(features.y, probabilities, features.groups, opened.threshold)
        result = {
            **stamp("evaluate", features),
            "bundle": str(Path(bundle).absolute()),
            "task": opened.about["task"],
            "learns": opened.about["learns"],
            "classes": list(opened.classes),
            "test": test,
            **looked,
            "looks_of_model": of_model,
            "internal": opened.about["scores"].get("test"),
            "trained_on": seen,
            "other_classes": left_out,
            "skipped": len(bad),
            "threshold": point,
            "conformal": sets,
            "unlike_training": unlike,
            "precision": told(
                opened.spec.precision, opened.about["precision"], opened.close_calls(probabilities), len(features)
            ),
            "warnings": [*opened.warnings, *_of_data(cache, features)],
            "synthetic": features.synthetic,
            "run": str(folder),
        }
        if test is not None:
            parts = list(features.splits)
            write_predictions(folder / "predictions.csv", features, every, parts, probabilities, opened.threshold)
            title = f"{data_title(dataset.root, dataset.synthetic)}, by {Path(bundle)}"
            write_evaluation(folder, features, every, probabilities, test, title)
        if drawn is not None:
            result |= write_overlay(folder, drawn, opened, features, opened.labels(probabilities), cache, labelled=True)
        write_json(folder / "run.json", result)
        return result


def _map_to_draw_on(
    on_map: str | os.PathLike[str] | None, opened: Bundle, out: str | os.PathLike[str] | None
) -> FeatureMap | None:
    """The map that is asked for, and a place for the results, before any work is done."""
    require_out(out)
    return None if on_map is None else fitting_map(on_map, opened)


def _of_data(cache: str | os.PathLike[str], features: Features) -> list[str]:
    """The warnings of an audit of just these images."""
    record = read_record(cache, features.keys, features.task)
    return [] if record is None else [f"of these images: {text}" for text in record.warnings]


def _said(opened: Bundle, outputs: np.ndarray) -> list[dict[str, Any]]:
    """What a model says of each image, as JSON has it."""
    answers, names = opened.labels(outputs), opened.classes
    if opened.task.kind == "number":
        return [{"value": float(value)} for value in outputs]
    shares = [dict(zip(names, map(float, row), strict=True)) for row in outputs]
    if opened.task.kind == "labels":
        labels = [[name for name, has in zip(names, row, strict=True) if has] for row in answers]
        return [{"labels": own, "probabilities": row} for own, row in zip(labels, shares, strict=True)]
    return [{"label": names[code], "probabilities": row} for code, row in zip(answers.tolist(), shares, strict=True)]


def _of_patients(
    opened: Bundle,
    features: Features,
    outputs: np.ndarray,
    how: str,
    group_regex: str | None,
    cache: str | os.PathLike[str],
) -> list[dict[str, Any]]:
    """What a model says of each patient."""
    if not len(features):
        return []
    with Store(cache) as store:
        groups = of_patients(store, features.paths, group_regex)
    of = one_a_patient(outputs, features.y, groups, how, opened.task.kind)
    counts = Counter(groups)
    return [
        {"patient": patient, "images": counts[patient], **said}
        for patient, said in zip(of.groups.tolist(), _said(opened, of.outputs), strict=True)
    ]
