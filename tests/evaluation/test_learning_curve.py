"""Learning curves over patients: nested subsets, scores of held-out patients, and what a law forecasts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score, mean_absolute_error, roc_auc_score

from heads.evaluation.curve_scores import CURVES
from heads.evaluation.learning_curve import LearningCurve, measure_curve
from heads.evaluation.learning_forecast import PowerLaws, measured
from heads.evaluation.more_patients import what_more_buys
from heads.evaluation.patient_subsets import dealt_folds, nested_subsets, strata_of_patients, subset_shares
from heads.evaluation.ridge_smoother import RidgeSmoother


def patients(groups=40, images=2, columns=12, apart=2.0, seed=0):
    """Two classes; rows of a patient are alike."""
    rng = np.random.default_rng(seed)
    of_group = np.repeat(np.arange(groups), images)
    y = of_group % 2
    X = rng.standard_normal((groups, columns))[of_group] * 0.6 + rng.standard_normal((len(y), columns)) * 0.8
    X[:, 0] += apart * y
    return X, y, of_group


def test_subsets_hold_one_another_and_whole_patients():
    strata = np.repeat([0, 1, 2], [60, 30, 10])
    shares = subset_shares(strata)
    subsets = nested_subsets(strata, shares, 3)
    assert shares[-1] == 1
    assert subsets[-1].all()
    for smaller, larger in itertools.pairwise(subsets):
        assert (smaller <= larger).all()
    for subset, share in zip(subsets, shares, strict=True):
        counts = np.bincount(strata[subset])
        assert np.abs(counts - np.maximum(share * np.array([60, 30, 10]), 4)).max() <= 0.5
    assert (nested_subsets(strata, shares, 4)[0] != subsets[0]).any()


def test_folds_have_each_stratum_evenly():
    strata, subset = np.repeat([0, 1], [23, 17]), np.arange(40) % 4 > 0
    folds = dealt_folds(strata, subset, 1)
    assert (folds[~subset] == -1).all()
    for stratum in (0, 1):
        counts = np.bincount(folds[subset & (strata == stratum)], minlength=10)
        assert np.ptp(counts) <= 1


@pytest.mark.parametrize(("groups", "classes", "words"), [(2, 2, "too few"), (20, 4, "already has 16 of 20")])
def test_subsets_that_are_nearly_everyone_tell_nothing(groups, classes, words):
    X, _, of_group = patients(groups)
    y = of_group % classes
    curve = measure_curve(X, y, of_group, y, "classes", 3, 0)
    told = what_more_buys(curve, "classes", [str(label) for label in range(classes)], [10])
    assert words in told["cannot_say"]
    for one in (told, *told["classes"].values()):
        assert np.isfinite([[point[end] for end in ("score", "low", "high")] for point in one["curve"]]).all()


def test_a_patient_of_several_strata_is_of_the_rarest():
    strata, of_group = np.array([0, 0, 1, 0, 0, 2, 1]), np.array([0, 1, 1, 2, 3, 3, 4])
    assert strata_of_patients(strata, of_group).tolist() == [0, 1, 0, 2, 1]


def test_outputs_are_those_of_ridges_that_never_saw_the_patient():
    X, y, of_group = patients()
    strata = strata_of_patients(y, of_group)
    subset = nested_subsets(strata, [0.5, 1], 0)[0]
    folds = dealt_folds(strata, subset, 0)[of_group]
    learnt = np.flatnonzero(subset[of_group])
    outputs = CURVES["classes"].outputs(X, y, learnt, folds[learnt])
    targets = np.eye(2)[y]
    weight = len(learnt) / np.bincount(y[learnt])[y[learnt]] / 2
    smoother = RidgeSmoother(X[learnt], weight)
    held = [np.flatnonzero(folds[learnt] == fold) for fold in range(10)]
    penalty = smoother.best_penalty(targets[learnt], held)
    outside = np.flatnonzero(~subset[of_group])
    fitted = Ridge(penalty).fit(X[learnt], targets[learnt], sample_weight=weight)
    np.testing.assert_allclose(outputs[outside], fitted.predict(X[outside]), atol=1e-6)
    for rows in held:
        others = np.setdiff1d(np.arange(len(learnt)), rows)
        fitted = Ridge(penalty).fit(X[learnt[others]], targets[learnt[others]], sample_weight=weight[others])
        np.testing.assert_allclose(outputs[learnt[rows]], fitted.predict(X[learnt[rows]]), atol=1e-6)


@pytest.mark.parametrize("kind", ["classes", "labels", "number"])
def test_scores_are_scikit_learns_and_say_what_each_row_adds(kind):
    rng = np.random.default_rng(2)
    n = 80
    if kind == "classes":
        y, outputs = np.arange(n) % 3, rng.standard_normal((n, 3))
        outputs[np.arange(n), y] += 1
        expected = balanced_accuracy_score(y, outputs.argmax(axis=1))
    elif kind == "labels":
        y = (rng.random((n, 2)) < 0.4).astype(float)
        y[:5, 0] = np.nan
        outputs = y + rng.standard_normal((n, 2))
        outputs[np.isnan(outputs)] = 0
        known = ~np.isnan(y[:, 0])
        expected = (roc_auc_score(y[known, 0], outputs[known, 0]) + roc_auc_score(y[:, 1], outputs[:, 1])) / 2
    else:
        y, outputs = rng.standard_normal(n), rng.standard_normal((n, 1))
        expected = mean_absolute_error(y, outputs[:, 0])
    scores = CURVES[kind].scores(y, outputs)
    assert scores.values.mean() == pytest.approx(expected)
    np.testing.assert_allclose(scores.added.sum(axis=0), 0, atol=1e-12)
    # A row that counts a thousandth more moves the scores by a thousandth of what it adds.
    twice = np.r_[np.tile(np.arange(n), 1000), 7]
    moved = CURVES[kind].scores(y[twice], outputs[twice]).values - scores.values
    np.testing.assert_allclose(1000 * moved, scores.added[7], atol=2e-3)


def made_curve(a, b, c, counts=(12, 18, 27, 40, 60, 90, 120), noise=0.004, shift=0.0, repeats=20, seed=0):
    """A curve with a known law; every size is shifted alike."""
    rng = np.random.default_rng(seed)
    n = np.array(counts, float)
    values = a - b * n**-c + shift + noise * rng.standard_normal((repeats, len(n)))
    groups = int(n[-1])
    added = np.tile(rng.standard_normal(groups) * 0.03 / np.sqrt(groups), (len(n), 1))[:, :, None]
    one = np.array([groups])
    return LearningCurve(
        np.array(counts), np.array(counts), n, one, values[:, :, None], added, np.array([True]), np.array([0.03]), 0.03
    )


@pytest.mark.parametrize(("a", "b", "c"), [(0.95, 1.2, 0.5), (0.9, 2.0, 0.8), (0.99, 1.0, 0.3)])
def test_a_known_law_is_forecast(a, b, c):
    curve = made_curve(a, b, c)
    forecast = PowerLaws(measured(curve, None, False)).forecast(3)
    gain = b * (120**-c - 360**-c)
    assert forecast.gain[0] <= gain <= forecast.gain[2]
    assert forecast.gain[2] - forecast.gain[0] < 0.1
    assert forecast.score[0] <= a - b * 360**-c <= forecast.score[2]


def test_the_noise_of_judging_stays_by_its_share_and_no_gain_is_made_of_it():
    """All sizes are judged by the same patients: what lifts them all is no gain."""
    plain, lifted = (
        PowerLaws(measured(made_curve(0.9, 1.2, 0.5, shift=shift), None, False)).forecast(3) for shift in (0, 0.04)
    )
    assert lifted.gain[1] == pytest.approx(plain.gain[1], abs=0.01)
    assert lifted.score[1] - plain.score[1] == pytest.approx(0.04, abs=0.01)


def test_errors_fall_where_scores_rise():
    """A number's errors are the same curve turned round."""
    curve = made_curve(-0.4, 2.0, 0.5)
    turned = LearningCurve(**{**vars(curve), "values": -curve.values, "added": -curve.added})
    told = what_more_buys(turned, "number", ["age"], [120])
    forecast = told["forecast"][0]
    assert told["lower_is_better"]
    assert forecast["gain"] > 0
    assert forecast["score_ci"][0] < 0.4 + 2 * 240**-0.5 < forecast["score_ci"][1]
    assert "lower the mean absolute error" in forecast["said"]


