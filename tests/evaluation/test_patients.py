"""One answer a patient."""

from __future__ import annotations

import numpy as np
import pytest

from featcache.errors import DataError, UsageError
from heads.evaluation.patients import per_patient

GROUPS = np.array(["b", "a", "b", "c", "b"], object)


def test_two_classes():
    p = np.array([0.2, 0.9, 0.4, 0.5, 0.6])
    y = np.array([0, 1, 1, 0, 0])
    wanted = {"mean": [0.4, 0.9, 0.5], "max": [0.6, 0.9, 0.5], "noisy-or": [1 - 0.8 * 0.6 * 0.4, 0.9, 0.5]}
    for how, second in wanted.items():
        found = per_patient(np.c_[1 - p, p], y, GROUPS, how, "classes")
        assert found.outputs[:, 1] == pytest.approx(second)
        assert found.outputs.sum(axis=1) == pytest.approx(1)
        assert found.y.tolist() == [1, 1, 0]  # the second class where any image has it
        assert found.groups.tolist() == ["b", "a", "c"]  # as they come
        assert (found.mixed, found.left_out) == (1, 0)


def test_several_classes():
    p = np.random.default_rng(0).dirichlet(np.ones(3), 5)
    found = per_patient(p, np.array([2, 1, 2, 0, 2]), GROUPS, "mean", "classes")
    assert found.outputs == pytest.approx(np.array([p[[0, 2, 4]].mean(axis=0), p[1], p[3]]))
    assert (found.y.tolist(), found.mixed) == ([2, 1, 0], 0)
    torn = per_patient(p, np.array([2, 1, 0, 0, 2]), GROUPS, "mean", "classes")
    assert (torn.groups.tolist(), torn.y.tolist(), torn.mixed, torn.left_out) == (["a", "c"], [1, 0], 1, 1)
    with pytest.raises(UsageError, match="of 3 classes none is the one looked for; expected mean"):
        per_patient(p, np.array([2, 1, 2, 0, 2]), GROUPS, "max", "classes")
    with pytest.raises(DataError, match="each of the 1 patients has images of several classes"):
        per_patient(p, np.array([2, 1, 0, 0, 2]), ["a"] * 5, "mean", "classes")


def test_labels():
    p = np.array([[0.2, 0.1], [0.9, 0.1], [0.4, 1.0], [0.5, 0.1], [0.6, 0.1]])
    y = np.array([[0, 0], [1, np.nan], [1, 0], [0, 0], [np.nan, 0]], np.float32)
    found = per_patient(p, y, GROUPS, "noisy-or", "labels")
    assert found.outputs[0] == pytest.approx([1 - 0.8 * 0.6 * 0.4, 1])
    # Present where any image shows it; absent only where all are known.
    assert np.array_equal(found.y, [[1, 0], [1, np.nan], [0, 0]], equal_nan=True)
    assert found.mixed == 1
    unsure = per_patient(p, np.where(y == 1, 0, y), GROUPS, "max", "labels")
    assert np.isnan(unsure.y[0, 0])
    assert unsure.outputs[0] == pytest.approx([0.6, 1])


def test_numbers():
    found = per_patient(np.arange(5.0), np.array([50, 60, 50, 70, 56.0]), GROUPS, "mean", "number")
    assert found.outputs == pytest.approx([2, 1, 3])
    assert found.y == pytest.approx([52, 60, 70])
    assert found.mixed == 1
    with pytest.raises(UsageError, match="no highest probability; expected mean"):
        per_patient(np.arange(5.0), np.arange(5.0), GROUPS, "max", "number")


def test_what_is_no_way():
    with pytest.raises(UsageError, match="--per-patient 'median' is unknown; expected one of mean, max, noisy-or"):
        per_patient(np.eye(2), np.arange(2), ["a", "b"], "median", "classes")
    with pytest.raises(DataError, match="found 2 answers, 2 targets and 1 groups"):
        per_patient(np.eye(2), np.arange(2), ["a"], "mean", "classes")
