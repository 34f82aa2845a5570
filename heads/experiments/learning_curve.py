"""``learning-curve``: the score by the number of patients that a model learnt from, and what more would buy."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featcache.data.tasks import Task, about_task, as_task
from featcache.errors import DataError, UsageError
from featcache.features.feature_request import FeatureRequest
from featcache.features.labelled_features import Features
from featcache.features.loading import load_request
from featcache.features.stored_rows import StoredRows
from featcache.system.timer import Stopwatch

from ..auditing.audit import audited
from ..evaluation.canvas import save_figure
from ..evaluation.clusters import group_codes
from ..evaluation.forecast_plots import forecast_chart
from ..evaluation.held_out_ridge import scaled
from ..evaluation.learning_curve import measure_curve
from ..evaluation.more_patients import what_more_buys
from ..evaluation.patient_subsets import FOLDS
from ..evaluation.run_folder import data_title, origin_note, require_out, run_folder, stamp, write_json, write_table
from ..evaluation.splits import check_divisible, merged
from ..search.gram_projection import isometric
from ..vault.locks import require_unlocked


def learning_curve(
    task: str | Task = "multiclass",
    *,
    backbone: str | None = None,
    pooling: str = "avg",
    classes: Sequence[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    group_regex: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    more: int | Sequence[int] | None = None,
    repeats: int = 20,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    audit: bool = False,
    on_repeat: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """How good models are that learnt from ever more of the patients, and what more patients would buy.

    Seven nested subsets of the patients, each with all images of his, from a tenth to all; in each a ridge
    classifier or regression on the features, its penalty chosen by patients held out. All patients are judged at
    every size, each by a model that did not learn from him. Through the means over ``repeats`` orders of the patients
    goes a law, ``a - b (n + n0)^-c``, which forecasts; see :mod:`heads.evaluation.learning_forecast`.

    Parameters
    ----------
    task : {"binary", "multiclass"} or Task, optional
        What is to be learnt; see :func:`featcache.load`.
    backbone : str, optional
        A backbone, or the id of a feature set; None takes the one extracted last.
    pooling : {"avg", "flatten", "max", "cls"}, optional
        How a map becomes a row.
    classes : sequence of str, optional
        Two or more class names, in place of the task's own.
    data : str or path, optional
        Folder or manifest of the images; None takes that of the last extract. All its parts are taken as one.
    group_regex : str, optional
        Where in the file name the patient stands.
    cache : str or path, optional
        Folder of the store.
    more : int or sequence of int, optional
        How many patients more to forecast for, classes in the same proportions; None asks for half as many as there
        are, and for as many.
    repeats : int, optional
        Orders of the patients, two or more.
    seed : int, optional
        Of these orders.
    out : str or path, optional
        Folder for ``learning_curve.csv`` and ``.png`` and ``run.json``; None makes one in ``runs``.
    audit : bool, optional
        As in :func:`heads.fit_head`.
    on_repeat : callable, optional
        Called with the number of orders done.

    Returns
    -------
    dict of str to object
        ``metric`` (``balanced_accuracy``, ``mean_roc_auc`` or ``mae``, and ``lower_is_better``); ``curve``, of each
        size ``patients images score low high``; ``fit``, ``form a b c n0 a_ci`` of the law that passes best;
        ``forecast``, of each of ``more``: ``more patients score score_ci gain gain_ci said``, ``score`` as it would be
        measured with all of them, ``gain`` of the law, better being positive, both None where it cannot be said;
        ``cannot_say``, why, or None; ``classes``, the same of each class's recall or each label's ROC area;
        ``most_to_gain``, the class or label with the largest first gain that is shown; ``said``, one sentence.
        Intervals are of ``level`` 0.9.

    Raises
    ------
    UsageError
        No number above 0 in ``more``, or fewer than two repeats.
    DataError
        A class has images of one patient only, or there are fewer than ten patients, or too few to judge by.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import featcache, heads
    >>> from featcache.data.synthetic import write_sample
    >>> folder = Path(tempfile.mkdtemp())
    >>> images = write_sample(folder / "images", train=12, test=2)
    >>> extracted = featcache.extract(images, "pixels", size=8, cache=folder / "cache")
    >>> options = {"backbone": "pixels", "repeats": 2, "cache": folder / "cache"}
    >>> result = heads.learning_curve("multiclass", more=30, **options, out=folder / "run")
    >>> result["metric"], [point["patients"] for point in result["curve"]][-1]
    ('balanced_accuracy', 56)
    >>> [(asked["more"], asked["patients"]) for asked in result["forecast"]]
    [(30, 86)]
    """
    learns = as_task(task, classes)
    asked = None if more is None else [more] if isinstance(more, int) else list(more)
    if asked is not None and (not asked or min(asked) < 1):
        raise UsageError(f"more = {more!r}: expected how many patients more, above 0, such as 200")
    if repeats < 2:
        raise UsageError(f"repeats = {repeats}: expected 2 or more orders of the patients")
    require_out(out)
    watch = Stopwatch()
    request = FeatureRequest(
        backbone=backbone, task=learns, pooling=pooling, data=data, group_regex=group_regex, cache=cache
    )
    features = load_request(request)
    watch.lap("load")
    require_unlocked(cache, features.keys, "a learning curve takes all parts as one to learn from")
    features, warnings = audited(features, learns, data, group_regex, cache, audit)
    watch.lap("audit")
    X, of_group = _rows(features), group_codes(features.groups, len(features))
    strata = _strata(features)
    patients = int(of_group.max()) + 1
    with run_folder(out, "learning-curve", learns.name, features.spec.network) as folder:
        curve = measure_curve(X, features.y, of_group, strata, learns.kind, repeats, seed, on_repeat)
        watch.lap("learn")
        if not curve.judged.any():
            raise DataError("of no label are there ten images with and ten without it, of two patients or more each")
        told = what_more_buys(curve, learns.kind, features.classes, asked or [max(1, patients // 2), patients])
        drawn = told.pop("law")
        result = {
            **stamp("learning-curve", features),
            "task": learns.name,
            "learns": about_task(features.task),
            "warnings": warnings,
            "synthetic": features.synthetic,
            "repeats": repeats,
            "seed": seed,
            "phases": watch.phases,
            **told,
            "run": str(folder),
        }
        _write(folder, result, drawn, features)
        return result


def _rows(features: Features) -> np.ndarray:
    """Scaled columns, as few as carry their geometry."""
    if isinstance(features.X, StoredRows):
        raise UsageError(
            "a learning curve is of features that fit in memory, and these do not; choose --pooling avg, or allow more "
            "with --memory"
        )
    return isometric(scaled(features.X))


def _strata(features: Features) -> np.ndarray:
    """What each subset has its share of; raises :class:`DataError` where it cannot."""
    if features.task.kind == "classes":
        check_divisible(features.y, features.groups, features.classes, 2, "a learning curve")
        return features.strata
    return merged(features.strata, features.groups, FOLDS)


def _write(folder: Path, result: dict[str, Any], law: list[dict[str, float]], features: Features) -> None:
    """The tables and the picture, and ``run.json``."""
    metrics = [(result["metric"], result)] + [
        (f"{result['of_each']} of {name}", one) for name, one in result["classes"].items() if one.get("curve")
    ] * (len(result["classes"]) > 1)
    rows: list[list[Any]] = []
    for name, one in metrics:
        for point in one["curve"]:
            rows.append(
                [name, "measured", *(_cell(point[key]) for key in ("patients", "images", "score", "low", "high"))]
            )
        for asked in one["forecast"]:
            ends = asked["score_ci"] or [None, None]
            rows.append([name, "forecast", asked["patients"], "", *map(_cell, (asked["score"], *ends))])
    header = ("metric", "what", "patients", "images", "score", "low", "high")
    write_table(folder / "learning_curve.csv", header, rows)
    caption = f"{data_title(features.data, features.synthetic)}, {features.spec.network}: {result['said']}"
    figure = forecast_chart(result, law, caption + origin_note(features))
    save_figure(figure, folder / "learning_curve.png")
    write_json(folder / "run.json", {**result, "law": law})


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
