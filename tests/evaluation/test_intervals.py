"""Intervals hold the truth as often as they say; the whole table is made by tests/benchmarks/coverage.py."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from asah import OUTCOME, S100B, WFNS
from scipy.stats import binom, mannwhitneyu, norm

from heads.evaluation.clusters import alike_hits, alike_scores, effective_number
from heads.evaluation.intervals import mean_f1, mean_interval, mean_recall, share_interval
from heads.evaluation.roc_areas import area_interval, area_of

DRAWS = 300
LEAST = 0.95 - 3 * np.sqrt(0.95 * 0.05 / DRAWS)  # 0.912: what chance leaves of 0.95 in one case of a thousand


def hits(rng, groups, size, accuracy, icc):
    strength = 1 / icc - 1
    of_group = rng.beta(accuracy * strength, (1 - accuracy) * strength, groups)
    return (rng.random((groups, size)) < of_group[:, None]).ravel()


# -- shares ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [20, 62, 124])
def test_a_share_of_independent_rows_is_held_by_exact_enumeration(n):
    limits = np.array([share_interval(np.arange(n) < k) for k in range(n + 1)])
    for p in (0.5, 0.8, 0.9, 0.95, 0.99, *np.linspace(0.01, 0.99, 40)):
        held = binom.pmf(np.arange(n + 1), n, p) @ ((limits[:, 0] <= p) & (p <= limits[:, 1]))
        assert held >= 0.95 - 1e-9, p
        if n > 20 and p <= 0.95:
            assert p < 0.05 or held <= 0.975, p


@pytest.mark.parametrize("n", [1, 5, 62, 400])
def test_one_more_error_never_gives_a_better_interval(n):
    limits = np.array([share_interval(np.arange(n) < k) for k in range(n + 1)])
    assert (np.diff(limits, axis=0) > 0).all()
    assert limits[-1, 1] == 1
    assert limits[0, 0] == 0


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("size", [1, 10])
def test_all_right_is_not_certainty(right, size):
    low, high = share_interval(np.full(62 * size, right), np.arange(62 * size) // size)
    assert (low, high) == pytest.approx((0.9425, 1) if right else (0, 0.0575), abs=1e-3)


@pytest.mark.parametrize(
    ("groups", "size", "icc", "accuracy"),
    [(25, 5, 0.4, 0.95), (8, 20, 0.4, 0.8), (10, 20, 0.2, 0.95), (100, 5, 0.4, 0.9)],
)
def test_a_share_over_groups_is_held(groups, size, icc, accuracy):
    rng, of_group = np.random.default_rng(0), np.repeat(np.arange(groups), size)
    found = np.array([share_interval(hits(rng, groups, size, accuracy, icc), of_group) for _ in range(DRAWS)])
    assert np.mean((found[:, 0] <= accuracy) & (accuracy <= found[:, 1])) >= LEAST


def test_patients_that_differ_in_number_of_images_and_in_difficulty_are_held():
    """Not the model that the interval believes in: patients have 1 to 3 images, and one in ten is hard."""
    rng, sizes = np.random.default_rng(0), np.repeat([1, 2, 3], 10)
    of_group, held = np.repeat(np.arange(30), sizes), 0
    for _ in range(DRAWS):
        skill = np.where(rng.random(30) < 0.1, 0.3, 0.95)
        low, high = share_interval(rng.random(len(of_group)) < skill[of_group], of_group)
        held += low <= 0.885 <= high
    assert held / DRAWS >= LEAST


def test_rows_of_a_group_count_for_as_much_as_they_are_worth():
    assert effective_number(np.full(1000, 5), 0.0) == 5000
    assert effective_number(np.full(1000, 5), 1.0) == pytest.approx(1000, rel=0.01)
    assert alike_hits(np.repeat([0, 5], 50), np.full(100, 5)) > 0.9
    assert alike_hits(np.full(100, 3), np.full(100, 5)) < 0.02
    rng = np.random.default_rng(0)
    of_group = np.repeat(np.arange(100), 5)
    assert alike_hits(hits(rng, 400, 5, 0.8, 0.3).reshape(400, 5).sum(axis=1), np.full(400, 5)) == pytest.approx(
        0.3, abs=0.06
    )
    assert alike_scores(np.repeat(rng.normal(size=100), 5), of_group) > 0.95
    assert alike_scores(rng.normal(size=500), of_group) < 0.05


# -- recalls and F1 -------------------------------------------------------------------------------


def test_a_class_of_five_widens_the_mean_by_what_five_leave_open():
    y = np.repeat([0, 1], [100, 5])
    predicted = y.copy()
    predicted[:10] = 1
    low, high = mean_recall(y, predicted, np.arange(105))
    rare = 1 - share_interval(np.ones(5, bool))[0]
    assert low < 0.95 - rare / 2
    assert 0.96 < high < 1


@pytest.mark.parametrize("recall", [0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("counts", [(10, 10), (31, 31), (5, 40)])
def test_a_mean_of_two_recalls_is_held_by_exact_enumeration(counts, recall):
    y = np.repeat([0, 1], counts)
    held, weighed = 0.0, 0.0
    for right in itertools.product(*(range(count + 1) for count in counts)):
        chance = np.prod(binom.pmf(right, counts, recall))
        if chance > 1e-5:
            hit = np.concatenate([np.arange(count) < k for count, k in zip(counts, right, strict=True)])
            low, high = mean_recall(y, np.where(hit, y, 1 - y), np.arange(len(y)))
            held, weighed = held + chance * (low <= recall <= high), weighed + chance
    assert held / weighed >= 0.94


@pytest.mark.parametrize("rare", [5, 12])
def test_means_over_classes_are_held_with_a_rare_one(rare):
    rng, y = np.random.default_rng(1), np.repeat([0, 1], [100, rare])
    counts = np.array([100, rare])
    f1 = np.mean(2 * counts * 0.9 / (2 * counts * 0.9 + counts.sum() * 0.1))
    recall, mean = 0, 0
    for _ in range(DRAWS):
        predicted = np.where(rng.random(len(y)) < 0.9, y, 1 - y)
        low, high = mean_recall(y, predicted, np.arange(len(y)))
        recall += low <= 0.9 <= high
        low, high = mean_f1(y, predicted, np.arange(len(y)))
        mean += low <= f1 <= high
    assert recall / DRAWS >= LEAST
    assert mean / DRAWS >= LEAST


def test_a_thousand_classes_take_no_memory_to_speak_of():
    import tracemalloc

    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(2500) % 1000)
    p = rng.random((2500, 1000))
    tracemalloc.start()
    found = mean_recall(y, p.argmax(axis=1), np.arange(2500)), mean_f1(y, p.argmax(axis=1), np.arange(2500))
    areas = area_interval(y, p, np.arange(2500))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000_000
    assert found[0][0] < 0.002 < found[0][1] < 0.1
    assert areas[0] < 0.5 < areas[1]


def test_a_mean_over_groups_is_students():
    values = np.random.default_rng(0).normal(size=12)
    low, high = mean_interval(values, np.arange(12))
    half = 2.200985 * values.std(ddof=1) / np.sqrt(12)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-6)


# -- areas ----------------------------------------------------------------------------------------


def test_area_and_variance_are_those_of_r_proc():
    """R's pROC 1.18 on the 113 patients of Turck et al. (2010): auc, var and the CI its documentation prints."""
    alone = np.arange(113)
    for score, area, variance in (
        (S100B, 0.73136856368563685, 0.0026686824571724378),
        (WFNS, 0.82367886178861793, 0.0014699147088236264),
    ):
        found = area_of(OUTCOME == 1, score)
        assert found.value == pytest.approx(area, rel=1e-12)
        assert found.variance(alone) == pytest.approx(variance, rel=1e-10)
    a, b = (area_of(OUTCOME == 1, score) for score in (S100B, WFNS))
    added = [np.add(*area.sums(alone)) for area in (a, b)]
    # The covariance of both, 41 and 72 rows a class.
    positive = OUTCOME == 1
    covariance = sum((added[0][own] @ added[1][own]) * own.sum() / (own.sum() - 1) for own in (positive, ~positive))
    assert covariance == pytest.approx(0.0011961556737675448, rel=1e-10)


