"""Labels dealt out anew: patients stay whole, and labels that mean nothing seldom seem to mean something."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from heads.evaluation.label_permutation import p_values


def audit_of_nothing(rng, patients, size, torn):
    """p-values of three classifiers that see who the patient is, on labels dealt to patients."""
    y = np.repeat(rng.permutation(np.arange(patients) % 2), size)
    groups = np.repeat(np.arange(patients), size)
    for patient in range(torn):
        y[patient * size] ^= 1
    folds = list(StratifiedGroupKFold(5, shuffle=True, random_state=0).split(y, y, groups))
    given = []
    for _ in range(3):
        X = rng.normal(size=(patients, 6))[groups] + 0.5 * rng.normal(size=(len(y), 6))
        predicted = np.empty(len(y), int)
        for train, test in folds:
            far = [((X[test] - X[train][y[train] == label].mean(axis=0)) ** 2).sum(axis=1) for label in (0, 1)]
            predicted[test] = far[1] < far[0]
        given.append(predicted)
    return min(p_values(y, given, groups))


@pytest.mark.parametrize("torn", [0, 1])
def test_labels_that_mean_nothing_seldom_seem_to(torn):
    """One patient of both classes turned it image by image once, and p < 0.01 came up in a fifth of the probes."""
    rng = np.random.default_rng(torn)
    least = np.array([audit_of_nothing(rng, 24, 8, torn) for _ in range(100)])
    assert np.mean(least < 0.05) <= 0.08
    assert np.mean(least < 0.01) <= 0.02


@pytest.mark.parametrize("size", [1, 5])
def test_what_is_told_apart_is_found(size):
    rng = np.random.default_rng(0)
    y, groups = np.repeat(np.arange(24) % 2, size), np.repeat(np.arange(24), size)
    noise = rng.integers(0, 2, len(y))
    told = np.where(rng.random(len(y)) < 0.95, y, 1 - y)
    found = p_values(y, [noise, told], groups)
    assert found[1] < 0.01
    assert found[0] > 0.05


def test_a_patient_of_both_classes_is_dealt_within():
    """Where all patients have both classes, one image each, a classifier that knows the patient alone tells nothing."""
    y, groups = np.tile([0, 1], 20), np.repeat(np.arange(20), 2)
    assert p_values(y, [np.repeat(np.arange(20) % 2, 2), y], groups) == [1.0, pytest.approx(0.0005)]


def test_answers_that_are_all_the_same_tell_nothing():
    y = np.arange(30) % 3
    assert p_values(y, [np.zeros(30, int)], np.arange(30)) == [1.0]
