"""Sets that hold the truth: beside MAPIE's and crepes' on the same scores, counted in fractions, and as promised."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import beta
from surroundings import GOLDEN

from featcache.errors import UsageError
from heads.bundles.answer_sets import require_sets
from heads.evaluation.calibration import calibrate, fit_calibration
from heads.evaluation.conformal_coverage import conformal_coverage, patients_share, promised, spoken
from heads.evaluation.conformal_sets import SETS
from heads.evaluation.held_out_scores import (
    MOST_PATIENTS,
    HeldOutScores,
    between,
    hierarchical_quantile,
    patients_needed,
    read_scores,
)
from heads.evaluation.intervals import share_interval
from heads.experiments.calibration_patients import mended_by_others
from heads.experiments.held_out import outputs_of_folds

CASES = json.loads((GOLDEN / "conformal.json").read_text())["cases"]


def bag(rng: np.random.Generator, patients: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of patients of 1 to 8 images, alike within a patient, the farther off the fewer they are; some tied."""
    sizes = rng.integers(1, 9, patients)
    of = np.repeat(np.arange(patients), sizes)
    scores = rng.exponential(1 / sizes)[of] + 0.1 * rng.random(len(of))
    return np.round(scores, 2), of


# -- one image a patient: as others have it ----------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{len(case['y'])} at {case['coverage']}")
def test_with_one_image_a_patient_they_are_the_sets_of_mapie_and_crepes(case):
    y, p, new = (np.array(case[name]) for name in ("y", "probabilities", "new"))
    alone, coverage = np.arange(len(y)), case["coverage"]
    q = hierarchical_quantile(1 - p[alone, y], alone, coverage)
    assert ((1 - new <= q) == np.array(case["mapie_lac_sets"], bool)).all()
    rules = SETS["classes"]
    scores = rules.scores(y, p, p.argmax(axis=1), alone)
    together = np.full(3, hierarchical_quantile(scores.scores, alone, coverage))
    each = scores.thresholds(coverage, 3)
    for thresholds, name in ((together, "crepes_sets"), (each, "crepes_sets_by_class")):
        sets = rules.sets(new, new.argmax(axis=1), thresholds)
        assert (sets == np.array(case[name], bool)).all()  # crepes takes any score, and so ours
    assert 1 < rules.sets(new, new.argmax(axis=1), together).sum(axis=1).mean() < 3
    enough = np.bincount(y).min() >= patients_needed(coverage)
    assert (rules.thresholds(scores, coverage, ("a", "b", "c")) == (each if enough else together)).all()
    rules = SETS["number"]
    of = rules.scores(np.array(case["numbers"]), np.array(case["predicted"]), np.empty(0), alone)
    given = rules.sets(np.array(case["new_predicted"]), np.empty(0), of.thresholds(coverage, 1))
    for name in ("mapie_intervals", "crepes_intervals"):
        np.testing.assert_allclose(given, case[name], rtol=1e-12)


# -- several images a patient ------------------------------------------------------------------------


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_the_threshold_is_the_quantile_of_the_masses_counted_in_fractions(coverage):
    rng = np.random.default_rng(0)
    for patients in (1, 4, 9, 10, 19, 23, 40):
        scores, of = bag(rng, patients)
        wanted, mass = Fraction(str(coverage)), Fraction(0)
        expected = math.inf
        for place in np.argsort(scores, kind="stable"):
            mass += Fraction(1, (patients + 1) * int((of == of[place]).sum()))
            if mass >= wanted:
                expected = scores[place]
                break
        assert hierarchical_quantile(scores, of, coverage) == expected
        assert math.isinf(expected) == (patients < patients_needed(coverage))


@pytest.mark.parametrize("patients", [10, 14, 31])
def test_whichever_of_the_patients_is_the_new_one_the_promise_holds_in_the_mean(patients):
    """What exchangeability promises is a count: each patient of a bag in turn is the new one."""
    below = 0
    for seed in range(30):
        scores, of = bag(np.random.default_rng(seed), patients)
        shares = {"patient": [], "image": []}
        for one in range(patients):
            others = of != one
            q = hierarchical_quantile(scores[others], of[others], 0.9)
            shares["patient"].append((scores[~others] <= q).mean())
            q = hierarchical_quantile(scores[others], np.arange(others.sum()), 0.9)
            shares["image"].append((scores[~others] <= q).mean())
        assert np.mean(shares["patient"]) >= 0.9 - 1e-12
        below += np.mean(shares["image"]) < 0.9
    assert below > 15  # as though images were patients, it does not


