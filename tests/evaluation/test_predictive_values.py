"""What a call means at a prevalence: scikit-learn's precision where it is the test images' own, and Bayes elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_score

from heads.evaluation.predictive_values import predictive_values


@pytest.fixture
def called():
    """300 rows of 60 patients, a third of whom have it; told with some errors."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 5)
    positive = groups % 3 == 0
    return positive, positive ^ (rng.random(300) < 0.1), groups


def test_at_the_test_images_own_prevalence_it_is_precision(called):
    positive, said, groups = called
    told = predictive_values(positive, said, groups, positive.mean())
    assert told["ppv"] == pytest.approx(precision_score(positive, said))
    assert told["npv"] == pytest.approx(precision_score(~positive, ~said))


@pytest.mark.parametrize("prevalence", [0.001, 0.02, 0.5, 0.97])
def test_elsewhere_it_follows_bayes_and_lies_within_its_interval(called, prevalence):
    positive, said, groups = called
    told = predictive_values(positive, said, groups, prevalence)
    hit, passed = said[positive].mean(), (~said)[~positive].mean()
    assert told["ppv"] == pytest.approx(prevalence * hit / (prevalence * hit + (1 - prevalence) * (1 - passed)))
    for name in ("ppv", "npv"):
        low, high = told[f"{name}_ci"]
        assert 0 <= low < told[name] < high <= 1


def test_copies_of_a_patients_images_are_no_evidence(called):
    positive, said, groups = called
    once = predictive_values(positive, said, groups, 0.02)["ppv_ci"]
    often = predictive_values(*(np.tile(part, 5) for part in called), 0.02)["ppv_ci"]
    alone = predictive_values(np.tile(positive, 5), np.tile(said, 5), None, 0.02)["ppv_ci"]
    assert 0.97 < (often[1] - often[0]) / (once[1] - once[0]) < 1.3
    assert alone[1] - alone[0] < 0.7 * (once[1] - once[0])


def test_what_no_row_tells_is_not_said():
    yes, no = np.ones(10, bool), np.zeros(10, bool)
    half = np.arange(10) < 5
    assert set(predictive_values(yes, half, None, 0.1).values()) == {None}
    assert set(predictive_values(no, half, None, 0.1).values()) == {None}
    told = predictive_values(half, yes, None, 0.1)
    assert (told["ppv"], told["npv"], told["npv_ci"]) == (pytest.approx(0.1), None, None)
