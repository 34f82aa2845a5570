"""``CalibratedRidgeClassifier``: sklearn's ridge classifier, and probabilities of what it gives rows left out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils.estimator_checks import parametrize_with_checks

from heads import FastGridSearchCV, LabelWiseClassifier
from heads.training.calibrated_ridge import CalibratedRidgeClassifier


@parametrize_with_checks([CalibratedRidgeClassifier()])
def test_sklearn_checks(estimator, check):
    check(estimator)


def patients(count: int, seed: int, images: int = 6, classes: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images that resemble those of the same patient much, and those of the same class a little."""
    rng = np.random.default_rng(seed)
    of_patient = rng.integers(0, classes, count)
    towards = np.random.default_rng(99).normal(size=(classes, 20)) * 0.5
    own = rng.normal(size=(count, 20)) * 2 + towards[of_patient]
    groups = np.repeat(np.arange(count), images)
    return own[groups] + 0.3 * rng.normal(size=(len(groups), 20)), of_patient[groups], groups


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("d", [20, 300])
def test_labels_are_the_ridge_classifiers_and_probabilities_rise_with_its_scores(classes, d):
    X, y, _ = patients(30, 0, 3, classes)
    X = np.concatenate([X, np.random.default_rng(1).normal(size=(len(X), d - 20))], axis=1)
    names = np.array(["no", "yes", "maybe"])[y]
    for alpha in (0.1, 10.0, 1e3):
        ours = CalibratedRidgeClassifier(alpha).fit(X, names)
        theirs = RidgeClassifier(alpha, solver="svd").fit(X, names)
        np.testing.assert_allclose(ours.coef_ / ours.sharpness_, np.atleast_2d(theirs.coef_), rtol=1e-8, atol=1e-12)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        given = ours.predict_proba(X)
        np.testing.assert_allclose(given.sum(axis=1), 1)
        np.testing.assert_array_equal(ours.classes_[given.argmax(axis=1)], theirs.predict(X))


@pytest.mark.parametrize("whole", [False, True])
def test_it_is_calibrated_on_explicit_refits(whole):
    X, y, groups = patients(25, 1, 3)
    model = CalibratedRidgeClassifier(3.0).fit(X, y, groups=groups if whole else None)
    cv = LeaveOneGroupOut().split(X, y, groups) if whole else LeaveOneOut().split(X)
    scores = cross_val_predict(RidgeClassifier(3.0), X, y, cv=cv, method="decision_function")
    high, low = (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2)

    def unlikely(power):
        return log_loss(
            np.tile([0, 1], len(y)),
            np.repeat(expit(np.exp(power) * scores), 2),
            sample_weight=np.stack([1 - np.where(y, high, low), np.where(y, high, low)], axis=1).ravel(),
        )

    best = np.exp(minimize_scalar(unlikely, bounds=(-5, 5), method="bounded", options={"xatol": 1e-9}).x)
    assert model.sharpness_ == pytest.approx(best, rel=1e-5)


def test_patients_left_out_whole_make_it_less_sure_and_truer_of_new_ones():
    wholes, alones, sklearns = [], [], []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(240)
        X, y, groups = (part[order] for part in patients(40, seed))
        new, truth, _ = patients(300, 100 + seed)
        whole = CalibratedRidgeClassifier(1.0).fit(X, y, groups=groups)
        alone = CalibratedRidgeClassifier(1.0).fit(X, y)
        usual = CalibratedClassifierCV(RidgeClassifier(1.0), ensemble=False).fit(X, y)
        assert whole.sharpness_ < alone.sharpness_
        for losses, model in ((wholes, whole), (alones, alone), (sklearns, usual)):
            losses.append(log_loss(truth, model.predict_proba(new)))
    assert np.mean(wholes) < 0.8 * min(np.mean(alones), np.mean(sklearns))


def test_rows_that_are_all_right_do_not_end_in_certainty():
    X = np.repeat([[-1.0], [1.0]], 5, axis=0)
    model = CalibratedRidgeClassifier(1e-3).fit(X, X[:, 0] > 0)
    assert 0.8 < model.predict_proba(X).max() < 0.95


def test_what_it_cannot_learn_from():
    X, y, groups = patients(4, 1)
    with pytest.raises(ValueError, match="above 0"):
        CalibratedRidgeClassifier(0.0).fit(X, y)
    with pytest.raises(ValueError, match="inconsistent"):
        CalibratedRidgeClassifier().fit(X, y, groups=groups[:-1])
    alone = CalibratedRidgeClassifier().fit(X, y)
    np.testing.assert_array_equal(CalibratedRidgeClassifier().fit(X, y, groups=np.zeros(len(y))).coef_, alone.coef_)


def test_labels_and_searches_hand_groups_on():
    X, y, groups = patients(30, 2)
    Y = np.stack([y, X[:, 0] > 0], axis=1).astype(float)
    Y[:20, 1] = np.nan
    inner = CalibratedRidgeClassifier(2.0)
    both = LabelWiseClassifier(inner).fit(X, Y, groups=groups)
    for label, known in ((0, slice(None)), (1, slice(20, None))):
        alone = clone(inner).fit(X[known], Y[known, label], groups=groups[known])
        np.testing.assert_array_equal(both.models_[label].coef_, alone.coef_)
    LabelWiseClassifier(LogisticRegression()).fit(X, Y, groups=groups)  # which has no use for them
    wide = np.concatenate([X, np.random.default_rng(0).normal(size=(len(X), 400))], axis=1)
    grid, cv = {"calibratedridgeclassifier__alpha": [0.1, 1.0]}, GroupKFold(3)
    behind = make_pipeline(Normalizer(), inner)
    search = FastGridSearchCV(behind, grid, cv=cv, scoring="neg_log_loss").fit(wide, y, groups=groups)
    for place, alpha in enumerate([0.1, 1.0]):
        losses = []
        for learnt, held in cv.split(wide, y, groups):
            fitted = clone(behind).set_params(calibratedridgeclassifier__alpha=alpha)
            fitted.fit(wide[learnt], y[learnt], calibratedridgeclassifier__groups=groups[learnt])
            losses.append(log_loss(y[held], fitted.predict_proba(wide[held]), labels=[0, 1]))
        assert search.cv_results_["mean_test_score"][place] == pytest.approx(-np.mean(losses), rel=1e-5)