def test_components_are_shares_of_pairs():
    rng = np.random.default_rng(0)
    y, score = rng.random(40) < 0.4, rng.integers(0, 6, 40).astype(float)
    found = area_of(y, score)
    pairs = (score[y][:, None] > score[~y]) + 0.5 * (score[y][:, None] == score[~y])
    np.testing.assert_allclose(found.ranked[y], pairs.mean(axis=1))
    np.testing.assert_allclose(found.ranked[~y], pairs.mean(axis=0))
    assert found.value == pytest.approx(mannwhitneyu(score[y], score[~y]).statistic / pairs.size)


def test_copies_of_rows_in_a_group_leave_the_variance_over_groups_as_it_is():
    rng = np.random.default_rng(0)
    y, groups = rng.random(60) < 0.4, np.arange(60) // 2
    score = rng.normal(size=60) + y
    once = area_of(y, score).variance(groups)
    assert area_of(np.repeat(y, 3), np.repeat(score, 3)).variance(np.repeat(groups, 3)) == pytest.approx(once)


@pytest.mark.parametrize(
    ("positives", "negatives", "size", "area"),
    [(31, 31, 1, 0.95), (31, 31, 1, 0.8), (5, 100, 1, 0.9), (12, 13, 5, 0.9)],
)
def test_an_area_is_held(positives, negatives, size, area):
    rng = np.random.default_rng(2)
    y = np.repeat([1, 0], [positives * size, negatives * size])
    of_group, held = np.repeat(np.arange(positives + negatives), size), 0
    for _ in range(DRAWS):
        score = np.sqrt(0.4) * rng.normal(size=positives + negatives)[of_group] + np.sqrt(0.6) * rng.normal(size=len(y))
        score += norm.ppf(area) * np.sqrt(2) * y
        low, high = area_interval(y, np.c_[-score, score], of_group)
        held += low <= area <= high
    assert held / DRAWS >= LEAST


def test_a_perfect_area_is_not_certainty_and_the_rarer_class_decides():
    found = []
    for rare, groups in itertools.product((5, 12, 50), (1, 4)):
        y = np.repeat(np.repeat([0, 1], [50, rare]), groups)
        low, high = area_interval(y, np.eye(2)[y], np.repeat(np.arange(50 + rare), groups))
        assert high == 1
        found.append(low)
    assert found[::2] == sorted(found[::2])
    assert 0.7 < found[0] < 0.9
    assert 0.95 < found[-2] < 1
    # One pair ranked wrongly is little worse than none.
    y = np.repeat([0, 1], 30)
    score = np.arange(60.0)
    score[[29, 30]] = score[[30, 29]]
    none, one = (area_interval(y, np.c_[-s, s], np.arange(60)) for s in (np.arange(60.0), score))
    assert one[0] < none[0] + 0.01


def test_areas_of_several_classes_are_held():
    rng, y, held = np.random.default_rng(3), np.arange(80) % 4, 0
    truth = norm.cdf(1.2 * np.sqrt(0.5))
    for _ in range(DRAWS):
        p = rng.normal(size=(80, 4)) + 1.2 * np.eye(4)[y]
        low, high = area_interval(y, p, np.arange(80))
        held += low <= truth <= high
    assert held / DRAWS >= LEAST
