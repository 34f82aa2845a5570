"""What leaving out each patient does to a ridge, against fitting it without each."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import mean_absolute_error

from heads.evaluation.ridge_influence import patient_influence, shortened

COUNT = 90


def rows(d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(d)
    X = rng.normal(size=(COUNT + 40, d))
    along = X[:, :3] + 0.5 * rng.normal(size=(COUNT + 40, 3))
    groups = np.array([f"p{number}" for number in rng.integers(0, 17, COUNT)])
    return X, along.argmax(axis=1), 50 + 10 * along[:, 0], groups


@pytest.mark.parametrize("d", [20, 140])
@pytest.mark.parametrize("classes", [2, 3, 0], ids=["two classes", "three", "a number"])
def test_it_is_what_explicit_refits_give(classes, d):
    X, labels, number, groups = rows(d)
    y = np.minimum(labels, classes - 1) if classes else number
    kind = "classes" if classes else "number"
    found = patient_influence(kind, (X[:COUNT], y[:COUNT], groups), (X[COUNT:], y[COUNT:]), 3.0)
    model = RidgeClassifier(3.0, solver="svd") if classes else Ridge(3.0, solver="svd")

    def refitted(learnt: np.ndarray) -> tuple[float, float]:
        model.fit(X[learnt], y[learnt])
        if not classes:
            given = model.predict(X[COUNT:])
            return mean_absolute_error(y[COUNT:], given), np.square(given - y[COUNT:]).mean()
        scores = model.decision_function(X[COUNT:])
        scores = scores if classes > 2 else np.stack([-scores, scores], axis=1)
        signs = np.where(y[COUNT:, None] == np.arange(classes), 1, -1)
        return model.score(X[COUNT:], y[COUNT:]), np.square(scores - signs).mean()

    value, error = refitted(np.arange(COUNT))
    assert found["value"] == pytest.approx(value, rel=1e-9)
    assert found["squared_error"] == pytest.approx(error, rel=1e-9)
    assert found["metric"] == ("accuracy" if classes else "mae")
    assert {patient["group"] for patient in found["patients"]} == set(groups)
    values = []
    for patient in found["patients"]:
        rest = np.flatnonzero(groups != patient["group"])
        without, error_without = refitted(rest)
        assert patient["images"] == COUNT - len(rest)
        assert patient["change"] == pytest.approx(without - value, abs=1e-9)
        assert patient["change_of_squared_error"] == pytest.approx(error_without - error, abs=1e-9 * error)
        values.append(without)
    np.testing.assert_allclose(found["range"], [min(values), max(values)], rtol=1e-9)
    moved = [abs(patient["change_of_squared_error"]) for patient in found["patients"]]
    assert moved == sorted(moved, reverse=True)
    short = shortened(found)
    assert (short["groups"], short["patients"]) == (17, found["patients"][:10])
    assert abs(short["most"]["change"]) == max(abs(patient["change"]) for patient in found["patients"])


def test_a_patient_who_alone_has_a_class():
    X, labels, _, groups = rows(20)
    groups[labels[:COUNT] == 2] = "one"
    found = patient_influence("classes", (X[:COUNT], labels[:COUNT], groups), (X[COUNT:], labels[COUNT:]), 3.0)
    rest = groups != "one"
    without = RidgeClassifier(3.0).fit(X[:COUNT][rest], labels[:COUNT][rest]).score(X[COUNT:], labels[COUNT:])
    (alone,) = (patient for patient in found["patients"] if patient["group"] == "one")
    assert found["value"] + alone["change"] == pytest.approx(without)


def test_nothing_is_said_of_one_patient_or_of_several_labels():
    X, labels, _, _ = rows(20)
    assert patient_influence("classes", (X, labels, ["p"] * len(X)), (X, labels), 1.0) is None
    assert patient_influence("labels", (X, labels, np.arange(len(X))), (X, labels), 1.0) is None