def test_nine_patients_are_the_fewest_for_nine_in_ten():
    assert [patients_needed(c) for c in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]
    eight, nine = (np.repeat(np.arange(n), 3) for n in (8, 9))
    assert hierarchical_quantile(np.arange(24.0), eight, 0.9) == math.inf
    assert hierarchical_quantile(np.arange(27.0), nine, 0.9) == 26


def test_the_luck_of_who_calibrates_is_a_beta_distribution():
    rng, n = np.random.default_rng(0), 24
    drawn = [hierarchical_quantile(rng.random(n), np.arange(n), 0.9) for _ in range(3000)]  # coverage of uniforms
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx(between(0.9, n), abs=0.015)
    assert between(0.9, n) == pytest.approx(beta.ppf([0.025, 0.975], 23, 2))


# -- sets of each kind -------------------------------------------------------------------------------


def test_what_the_model_says_is_always_in_the_set():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 200)
    said = rng.integers(0, 4, 200)  # as a threshold may, not always the most probable
    sets = SETS["classes"].sets(p, said, np.array([0.3]))
    assert sets[np.arange(200), said].all()
    others = np.arange(4) != said[:, None]
    assert (sets[others] == (1 - p[others] <= 0.3)).all()
    p = rng.random((200, 3))
    said = (p > 0.9).astype(int)
    sets = SETS["labels"].sets(p, said, np.full(6, 0.2))
    assert np.take_along_axis(sets, said[:, :, None], axis=2).all()
    words = SETS["labels"].said(sets[:1], ("a", "b", "c"))[0]["answers"]
    assert set(words.values()) <= {"yes", "no", "cannot say"}
    assert SETS["number"].said(SETS["number"].sets(np.array([5.0]), said, np.array([2.0])), ("age",)) == [
        {"interval": [3.0, 7.0]}
    ]


def test_a_rare_label_is_promised_for_those_who_have_it_too():
    """Of images that have it and that have it not the same share is not ruled out; always saying "no" is no answer."""
    rng, rules = np.random.default_rng(0), SETS["labels"]
    shares = []
    for _ in range(200):
        y = (rng.random((900, 1)) < 0.05).astype(np.float32)
        p = 1 / (1 + np.exp(3.5 - 2 * y - rng.normal(0, 1, y.shape)))
        said, of = (p >= 0.5).astype(int), np.arange(300)
        scores = rules.scores(y[:300], p[:300], said[:300], of)
        sets = rules.sets(p[300:], said[300:], scores.thresholds(0.9, 2))
        held = rules.held(y[300:], sets, ("rare",))
        shares.append([held.held[own].mean() for _, own in held.parts])
    no, yes = np.mean(shares, axis=0)
    assert yes >= 0.89
    assert no >= 0.89
    assert (p[y == 1] < 0.5).mean() > 0.6  # most of those who have it would have been told "no"


def test_labels_that_are_not_known_count_neither_way_and_few_patients_leave_an_answer_open():
    y = np.full((40, 2), np.nan, np.float32)
    y[:, 0] = np.arange(40) % 2
    y[:12, 1] = np.arange(12) < 4
    p = np.where(np.isnan(y), 0.5, 0.2 + 0.6 * np.nan_to_num(y))
    said, of = (p >= 0.5).astype(int), np.arange(40)
    scores = SETS["labels"].scores(y, p, said, of)
    assert scores.patient_counts(4).tolist() == [20, 20, 8, 4]
    found = promised("labels", scores, ("a", "b"), 0.9)
    assert [(one["label"], one["truth"], one["patients"]) for one in found["few"]] == [("b", "no", 8), ("b", "yes", 4)]
    sets = SETS["labels"].sets(p, said, scores.thresholds(0.9, 4))
    assert sets[:, 1].all()
    assert sets[:, 0].sum(axis=1).max() == 1


# -- what is told ------------------------------------------------------------------------------------


