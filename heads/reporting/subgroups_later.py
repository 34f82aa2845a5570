"""Subgroups of runs that were made without them: from what a run kept of its answers, and the data's own columns."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np

from featcache.data.dataset import Dataset
from featcache.errors import DataError
from featcache.extraction.planning import choose_data, row_keys
from featcache.store.store import Store

from ..auditing.audit_record import joined_groups
from ..evaluation.subgroup_metrics import subgroup_metrics
from ..evaluation.subgroups import subgroups
from .run_reader import Place, Run

_log = logging.getLogger(__name__)
_BY_FOLDS = "cross_validated/predictions.csv"


def with_subgroups(runs: list[Run], by: str, cache: Place) -> list[Run]:
    """The runs, their tests with the subgroups of these columns, where a run kept what it said of each image.

    Parameters
    ----------
    runs : on one dataset.
    by : as of :func:`heads.evaluation.subgroups.subgroups`.
    cache : knows the data, and which images an audit took for one patient's.

    Raises
    ------
    UsageError, DataError
        A column that is not there, or cannot be divided; no run that kept its answers, or images that are gone.
    """
    with Store(cache) as store:
        dataset = choose_data(store, runs[0].data or None)
        keys, _ = row_keys(store, dataset.paths)
    known = [i for i, key in enumerate(keys) if key is not None]
    dataset = dataset.take(known)
    groups = np.array(dataset.groups, dtype=object)
    joined = joined_groups([key for key in keys if key is not None], groups, cache)
    subgroups(dataset.metadata, by)  # fails before the first run is read
    told = [_told(run, dataset, groups if joined is None else joined, by) for run in runs]
    if all(now is before for now, before in zip(told, runs, strict=True)):
        raise DataError("--by: none of these runs kept what it said of each image; fit-head does, in predictions.csv")
    return told


def _told(run: Run, dataset: Dataset, groups: np.ndarray, by: str) -> Run:
    about: dict[str, Any] = dict(run.about)
    found = _of_table(run, "predictions.csv", "test", dataset, groups, by) if about.get("test") else None
    if found is not None:
        about["test"] = {**about["test"], "subgroups": found}
    folds: dict[str, Any] = about.get("cross_validated") or {}
    by_folds = _of_table(run, _BY_FOLDS, None, dataset, groups, by) if folds else None
    if by_folds is not None:
        about["cross_validated"] = {**folds, "test": {**folds["test"], "subgroups": by_folds}}
    return run if found is None and by_folds is None else replace(run, about=about)


def _of_table(
    run: Run, name: str, part: str | None, dataset: Dataset, groups: np.ndarray, by: str
) -> dict[str, Any] | None:
    """The subgroups of what a table of a run says; None where there is no such table, or no image of it is there."""
    table = [row for row in run.table(name) if part is None or row.get("part") == part]
    place = {path: i for i, path in enumerate(dataset.paths)}
    rows = [row for row in table if row.get("path") in place]
    if len(rows) < len(table):
        _log.warning("%s: %d of %d images are not in the data any more", run.folder, len(table) - len(rows), len(table))
    if not rows:
        return None
    try:
        y, outputs = _READ[run.kind](rows, run.classes)
    except (KeyError, ValueError) as error:
        raise DataError(f"{run.folder / name}: no answers of this run ({error!r}); make the run anew") from error
    at = [place[row["path"]] for row in rows]
    columns = {column: values[at] for column, values in dataset.metadata.items()}
    kind: Any = run.kind
    return subgroup_metrics(kind, y, outputs, groups[at], subgroups(columns, by), run.classes)


_Rows = list[dict[str, str]]


def _classes(rows: _Rows, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    y = np.array([names.index(row["label"]) for row in rows], np.int64)
    return y, np.array([[float(row[name]) for name in names] for row in rows])


def _labels(rows: _Rows, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    y = np.array([[float(row[name] or "nan") for name in names] for row in rows], np.float32)
    return y, np.array([[float(row[f"{name} probability"]) for name in names] for row in rows])


def _number(rows: _Rows, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.array([[float(row[names[0]]), float(row[f"{names[0]} predicted"])] for row in rows])
    return pairs[:, 0], pairs[:, 1]


_READ = {"classes": _classes, "labels": _labels, "number": _number}
