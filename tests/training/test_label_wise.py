"""``LabelWiseClassifier`` against sklearn's one classifier a label, and where labels are not known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.utils.estimator_checks import estimator_checks_generator

from heads import LabelWiseClassifier

# The others give one column of classes 1 and 2, or of words; these are tables of 0 and 1. (sklearn's own
# MultiOutputClassifier asks for all of them to be skipped.)
APPLY = {
    "check_all_zero_sample_weights_error",
    "check_classifier_multioutput",
    "check_complex_data",
    "check_decision_proba_consistency",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_empty_data_messages",
    "check_estimators_nan_inf",
    "check_estimators_pickle",
    "check_estimators_unfitted",
    "check_fit1d",
    "check_fit2d_1sample",
    "check_fit_check_is_fitted",
    "check_fit_idempotent",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_n_features_in",
    "check_no_attributes_set_in_init",
    "check_non_transformer_estimators_n_iter",
    "check_parameters_default_constructible",
    "check_pipeline_consistency",
    "check_set_params",
    "check_valid_tag_types",
}


def checks() -> list:
    """Those of sklearn's checks that apply, by name."""
    named = [
        (getattr(check, "func", check).__name__, check)
        for _, check in estimator_checks_generator(LabelWiseClassifier(LogisticRegression()))
    ]
    return [pytest.param(check, id=name) for name, check in named if name in APPLY]


@pytest.mark.parametrize("check", checks())
def test_sklearn_checks(check):
    check(LabelWiseClassifier(LogisticRegression()))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 6))
    Y = (X @ rng.normal(size=(6, 3)) + rng.normal(size=(80, 3)) > 0).astype(float)
    return X, Y


def test_where_all_is_known_it_is_sklearns_classifier_of_several_outputs(data):
    X, Y = data
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X))
    for inner in (LogisticRegression(), GaussianNB()):
        ours = LabelWiseClassifier(inner, n_jobs=2).fit(X, Y, sample_weight=weight)
        theirs = MultiOutputClassifier(inner).fit(X, Y.astype(int), sample_weight=weight)
        wanted = np.stack([table[:, 1] for table in theirs.predict_proba(X)], axis=1)
        np.testing.assert_array_equal(ours.predict_proba(X), wanted)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        assert ours.score(X, Y) == theirs.score(X, Y)


def test_each_label_is_learnt_from_the_rows_that_know_it(data):
    X, Y = data[0], data[1].copy()
    unknown = np.random.default_rng(2).random(Y.shape) < 0.4
    Y[unknown] = np.nan
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X))
    model = LabelWiseClassifier(LogisticRegression()).fit(X, Y, sample_weight=weight)
    for label in range(Y.shape[1]):
        rows = ~unknown[:, label]
        alone = LogisticRegression().fit(X[rows], Y[rows, label], weight[rows])
        np.testing.assert_array_equal(model.predict_proba(X)[:, label], alone.predict_proba(X)[:, 1])
    named = pd.DataFrame(X, columns=list("abcdef"))
    frame = LabelWiseClassifier(LogisticRegression()).fit(named, pd.DataFrame(Y))
    assert list(frame.feature_names_in_) == list("abcdef")
    thin = LabelWiseClassifier(LogisticRegression()).fit(sparse.csr_array(X), Y)
    np.testing.assert_allclose(thin.predict_proba(X), frame.predict_proba(named), atol=1e-3)


def test_labels_that_teach_nothing_are_constant(data):
    X, Y = data[0], data[1].copy()
    Y[:, 0] = 1
    Y[:40, 1], Y[40:, 1] = 0, np.nan
    Y[:, 2] = np.nan
    model = LabelWiseClassifier(LogisticRegression()).fit(X, Y)
    assert model.models_ == [1.0, 0.0, 0.5]
    np.testing.assert_array_equal(model.predict_proba(X), np.tile([1, 0, 0.5], (80, 1)))
    np.testing.assert_array_equal(model.predict(X), np.tile([1, 0, 0], (80, 1)))
    assert model.predict(X).dtype == np.int64
    again = LabelWiseClassifier.of(model.models_)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_what_are_no_labels_is_said(data):
    X, Y = data
    model = LabelWiseClassifier(LogisticRegression())
    for wrong, said in (
        (Y[:, 0], r"Y is of shape \(80,\); expected \(80, n_labels\)"),
        (Y[:50], r"Y is of shape \(50, 3\); expected \(80"),
        (2 * Y, "Y holds 2; expected 1, 0, or NaN"),
        (np.where(Y == 1, np.inf, Y), "infinity"),
    ):
        with pytest.raises(ValueError, match=said):
            model.fit(X, wrong)
    with pytest.raises(ValueError, match="6 features"):
        model.fit(X, Y).predict(X[:, :4])
    assert not hasattr(LabelWiseClassifier(Perceptron()), "predict_proba")