def test_coverage_and_size_on_test_patients_count_alike():
    rng = np.random.default_rng(1)
    y, groups = rng.integers(0, 3, 90), np.repeat(np.arange(30), 3)
    p = rng.dirichlet(np.ones(3), 90)
    p[np.arange(90), y] += 0.3
    p /= p.sum(axis=1, keepdims=True)
    scores = SETS["classes"].scores(y, p, p.argmax(axis=1), groups)
    test_y, test_p, of = np.r_[y, y[:9]], np.r_[p, p[:9]], np.r_[groups, np.full(9, 0)]
    masks = {"sex": {"f": of < 15, "m": of >= 15, "few": of == 3}}
    found = conformal_coverage("classes", scores, test_y, test_p, of, ("a", "b", "c"), None, masks)
    thresholds = SETS["classes"].thresholds(scores, 0.9, ("a", "b", "c"))
    sets = SETS["classes"].sets(test_p, test_p.argmax(axis=1), thresholds)
    held = sets[np.arange(99), test_y]
    whole, *parts = found["rows"]
    assert whole["coverage"] == pytest.approx(np.mean([held[of == one].mean() for one in range(30)]))
    assert whole["size"] == pytest.approx(np.mean([sets[of == one].sum(axis=1).mean() for one in range(30)]))
    assert whole["one"] == pytest.approx(np.mean([(sets[of == one].sum(axis=1) == 1).mean() for one in range(30)]))
    assert whole["coverage_ci"][0] < whole["coverage"] < whole["coverage_ci"][1]
    assert (whole["images"], whole["patients"], found["patients"]) == (99, 30, 30)
    assert [part.get("class") or part.get("subgroup") for part in parts] == ["a", "b", "c", "f", "m", "few"]
    assert parts[-1]["coverage"] is None
    assert "the true label is in the set for" in spoken(found, "classes")


def test_it_says_so_where_the_sets_hold_less_than_was_asked_for():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    p = np.where(np.arange(2) == y[:, None], 0.8, 0.2)
    scores = SETS["classes"].scores(y, p, y, np.arange(200))
    elsewhere = np.where(rng.random((200, 1)) < 0.4, p[:, ::-1], p)
    found = conformal_coverage("classes", scores, y, elsewhere, None, ("a", "b"))
    assert found["rows"][0]["below"]
    assert "BELOW" in spoken(found, "classes")
    assert not conformal_coverage("classes", scores, y, p, None, ("a", "b"))["rows"][0]["below"]


def test_no_class_makes_up_for_another_where_each_has_patients_enough():
    """Of a frequent class that is easy and a rare one that is hard: all asked at once, the rare one is left out."""
    rng, names, shares = np.random.default_rng(0), ("easy", "hard"), {"each": [], "together": []}
    for _ in range(150):
        y = (np.arange(400) % 8 == 0).astype(int)
        shown = rng.normal(np.where(y == 1, 0.6, -1.5), 1)
        p = np.stack([1 / (1 + np.exp(shown)), 1 / (1 + np.exp(-shown))], axis=1)
        said, own = p.argmax(axis=1), np.arange(200)
        scores = SETS["classes"].scores(y[own], p[own], said[own], own)
        pooled = np.full(2, hierarchical_quantile(scores.scores, own, 0.9))
        for name, thresholds in (("each", SETS["classes"].thresholds(scores, 0.9, names)), ("together", pooled)):
            held = SETS["classes"].sets(p[200:], said[200:], thresholds)[own, y[200:]]
            shares[name].append([held[y[200:] == label].mean() for label in (0, 1)])
        assert promised("classes", scores, names, 0.9)["each"]
    assert min(np.mean(shares["each"], axis=0)) >= 0.89
    assert np.mean(shares["together"], axis=0)[1] < 0.8
    few = SETS["classes"].scores(y[:64], p[:64], said[:64], np.arange(64))
    found = promised("classes", few, names, 0.9)
    assert (found["each"], found["few"]) == (False, [{"class": "hard", "patients": 8}])
    assert np.ptp(SETS["classes"].thresholds(few, 0.9, names)) == 0


def test_too_few_patients_are_counted_and_refused():
    y = np.arange(16) % 2
    p = np.where(np.arange(2) == y[:, None], 0.8, 0.2)
    scores = SETS["classes"].scores(y, p, y, np.repeat(np.arange(8), 2))
    found = conformal_coverage("classes", scores, y, p, None, ("a", "b"))
    assert found["rows"] == []
    assert "8 patients" in spoken(found, "classes")
    with pytest.raises(UsageError, match=r"it takes 9 patients .* there are 8\. Ask for less, --coverage 0\.85"):
        require_sets(scores, "classes", ("a", "b"), 0.9)
    assert require_sets(scores, "classes", ("a", "b"), 0.85)["patients"] == 8
    with pytest.raises(UsageError, match="holds no scores"):
        require_sets(None, "classes", ("a", "b"), 0.9)
    for wrong in (0.49, 0.995, float("nan")):
        with pytest.raises(UsageError, match=r"from 0\.5 to 0\.99"):
            require_sets(scores, "classes", ("a", "b"), wrong)


