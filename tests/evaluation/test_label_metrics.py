"""Figures of several labels: against sklearn on the rows that know each, and intervals that mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import metrics
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score

from featcache.errors import DataError
from heads.evaluation.average_precisions import average_precision_limits, average_precision_of
from heads.evaluation.intervals import share_interval
from heads.evaluation.label_metrics import evaluate_labels, scores_of_labels
from heads.evaluation.label_scorer import SCORERS, label_scorer, mean_area

NAMES = ("mass", "oedema", "hernia")


def labels(n: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers, a fifth of them not known; probabilities, with ties; and groups of three."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n, 3)) < (0.4, 0.2, 0.3)).astype(np.float32)
    p = (1 / (1 + np.exp(-rng.normal(size=y.shape) - 1.5 * y + 1))).round(2).astype(np.float32)
    y[rng.random(y.shape) < 0.2] = np.nan
    return y, p, np.arange(n) // 3


def test_figures_are_sklearns_on_the_rows_that_know_a_label():
    y, p, groups = labels()
    found = evaluate_labels(y, p, groups, NAMES, [0.3, None, 0.7])
    areas, precisions, losses = [], [], []
    for label, name in enumerate(NAMES):
        known = ~np.isnan(y[:, label])
        truth, score = y[known, label], p[known, label]
        threshold = (0.3, 0.5, 0.7)[label]
        about = found["labels"][name]
        areas.append(metrics.roc_auc_score(truth, score))
        precisions.append(metrics.average_precision_score(truth, score))
        losses += list(-np.where(truth == 1, np.log(score), np.log1p(-score)))
        assert about["roc_auc"] == pytest.approx(areas[-1])
        assert about["average_precision"] == pytest.approx(precisions[-1])
        assert about["sensitivity"] == pytest.approx(metrics.recall_score(truth, score >= threshold))
        assert about["specificity"] == pytest.approx(metrics.recall_score(truth, score >= threshold, pos_label=0))
        assert (about["n"], about["positives"], about["threshold"]) == (known.sum(), truth.sum(), threshold)
        assert about["prevalence"] == pytest.approx(truth.mean())
        assert about["prevalence_ci"] == list(share_interval(truth == 1, groups[known]))
        for figure in ("roc_auc", "average_precision", "sensitivity", "specificity", "prevalence"):
            low, high = about[f"{figure}_ci"]
            assert 0 <= low < about[figure] < high <= 1
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["mean_roc_auc"] == pytest.approx(np.mean(areas))
    assert found["mean_average_precision"] == pytest.approx(np.mean(precisions))
    plain = scores_of_labels(y, p, groups)
    assert {name: pytest.approx(found[name]) for name in plain} == plain


def test_too_few_have_no_figures_but_are_counted():
    y, p, groups = labels()
    y[:, 1] = np.where(np.arange(len(y)) < 9, 1, 0)  # nine images
    y[:, 2] = np.where(groups < 40, np.where(groups == 0, 1, 0), np.nan)
    y[np.flatnonzero(groups < 4), 2], same = 1, np.where(groups < 4, 0, groups)  # twelve, of one patient
    found = evaluate_labels(y, p, same, NAMES)
    for name in NAMES[1:]:
        about = found["labels"][name]
        assert about["note"] == "too few"
        assert about["roc_auc"] is about["roc_auc_ci"] is about["average_precision"] is about["sensitivity"] is None
        assert about["positives"] in (9, 12)
        assert about["prevalence_ci"][0] < about["prevalence"]
    assert found["mean_roc_auc"] == found["labels"]["mass"]["roc_auc"]
    assert found["mean_roc_auc_ci"] == pytest.approx(found["labels"]["mass"]["roc_auc_ci"])
    y[:, 0] = 0
    none = evaluate_labels(y, p, same, NAMES)
    assert none["mean_roc_auc"] is none["mean_roc_auc_ci"] is none["mean_average_precision_ci"] is None
    assert scores_of_labels(y, p, same)["mean_average_precision"] is None


def test_a_label_that_nobody_knows():
    y, p, groups = labels()
    y[:, 1] = np.nan
    about = evaluate_labels(y, p, groups, NAMES)["labels"]["oedema"]
    assert (about["n"], about["prevalence"], about["prevalence_ci"], about["note"]) == (0, None, None, "too few")


@pytest.mark.parametrize("size", [1, 3])
def test_copies_of_a_patients_rows_are_no_evidence(size):
    y, p, _ = labels()
    groups = np.arange(len(y)) // size
    before = evaluate_labels(y, p, groups, NAMES)
    after = evaluate_labels(np.repeat(y, 5, axis=0), np.repeat(p, 5, axis=0), np.repeat(groups, 5), NAMES)
    pairs = [(before, after, "mean_roc_auc", 0.05), (before, after, "mean_average_precision", 0.05)]
    for name in NAMES:
        one, copied = before["labels"][name], after["labels"][name]
        pairs += [(one, copied, figure, 0.05) for figure in ("roc_auc", "average_precision")]
        # Shares of rows that copies make alike in part are told a little more cautiously.
        pairs += [(one, copied, figure, 0.1 * size) for figure in ("sensitivity", "specificity", "prevalence")]
    for one, copied, figure, within in pairs:
        assert copied[figure] == pytest.approx(one[figure])
        assert np.ptp(copied[f"{figure}_ci"]) == pytest.approx(np.ptp(one[f"{figure}_ci"]), rel=within)
    alone = evaluate_labels(np.repeat(y, 5, axis=0), np.repeat(p, 5, axis=0), None, NAMES)
    for figure in ("mean_roc_auc_ci", "mean_average_precision_ci"):
        assert np.ptp(alone[figure]) < 0.6 * np.ptp(before[figure])


def test_what_a_row_adds_to_average_precision_is_its_derivative():
    rng = np.random.default_rng(1)
    y = rng.random(80) < 0.3
    score = (rng.normal(size=80) + y).round(1)
    found = average_precision_of(y, score)
    assert found.value == pytest.approx(metrics.average_precision_score(y, score))
    assert found.added.sum() == pytest.approx(0)
    for row in range(0, 80, 9):
        weights = np.ones(80)
        weights[row] += 1e-6
        moved = metrics.average_precision_score(y, score, sample_weight=weights) - found.value
        assert found.added[row] == pytest.approx(moved / 1e-6, abs=1e-6)
    without = [metrics.average_precision_score(np.delete(y, row), np.delete(score, row)) for row in range(80)]
    assert found.bias == pytest.approx(79 * (np.mean(without) - found.value))


@pytest.mark.parametrize(("groups", "size", "prevalence", "apart"), [(80, 1, 0.4, 1.0), (30, 5, 0.4, 1.5)])
def test_an_average_precision_is_held(groups, size, prevalence, apart):
    rng, held, draws = np.random.default_rng(4), 0, 200
    x = np.linspace(-9, 11, 20_001)
    hits, others = prevalence * norm.sf(x - apart), (1 - prevalence) * norm.sf(x)
    truth = np.trapezoid(norm.pdf(x - apart) * hits / (hits + others), x)
    of_group = np.repeat(np.arange(groups), size)
    for _ in range(draws):
        y = np.repeat(rng.random(groups) < prevalence, size)
        score = np.sqrt(0.4) * rng.normal(size=groups)[of_group] + np.sqrt(0.6) * rng.normal(size=len(y)) + apart * y
        low, high = average_precision_limits(average_precision_of(y, score), score, of_group)
        held += low <= truth <= high
    assert held / draws >= 0.89


def test_a_perfect_average_precision_is_not_certainty_and_more_positives_say_more():
    lows = []
    for positives in (10, 30, 100):
        y = np.arange(200) < positives
        low, high = average_precision_limits(average_precision_of(y, y * 1.0), y * 1.0, np.arange(200))
        assert high == 1
        lows.append(low)
    assert 0.6 < lows[0] < lows[1] < lows[2] < 1


def test_arrays_that_do_not_fit():
    y, p, groups = labels()
    with pytest.raises(DataError, match=r"shape \(240, 3\) and probabilities of shape \(240, 2\)"):
        evaluate_labels(y, p[:, :2], groups, NAMES)
    with pytest.raises(DataError, match="of none of the 240 images is any label known"):
        scores_of_labels(np.full_like(y, np.nan), p)


def test_the_scorer_ranks_models_on_what_is_known():
    y, p, _ = labels()
    known = [~np.isnan(column) for column in y.T]
    areas = [metrics.roc_auc_score(y[k, i], p[k, i]) for i, k in enumerate(known)]
    assert mean_area(y, p) == pytest.approx(np.mean(areas))
    y[:, 2] = 0  # says nothing, and is left out
    assert mean_area(y, p) == pytest.approx(np.mean(areas[:2]))
    assert np.isnan(mean_area(np.zeros((9, 2)), np.zeros((9, 2))))
    assert SCORERS["mean_roc_auc"] is label_scorer
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4))
    truth = (X[:, :2] + rng.normal(size=(120, 2)) > 0).astype(int)
    forest = RandomForestClassifier(20, random_state=0)
    ours = cross_val_score(forest, X, truth, cv=3, scoring=label_scorer)
    assert ours == pytest.approx(cross_val_score(forest, X, truth, cv=3, scoring="roc_auc"))
