"""Which columns of the metadata go with which targets, what there is none of, and what two sets differ in.

A model may learn the column in place of the target, and no split of the same images shows it (Zhao et al. 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featcache.data.tasks import Task

from ..evaluation.association import association, holm, is_known
from .metadata_probes import as_categories, with_missing
from .questions import ask

_ROWS = 5000  # a random so many: more change no strength
_EXPECTED = 5  # images, by the shares of column and class, of which to find none is worth a word


def confounded(
    columns: Mapping[str, np.ndarray],
    task: Task,
    y: np.ndarray,
    names: Sequence[str],
    groups: Sequence[str],
    seed: int = 0,
) -> list[dict[str, Any]]:
    """How closely each column, and its being empty, goes with each target, the closest first.

    Parameters
    ----------
    columns : metadata by name, arrays of shape (n,).
    task, y, names : what is learnt, its targets, and what they are called.
    groups : group of each image.
    seed : of dealings.

    Returns
    -------
    ``column label strength p groups``: strengths of :mod:`heads.evaluation.association`, p over whole patients,
    corrected by Holm's rule for all of the table.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(y))[:_ROWS])
    asked = ask(task, np.asarray(y)[rows], names, np.asarray(groups, str)[rows])
    every = {name: column[rows] for name, column in with_missing(dict(columns)).items()}
    found = []
    for question in asked:
        for name, column in every.items():
            one = association(column[question.rows], question.y, question.groups, seed)
            if one is not None:
                found.append((name, question.label, one))
    corrected = holm([one.p for _, _, one in found])
    table = [
        {"column": column, "label": label, "strength": one.strength, "p": p, "groups": one.groups}
        for (column, label, one), p in zip(found, corrected, strict=True)
    ]
    return sorted(table, key=lambda row: (row["p"], -row["strength"]))


def absent(
    columns: Mapping[str, np.ndarray], task: Task, y: np.ndarray, names: Sequence[str], groups: Sequence[str]
) -> list[dict[str, Any]]:
    """Combinations of a class, or of having a label, and a value of a column, of which there is no image.

    No split can balance them. Those are named of which five or more would be expected, most expected first:
    ``label class column value expected``.
    """
    found = []
    for question in ask(task, y, names, groups):
        if question.y.dtype.kind not in "iu":
            continue
        classes = tuple(names) if task.kind == "classes" else ("no", "yes")
        for name, column in columns.items():
            one = as_categories(name, column)
            codes = one.codes[question.rows]
            known = codes >= 0
            if not known.any() or len(one.values) < 2:
                continue
            table = np.zeros((len(classes), len(one.values)))
            np.add.at(table, (question.y[known], codes[known]), 1)
            expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
            for label, value in zip(*np.nonzero((table == 0) & (expected >= _EXPECTED)), strict=True):
                about = {"label": question.label, "class": classes[label], "column": name, "value": one.values[value]}
                found.append({**about, "expected": round(float(expected[label, value]), 1)})
    return sorted(found, key=lambda one: -one["expected"])


def set_differences(
    own: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
    own_groups: Sequence[str],
    other_groups: Sequence[str],
    seed: int = 0,
) -> dict[str, Any]:
    """What the metadata of two sets of images differs in.

    Parameters
    ----------
    own, other : metadata by name, arrays of as many rows as the sets have images.
    own_groups, other_groups : group of each image; no group is in both.
    seed : of dealings.

    Returns
    -------
    ``columns``, what both have, the most different first: ``column value own other strength p``, the value whose share
    differs most with its shares, or of a number (value None) its means; p over whole patients, corrected by Holm's rule
    for all columns. ``alone``: names of columns that one set alone has, of ``own`` and of ``other``.
    """
    rng = np.random.default_rng(seed)
    parts = [np.sort(rng.permutation(len(names))[:_ROWS]) for names in (own_groups, other_groups)]
    of_set = np.repeat([0, 1], [len(rows) for rows in parts])
    groups = np.array(
        [
            f"{which} {names[row]}"
            for which, (names, rows) in enumerate(zip((own_groups, other_groups), parts, strict=True))
            for row in rows
        ]
    )
    shared = {
        name: np.concatenate(_alike(column[parts[0]], other[name][parts[1]]))
        for name, column in own.items()
        if name in other
    }
    found = []
    for name, column in with_missing(shared).items():
        one = association(column, of_set, groups, seed)
        if one is not None:
            found.append(({"column": name, **_apart(column, of_set), "strength": one.strength}, one.p))
    corrected = holm([p for _, p in found])
    rows = [{**about, "p": p} for (about, _), p in zip(found, corrected, strict=True)]
    return {
        "columns": sorted(rows, key=lambda row: (row["p"], -row["strength"])),
        "alone": {
            "own": [name for name in own if name not in other],
            "other": [name for name in other if name not in own],
        },
    }


def _alike(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two columns of one name: numbers, or text in small letters, which one set may write and the other not."""
    if a.dtype.kind == b.dtype.kind == "f":
        return a, b
    texts = []
    for column in (a, b):
        told = "{:g}".format if column.dtype.kind == "f" else str.casefold
        known = is_known(column)
        texts.append(
            np.array([told(value) if there else None for value, there in zip(column, known, strict=True)], object)
        )
    return texts[0], texts[1]


def _apart(column: np.ndarray, of_set: np.ndarray) -> dict[str, Any]:
    """The means of a column in two sets, or the value whose share differs most."""
    own, other = (column[is_known(column) & (of_set == which)] for which in (0, 1))
    if column.dtype.kind == "f":
        return {"value": None, "own": float(own.mean()), "other": float(other.mean())}
    values = sorted({*own.tolist(), *other.tolist()})
    shares = {value: (float(np.mean(own == value)), float(np.mean(other == value))) for value in values}
    value = max(values, key=lambda one: abs(shares[one][0] - shares[one][1]))
    return {"value": value, "own": shares[value][0], "other": shares[value][1]}
