"""Searches on projected rows where features tie: the same scores as sklearn's own, to the last digit."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC, NuSVC
from threadpoolctl import threadpool_limits

from heads import FastGridSearchCV
from heads.search.gram_projection import isometric
from heads.search.projection_check import answers_alike

KINDS = ("float64", "float32", "relu", "binary", "uint8", "copies", "constant")
KNN = {"n_neighbors": [1, 3, 4], "weights": ["uniform", "distance"]}
MODELS = {
    "knn": (KNeighborsClassifier(), KNN),
    "knn, rows of unit length": (
        make_pipeline(Normalizer(), KNeighborsClassifier()),
        {f"kneighborsclassifier__{k}": v for k, v in KNN.items()},
    ),
    "knn, weighted columns": (
        KNeighborsClassifier(metric_params={"w": np.linspace(0, 9, 200)}, algorithm="brute"),
        {"n_neighbors": [1, 4]},
    ),
    "logistic": (LogisticRegression(max_iter=3000), {"C": [0.01, 1, 100]}),
    "logistic, newton-cg": (LogisticRegression(solver="newton-cg", max_iter=3000), {"C": [0.01, 1, 100]}),
    "svm, linear": (SVC(kernel="linear"), {"C": [0.1, 1, 100]}),
    "svm, rbf": (SVC(), {"C": [0.1, 1, 100]}),
    "svm, calibrated": (CalibratedClassifierCV(SVC(kernel="linear"), ensemble=False), {"estimator__C": [0.1, 1]}),
    "nu-svm": (NuSVC(), {"nu": [0.1, 0.3]}),
    "ridge": (RidgeClassifier(), {"alpha": [0.1, 1, 100]}),
}


def data(kind: str, seed: int, classes: int, n: int = 60, d: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Rows of which some or all features take few values, or that stand twice."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    X = rng.normal(size=(classes, d))[y] * 0.35 + rng.normal(size=(n, d))
    if kind == "binary":
        return (X > 0.5).astype(np.float64), y
    if kind == "uint8":
        return np.clip(X * 2 + 4, 0, 9).astype(np.uint8), y
    if kind == "relu":
        return np.maximum(X, 0).astype(np.float32), y
    if kind == "copies":
        X[n // 2 :] = X[: n // 2]  # whose labels differ
    if kind == "constant":
        X[:, 5:] = 1
    return X.astype(np.float64 if kind == "float64" else np.float32), y


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of so small fits only wait for one another, where other processes hold the cores."""
    with threadpool_limits(1):
        yield


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", MODELS)
def test_scores_equal_sklearns_to_the_last_digit(model, kind):
    estimator, grid = MODELS[model]
    for seed, classes in ((2, 2), (13, 3), (33, 3)):
        X, y = data(kind, seed, classes)
        theirs = GridSearchCV(estimator, grid, cv=3, return_train_score=True).fit(X, y)
        ours = FastGridSearchCV(estimator, grid, cv=3, return_train_score=True).fit(X, y)
        for name in (name for name in theirs.cv_results_ if name.endswith("score")):
            np.testing.assert_array_equal(
                ours.cv_results_[name], theirs.cv_results_[name], err_msg=f"{name}, seed {seed}"
            )
        assert ours.best_params_ == theirs.best_params_


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scoring", ["roc_auc", "neg_log_loss"])
def test_scores_of_probabilities_equal_too(scoring):
    X, y = data("relu", 3, 2)
    for model in ("logistic", "knn"):
        theirs = GridSearchCV(*MODELS[model], cv=3, scoring=scoring).fit(X, y)
        ours = FastGridSearchCV(*MODELS[model], cv=3, scoring=scoring).fit(X, y)
        np.testing.assert_array_equal(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


def test_continuous_rows_are_certain_and_few_values_are_not():
    train, test = np.arange(40), np.arange(40, 60)
    for kind, certain in (("float64", True), ("relu", True), ("binary", False), ("copies", False)):
        X, y = data(kind, 0, 2)
        rows = isometric(X)
        model = KNeighborsClassifier(1 if kind == "copies" else 3, weights="distance").fit(rows[train], y[train])
        if kind == "copies":
            model = KNeighborsClassifier(2, weights="distance").fit(np.concatenate([rows[:10]] * 4), np.tile(y[:10], 4))
        assert answers_alike(model, rows, y, train, test, None) is certain, kind
