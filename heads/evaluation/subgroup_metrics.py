"""A model's figures in each subgroup, and whether the subgroups of a column differ by more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featcache.data.tasks import Kind

from .clusters import group_codes
from .dealing import cells_of, dealings
from .intervals import Interval
from .label_metrics import enough, evaluate_labels
from .number_intervals import ABSOLUTES, positive_mean
from .roc_areas import area_interval, area_of
from .subgroup_figures import figure_of, questions
from .subgroups import NOT_KNOWN, Masks

TOO_FEW = "too few to say"
_FEWEST = 10  # rows, of a number
_DRAWS = 1999
_ENOUGH = 20  # dealings that reach what was found, after which more would tell nothing new
_AT_ONCE = 2_000_000  # rows of dealings looked at at a time
_LEVEL = 0.05


def subgroup_metrics(
    kind: Kind,
    y: np.ndarray,
    outputs: np.ndarray,
    groups: Sequence[object] | np.ndarray | None,
    masks: Masks,
    names: Sequence[str],
    seed: int = 0,
) -> dict[str, Any]:
    """The task's figure in each subgroup, and the gaps between the subgroups of each column.

    The figure is ``roc_auc`` of classes (of several the mean, one against the rest), ``mean_roc_auc`` of labels, over
    those of which every subgroup of the column that has enough of any has enough, and ``mae`` of a number.

    A gap is tested by dealing out anew who is in which subgroup, patients whole (among those with images of the same
    classes), and among the images of one patient where they are of several subgroups: how often do the subgroups then
    differ as much, each weighed by how sure its figure is? The dealing ends early where chance reaches that again and
    again (Besag & Clifford 1991). The p-values are corrected for how many columns are looked at (Holm 1979).

    Parameters
    ----------
    kind, y, outputs : of the task, what is true, and what the model gives; see :class:`featcache.Features`.
    groups : n hashable values, or None where each row is its own.
    masks : of :func:`heads.evaluation.subgroups.subgroups`.
    names : of the classes, of the labels, or of the number.
    seed : of the dealings.

    Returns
    -------
    ``metric``, ``higher_is_better``, and ``columns``: of each column ``subgroups``, which hold ``value``, ``ci``,
    ``images``, ``patients``, ``positives`` (of two classes a number, of more and of labels a number by name, of a
    number None) and, where they are too few, no value and a ``note``; and ``gap``: ``best`` and ``worst`` subgroup,
    their ``difference``, ``p``, ``p_corrected`` and ``shown``, None where fewer than two subgroups can be told. Of
    labels ``labels`` names those that count. ``worst`` is the worst subgroup of all: ``column``, ``subgroup``,
    ``value``, ``ci``, or None.
    """
    y, outputs, of_group = np.asarray(y), np.asarray(outputs), group_codes(groups, len(y))
    columns = {
        column: _column(kind, y, outputs, of_group, parts, names, np.random.default_rng([seed, place]))
        for place, (column, parts) in enumerate(masks.items())
    }
    gaps = [about["gap"] for about in columns.values() if about["gap"]]
    for gap, corrected in zip(gaps, holm([gap["p"] for gap in gaps]), strict=True):
        gap |= {"p_corrected": corrected, "shown": corrected < _LEVEL}
    figure = figure_of(kind, y, outputs)
    told = [
        {"column": column, "subgroup": name, "value": part["value"], "ci": part["ci"]}
        for column, about in columns.items()
        for name, part in about["subgroups"].items()
        if part["value"] is not None
    ]
    sign = 1 if figure.higher_is_better else -1
    return {
        "metric": figure.name,
        "higher_is_better": figure.higher_is_better,
        "columns": columns,
        "worst": min(told, key=lambda one: sign * one["value"], default=None),
    }


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number, step down (Holm 1979), in the order given."""
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate((len(p) - np.arange(len(p))) * np.asarray(p, float)[order])
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(raised, 1)
    return corrected.tolist()


