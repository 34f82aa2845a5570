"""A learning curve: how good models are that learnt from ever more patients, each patient judged by others' models.

A model that learnt from a subset of the patients judges all others at once; the subset's own are judged in folds, a
tenth of them by what the other nine tenths give, which follows from the same decomposition
(:mod:`heads.evaluation.ridge_smoother`). So every patient is judged at every size, and the last point is that of all
patients, cross-validated. Folds and not single patients are left out: without one patient the others are a little more
of the other classes, and a model that has learnt nothing would be wrong about everyone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from .curve_scores import CURVES
from .intervals import Interval
from .patient_subsets import dealt_folds, nested_subsets, strata_of_patients, subset_shares


@dataclass(frozen=True)
class LearningCurve:
    """What was measured, by target (class, label, or the number).

    Attributes
    ----------
    patients, images : arrays of shape (n_sizes,), of the subsets.
    learnt : array of shape (n_sizes,): patients that a model learnt from, on average over those who are judged.
    having : int array of shape (n_targets,): patients with the target.
    values : array of shape (repeats, n_sizes, n_targets).
    added : array of shape (n_sizes, n_groups, n_targets): what each patient adds to the mean over repeats.
    judged : bool array of shape (n_targets,), of which there is enough to judge by.
    spreads, spread : array of shape (n_targets,), and a number: of each target's score at the largest size, and of the
        mean of those judged, a standard deviation over patients to be judged by, from their 95% intervals.
    """

    patients: np.ndarray
    images: np.ndarray
    learnt: np.ndarray
    having: np.ndarray
    values: np.ndarray
    added: np.ndarray
    judged: np.ndarray
    spreads: np.ndarray
    spread: float


def measure_curve(
    X: np.ndarray,
    y: np.ndarray,
    of_group: np.ndarray,
    strata: np.ndarray,
    kind: str,
    repeats: int,
    seed: int,
    on_repeat: Callable[[int], None] = lambda done: None,
) -> LearningCurve:
    """Measure it.

    Parameters
    ----------
    X : array of shape (n, d).
    y, kind : targets, as a task of this kind has them.
    of_group : int array of shape (n,), patients counted from 0.
    strata : int array of shape (n,), not negative: of what each subset has its share.
    repeats : how often patients are put in another order.
    seed : of these orders.
    on_repeat : called after each with how many are done.
    """
    measures = CURVES[kind]
    of_patient = strata_of_patients(strata, of_group)
    shares = subset_shares(of_patient)
    groups, targets = len(of_patient), measures.has(y).shape[1]
    has = np.zeros((groups, targets), bool)
    np.logical_or.at(has, of_group, measures.has(y))
    values = np.empty((repeats, len(shares), targets))
    added = np.zeros((len(shares), groups, targets))
    counts = np.empty(len(shares))
    seeds = np.random.SeedSequence(seed).generate_state(repeats)
    for repeat in range(repeats):
        subsets = nested_subsets(of_patient, shares, int(seeds[repeat]))
        for size, subset in enumerate(subsets):
            folds = dealt_folds(of_patient, subset, int(seeds[repeat]))[of_group]
            counts[size] = folds.max() + 1
            learnt_rows = np.flatnonzero(subset[of_group])
            outputs = measures.outputs(X, y, learnt_rows, folds[learnt_rows])
            scores = measures.scores(y, outputs)
            values[repeat, size] = scores.values
            added[size] += np.stack([np.bincount(of_group, column, groups) for column in scores.added.T], axis=1)
        on_repeat(repeat + 1)
    judged = measures.judged(y, of_group)
    patients = np.array([subset.sum() for subset in subsets])
    images = np.array([subset[of_group].sum() for subset in subsets])
    return LearningCurve(
        patients,
        images,
        patients * (1 - patients / groups / counts),
        has.sum(axis=0),
        values,
        added / repeats,
        judged,
        np.array(
            [_spread(measures.interval(y, outputs, of_group, i)) if judged[i] else np.nan for i in range(len(judged))]
        ),
        _spread(measures.interval(y, outputs, of_group, None)) if judged.any() else np.nan,
    )


def _spread(interval: Interval) -> float:
    """The standard deviation of what has such a 95% interval."""
    return float((interval[1] - interval[0]) / (2 * ndtri(0.975)))
