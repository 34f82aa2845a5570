"""``DenseHeadClassifier`` as sklearn sees it, and as Keras."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from heads import DenseHeadClassifier, own_cnn
from heads.training.architectures import HeadShape, dense_head

EXPECTED_FAILURES = {
    "check_methods_subset_invariance": "float32 sums differ in the last bits with the number of rows (7e-7 here)",
    "check_sample_weight_equivalence_on_dense_data": "mini-batches: a row of weight 2 is not two rows in two batches",
}


@pytest.mark.slow  # a hundred shapes of data, each compiled
@parametrize_with_checks(
    [DenseHeadClassifier(16, epochs=60, learning_rate=0.02, dropout=0.1, random_state=0)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    X = np.maximum(rng.normal(size=(90, 40)) + 1.5 * rng.normal(size=(3, 40))[y], 0)
    return X, np.array(["covid", "normal", "viral"])[y]


def head(**changes):
    return DenseHeadClassifier(16, **{"epochs": 10, "learning_rate": 0.01, "random_state": 3, **changes})


@pytest.fixture(scope="module")
def fitted(data):
    return head().fit(*data)


def test_learns_and_gives_what_a_classifier_gives(data, fitted):
    X, y = data
    assert fitted.score(X, y) > 0.9
    assert list(fitted.classes_) == ["covid", "normal", "viral"]
    probabilities = fitted.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert fitted.n_iter_ == 10 == len(fitted.history_["loss"])
    assert fitted.history_["loss"][-1] < fitted.history_["loss"][0]


@pytest.mark.parametrize("changes", [{"batch_norm": True}, {"activation": "gelu"}, {"activation": "elu"}], ids=str)
@pytest.mark.parametrize("classes", [2, 3])
def test_is_the_keras_model_that_it_says_it_is(data, changes, classes):
    X, y = data
    rows = slice(None) if classes == 3 else y != "viral"
    model = head(**changes, epochs=3).fit(X[rows], y[rows])
    predicted = model.to_keras().predict(X[rows], verbose=0)
    wanted = model.predict_proba(X[rows])
    np.testing.assert_allclose(predicted, wanted if classes == 3 else wanted[:, 1:], atol=1e-5)


def test_reproducible_cloned_and_pickled(data, fitted):
    X, y = data
    again = clone(fitted).fit(X, y)
    for a, b in zip(again.weights_, fitted.weights_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.predict_proba(X), fitted.predict_proba(X))
    assert clone(fitted).get_params() == fitted.get_params()
    other = head(random_state=4).fit(X, y)
    assert not np.allclose(other.weights_[0], fitted.weights_[0])


def test_early_stopping_with_rows_set_aside_or_given(data):
    X, y = data
    stopped = head(epochs=200, patience=3, learning_rate=0.05).fit(X, y)
    assert stopped.n_iter_ < 200
    assert stopped.best_epoch_ == int(np.argmin(stopped.history_["val_loss"])) + 1
    seen = []
    given = head(epochs=4, checkpoint=True).fit(
        X[:60], y[:60], validation_data=(X[60:], y[60:]), on_epoch=lambda epoch, curves: seen.append((epoch, curves))
    )
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 4]
    assert set(seen[0][1][0]) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert given.n_iter_ == 4


def test_class_weight_moves_the_balance(data):
    X, y = data
    X, y = X[y != "viral"], y[y != "viral"]
    rng = np.random.default_rng(1)
    noisy = rng.normal(size=X.shape)
    plain = head().fit(noisy, y)
    heavy = head(class_weight={"covid": 20, "normal": 1}).fit(noisy, y)
    assert (heavy.predict(noisy) == "covid").mean() > (plain.predict(noisy) == "covid").mean()


def test_frames_and_grid_search(data):
    X, y = data
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])])
    search = GridSearchCV(head(epochs=4), {"learning_rate": [0.0001, 0.02]}, cv=3, error_score="raise").fit(frame, y)
    assert search.best_params_ == {"learning_rate": 0.02}
    assert list(search.best_estimator_.feature_names_in_[:1]) == ["f0"]


def test_bad_input_is_told(data):
    X, y = data
    with pytest.raises(ValueError, match="at least 2 classes"):
        head().fit(X, ["covid"] * len(X))
    bad = X.copy()
    bad[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        head().fit(bad, y)
    with pytest.raises(ValueError, match="lacks"):
        head(checkpoint=True).fit(X, y, validation_data=(X[:2], ["flu", "covid"]))
    with pytest.raises(ValueError, match="expected one of relu"):
        head(activation="swish").fit(X, y)


@pytest.mark.parametrize(("classes", "parameters"), [(2, 23_935_041), (4, 23_935_236)])
def test_the_references_own_cnn_has_its_parameters(classes, parameters):
    assert own_cnn(classes).count_params() == parameters


@pytest.mark.parametrize(
    ("classes", "trainable"), [(2, 6_423_041), (4, 6_423_812)]
)  # of the head on VGG16's map, as the reference's tables have them
def test_the_references_head_has_its_parameters(classes, trainable):
    shape = HeadShape(25_088, classes)
    assert shape.parameters == {"total": trainable, "trainable": trainable}
    assert dense_head(shape).count_params() == trainable
    normed = HeadShape(100, classes, (16, 8), batch_norm=True)
    model = dense_head(normed)
    assert normed.parameters["total"] == model.count_params()
    assert normed.parameters["trainable"] == sum(int(np.prod(w.shape)) for w in model.trainable_weights)
