"""What goes together, against SciPy; and that what does not seldom seems to."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency, f_oneway, spearmanr
from scipy.stats.contingency import association as cramer
from scipy.stats.contingency import crosstab
from sklearn.metrics import roc_auc_score

from heads.evaluation.association import association, holm
from heads.evaluation.label_permutation import Predicted, joint_p_values
from heads.evaluation.rank_correlation import rank_correlation


@pytest.fixture(name="columns")
def independent_rows():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    text = np.array(list("abcd"), object)[np.where(rng.random(300) < 0.3, y, rng.integers(0, 4, 300))]
    return y, text, rng.normal(size=300) + 0.2 * y


def test_strengths_and_p_are_those_of_scipy_where_rows_are_independent(columns):
    y, text, number = columns
    alone = np.arange(300)
    table = crosstab(y, text.astype(str)).count
    found = association(text, y, alone)
    assert found.strength == pytest.approx(cramer(table, method="cramer"))
    assert np.log10(found.p) == pytest.approx(np.log10(chi2_contingency(table, correction=False).pvalue), rel=0.25)
    found = association(number, y, alone)
    between = sum((y == label).sum() * (number[y == label].mean() - number.mean()) ** 2 for label in range(3))
    assert found.strength == pytest.approx(np.sqrt(between / ((number - number.mean()) ** 2).sum()))
    assert found.p == pytest.approx(f_oneway(*(number[y == label] for label in range(3))).pvalue, rel=0.7)
    assert association(text, number, alone).strength == pytest.approx(
        np.sqrt(
            sum((text == v).sum() * (number[text == v].mean() - number.mean()) ** 2 for v in "abcd")
            / ((number - number.mean()) ** 2).sum()
        )
    )
    found = association(y.astype(float), number, alone)
    assert found.strength == pytest.approx(abs(spearmanr(y, number).statistic))
    assert found.p == pytest.approx(spearmanr(y, number).pvalue, rel=0.7)
    assert found.groups == 300


def test_images_of_a_patient_are_no_more_evidence_than_the_patient():
    """Twelve patients, thirty images each: by images it would be beyond doubt."""
    groups = np.repeat(np.arange(12), 30)
    y, sex = np.repeat(np.arange(12) % 2, 30), np.repeat(np.isin(np.arange(12), (0, 2, 4, 6, 1, 3)), 30).astype(str)
    table = crosstab(y, sex).count
    assert chi2_contingency(table).pvalue < 1e-3
    assert association(sex.astype(object), y, groups).p > 0.3


def test_unknown_cells_are_left_out_and_what_says_nothing_is_none():
    y = np.arange(40) % 2
    known = np.array(["a", "b"] * 20, object)
    known[10:] = None
    found = association(known, y, np.arange(40))
    assert (found.strength, found.groups) == (pytest.approx(1), 10)
    assert association(np.full(40, "a", object), y, np.arange(40)) is None
    assert association(np.full(40, np.nan), y, np.arange(40)) is None
    assert association(known, y, np.zeros(40)) is None  # one patient


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_what_means_nothing_seldom_seems_to_go_together(kind):
    rng = np.random.default_rng(2)
    groups, p = np.repeat(np.arange(30), 4), []
    for _ in range(150):
        y = np.repeat(rng.integers(0, 2, 30) if kind == "classes" else rng.normal(size=30), 4)
        column = np.repeat(rng.integers(0, 3, 30), 4).astype(str).astype(object)
        p.append(association(column, y, groups, int(rng.integers(2**31))).p)
    assert np.mean(np.array(p) < 0.05) <= 0.1
    assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.13)


def test_p_values_are_corrected_by_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Holm 1979's rule, by hand
    assert holm([]) == []


def test_a_rank_correlation_is_scipys_and_its_interval_knows_of_patients():
    rng = np.random.default_rng(3)
    shared = np.repeat(rng.normal(size=(2, 40)), 5, axis=1)
    a = shared[0] + 0.3 * rng.normal(size=200)
    b = 0.5 * a + shared[1] + 0.3 * rng.normal(size=200)
    value, (low, high) = rank_correlation(a, b, np.repeat(np.arange(40), 5))
    assert value == pytest.approx(spearmanr(a, b).statistic)
    assert low < value < high
    alone = rank_correlation(a, b, np.arange(200))[1]
    assert high - low > 1.5 * (alone[1] - alone[0])
    assert rank_correlation(np.ones(20), np.arange(20), np.arange(20)) == (0.0, (-1.0, 1.0))


@pytest.mark.parametrize("agreement", ["area", "ranks"])
def test_scores_that_tell_are_found_and_others_seldom(agreement):
    rng = np.random.default_rng(4)
    groups, least = np.repeat(np.arange(30), 3), []
    for _ in range(60):
        y = np.repeat(rng.permutation(np.arange(30) % 2) if agreement == "area" else rng.normal(size=30), 3)
        noise = [rng.normal(size=90) + np.repeat(rng.normal(size=30), 3) for _ in range(4)]
        least.append(min(joint_p_values([Predicted(y, noise, groups, agreement)] * 2)[1]))
    assert np.mean(np.array(least) < 0.05) <= 0.08
    told = joint_p_values([Predicted(y, [*noise, y + 0.3 * rng.normal(size=90)], groups, agreement)])[0]
    assert told[-1] < 0.01
    assert min(told[:-1]) > 0.05


def test_an_area_is_judged_by_what_rises_with_it():
    """Of labels dealt out, the correlation with ranks orders them as the area under the curve does."""
    from heads.evaluation.label_permutation import _area

    y, score = np.repeat([0, 1], [14, 6]), np.random.default_rng(5).normal(size=20).round(1)
    dealer, agreement = _area(Predicted(y, [score, -score], np.arange(20), "area"))
    dealt = next(dealer.dealt(50, np.random.default_rng(6)))
    assert (dealt.sum(axis=1) == 6).all()
    areas = [roc_auc_score(row, score) for row in dealt]
    assert spearmanr(agreement(dealt)[:, 0], areas).statistic > 0.99  # but for ties
    assert agreement(dealt)[:, 1] == pytest.approx(-agreement(dealt)[:, 0])


def test_a_label_that_comes_and_goes_is_told_by_what_patients_differ_in():
    """Each patient has images with and without it, mostly of one kind: what tells patients apart still shows."""
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(40), 5)
    often = np.repeat(np.where(np.arange(40) % 2, 0.8, 0.2), 5)
    y = (rng.random(200) < often).astype(int)
    y[::5], y[1::5] = 0, 1  # all have both
    site = np.where(often > 0.5, "a", "b").astype(object)
    assert association(site, y, groups).p < 0.01
    assert joint_p_values([Predicted(y, [often + 0.1 * rng.random(200)], groups, "area")])[0][0] < 0.01
