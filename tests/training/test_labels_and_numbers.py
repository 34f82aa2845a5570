"""``DenseHeadMultilabelClassifier`` and ``DenseHeadRegressor`` as sklearn sees them, and as Keras."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from heads import DenseHeadClassifier, DenseHeadMultilabelClassifier, DenseHeadRegressor

BATCHES = "mini-batches: a row of weight 2 is not two rows in two batches"
NOT_LABELS = "the check learns classes such as 2 and 'one'; here labels are 1, 0, or NaN"
OF_REGRESSOR = {"check_sample_weight_equivalence_on_dense_data": BATCHES}
OF_LABELS = {
    "check_sample_weight_equivalence_on_dense_data": BATCHES,
    "check_class_weight_classifiers": "weights by class: labels share 0 and 1, so there is 'balanced' alone",
    "check_classifiers_one_label": "a label that no row has can be learnt: it is not there",
    "check_classifiers_one_label_sample_weights": "as check_classifiers_one_label",
    "check_classifiers_train": "asks for a class of each row",
    **dict.fromkeys(
        (
            "check_classifier_data_not_an_array",
            "check_classifier_not_supporting_multiclass",
            "check_classifiers_classes",
            "check_classifiers_regression_target",
            "check_estimators_dtypes",
            "check_fit2d_1feature",
            "check_sample_weights_not_an_array",
            "check_sample_weights_not_overwritten",
            "check_sample_weights_pandas_series",
            "check_sample_weights_shape",
        ),
        NOT_LABELS,
    ),
}


@pytest.mark.slow  # a hundred shapes of data
@parametrize_with_checks(
    [
        DenseHeadRegressor(16, epochs=60, learning_rate=0.02, dropout=0.0, random_state=0),
        DenseHeadMultilabelClassifier(16, epochs=60, learning_rate=0.02, dropout=0.1, random_state=0),
    ],
    expected_failed_checks=lambda head: OF_REGRESSOR if isinstance(head, DenseHeadRegressor) else OF_LABELS,
)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.fixture(name="X", scope="module")
def features():
    return np.random.default_rng(0).normal(size=(120, 20)).astype(np.float32)


@pytest.fixture(name="Y", scope="module")
def labels(X):
    """Three labels, each known of two thirds of the rows."""
    rng = np.random.default_rng(1)
    Y = (X[:, :3] + X[:, 3:6] > 0.5).astype(float)
    Y[rng.random(Y.shape) < 1 / 3] = np.nan
    Y[np.isnan(Y).all(axis=1), 0] = 0
    return Y


@pytest.fixture(scope="module")
def age(X):
    return 50 + 12 * X[:, 0].astype(float) + 4 * np.maximum(X[:, 1], 0)


def of_labels(**changes):
    return DenseHeadMultilabelClassifier(16, **{"epochs": 25, "learning_rate": 0.01, "random_state": 3, **changes})


def of_number(**changes):
    settings = {"epochs": 25, "dropout": 0.0, "learning_rate": 0.01, "random_state": 3}
    return DenseHeadRegressor(16, **{**settings, **changes})


# -- both ----------------------------------------------------------------------------------------


@pytest.fixture(params=["labels", "number"])
def case(request, X, Y, age):
    """A head with what it learns, and what of it gives float outputs."""
    if request.param == "labels":
        return of_labels(), Y, lambda head, rows: head.predict_proba(rows)
    return of_number(), age, lambda head, rows: head.predict(rows)


@pytest.mark.parametrize("changes", [{}, {"batch_norm": True, "units": (16, 8), "activation": "gelu"}], ids=str)
def test_is_the_keras_model_that_it_says_it_is(X, case, changes):
    head, y, outputs = case
    head = clone(head).set_params(**changes, epochs=3).fit(X, y)
    given = outputs(head, X)
    np.testing.assert_allclose(head.to_keras().predict(X, verbose=0).reshape(given.shape), given, rtol=1e-5, atol=1e-5)
    assert [w.shape for w in head.weights_] == head.weight_shapes()
    assert sum(layer.parameters for layer in head.layers()) == head.to_keras().count_params()
    assert head.layers()[-1].name == ("output, linear" if y.ndim == 1 else "output, sigmoid")


@pytest.mark.parametrize("norm", [False, True])
def test_gradients_are_those_of_finite_differences(X, case, norm):
    head, y, outputs = case
    head = clone(head).set_params(batch_norm=norm, activation="tanh", epochs=3).fit(X, y)
    head.weights_ = [w.astype(np.float64) for w in head.weights_]

    def before_the_sigmoid(rows):
        given = outputs(head, rows).reshape(len(rows), -1)
        return np.log(given / (1 - given)) if y.ndim == 2 else given

    target = np.arange(9) % (3 if y.ndim == 2 else 1)
    rows = X[:9].astype(np.float64)
    gradient = head.logit_gradient(rows, target)
    for column in (0, 7):
        step = np.zeros(20)
        step[column] = 1e-2  # features are float32 in prediction
        change = (before_the_sigmoid(rows + step) - before_the_sigmoid(rows - step)) / 2e-2
        np.testing.assert_allclose(gradient[:, column], change[np.arange(9), target], rtol=0.02, atol=2e-3)


def test_reproducible_cloned_pickled_and_from_frames(X, case):
    head, y, outputs = case
    head = clone(head).set_params(epochs=3).fit(X, y)
    frame, targets = pd.DataFrame(X, columns=[f"f{i}" for i in range(20)]), pd.DataFrame(y).squeeze()
    again = clone(head).fit(frame, targets)
    np.testing.assert_allclose(outputs(again, frame), outputs(head, X), rtol=1e-6)
    np.testing.assert_array_equal(outputs(pickle.loads(pickle.dumps(head)), X), outputs(head, X))
    assert head.hidden(X).shape == (120, 16)
    assert not np.allclose(outputs(clone(head).set_params(random_state=4).fit(X, y), X), outputs(head, X))


def test_early_stopping_and_checkpoints(X, case):
    head, y, outputs = case
    measure = "mae" if y.ndim == 1 else "accuracy"
    stopped = clone(head).set_params(epochs=300, patience=3, learning_rate=0.05).fit(X, y)
    assert stopped.n_iter_ < 300
    assert stopped.best_epoch_ == int(np.argmin(stopped.history_["val_loss"])) + 1
    seen = []
    kept = clone(head).set_params(epochs=4, checkpoint=True)
    kept.fit(X[:90], y[:90], validation_data=(X[90:], y[90:]), on_epoch=lambda _, curves: seen.append(curves[0]))
    assert [set(curves) for curves in seen] == [{"loss", measure, "val_loss", f"val_{measure}"}] * 4
    best, given = kept.best_epoch_ - 1, outputs(kept, X[90:])
    if y.ndim == 1:  # in the unit of y
        wanted = np.abs(given - y[90:]).mean()
    else:
        known = ~np.isnan(y[90:])
        wanted = ((given > 0.5) == y[90:])[known].mean()
    np.testing.assert_allclose(seen[best][f"val_{measure}"], wanted, rtol=1e-5)


def test_whole_groups_are_set_aside(X, case):
    head, y, _ = case
    groups = np.arange(120) // 4
    ready = clone(head).set_params(patience=3).prepare(X, y, groups=groups)
    assert not set(groups[ready.rows]) & set(groups[ready.val_rows])
    assert 0.1 <= len(ready.val_rows) / 120 <= 0.35


def test_what_is_set_aside_is_like_the_rest(X, case):
    """Even where a label is rare, or there are hardly any rows."""
    head, y, _ = case
    y = y.copy()
    if y.ndim == 2:
        y[:, 2] = 0
        y[5, 2] = 1
    ready = clone(head).set_params(checkpoint=True).prepare(X, y)
    assert len(ready.val_rows) == 24
    if y.ndim == 1:
        fifths = np.searchsorted(np.quantile(y, (0.2, 0.4, 0.6, 0.8)), y[ready.val_rows])
        assert set(np.bincount(fifths)) <= {4, 5}
    few = clone(head).set_params(checkpoint=True, epochs=2).fit(X[:6], y[:6])
    assert few.n_iter_ == 2


# -- labels --------------------------------------------------------------------------------------


def test_labels_are_learnt_from_what_is_known(X, Y):
    head = of_labels().fit(X, Y)
    truth = X[:, :3] + X[:, 3:6] > 0.5
    assert head.predict_proba(X).shape == head.predict(X).shape == (120, 3)
    assert set(np.unique(head.predict(X))) == {0, 1}
    assert ((head.predict(X) == truth)[np.isnan(Y)]).mean() > 0.75  # of rows that it was not told
    assert [list(classes) for classes in head.classes_] == [[0, 1]] * 3
    assert head.history_["loss"][-1] < head.history_["loss"][0]


def test_one_label_is_a_classifier_of_two_classes(X, Y):
    known = ~np.isnan(Y[:, 0])
    rows, y = X[known], Y[known, 0].astype(int)
    settings = {"epochs": 6, "patience": 2, "random_state": 0, "l2": 1e-3}
    label = DenseHeadMultilabelClassifier(16, **settings).fit(
        rows[:60], y[:60, None], validation_data=(rows[60:], y[60:, None])
    )
    of_two = DenseHeadClassifier(16, **settings).fit(rows[:60], y[:60], validation_data=(rows[60:], y[60:]))
    np.testing.assert_allclose(label.predict_proba(X)[:, 0], of_two.predict_proba(X)[:, 1], rtol=1e-5)
    for name, curve in of_two.history_.items():
        np.testing.assert_allclose(label.history_[name], curve, rtol=1e-5, err_msg=name)


def test_balanced_each_labels_positives_and_negatives_count_alike(X):
    """Of rows that tell nothing, a label is as probable as it is frequent; balanced, it is as probable as not."""
    rng = np.random.default_rng(2)
    Y = (rng.random((120, 2)) < (0.1, 0.7)).astype(float)
    Y[:30, 1] = np.nan
    for weight, wanted in ((None, np.nanmean(Y, axis=0)), ("balanced", (0.5, 0.5))):
        head = of_labels(class_weight=weight, epochs=150, learning_rate=0.05, batch_size=120).fit(np.zeros_like(X), Y)
        np.testing.assert_allclose(head.predict_proba(X[:1] * 0)[0], wanted, atol=0.02)


def test_labels_that_cannot_be_learnt_are_told(X, Y):
    def changed(place, value):
        other = Y.copy()
        other[place] = value
        return other

    for labels, said in (
        (changed(7, np.nan), "of 1 of 120 rows no label is known, the first is row 7"),
        (changed(np.s_[:, 1], np.nan)[~np.isnan(Y[:, [0, 2]]).all(axis=1)], "label.s. 1, counted from 0"),
        (changed((3, 0), 2), "Y holds 2; expected 1, 0, or NaN"),
        (changed((3, 0), np.inf), "infinity"),
        (Y[:, 0], "2D array"),
        (Y[:50], "inconsistent numbers of samples"),
        (None, "requires y"),
    ):
        rows = X[: len(labels)] if labels is not None and len(labels) > 50 else X
        with pytest.raises(ValueError, match=said):
            of_labels().fit(rows, labels)
    with pytest.raises(ValueError, match="has 2 labels; the training data has 3"):
        of_labels(checkpoint=True).fit(X, Y, validation_data=(X, (Y[:, :2] == 1).astype(int)))
    with pytest.raises(ValueError, match="expected 'balanced' or None"):
        of_labels(class_weight={0: 1, 1: 5}).fit(X, Y)


# -- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["squared", "huber"])
def test_a_number_is_learnt_in_any_unit(X, age, loss):
    """The same training whatever the unit is, and what it gives is in it."""
    years = of_number(loss=loss, dropout=0.2).fit(X, age)
    days = of_number(loss=loss, dropout=0.2).fit(X, 365 * age - 10_000)
    assert years.score(X, age) > 0.9
    assert years.predict(X).shape == (120,)
    np.testing.assert_allclose(days.predict(X), 365 * years.predict(X) - 10_000, rtol=1e-4)
    np.testing.assert_allclose(days.history_["loss"], years.history_["loss"], rtol=1e-4)
    np.testing.assert_allclose(days.history_["mae"], 365 * np.array(years.history_["mae"]), rtol=1e-4)


def test_hubers_loss_is_pulled_less_by_outliers(X, age):
    """Of rows that tell nothing, what is learnt is the number of the least loss."""
    odd = age.copy()
    odd[::20] += 400
    wanted = {
        "squared": odd.mean(),
        "huber": optimize.minimize_scalar(lambda c: special.huber(1, (odd - c) / odd.std()).sum(), (0, 100)).x,
    }
    assert wanted["squared"] - wanted["huber"] > 10
    for loss, number in wanted.items():
        head = of_number(loss=loss, epochs=300, batch_size=120).fit(np.zeros_like(X), odd)
        np.testing.assert_allclose(head.predict(X[:1] * 0), number, atol=0.5)


def test_rows_of_no_weight_do_not_set_the_unit(X, age):
    y, weight = age.copy(), np.ones(120)
    y[0], weight[0] = 1e7, 0
    assert of_number().fit(X, y, weight).score(X[1:], age[1:]) > 0.9


def test_a_number_that_is_always_the_same(X):
    np.testing.assert_allclose(of_number(epochs=40).fit(X, np.full(120, 7.0)).predict(X), 7, atol=0.2)


def test_numbers_that_cannot_be_learnt_are_told(X, age):
    for y, said in (
        (np.where(age > age[0], np.nan, age), "NaN"),
        (np.where(age > age[0], 1e200, age), r"y holds 1e\+200; expected numbers of at most 3.4e\+38"),
        (np.full(120, "old"), "could not convert"),
        (age[:50], "inconsistent numbers of samples"),
    ):
        with pytest.raises(ValueError, match=said):
            of_number().fit(X, y)
    with pytest.raises(ValueError, match="loss 'class' is unknown; expected one of squared, huber"):
        of_number(loss="class").fit(X, age)
