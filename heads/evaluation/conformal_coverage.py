"""How often sets hold what is true on labelled images, and how large they are: overall, by class and by subgroup.

Patients count alike, whatever the number of their images, since that is what the sets promise: they hold the truth of a
random image of a random patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featcache.data.tasks import Kind

from .clusters import alike_hits, group_codes
from .conformal_sets import COVERAGE, SETS, Held
from .held_out_scores import HeldOutScores, between, patients_needed
from .intervals import Interval, counted, mean_interval, mid_p
from .subgroups import Masks
from .task_metrics import TASK_METRICS, Threshold

_FEWEST = 10  # images; of fewer, or of one patient, nothing is told


def conformal_coverage(
    kind: Kind,
    scores: HeldOutScores,
    y: np.ndarray,
    outputs: np.ndarray,
    groups: Sequence[object] | np.ndarray | None,
    names: Sequence[str],
    threshold: Threshold = None,
    masks: Masks | None = None,
) -> dict[str, Any]:
    """Judge the sets of a coverage of 0.9.

    Parameters
    ----------
    kind, y, outputs, names, threshold : of the task, what is true, and what the model gives; see
        :mod:`heads.evaluation.task_metrics`.
    scores : of patients that the model did not learn from, none of whom is judged here.
    groups : n hashable values, patients; None where each row is its own.
    masks : of :func:`heads.evaluation.subgroups.subgroups`.

    Returns
    -------
    What :func:`promised` gives, and ``rows``, empty where nothing can be promised: dicts of ``images patients coverage
    coverage_ci size size_ci one below``. The first is of all; then come those with ``class``, or ``label`` and
    ``truth``; then those with ``column`` and ``subgroup``. ``size`` is the mean number of classes in a set, of labels
    that of answers (2 where it cannot say), of a number the width of its interval; ``one`` is the share of sets with
    one answer, None of a number. ``below`` says that the interval lies below what was asked for. Of fewer than 10
    images, or one patient, no coverage is told.
    """
    rules, answers = SETS[kind], TASK_METRICS[kind].answers(outputs, threshold)
    found = promised(kind, scores, names, COVERAGE)
    if not found["kept"]:
        return {**found, "rows": []}
    sets = rules.sets(outputs, answers, rules.thresholds(scores, COVERAGE, names))
    held = rules.held(y, sets, names)
    of_group = group_codes(groups, len(y))[held.rows]
    single = kind == "number"
    rows = [_row({}, held, np.ones(len(held.rows), bool), of_group, single)]
    rows += [_row(keys, held, own, of_group, single) for keys, own in held.parts]
    for column, parts in (masks or {}).items():
        for name, mask in parts.items():
            rows.append(_row({"column": column, "subgroup": name}, held, mask[held.rows], of_group, single))
    return {**found, "rows": rows}


def promised(kind: Kind, scores: HeldOutScores, names: Sequence[str], coverage: float) -> dict[str, Any]:
    """What sets of a coverage promise.

    Returns
    -------
    ``coverage``, what was asked for; ``needed``, the patients that it takes; ``patients``, those there are; ``kept``,
    whether they are enough for anything; ``each``, whether the promise is of each class, or of each label and answer;
    ``few``, the classes (``class patients``) or the answers to labels (``label truth patients``) that have too few:
    where a class has, the promise is for all together, and such an answer is never ruled out; and ``between``, where
    the coverage may lie by the luck of which patients these are, where it is promised for all together, see
    :func:`heads.evaluation.held_out_scores.between`.
    """
    rules = SETS[kind]
    questions = rules.questions(names)
    counts, needed = scores.patient_counts(len(questions)), patients_needed(coverage)
    few = [
        {**question, "patients": int(count)}
        for question, count in zip(questions, counts, strict=True)
        if question and count < needed
    ]
    patients = len(np.unique(scores.patients))
    kept = bool(np.isfinite(rules.thresholds(scores, coverage, names)).any())
    each = kept and (kind == "labels" or (kind == "classes" and not few))
    return {
        "coverage": coverage,
        "needed": needed,
        "patients": patients,
        "kept": kept,
        "each": each,
        "few": few,
        "between": list(between(coverage, patients)) if kept and not each else None,
    }


def patients_share(right: np.ndarray, of_group: np.ndarray) -> tuple[float, Interval]:
    """The mean over patients of the share of their rows that are right, and its 95% interval.

    As :func:`heads.evaluation.intervals.share_interval`, patients counting alike: the mean varies as a share of
    ``K**2 / sum((1 + (n - 1) alike) / n)`` independent rows does, n being a patient's rows and K the patients.

    Parameters
    ----------
    right : bool array of shape (n,), n > 0.
    of_group : int array of shape (n,).
    """
    of_group = np.unique(of_group, return_inverse=True)[1]
    sizes, hits = np.bincount(of_group), np.bincount(of_group, np.asarray(right, float))
    share = float((hits / sizes).mean())
    if sizes.max() == 1 or hits.sum() in (0, sizes.sum()):
        return share, counted(round(share * len(sizes)), len(sizes))
    number = len(sizes) ** 2 / float(((1 + (sizes - 1) * alike_hits(hits, sizes)) / sizes).sum())
    return share, mid_p(share * number, number)


def _row(keys: dict[str, str], held: Held, own: np.ndarray, of_group: np.ndarray, number: bool) -> dict[str, Any]:
    groups = of_group[own]
    row: dict[str, Any] = {
        **keys,
        "images": len(np.unique(held.rows[own])),
        "patients": len(np.unique(groups)),
        **dict.fromkeys(("coverage", "coverage_ci", "size", "size_ci", "one")),
        "below": False,
    }
    if row["images"] < _FEWEST or row["patients"] < 2:
        return row
    share, (low, high) = patients_share(held.held[own], groups)
    sizes = held.sizes[own]
    row |= {"coverage": share, "coverage_ci": [low, high], "below": high < COVERAGE}
    means = _of_patients(sizes, groups)
    row |= {"size": float(means.mean()), "size_ci": list(mean_interval(means, np.arange(len(means))))}
    if not number:
        row["one"] = float(_of_patients(sizes == 1, groups).mean())
    return row


def _of_patients(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The mean of each patient's values."""
    codes, counts = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    return np.asarray(np.bincount(codes, values) / counts)


