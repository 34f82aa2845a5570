"""Ridges of many folds from one decomposition, against fitting each: the closed form itself, and searches on it.

    OPENBLAS_NUM_THREADS=1 pytest tests/benchmarks/test_ridge_speed.py -s

440 rows of 512 features of 181 patients. Turns one after the other; ratios of medians. Refits are done of every
twentieth patient, and their seconds counted for all; sklearn's own searches, of each patient left out, are done whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, LeaveOneGroupOut

from heads import FastGridSearchCV
from heads.evaluation.ridge_smoother import RidgeSmoother

TURNS, EVERY = 3, 20
PENALTIES = np.logspace(-2, 6, 45)


def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, a number, and patients."""
    rng = np.random.default_rng(0)
    X = np.maximum(rng.normal(size=(440, 512)) + rng.normal(size=(440, 15)) @ rng.normal(size=(15, 512)), 0)
    return X, 60 + X[:, :9].sum(axis=1) + rng.normal(size=440), rng.permutation(np.arange(440) % 181)


def turns(ours: Callable[[], Any], theirs: Callable[[], Any], share: float = 1) -> tuple[str, Any, Any]:
    """Seconds of the processor for both, and what they gave; the others did a share of the work."""
    taken: tuple[list[float], list[float]] = ([], [])
    given: list[Any] = [None, None]
    for _ in range(TURNS):
        for place, run in enumerate((ours, theirs)):
            started = time.process_time()
            given[place] = run()
            taken[place].append(time.process_time() - started)
    mine, plain = median(taken[0]), median(taken[1]) / share
    return f"{mine:.2f} s against {plain:.2f} s, {plain / mine:.3g} times", *given


def test_each_patient_left_out():
    X, y, patients = rows()
    groups = [np.flatnonzero(patients == one) for one in range(181)]

    def closed() -> np.ndarray:
        smoother = RidgeSmoother(X)
        return np.array([smoother.held_out(y, groups, penalty) for penalty in PENALTIES])

    def refitted() -> np.ndarray:
        given = np.full((len(PENALTIES), len(y)), np.nan)
        for held in groups[::EVERY]:
            rest = np.setdiff1d(np.arange(len(y)), held)
            for place, penalty in enumerate(PENALTIES):
                given[place, held] = Ridge(penalty).fit(X[rest], y[rest]).predict(X[held])
        return given

    said, ours, theirs = turns(closed, refitted, len(groups[::EVERY]) / len(groups))
    difference = float(np.nanmax(np.abs(ours - theirs)))
    print(f"\n45 penalties x 181 patients: {said}; numbers of about 60 differ by {difference:.1g}")  # noqa: T201
    assert difference < 1e-9


@pytest.mark.parametrize("model", [Ridge(), RidgeClassifier()], ids=lambda model: type(model).__name__)
@pytest.mark.parametrize(
    ("cv", "penalties"),
    [(LeaveOneGroupOut(), PENALTIES[::15]), (GroupKFold(5), PENALTIES[::4])],
    ids=["each patient left out", "5 folds"],
)
def test_search(model, cv, penalties):
    X, y, patients = rows()
    of_classes = isinstance(model, RidgeClassifier)
    target = np.digitize(y, np.quantile(y, [1 / 3, 2 / 3])) if of_classes else y
    scoring = "accuracy" if of_classes else "neg_mean_absolute_error"
    folds = cv.get_n_splits(X, target, patients)

    def searched(kind: Any) -> np.ndarray:
        search = kind(model, {"alpha": list(penalties)}, cv=cv, scoring=scoring, refit=False)
        results = search.fit(X, target, groups=patients).cv_results_
        return np.array([results[f"split{fold}_test_score"] for fold in range(folds)])

    said, ours, theirs = turns(lambda: searched(FastGridSearchCV), lambda: searched(GridSearchCV))
    difference = float(np.abs(ours - theirs).max())
    name = type(model).__name__
    print(f"\n{name}, {folds} folds, {len(penalties)} penalties: {said}; scores differ by {difference:.1g}")  # noqa: T201
    assert difference < 1e-9
