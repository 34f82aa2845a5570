"""Ridges of many folds from one decomposition against sklearn's own searches, and what is left to them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    PredefinedSplit,
    RepeatedKFold,
    ShuffleSplit,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from threadpoolctl import threadpool_limits

from heads import FastGridSearchCV, FastRandomizedSearchCV
from heads.search import pipeline_sharing, ridge_folds, sklearn_hooks

# Folds of one row have no R2, which sklearn says of its own scores, and of ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore:R.2 score is not well-defined"),
    pytest.mark.filterwarnings("ignore:One or more of the (test|train) scores are non-finite"),
]
N, ALPHAS = 60, [1e-2, 1.0, 10.0, 1e3]
GROUPS = np.random.default_rng(5).integers(0, 14, N)
FOLDS = {
    "KFold": KFold(4),
    "GroupKFold": GroupKFold(6),
    "LeaveOneGroupOut": LeaveOneGroupOut(),
    "RepeatedKFold": RepeatedKFold(n_splits=5, n_repeats=2, random_state=0),
    "ShuffleSplit": ShuffleSplit(6, test_size=0.15, random_state=0),
    "ShuffleSplit that uses a part": ShuffleSplit(6, test_size=0.15, train_size=0.7, random_state=0),
    "some rows in no fold": PredefinedSplit(np.where(GROUPS < 9, GROUPS % 5, -1)),
}


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of so small fits only wait for one another, where other processes hold the cores."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def solved(monkeypatch):
    """How many cells were solved for by what they leave out."""
    sklearn_hooks.missing_hook()  # which runs some cells to see what they give
    cells = []
    real = ridge_folds.fit_without_folds

    def counted(*args):
        for fitted in real(*args):
            cells.append(fitted.cell)
            yield fitted

    monkeypatch.setattr(pipeline_sharing, "fit_without_folds", counted)
    return cells


def rows(d: int = 90, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, classes of three, and a number."""
    rng = np.random.default_rng(0)
    X = np.maximum(rng.normal(size=(N, d)) + rng.normal(size=(N, 4)) @ rng.normal(size=(4, d)), 0)
    along = X @ rng.normal(size=(d, 3)) / np.sqrt(d)
    return X.astype(dtype), (along - along.mean(axis=0)).argmax(axis=1), 60 + along[:, 0] + rng.normal(size=N)


def assert_same(ours, theirs) -> None:
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for name, wanted in theirs.cv_results_.items():
        if name.endswith("_score"):
            np.testing.assert_allclose(ours.cv_results_[name], wanted, rtol=1e-8, atol=1e-9, err_msg=name)
    assert ours.best_params_ == theirs.best_params_


def both(model, grid, X, y, solved, expected, fit=(), **options):
    options = {"return_train_score": True, **options}
    theirs = GridSearchCV(clone(model), grid, **options).fit(X, y, **dict(fit))
    ours = FastGridSearchCV(clone(model), grid, **options).fit(X, y, **dict(fit))
    assert_same(ours, theirs)
    assert len(solved) == expected
    solved.clear()
    return ours, theirs


@pytest.mark.parametrize("d", [12, 90], ids=lambda d: f"{d} columns")
@pytest.mark.parametrize("folds", FOLDS)
@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
def test_any_folds(folds, d, solved):
    X, classes, number = rows(d)
    cv = FOLDS[folds]
    count = len(ALPHAS) * cv.get_n_splits(X, number, GROUPS)
    options = {"cv": cv, "fit": {"groups": GROUPS}}
    measured = {"scoring": ["r2", "neg_mean_absolute_error"], "refit": "r2"}
    for model in (Ridge(), Ridge(solver="svd", fit_intercept=False)):
        ours, theirs = both(model, {"alpha": ALPHAS}, X, number, solved, count, **measured, **options)
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)
    two = np.column_stack([number, -(number**2)])
    both(Ridge(), {"alpha": ALPHAS}, X, two, solved, count, scoring="neg_mean_squared_error", **options)
    for y in (classes, np.where(classes, "no", "yes")):
        scoring = {"scoring": ["accuracy", "neg_mean_squared_error"][: 1 + (y is classes)], "refit": "accuracy"}
        ours, theirs = both(RidgeClassifier(), {"alpha": ALPHAS}, X, y, solved, count, **scoring, **options)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.filterwarnings("ignore:R.2 score is not well-defined", "ignore:One or more of the test")
def test_rows_left_out_one_by_one_and_candidates_drawn(solved):
    X, _, number = rows()
    both(Ridge(), {"alpha": ALPHAS}, X, number, solved, 4 * N, cv=LeaveOneOut(), scoring="neg_mean_squared_error")
    space, options = {"alpha": ALPHAS}, {"n_iter": 4, "cv": LeaveOneGroupOut(), "random_state": 1}
    FastRandomizedSearchCV(Ridge(), space, **options).fit(X, number, groups=GROUPS)
    assert len(solved) == 4 * len(np.unique(GROUPS))


