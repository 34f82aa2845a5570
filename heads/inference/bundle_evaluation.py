"""``evaluate``: a kept model on labelled images that it has not seen."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from featcache.errors import UsageError
from featcache.extraction.planning import choose_data
from featcache.features.labelled_features import Features
from featcache.store.store import Store

from ..auditing.audit_record import join_groups, read_record
from ..bundles.answer_error import told
from ..bundles.bundle import open_bundle
from ..evaluation.judgement import Views, judged, sets_judged
from ..evaluation.kept_answers import FILE, write_kept_answers
from ..evaluation.operating_point import operating_point
from ..evaluation.run_folder import (
    data_title,
    run_folder,
    stamp,
    write_evaluation,
    write_json,
    write_predictions,
)
from ..vault.locks import hidden, locked
from ..vault.looks import Shown, look
from ..vault.notes import read_notes
from ..vault.proofs import proof_of_look
from .bundle_features import bundle_features, known_images
from .map_overlay import map_to_draw_on, write_overlay
from .unlike_training import unlike_training

_log = logging.getLogger(__name__)


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
    drawn = map_to_draw_on(on_map, opened, out)
    with Store(cache) as store:
        dataset = choose_data(store, data, group_regex)
    known, left_out = known_images(opened, dataset, split)
    features, bad = bundle_features(opened, known, weights, cache, skip_bad)
    features = join_groups(features, cache)
    views = Views(by, per_patient, prevalence)
    views.check(features)
    own = opened.about["look"]
    of_model = None  # as the notes are before this look
    if own is not None:
        of_model = proof_of_look(read_notes(cache), own, "its own test part").said
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


def _of_data(cache: str | os.PathLike[str], features: Features) -> list[str]:
    """The warnings of an audit of just these images."""
    record = read_record(cache, features.keys, features.task)
    return [] if record is None else [f"of these images: {text}" for text in record.warnings]
