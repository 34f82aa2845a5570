"""Parts of a spread, against runs whose parts are known because they were planted."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from heads.evaluation.roc_areas import area_of
from heads.evaluation.spread_parts import Spread, compared, variance_over_patients
from heads.evaluation.task_metrics import TASK_METRICS


def planted(rng, *, patients, repeats, seeds, split, seed, shake=0.0, copies=1):
    """Estimates for one set of patients: who is right is drawn once, divisions and seeds move the share of it.

    ``shake`` is how often two seeds disagree on an image; ``copies`` how many images alike a patient has.
    """
    strata, groups = np.arange(patients) % 2, np.arange(patients)
    right = (rng.random(patients) < np.where(strata, 0.9, 0.7)).astype(float)
    values, variances = np.empty((repeats, seeds)), np.empty(repeats)
    for repeat in range(repeats):
        test = np.concatenate([rng.permutation(groups[strata == one])[: patients // 10] for one in (0, 1)])
        flipped = rng.random((seeds, len(test))) < shake
        hits = np.where(flipped, 1 - right[test], right[test])
        moved = split * rng.standard_normal() + seed * rng.standard_normal(seeds)
        values[repeat] = hits.mean(axis=1) + moved
        influences = (hits - hits.mean(axis=1, keepdims=True)) / len(test)
        many = np.repeat(influences, copies, axis=1) / copies
        variances[repeat] = variance_over_patients(
            many, np.repeat(groups[test], copies), np.repeat(strata[test], copies)
        )
    return Spread(values, variances, 0.2, True)


def variances(spread):
    """The parts' variances, those below 0 left there: what is told as 0 would be biased."""
    about = spread.about()
    between = spread.values.mean(axis=1).var(ddof=1)
    test = spread.test_variances.mean()
    seed = about["parts"]["seed"] ** 2
    return test, between - 0.8 * test - seed / spread.values.shape[1], seed


@pytest.mark.parametrize(
    ("patients", "repeats", "seeds", "split", "seed", "shake"),
    [(120, 10, 5, 0.04, 0.02, 0.0), (300, 10, 3, 0.0, 0.02, 0.0), (150, 20, 5, 0.05, 0.0, 0.05)],
)
def test_planted_parts_come_back(patients, repeats, seeds, split, seed, shake):
    rng = np.random.default_rng(7)
    found = np.array(
        [
            variances(
                planted(rng, patients=patients, repeats=repeats, seeds=seeds, split=split, seed=seed, shake=shake)
            )
            for _ in range(500)
        ]
    )
    count = round(patients * 0.2)
    # Of what an image comes to over seeds, the part that all share; and what each seed adds by itself.
    means = np.array([0.7, 0.9]) * (1 - 2 * shake) + shake
    own = np.mean([0.7 * 0.3, 0.9 * 0.1]) * (1 - 2 * shake) ** 2 / count
    noise = np.mean(means * (1 - means)) / count - own
    true = own, split**2, seed**2 + noise
    error = found.std(axis=0) / np.sqrt(len(found))
    assert np.all(np.abs(found.mean(axis=0) - true) < 4 * error + 0.06 * np.array(true)), (found.mean(axis=0), true)


def test_without_the_finite_population_the_split_would_come_out_as_nothing():
    """What the correction for a finite population is for: test parts are drawn from the same patients."""
    rng = np.random.default_rng(3)
    runs = [planted(rng, patients=200, repeats=10, seeds=2, split=0.02, seed=0.0) for _ in range(800)]
    plain = np.mean([run.values.mean(axis=1).var(ddof=1) - run.test_variances.mean() for run in runs])
    ours = np.mean([variances(run)[1] for run in runs])
    assert plain < 0
    assert ours == pytest.approx(0.02**2, abs=2.5e-4)


def test_the_interval_of_the_split_holds_it():
    rng = np.random.default_rng(5)
    held = [
        low <= 0.05 <= high
        for low, high in (
            planted(rng, patients=300, repeats=10, seeds=3, split=0.05, seed=0.01).about()["split_ci"]
            for _ in range(120)
        )
    ]
    assert np.mean(held) > 0.88