def gap_p_value(
    kind: Kind,
    y: np.ndarray,
    outputs: np.ndarray,
    of_group: np.ndarray,
    subgroup: np.ndarray,
    rng: np.random.Generator,
) -> float:
    """How often subgroups dealt out anew differ as much as these, see :func:`subgroup_metrics`.

    Parameters
    ----------
    subgroup : int array of shape (n,), counted from 0, each of which has rows; all rows are in one.
    """
    figure = figure_of(kind, y, outputs)
    cells = cells_of(subgroup, of_group, y if kind == "classes" else None)
    count = int(subgroup.max()) + 1

    def apart(dealt: np.ndarray) -> np.ndarray:
        """How far the figures scatter around their mean, each by its own variance (Cochran's Q)."""
        values, variances = figure.of(dealt, count)
        weights = np.divide(1, variances, out=np.zeros_like(values), where=~np.isnan(values) & (variances > 0))
        middle = np.nansum(weights * values, axis=1, keepdims=True) / np.maximum(
            weights.sum(axis=1, keepdims=True), 1e-300
        )
        return np.asarray(np.nansum(weights * (values - middle) ** 2, axis=1))

    found = float(apart(subgroup[None])[0]) * (1 - 1e-9) - 1e-12
    reached = drawn = 0
    for some in dealings(cells, rng, _DRAWS, min(100, max(1, _AT_ONCE // len(y)))):
        as_far = np.cumsum(apart(some[:, cells.of_row]) >= found)
        if reached + as_far[-1] >= _ENOUGH:
            last = int(np.searchsorted(as_far, _ENOUGH - reached))
            return _ENOUGH / (drawn + last + 1)
        reached, drawn = reached + int(as_far[-1]), drawn + len(some)
    return (1 + reached) / (1 + drawn)


def _column(
    kind: Kind,
    y: np.ndarray,
    outputs: np.ndarray,
    of_group: np.ndarray,
    parts: Mapping[str, np.ndarray],
    names: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """What is said of one column's subgroups, and of the gap between them, not yet corrected."""
    about: dict[str, Any] = {"subgroups": {}}
    counting = _counting(kind, y, outputs, of_group, parts)
    if kind == "labels":
        about["labels"] = [names[label] for label in counting]
        y, outputs = y[:, counting], outputs[:, counting]
        names = about["labels"]
    told = []
    for name, mask in parts.items():
        rows = np.flatnonzero(mask)
        part: dict[str, Any] = {
            "value": None,
            "ci": None,
            "images": len(rows),
            "patients": len(np.unique(of_group[rows])),
            "positives": _positives(kind, y[rows], names),
        }
        if _tellable(kind, y[rows], outputs[rows], of_group[rows]):
            own = np.unique(of_group[rows], return_inverse=True)[1]
            part["value"], ends = _figure(kind, y[rows], outputs[rows], own)
            part["ci"] = None if ends is None else list(ends)
            told.append(name)
        else:
            part["note"] = _why(kind, y[rows], names)
        about["subgroups"][name] = part
    about["gap"] = None
    compared = [name for name in told if name != NOT_KNOWN]
    if len(compared) > 1:
        subgroup = np.full(len(y), -1)
        for place, name in enumerate(compared):
            subgroup[parts[name]] = place
        rows = np.flatnonzero(subgroup >= 0)
        ranked = sorted(compared, key=lambda name: about["subgroups"][name]["value"])
        worst, best = (ranked[-1], ranked[0]) if kind == "number" else (ranked[0], ranked[-1])
        about["gap"] = {
            "best": best,
            "worst": worst,
            "difference": abs(about["subgroups"][best]["value"] - about["subgroups"][worst]["value"]),
            "p": gap_p_value(kind, y[rows], outputs[rows], of_group[rows], subgroup[rows], rng),
        }
    return about


def _counting(
    kind: Kind, y: np.ndarray, outputs: np.ndarray, of_group: np.ndarray, parts: Mapping[str, np.ndarray]
) -> list[int]:
    """The labels that count in a column: of which every subgroup that has enough of any has enough."""
    if kind != "labels":
        return []
    table = []
    for mask in parts.values():
        known = [mask & ~np.isnan(answers) for answers in y.T]
        table.append([enough(y[rows, label] == 1, of_group[rows]) for label, rows in enumerate(known)])
    some = np.array([row for row in table if any(row)], bool).reshape(-1, y.shape[1])
    return np.flatnonzero(some.all(axis=0)).tolist() if len(some) else []


def _tellable(kind: Kind, y: np.ndarray, outputs: np.ndarray, of_group: np.ndarray) -> bool:
    if kind == "number":
        return len(y) >= _FEWEST and len(np.unique(of_group)) >= 2
    answers = questions(kind, y, outputs)[0].T
    known = [~np.isnan(answer) for answer in answers]
    pairs = zip(answers, known, strict=True)
    return len(answers) > 0 and all(enough(answer[rows] == 1, of_group[rows]) for answer, rows in pairs)


def _why(kind: Kind, y: np.ndarray, names: Sequence[str]) -> str:
    """Why nothing is said; a class that has no image at all, by its name."""
    absent = [name for label, name in enumerate(names) if kind == "classes" and not (y == label).any()]
    return f"{TOO_FEW}: no image of {', '.join(absent)}" if absent else TOO_FEW


def _figure(kind: Kind, y: np.ndarray, outputs: np.ndarray, of_group: np.ndarray) -> tuple[float, Interval | None]:
    """The figure and its interval."""
    if kind == "number":
        errors = np.abs(outputs - y)
        return float(errors.mean()), positive_mean(errors, of_group, ABSOLUTES)
    if kind == "labels":
        about = evaluate_labels(y, outputs, of_group, [str(label) for label in range(y.shape[1])])
        return about["mean_roc_auc"], tuple(about["mean_roc_auc_ci"])
    pairs = zip(*(part.T for part in questions(kind, y, outputs)), strict=True)
    value = float(np.mean([area_of(answer == 1, score).value for answer, score in pairs]))
    return value, area_interval(y, outputs, of_group)


def _positives(kind: Kind, y: np.ndarray, names: Sequence[str]) -> int | dict[str, int] | None:
    if kind == "number":
        return None
    if kind == "labels":
        return {name: int((answers == 1).sum()) for name, answers in zip(names, y.T, strict=True)}
    if len(names) == 2:
        return int((y == 1).sum())
    return {name: int((y == label).sum()) for label, name in enumerate(names)}
