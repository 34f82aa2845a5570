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
    return f"{mine:.2f} s against {plain:.1f} s, {plain / mine:.0f} times", *given


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


def test_searches():
    X, y, patients = rows()
    labels = np.digitize(y, np.quantile(y, [1 / 3, 2 / 3]))
    cases = (
        ("Ridge, each patient left out", Ridge(), y, LeaveOneGroupOut(), "neg_mean_absolute_error"),
        ("RidgeClassifier, each patient left out", RidgeClassifier(), labels, LeaveOneGroupOut(), "accuracy"),
        ("Ridge, 5 folds", Ridge(), y, GroupKFold(5), "neg_mean_absolute_error"),
        ("RidgeClassifier, 5 folds", RidgeClassifier(), labels, GroupKFold(5), "accuracy"),
    )
    for name, model, target, cv, scoring in cases:
        few = PENALTIES[::15]

        def searched(kind: Any, model=model, target=target, cv=cv, scoring=scoring, few=few) -> np.ndarray:
            search = kind(model, {"alpha": list(few)}, cv=cv, scoring=scoring, refit=False)
            results = search.fit(X, target, groups=patients).cv_results_
            folds = cv.get_n_splits(X, target, patients)
            return np.array([results[f"split{fold}_test_score"] for fold in range(folds)])

        said, ours, theirs = turns(lambda: searched(FastGridSearchCV), lambda: searched(GridSearchCV))
        difference = float(np.abs(ours - theirs).max())
        print(f"{name}: {said}; scores differ by {difference:.1g}")  # noqa: T201
        assert difference < 1e-9
