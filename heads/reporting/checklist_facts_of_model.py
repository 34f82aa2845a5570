"""Facts of a model and how it was made, in sentences that a checklist is answered with."""

from __future__ import annotations

from collections.abc import Callable

import featcache
from featcache.spec import are_random

from .checklist_subject import Subject


def _preparation(told: Subject) -> str:
    return (
        f"Each image is resized and scaled as its frozen network's makers do, and told by {told.row['features']}; the "
        "set's spec names size, scaling, layer and precision."
    )


def _model(told: Subject) -> str:
    return f"{told.row['name']}: {told.row['detail'] or 'settings as scikit-learn has them'}."


def _tuning(told: Subject) -> str:
    searches = [run for run in told.collected.runs if run.verb == "grid" and run.classes == told.run.classes]
    said = [
        f"{run.about['candidates']} candidates of {run.about['model']} were searched by {run.about['folds']} folds."
        for run in searches
    ]
    if told.run.verb == "baselines":
        said.append("Each model's settings were chosen by folds of the training images.")
    return " ".join(said) or "Settings were given, not searched."


def _folds(told: Subject) -> str:
    by_folds = told.run.about.get("cross_validated")
    return f"Judged by {by_folds['folds']} folds of all images too." if by_folds else ""


def _weighting(told: Subject) -> str:
    if told.board["kind"] != "classes" or "class_weight" not in told.hyperparameters:
        return ""
    given = told.hyperparameters["class_weight"]
    return "Classes are not weighted." if given is None else f"Classes are weighted in training ({given})."


def _initialization(told: Subject) -> str:
    weights = str(told.run.about.get("weights", ""))
    if are_random(weights):
        return "The frozen network has RANDOM weights."
    return f"The frozen network's weights: {weights}." if weights else ""


def _threshold(told: Subject) -> str:
    if told.board["kind"] == "labels":
        given = {label.get("threshold") for label in told.test["labels"].values()} - {None}
        if not given:
            return ""
        low, high = min(given), max(given)
        at = f"{low:.3g}" if low == high else f"one for each label, from {low:.3g} to {high:.3g}"
        return f"A probability for each label; it is called from a threshold on: {at}."
    if told.board["kind"] == "number":
        return "A number, without a threshold."
    chosen = told.run.about.get("threshold") or {}
    if chosen:
        return f"A probability for each class; called from {chosen['value']:.3g} on, chosen on the validation images."
    return "A probability for each class; the most probable one is called."


def _calibration(told: Subject) -> str:
    if told.board["kind"] == "number":
        return ""
    mended = told.run.about.get("calibration")
    return (
        "Probabilities were recalibrated on the validation images."
        if mended
        else "Probabilities were not recalibrated."
    )


def _specification(told: Subject) -> str:
    if not (told.run.folder / "bundle").is_dir():
        return ""
    return f"The whole model, its network's digest and its preprocessing are kept as a bundle in {told.row['run']}."


def _selection(told: Subject) -> str:
    count = len(told.board["rows"])
    if count == 1:
        return "One model was judged."
    return (
        f"{count} models were judged on the test images and this one is the first of them, so that its result is "
        "overestimated a little."
    )


def _software(told: Subject) -> str:
    return f"featcache {featcache.__version__}; a bundle names the versions of all libraries that made it."


OF_MODEL: dict[str, Callable[[Subject], str]] = {
    "preparation": _preparation,
    "model": _model,
    "tuning": _tuning,
    "folds": _folds,
    "weighting": _weighting,
    "initialization": _initialization,
    "threshold": _threshold,
    "calibration": _calibration,
    "specification": _specification,
    "selection": _selection,
    "software": _software,
}
