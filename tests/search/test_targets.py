"""Searches over models of several labels and of numbers against sklearn's own: the same ``cv_results_``."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC, SVR
from threadpoolctl import threadpool_limits
from xgboost import XGBClassifier, XGBRegressor

from heads import FastGridSearchCV, LabelWiseClassifier
from heads.evaluation.label_scorer import label_scorer
from heads.experiments.baseline_models import TABLES, with_seed
from heads.search import ridge_sharing, sklearn_hooks

N, D = 84, 200


def data(dtype: str = "float64") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, three labels, and a number with a signal in some directions."""
    rng = np.random.default_rng(0)
    X = np.maximum(rng.normal(size=(N, D)) + rng.normal(size=(N, 4)) @ rng.normal(size=(4, D)), 0)
    along = X @ rng.normal(size=(D, 4)) / np.sqrt(D)
    labels = (along[:, :3] - along[:, :3].mean(axis=0) + 0.5 * rng.normal(size=(N, 3)) > 0.3).astype(float)
    return X.astype(dtype), labels, 60 + 10 * along[:, 3] + rng.normal(size=N)


def small(kind: str) -> list[tuple[BaseEstimator, dict]]:
    """What ships for a kind of task, in few trees and two values of each parameter."""
    rows = []
    for row in TABLES[kind].values():
        model = with_seed(row.model, 0)
        trees = {p for p in model.get_params() if p.split("__")[-1] == "n_estimators"}
        boosted = {p for p in model.get_params() if p.split("__")[-1] == "max_iter"} if "Hist" in str(model) else set()
        model.set_params(**dict.fromkeys(trees | boosted, 8))
        if row.grid:
            rows.append((model, {name: list(values)[:2] for name, values in row.grid.items()}))
    return rows


def named(value: object) -> str:
    return " ".join(str(value).split())[:70] if isinstance(value, BaseEstimator) else ""


def assert_same(ours: GridSearchCV, theirs: GridSearchCV, rtol: float = 1e-6) -> None:
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for name, wanted in theirs.cv_results_.items():
        if name.endswith("_score"):
            np.testing.assert_allclose(ours.cv_results_[name], wanted, rtol=rtol, atol=1e-9, err_msg=name)
    assert ours.best_params_ == theirs.best_params_