def test_the_interval_of_a_patients_share():
    rng = np.random.default_rng(0)
    right = rng.random(60) < 0.9
    assert patients_share(right, np.arange(60)) == (pytest.approx(right.mean()), share_interval(right))
    of = np.repeat(np.arange(20), 3)
    share, (low, high) = patients_share(right, of)
    assert share == pytest.approx(right.mean())  # of one size all count alike
    assert low < share < high
    assert patients_share(np.ones(60, bool), of)[1] == share_interval(np.ones(20, bool))


# -- scores ------------------------------------------------------------------------------------------


def test_scores_that_were_written_are_read_and_others_are_refused():
    scores = HeldOutScores(np.array([0.1, 0.2]), np.array([0, 1], np.int32), np.zeros(2, np.int32))
    good = scores.tensors()
    assert read_scores(good, 1, 1.0).thresholds(0.5, 1) == 0.2
    for place, bad in (
        (0, np.array([0.1, 1.5])),
        (0, np.array([0.1, np.nan])),
        (0, np.array([-0.1, 0.2])),
        (0, np.array([0.1, 0.2], np.float32)),
        (0, np.array([0.1])),
        (0, np.array([[0.1, 0.2]])),
        (1, np.array([0, -1], np.int32)),
        (1, np.array([0, MOST_PATIENTS], np.int32)),
        (1, np.array([0, 1])),
        (2, np.array([0, 1], np.int32)),
    ):
        tensors = [bad if i == place else one for i, one in enumerate(good)]
        with pytest.raises(ValueError, match="held-out scores"):
            read_scores(tensors, 1, 1.0)
    with pytest.raises(ValueError, match="2 tensors"):
        read_scores(good[:2], 1, 1.0)
    with pytest.raises(ValueError, match="held-out scores"):
        read_scores([one[:0] for one in good], 1, 1.0)


def test_of_very_many_patients_some_are_kept_whole():
    of = np.repeat(np.arange(MOST_PATIENTS + 500), 2)
    scores = np.random.default_rng(0).random(len(of))
    kept = HeldOutScores(scores, of, np.zeros(len(of), np.int32)).of_few()
    assert len(np.unique(kept.patients)) == kept.patients.max() + 1 == MOST_PATIENTS
    assert (np.bincount(kept.patients) == 2).all()
    assert set(kept.scores) < set(scores)


def test_probabilities_are_mended_by_the_other_patients():
    rng = np.random.default_rng(0)
    y, of = rng.integers(0, 2, 120), np.repeat(np.arange(40), 3)
    p = np.clip(np.where(np.arange(2) == y[:, None], 0.7, 0.3) + rng.normal(0, 0.3, (120, 1)) * [1, -1], 0.01, 0.99)
    calibration, _ = fit_calibration(p, y, "isotonic")
    mended = mended_by_others("classes", y, p, of, calibration)
    own = of == 7
    turned = np.where(own, 1 - y, y)
    again = mended_by_others("classes", turned, p, of, fit_calibration(p, turned, "isotonic")[0])
    np.testing.assert_array_equal(again[own], mended[own])
    assert not np.array_equal(again, mended)
    assert np.abs(mended - calibrate(p, calibration)).max() > 0.01
    assert mended_by_others("classes", y, p, of, None) is p


def test_each_row_is_judged_by_a_model_that_did_not_learn_from_its_fold():
    from sklearn.neighbors import KNeighborsClassifier

    X, y = np.random.default_rng(0).random((30, 2)), np.arange(30) % 3
    folds = [(np.flatnonzero(np.arange(30) % 5 != k), np.flatnonzero(np.arange(30) % 5 == k)) for k in range(5)]
    given = outputs_of_folds(KNeighborsClassifier(1), X, y, np.arange(30), folds, "classes")
    for learnt, held in folds:
        expected = KNeighborsClassifier(1).fit(X[learnt], y[learnt]).predict_proba(X[held])
        np.testing.assert_array_equal(given[held], expected)