def test_what_cannot_be_said_is_not():
    flat = what_more_buys(made_curve(0.8, 0, 0.5, noise=0.02), "labels", ["x"], [50])
    assert flat["forecast"][0]["score"] is None
    assert "chance" in flat["cannot_say"]
    far = what_more_buys(made_curve(0.95, 1.2, 0.5), "labels", ["x"], [50, 361])["forecast"]
    assert far[0]["score"] is not None
    assert far[1]["score"] is None
    assert "360 more at most" in far[1]["said"]
    few = what_more_buys(made_curve(0.95, 1.2, 0.5, (4, 6, 8, 10, 12, 14, 16)), "labels", ["x"], [50])
    assert few["fit"] is None
    assert "too few" in few["cannot_say"]
    begun = made_curve(0, 0, 0.5, noise=0.001)
    slow = LearningCurve(**{**vars(begun), "values": begun.values + 0.5 + 0.15 * (begun.learnt[:, None] / 120) ** 2})
    assert "only begun" in what_more_buys(slow, "labels", ["x"], [120])["cannot_say"]


def test_a_model_that_learns_nothing_is_at_chance_at_every_size():
    """With single patients left out it would be wrong about nearly all: the others are more of the other class."""
    X, y, of_group = patients(groups=24, apart=0.0)
    curve = measure_curve(X, y, of_group, y, "classes", 4, 0)
    assert np.abs(curve.values.mean(axis=(0, 2)) - 0.5).max() < 0.15


def test_more_patients_raise_the_curve_and_seeds_repeat_it():
    X, y, of_group = patients(groups=60, columns=40, apart=2.5)
    one, again, other = (measure_curve(X, y, of_group, y, "classes", 3, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.values, again.values)
    assert (one.values != other.values).any()
    means = one.values.mean(axis=(0, 2))
    assert means[-1] > means[0] + 0.05
    assert one.patients[-1] == 60
    assert one.images[-1] == len(y)