@pytest.fixture
def all_answered(monkeypatch):
    """No cell may be left to sklearn."""

    def refuse(tasks, **_options):
        assert not tasks, "a cell was left to sklearn"
        return []

    def arm() -> None:
        sklearn_hooks.missing_hook()  # which runs some cells to see what they give
        monkeypatch.setattr("heads.search.joblib_backend.run_ordinarily", refuse)

    return arm


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of so small fits only wait for one another, where other processes hold the cores."""
    with threadpool_limits(1):
        yield


NUMBERS = [
    (Ridge(), {"alpha": [0.1, 10], "fit_intercept": [True, False]}),
    (Ridge(solver="svd"), {"alpha": [0.01, 1, 100], "fit_intercept": [True, False]}),
    (Ridge(), {"alpha": [0.0, 1e-13]}),
    (KernelRidge(kernel="rbf"), {"alpha": [0.01, 1], "gamma": [None, 0.01]}),
    (KernelRidge(), {"alpha": [0.1, 1], "kernel": ["linear", "poly", "laplacian"]}),
    (SVR(), {"C": [1, 10], "kernel": ["rbf", "linear", "poly"], "gamma": ["scale", "auto"]}),
    (TransformedTargetRegressor(SVR(kernel="linear"), transformer=StandardScaler()), {"regressor__C": [0.1, 1]}),
    (KNeighborsRegressor(), {"n_neighbors": [1, 4], "weights": ["uniform", "distance"]}),
    (make_pipeline(StandardScaler(), PCA(10, svd_solver="full"), Ridge(solver="svd")), {"ridge__alpha": [1, 10, 100]}),
    (RandomForestRegressor(random_state=0), {"n_estimators": [4, 9]}),
    (ExtraTreesRegressor(random_state=0), {"n_estimators": [4, 9]}),
    (GradientBoostingRegressor(random_state=0), {"n_estimators": [4, 9]}),
    (HistGradientBoostingRegressor(random_state=0, early_stopping=False), {"max_iter": [4, 9]}),
    (XGBRegressor(random_state=0, n_jobs=1), {"n_estimators": [4, 9]}),
]


@pytest.mark.filterwarnings("ignore:.*[Ii]ll-conditioned", "ignore:Singular matrix")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("model", "grid"), [*NUMBERS, *small("number")], ids=named)
def test_numbers(model, grid, dtype):
    X, _, y = data(dtype)
    options = {"cv": KFold(3), "scoring": ["neg_mean_absolute_error", "r2"], "refit": "r2", "return_train_score": True}
    theirs = GridSearchCV(clone(model), grid, **options).fit(X, y)
    ours = FastGridSearchCV(clone(model), grid, **options).fit(X, y)
    assert_same(ours, theirs)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-6)


LABELS = [
    (LabelWiseClassifier(LogisticRegression(max_iter=2000)), {"estimator__C": [0.1, 1]}),
    (LabelWiseClassifier(RidgeClassifier()), {"estimator__alpha": [1, 100]}),
    (LabelWiseClassifier(SVC()), {"estimator__C": [1, 10], "estimator__gamma": ["scale", "auto", 0.01]}),
    (LabelWiseClassifier(KNeighborsClassifier()), {"estimator__n_neighbors": [1, 5]}),
    (LabelWiseClassifier(RandomForestClassifier(random_state=0)), {"estimator__n_estimators": [4, 9]}),
    (
        LabelWiseClassifier(HistGradientBoostingClassifier(random_state=0, early_stopping=False)),
        {"estimator__max_iter": [2, 5]},
    ),
    (LabelWiseClassifier(XGBClassifier(random_state=0, n_jobs=1)), {"estimator__n_estimators": [2, 5]}),
    (
        LabelWiseClassifier(RandomForestClassifier(4, random_state=0)),
        {"estimator": [RandomForestClassifier(4, random_state=0), RandomForestClassifier(9, random_state=0)]},
    ),
    (
        make_pipeline(Normalizer(), PCA(10, svd_solver="full"), LabelWiseClassifier(LinearDiscriminantAnalysis())),
        {"pca__n_components": [5, 10]},
    ),
]


def known_right(model, X, y) -> float:
    """Share of the known labels that a model says; without probabilities."""
    known = ~np.isnan(y)
    return float((model.predict(X)[known] == y[known]).mean())


@pytest.mark.parametrize(("model", "grid"), [*LABELS, *small("labels")], ids=named)
@pytest.mark.parametrize("unknown", [0, 0.3])
def test_labels(model, grid, unknown):
    X, y, _ = data()
    y[np.random.default_rng(1).random(y.shape) < unknown] = np.nan
    y[:56, 2] = np.where(np.arange(56) % 2, np.nan, 0)  # of one value in the last fold's training rows
    scoring = known_right if "SVC" in str(model) or "RidgeC" in str(model) else label_scorer
    options = {"cv": KFold(3), "scoring": scoring, "return_train_score": True}
    theirs = GridSearchCV(clone(model), grid, **options).fit(X, y)
    ours = FastGridSearchCV(clone(model), grid, **options).fit(X, y)
    assert_same(ours, theirs, 0)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


NATIVE = [
    (RandomForestClassifier(random_state=0), {"n_estimators": [4, 9]}),
    (KNeighborsClassifier(), {"n_neighbors": [1, 4], "weights": ["uniform", "distance"]}),
    (RidgeClassifier(), {"alpha": [1, 100]}),
    (XGBClassifier(random_state=0, n_jobs=1), {"n_estimators": [4, 9]}),
    (LabelWiseClassifier(LogisticRegression()), {"estimator__C": [0.1, 1]}),
    (LabelWiseClassifier(SVC(gamma="auto")), {"estimator__C": [0.1, 1]}),
]


@pytest.mark.parametrize(("model", "grid"), NATIVE, ids=named)
def test_labels_that_are_all_known_and_sklearns_own_scorers(model, grid):
    X, y, _ = data()
    y = y.astype(int)
    theirs = GridSearchCV(clone(model), grid, cv=KFold(3), scoring="accuracy").fit(X, y)
    ours = FastGridSearchCV(clone(model), grid, cv=KFold(3), scoring="accuracy").fit(X, y)
    assert_same(ours, theirs, 0)


def test_what_may_be_projected_is_and_all_else_shares_what_it_can(all_answered, monkeypatch):
    X, y, number = data()
    widths, penalties = [], []
    for kind in (Ridge, SVR, KernelRidge, KNeighborsRegressor, SVC):
        real = kind.fit
        monkeypatch.setattr(kind, "fit", lambda m, X, *a, _r=real, **k: widths.append(X.shape[1]) or _r(m, X, *a, **k))
    real = ridge_sharing.fit_penalties
    monkeypatch.setattr(
        "heads.search.pipeline_sharing.fit_penalties", lambda m, *a: penalties.append(len(m)) or real(m, *a)
    )
    all_answered()
    # A row learnt from twice, so that no fold's ridge follows from that of all rows (heads.search.ridge_folds).
    folds = [(np.append(learnt, learnt[0]), held) for learnt, held in KFold(3).split(X)]
    several = (
        (Ridge(), {"alpha": [0.1, 10]}, number),
        (Ridge(solver="svd"), {"alpha": [0.1, 1, 10]}, number),
        (SVR(), {"C": [1, 10]}, number),
        (KernelRidge(kernel="rbf"), {"alpha": [0.1, 1]}, number),
        (KNeighborsRegressor(), {"n_neighbors": [2, 4]}, number),
        (LabelWiseClassifier(SVC(gamma="auto")), {"estimator__C": [0.1, 1]}, y.astype(int)),
    )
    for model, grid, target in several:
        widths.clear()
        FastGridSearchCV(model, grid, cv=folds if isinstance(model, Ridge) else KFold(3), refit=False).fit(X, target)
        assert set(widths) == {N}, model
    assert penalties == [3, 3, 3]
    widths.clear()
    FastGridSearchCV(Ridge(solver="svd"), {"alpha": [0.1, 1]}, cv=KFold(3), refit=False).fit(X.astype("f4"), number)
    assert widths == [D] * 3  # whose own rounding the projection has not; still one decomposition for both penalties


def test_penalties_at_once_are_sklearns_ridges():
    X, y, number = data()
    weight = np.random.default_rng(3).uniform(0.5, 2, N)
    for target, of_rows, intercept in (
        (number, None, True),
        (number, weight, True),
        (y, weight, False),
        (np.column_stack([number, number**2]), None, True),
    ):
        models = [Ridge(alpha, solver="svd", fit_intercept=intercept) for alpha in (1e-3, 1, 1e3)]
        wanted = [clone(model).fit(X, target, of_rows) for model in models]
        for one, theirs in zip(ridge_sharing.fit_penalties(models, X, target, of_rows), wanted, strict=True):
            assert vars(one).keys() == vars(theirs).keys()
            assert one.alpha == theirs.alpha
            np.testing.assert_allclose(one.coef_, theirs.coef_, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(one.intercept_, theirs.intercept_, rtol=1e-9)
            assert np.shape(one.intercept_) == np.shape(theirs.intercept_)
            np.testing.assert_allclose(one.predict(X), theirs.predict(X), rtol=1e-9)
