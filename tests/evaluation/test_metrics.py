"""Metrics against sklearn and SciPy, and intervals that mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from featcache.errors import DataError
from heads.evaluation.intervals import share_interval
from heads.evaluation.metrics import evaluate, scores


def predictions(n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    raw = rng.random((n, classes)) + np.eye(classes)[y] * 0.5
    return y, raw / raw.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 4])
def test_figures_are_sklearns(classes):
    y, p = predictions(80, classes)
    found, predicted = evaluate(y, p), p.argmax(axis=1)
    assert found["accuracy"] == metrics.accuracy_score(y, predicted)
    assert found["loss"] == pytest.approx(metrics.log_loss(y, p))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, predicted))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(y, predicted, average="macro"))
    area = metrics.roc_auc_score(y, p[:, 1]) if classes == 2 else metrics.roc_auc_score(y, p, multi_class="ovr")
    assert found["roc_auc"] == pytest.approx(area)
    assert found["confusion"] == metrics.confusion_matrix(y, predicted).tolist()
    assert found["n"] == 80


def test_a_class_without_rows_has_no_area_and_no_share_in_averages():
    y, p = predictions(40, 4)
    rows = y != 3
    found = evaluate(y[rows], p[rows])
    assert found["roc_auc"] is None
    assert found["accuracy"] == metrics.accuracy_score(y[rows], p[rows].argmax(axis=1))
    assert np.shape(found["confusion"]) == (4, 4)


def test_copies_of_a_patients_rows_are_no_evidence():
    right = np.random.default_rng(0).random(60) < 0.8
    groups = np.arange(60) // 2
    width = np.diff(share_interval(right, groups))[0]
    copied = np.diff(share_interval(np.repeat(right, 5), np.repeat(groups, 5)))[0]
    assert copied == pytest.approx(width, rel=0.1)
    assert np.diff(share_interval(np.repeat(right, 5)))[0] < 0.6 * width


def test_nothing_to_score():
    with pytest.raises(DataError, match="found 0 labels"):
        scores(np.array([], int), np.zeros((0, 2)))


@pytest.mark.parametrize("classes", [2, 4])
def test_every_average_has_its_interval(classes):
    y, p = predictions(200, classes)
    found = evaluate(y, p, classes=[f"c{i}" for i in range(classes)])
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc"):
        low, high = found[f"{name}_ci"]
        assert low < found[name] < high
        assert 0.02 < high - low < 0.25
    recall = metrics.recall_score(y, p.argmax(axis=1), average=None)
    assert list(found["recall"].values()) == pytest.approx(list(recall))
    assert all(low < found["recall"][name] < high for name, (low, high) in found["recall_ci"].items())


@pytest.mark.parametrize("classes", [2, 4])
def test_areas_vary_as_those_of_rows_drawn_anew(classes):
    """Against the plain way: draw rows, and ask sklearn."""
    y, p = predictions(120, classes, seed=5)
    rng, drawn = np.random.default_rng(7), []
    for _ in range(300):
        rows = rng.integers(0, 120, 120)
        score = p[rows] if classes > 2 else p[rows, 1]
        drawn.append(metrics.roc_auc_score(y[rows], score, multi_class="ovr" if classes > 2 else "raise"))
    assert evaluate(y, p)["roc_auc_ci"] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.03)


def test_intervals_over_copies_are_as_wide_as_before():
    y, p = predictions(80, 2, seed=3)
    groups = np.arange(80)
    before, after = (evaluate(np.repeat(y, k), np.repeat(p, k, axis=0), np.repeat(groups, k)) for k in (1, 5))
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc"):
        assert np.ptp(after[f"{name}_ci"]) == pytest.approx(np.ptp(before[f"{name}_ci"]), rel=0.1)


def test_a_model_that_always_says_the_same_has_intervals_around_its_metrics():
    """Every draw of groups gives the same recalls, 1 and 0; the interval must hold the value all the same."""
    y = np.repeat(np.arange(4), 8)
    found = evaluate(y, np.tile([0.1, 0.1, 0.1, 0.7], (32, 1)))
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc"):
        low, high = found[f"{name}_ci"]
        assert low <= found[name] <= high, name
    low, high = found["balanced_accuracy_ci"]
    assert 0.1 < low < 0.25 < high < 0.6