def spoken(found: Mapping[str, Any], kind: str) -> str:
    """One sentence on the sets' coverage on labelled images."""
    asked = f"{found['coverage']:.0%}"
    if not found["kept"] or not found["rows"]:
        with_label = " who have a label, and as many who have it not" if kind == "labels" else ""
        return (
            f"none that hold the truth {asked} of the time: {found['patients']} patients or other groups to calibrate "
            f"by, and it takes {found['needed']}{with_label}"
        )
    row = found["rows"][0]
    if any(row.get(name) is None for name in ("coverage", "coverage_ci", "size")):
        return f"made to hold the truth {asked} of the time; too few images to say how often they do"
    share = "{:.0%} ({:.2f} to {:.2f})".format(row["coverage"], *row["coverage_ci"])
    one = f"{row.get('one') or 0:.0%}"
    each = " of each class" if found.get("each") and kind == "classes" else ""
    return (
        f"{_HELD[kind]} for {share} of test images, {asked} being asked for{each}; "
        + _SIZE[kind].format(size=row["size"], one=one)
        + ("; that is BELOW what was asked for" if row.get("below") else "")
    )


_HELD = {
    "classes": "the true label is in the set",
    "labels": "the truth is not ruled out",
    "number": "the truth is in the interval",
}
_SIZE = {
    "classes": "sets hold {size:.1f} labels on average, {one} hold one",
    "labels": "{one} of answers are a plain yes or no",
    "number": "intervals are {size:.3g} wide",
}
