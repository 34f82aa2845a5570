"""How much the ridge of a leaderboard owes to single patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from ..evaluation.ridge_influence import patient_influence, shortened
from ..evaluation.run_folder import write_table
from .baseline_models import Baseline
from .baseline_search import ModelRows

NAME = "ridge"
_MOST_PRODUCTS = 50_000_000  # of rows learnt from and rows judged by, which stand in memory at once


def influence_of_patients(
    folder: Path,
    chosen: Sequence[Baseline],
    seen: ModelRows,
    rows: Sequence[Mapping[str, Any]],
    train: np.ndarray,
    test: np.ndarray,
) -> dict[str, Any] | None:
    """What the ridge's metric on test becomes without each patient in training; ``influence.csv`` has them all.

    Parameters
    ----------
    folder : of the run.
    chosen : the baselines of the leaderboard.
    seen : the rows as they saw them.
    rows : the leaderboard's.
    train, test : positions of the rows learnt from and judged by.

    Returns
    -------
    As :func:`heads.evaluation.ridge_influence.shortened` gives it, for ``run.json``. None where no ridge was asked
    for, where the task is of several labels, where there are no two patients, or where features stay in the store: the
    components were learnt from all patients.
    """
    ridge = next((baseline for baseline in chosen if baseline.name == NAME), None)
    if ridge is None or seen.reduced is not None or len(train) * len(test) > _MOST_PRODUCTS:
        return None
    features, X = seen.features, seen.seen_by(ridge)
    for _, step in ridge.model.steps[:-1]:  # which make unit length, and learn nothing
        X = clone(step).fit_transform(X)
    learnt = X[train], features.y[train], features.groups[train]
    penalty = next(float(row["best_params"]["alpha"]) for row in rows if row["name"] == NAME)
    found = patient_influence(features.task.kind, learnt, (X[test], features.y[test]), penalty)
    if found is None:
        return None
    header = ("group", "images", "change", "change_of_squared_error")
    table = [[patient[name] for name in header] for patient in found["patients"]]
    write_table(folder / "influence.csv", header, table)
    return {"model": NAME, "penalty": penalty, **shortened(found)}
