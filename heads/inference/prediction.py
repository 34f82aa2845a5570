"""``predict``: a kept model on images that it has not seen."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featcache.errors import DataError, UsageError
from featcache.extraction.planning import of_patients
from featcache.features.labelled_features import Features
from featcache.store.store import Store

from ..auditing.audited_targets import told_of
from ..bundles.answer_error import told
from ..bundles.answer_sets import require_sets
from ..bundles.bundle import Bundle, open_bundle
from ..evaluation.conformal_sets import SETS
from ..evaluation.patients import check_per_patient
from ..evaluation.patients import per_patient as one_a_patient
from ..evaluation.run_folder import (
    origin_note,
    run_folder,
)
from .answer_neighbours import answer_neighbours
from .bundle_features import bundle_features, unlabelled_images
from .map_overlay import map_to_draw_on, write_overlay
from .neighbour_files import write_neighbours
from .recheck import rechecked, require_recheckable
from .unlike_training import distances_to_training

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
    drawn = map_to_draw_on(on_map, opened, out)
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