def test_weights_and_rows_of_unit_length(solved):
    X, classes, number = rows()
    weight = np.random.default_rng(1).uniform(0.2, 3, N)
    # Of a model outside a pipeline sklearn weighs the scores, too, and does so itself.
    both(Ridge(), {"alpha": ALPHAS}, X, number, solved, 0, cv=KFold(10), fit={"sample_weight": weight})
    for model, y in ((Ridge(solver="svd"), number), (RidgeClassifier(), classes)):
        behind = make_pipeline(Normalizer(), model)
        name = f"{type(model).__name__.lower()}__"
        both(behind, {f"{name}alpha": ALPHAS}, X, y, solved, 40, cv=KFold(10))
        fit = {f"{name}sample_weight": weight}
        both(behind, {f"{name}alpha": ALPHAS}, X, y, solved, 40, cv=KFold(10), fit=fit)
        fit[f"{name}sample_weight"] = np.floor(weight)  # where nothing counts, nothing is known to be left out
        both(behind, {f"{name}alpha": ALPHAS}, X, y, solved, 0, cv=KFold(10), fit=fit)


def test_models_are_those_that_sklearn_would_have_fitted():
    X, classes, number = rows()
    folds = dict(enumerate(KFold(10).split(X)))
    for model, y in (
        (Ridge(), number),
        (Ridge(), number[:, None]),
        (RidgeClassifier(), classes),
        (Ridge(solver="svd"), number),
    ):
        cells = {(0, fold): clone(model).set_params(alpha=0.3) for fold in folds}
        cells |= {(1, fold): clone(model).set_params(alpha=3.0) for fold in folds}
        fitted = list(ridge_folds.fit_without_folds(cells, folds, X, y, None, True))
        assert len(fitted) == 20
        for one in fitted:
            wanted = clone(cells[one.cell]).fit(X[one.train], y[one.train])
            assert vars(one.model).keys() == vars(wanted).keys()
            assert one.model.get_params() == wanted.get_params()
            assert getattr(one.model, "solver_", None) == getattr(wanted, "solver_", None)
            for name in ("coef_", "intercept_"):
                ours, theirs = getattr(one.model, name), getattr(wanted, name)
                assert np.shape(ours) == np.shape(theirs)
                np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


def test_what_would_not_be_the_same_goes_the_ordinary_way(solved):
    X, classes, number = rows(24)
    many = {"alpha": ALPHAS}
    cv = {"cv": KFold(10)}
    for model in (Ridge(positive=True), Ridge(solver="lsqr", tol=1e-12)):
        both(model, many, X, number, solved, 0, **cv)
    both(RidgeClassifier(class_weight="balanced"), many, X, classes, solved, 0, **cv)
    # One rounding is not another's.
    narrow = FastGridSearchCV(Ridge(), many, **cv).fit(X.astype("f4"), number)
    assert not solved
    theirs = GridSearchCV(Ridge(), many, **cv).fit(X.astype("f4"), number)
    np.testing.assert_allclose(narrow.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-6)
    both(RidgeClassifier(), many, sparse.csr_matrix(X), classes, solved, 0, **cv)
    # No penalty, and next to none.
    both(Ridge(), {"alpha": [0.0, 1e-12, *ALPHAS]}, X, number, solved, 40, **cv)
    # Rows learnt from twice, a class that a fold has not, and next to nothing to learn from.
    order = np.arange(N)
    twice = [(np.r_[np.delete(order, one), (one + 1) % N], order[one : one + 1]) for one in range(N)]
    both(Ridge(), many, X, number, solved, 0, cv=twice, scoring="neg_mean_squared_error")
    rare = np.where(order < 2, "rare", np.where(classes, "often", "also"))
    lacking = [(np.delete(order, [0, 1]), order[:2]), *KFold(10).split(X)]
    both(RidgeClassifier(), many, X, rare, solved, 36, cv=lacking)
    both(Ridge(), many, X, number, solved, 4, cv=[(order[:1], order[1:]), (order[:2], order[2:])])


def test_a_label_that_hangs_on_rounding_is_sklearns(solved):
    X, y = np.zeros((40, 6)), np.arange(40) % 2
    X[0, 0] = 1e-9
    balanced = [(np.delete(np.arange(40), [k, k + 1]), np.array([k, k + 1])) for k in range(0, 40, 2)]
    both(RidgeClassifier(), {"alpha": ALPHAS}, X, y, solved, 0, cv=balanced)


def test_errors_are_sklearns(solved):
    X, _, number = rows()
    X[3, 3] = np.nan
    for search in (FastGridSearchCV, GridSearchCV):
        with pytest.raises(ValueError, match="NaN"):
            search(Ridge(), {"alpha": ALPHAS}, cv=LeaveOneGroupOut(), error_score="raise").fit(X, number, groups=GROUPS)
    assert not solved