def test_copies_of_every_patient_are_no_evidence():
    """Five images alike of each patient: the parts stay, where single images would say a fifth of the variance."""
    alone, copied = (
        planted(np.random.default_rng(1), patients=80, repeats=6, seeds=3, split=0.02, seed=0.01, shake=0.1, copies=n)
        for n in (1, 5)
    )
    for part, deviation in alone.about()["parts"].items():
        assert copied.about()["parts"][part] == pytest.approx(deviation, rel=1e-9)
    rng, right = np.random.default_rng(2), np.random.default_rng(2).random(40) < 0.8
    strata = rng.integers(0, 2, 40)
    influence = np.repeat((right - right.mean()) / 40, 5)[None] / 5
    by_image = variance_over_patients(influence, np.arange(200), np.repeat(strata, 5))
    by_patient = variance_over_patients(influence, np.repeat(np.arange(40), 5), np.repeat(strata, 5))
    assert by_patient == pytest.approx(5 * by_image, rel=0.06)


def test_influences_are_those_of_the_metric():
    """Their sum is 0; squared, they are the variance that the field's formulas give; a row more moves it by its own."""
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 300), rng.random((300, 2))
    p /= p.sum(axis=1, keepdims=True)
    hits = p.argmax(axis=1) == y
    added = TASK_METRICS["classes"].influence(y, p)
    assert added.sum() == pytest.approx(0, abs=1e-12)
    assert (added**2).sum() == pytest.approx(hits.mean() * (1 - hits.mean()) / 300)
    numbers = rng.normal(size=300)
    added = TASK_METRICS["number"].influence(numbers, numbers + rng.normal(size=300))
    assert added.shape == (300,)
    assert added.sum() == pytest.approx(0, abs=1e-12)
    labels = rng.integers(0, 2, (300, 2)).astype(float)
    labels[:50, 1] = np.nan
    scores = rng.random((300, 2)) + 0.4 * np.nan_to_num(labels)
    added = TASK_METRICS["labels"].influence(labels, scores)
    one = TASK_METRICS["labels"].influence(labels[:, :1], scores[:, :1])
    plain = area_of(labels[:, 0] == 1, scores[:, 0]).variance(np.arange(300))
    assert (one**2).sum() == pytest.approx(plain, rel=0.02)
    keep = np.arange(300) != 7  # the jackknife: without a row the mean area changes by what it had added

    def mean_area(rows):
        known = [rows & ~np.isnan(labels[:, label]) for label in range(2)]
        return np.mean([roc_auc_score(labels[own, label], scores[own, label]) for label, own in enumerate(known)])

    assert mean_area(np.ones(300, bool)) - mean_area(keep) == pytest.approx(added[7], rel=0.05, abs=1e-5)


def test_one_seed_and_one_division_leave_parts_untold():
    one = Spread(np.array([[0.9, 0.8, 0.85]]), np.array([0.0016]), 0.2, True).about()
    assert one["parts"] == {"test_images": pytest.approx(0.04), "split": None, "seed": pytest.approx(0.05)}
    assert one["total"] is None
    assert one["split_ci"] is None
    seedless = Spread(np.array([[0.9], [0.7]]), np.array([0.0016, np.nan]), 0.25, None).about()
    assert seedless["one_seed"]
    assert seedless["parts"]["seed"] is None
    assert seedless["parts"]["split"] == pytest.approx(np.sqrt(0.02 - 0.75 * 0.0016))
    assert seedless["total"] == pytest.approx(np.sqrt(0.02 + 0.25 * 0.0016))
    assert np.isnan(variance_over_patients(np.ones((1, 4)), np.arange(4), np.arange(4)))


def test_nothing_to_say_of_a_division_leaves_it_out():
    about = Spread(np.array([[0.9], [np.nan], [0.7]]), np.array([0.001, np.nan, 0.001]), 0.2, None).about()
    assert about["mean"] == pytest.approx(0.8)
    assert about["values"] == [[0.9], [None], [0.7]]


def test_a_comparison_counts():
    first, other = np.array([[0.9, 0.8], [0.7, np.nan]]), np.array([[0.8, 0.8], [0.8, 0.1]])
    found = compared(first, other, lower_is_better=False)
    assert found == {"better": 1, "equal": 1, "of": 3, "difference": pytest.approx(0.0)}
    assert compared(first, other, lower_is_better=True)["better"] == 1
    seedless = compared(np.array([[0.9, 0.9], [0.7, 0.7]]), np.array([[0.8, 0.8], [0.8, 0.8]]), lower_is_better=False)
    assert seedless == {"better": 1, "equal": 0, "of": 2, "difference": pytest.approx(0.0)}
    assert compared(np.full((2, 2), np.nan), first, lower_is_better=False) is None
