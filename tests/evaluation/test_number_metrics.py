"""Figures of predicted numbers: against sklearn and SciPy, and intervals that mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from featcache.errors import DataError
from heads.evaluation.number_intervals import SQUARES, positive_mean
from heads.evaluation.number_metrics import evaluate_numbers, scores_of_numbers

FIGURES = ("mae", "rmse", "r2", "spearman", "mean_error")


def numbers(patients: int = 60, size: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ages of patients, predictions of their images (with ties), and groups."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), size)
    y = rng.normal(60, 15, patients)[groups].round()
    return y, (y + 3 + rng.normal(0, 6, patients)[groups] + rng.normal(0, 6, len(y))).round(), groups


def test_figures_are_sklearns_and_scipys():
    y, predicted, groups = numbers()
    found = evaluate_numbers(y, predicted, groups)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(y, predicted))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, predicted))
    assert found["r2"] == pytest.approx(metrics.r2_score(y, predicted))
    assert found["spearman"] == pytest.approx(stats.spearmanr(y, predicted)[0])
    assert found["mean_error"] == pytest.approx(np.mean(predicted - y))
    assert scores_of_numbers(y, predicted) == {name: pytest.approx(found[name]) for name in ("n", *FIGURES)}
    for name in FIGURES:
        low, high = found[f"{name}_ci"]
        assert low < found[name] < high


def test_copies_of_a_patients_rows_are_no_evidence():
    y, predicted, groups = numbers()
    before, after = (evaluate_numbers(*(np.repeat(one, k) for one in (y, predicted, groups))) for k in (1, 5))
    for name in FIGURES:
        assert after[name] == pytest.approx(before[name])
        assert np.ptp(after[f"{name}_ci"]) == pytest.approx(np.ptp(before[f"{name}_ci"]), rel=0.1)
    alone = evaluate_numbers(np.repeat(y, 5), np.repeat(predicted, 5), None)
    assert all(np.ptp(alone[f"{name}_ci"]) < 0.7 * np.ptp(before[f"{name}_ci"]) for name in FIGURES)


def test_intervals_move_with_the_unit():
    y, predicted, groups = numbers()
    years, months = (evaluate_numbers(y * k, predicted * k, groups) for k in (1, 12))
    for name in ("mae", "rmse", "mean_error"):
        assert months[f"{name}_ci"] == pytest.approx(np.array(years[f"{name}_ci"]) * 12)
    for name in ("r2", "spearman"):
        assert months[f"{name}_ci"] == pytest.approx(years[f"{name}_ci"])


def test_the_root_mean_square_of_normal_errors_has_about_the_exact_interval():
    rng, widths = np.random.default_rng(0), []
    for _ in range(100):
        square = rng.normal(size=40) ** 2
        low, high = positive_mean(square, np.arange(40), SQUARES)
        exact = square.sum() / stats.chi2.ppf([0.975, 0.025], 40)
        widths.append((high - low) / np.ptp(exact))
    assert np.median(widths) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("groups", "size"), [(12, 5), (40, 1)])
def test_every_figure_is_held(groups, size):
    rng, draws, noise = np.random.default_rng(1), 200, 0.8
    truth = {
        "mae": noise * np.sqrt(2 / np.pi),
        "rmse": noise,
        "r2": 1 - noise**2,
        "spearman": 6 / np.pi * np.arcsin(0.5 / np.sqrt(1 + noise**2)),
        "mean_error": 0.0,
    }
    of_group, held = np.repeat(np.arange(groups), size), dict.fromkeys(truth, 0)
    for _ in range(draws):
        y, error = (
            np.sqrt(0.4) * rng.normal(size=groups)[of_group] + np.sqrt(0.6) * rng.normal(size=len(of_group))
            for _ in range(2)
        )
        found = evaluate_numbers(y, y + noise * error, of_group)
        for name, value in truth.items():
            low, high = found[f"{name}_ci"]
            held[name] += low <= value <= high
    assert {name: count for name, count in held.items() if count / draws < 0.89} == {}


def test_what_a_row_adds_to_the_rank_correlation_is_found_over_rows_drawn_anew():
    """Against the plain way: draw rows, and ask SciPy; with many ties, and without."""
    rng = np.random.default_rng(2)
    for step in (1.0, 1e-9):
        y = (rng.normal(size=400) / step).round() * step
        predicted = ((y + rng.normal(size=400)) / step).round() * step
        drawn = []
        for _ in range(400):
            rows = rng.integers(0, 400, 400)
            drawn.append(stats.spearmanr(y[rows], predicted[rows])[0])
        found = np.ptp(evaluate_numbers(y, predicted, None)["spearman_ci"])
        assert found == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.15)


def test_nothing_is_said_where_nothing_can_be():
    y, predicted, groups = numbers()
    one_patient = evaluate_numbers(y, predicted, np.zeros(len(y)))
    assert [one_patient[f"{name}_ci"] for name in FIGURES] == [None] * 5
    same = evaluate_numbers(np.full(20, 50.0), predicted[:20], groups[:20])
    assert same["r2"] is same["r2_ci"] is same["spearman"] is same["spearman_ci"] is None
    perfect = evaluate_numbers(y, y, groups)
    assert perfect["mae"] == perfect["rmse"] == 0
    assert perfect["mae_ci"] is perfect["rmse_ci"] is perfect["r2_ci"] is perfect["mean_error_ci"] is None
    assert 0.9 < perfect["spearman_ci"][0] < perfect["spearman_ci"][1] == perfect["spearman"] == pytest.approx(1)


def test_numbers_that_cannot_be_judged():
    with pytest.raises(DataError, match=r"shape \(3,\) and predictions of shape \(2,\)"):
        scores_of_numbers(np.zeros(3), np.zeros(2))
    with pytest.raises(DataError, match="0 numbers and 1 predictions are not finite"):
        evaluate_numbers(np.zeros(3), np.array([0, 1, np.nan]), None)
