"""The fast searches against sklearn's own: the same answer, and the same behaviour."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import accuracy_score, make_scorer, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC
from surroundings import ROOT
from xgboost import XGBClassifier

from featcache.errors import UsageError
from featcache.system import memory
from heads import (
    DenseHeadClassifier,
    DenseHeadMultilabelClassifier,
    DenseHeadRegressor,
    FastGridSearchCV,
    FastHalvingGridSearchCV,
    FastRandomizedSearchCV,
    OwnCNNClassifier,
)
from heads.experiments.baseline_models import TABLE, with_seed
from heads.search import sklearn_hooks
from heads.search.cell_scoring import answers_the_question
from heads.search.search_cv import Progress
from heads.training import engine


def data(classes: int, n: int = 90, d: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """More columns than rows, and groups of three rows."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), -(-n // classes))[:n]
    y = rng.permutation(y.reshape(-1, 3), axis=0).ravel() if classes == 2 else rng.permutation(y)
    X = np.maximum(rng.normal(size=(n, d)) + 0.25 * rng.normal(size=(classes, d))[y], 0)
    return X, y, np.repeat(np.arange(n // 3), 3)


def assert_same(ours, theirs, atol: float = 0.0) -> None:
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for name, wanted in theirs.cv_results_.items():
        if "time" in name:
            continue
        if name == "params" or name.startswith("param_"):
            assert list(ours.cv_results_[name]) == list(wanted), name
        else:
            np.testing.assert_allclose(ours.cv_results_[name], wanted, atol=atol, rtol=0, err_msg=name)
    if hasattr(theirs, "best_params_"):
        assert ours.best_params_ == theirs.best_params_
        assert ours.best_index_ == theirs.best_index_


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


BASELINES = [(with_seed(row.model, 0), dict(row.grid)) for row in TABLE.values() if row.grid]
PLAIN = [
    (LogisticRegression(max_iter=3000), {"C": [0.01, 1]}),
    (RidgeClassifier(), {"alpha": [1, 100]}),
    (SVC(), {"C": [1, 10], "kernel": ["rbf", "linear", "poly"]}),
    (SVC(gamma="auto"), {"C": [1, 10]}),
    (CalibratedClassifierCV(SVC(gamma=0.01), ensemble=False), {"estimator__C": [1, 10]}),
    (KNeighborsClassifier(), {"n_neighbors": [1, 5]}),
    (
        make_pipeline(StandardScaler(), PCA(10, svd_solver="full"), LogisticRegression()),
        {"pca__n_components": [5, 10], "logisticregression__C": [0.1, 1]},
    ),
    (make_pipeline(StandardScaler(), SVC()), {"svc__C": [0.1, 1]}),
    (
        make_pipeline(Normalizer(), LinearDiscriminantAnalysis(solver="lsqr")),
        {"lineardiscriminantanalysis__shrinkage": [0.1, 0.9]},
    ),
    (RandomForestClassifier(random_state=0), {"n_estimators": [5, 12], "max_depth": [2, 4]}),
    (ExtraTreesClassifier(random_state=0), {"n_estimators": [5, 12]}),
    (GradientBoostingClassifier(random_state=0), {"n_estimators": [4, 8]}),
    (HistGradientBoostingClassifier(random_state=0, early_stopping=False), {"max_iter": [4, 8]}),
    (XGBClassifier(random_state=0), {"n_estimators": [4, 8], "max_depth": [2, 3]}),
]


def small(estimator, grid):
    """Two values of each parameter, and few trees, to be quick."""
    solver = any(name in str(estimator) for name in ("Logistic", "SVC"))  # whose max_iter are no trees
    sizes = [] if solver else [p for p in estimator.get_params() if p.split("__")[-1] in ("n_estimators", "max_iter")]
    trees = dict.fromkeys(sizes, 10)
    return estimator.set_params(**trees), {name: list(values)[:2] for name, values in grid.items()}


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(
    ("estimator", "grid"),
    [*PLAIN, *(small(clone(e), g) for e, g in BASELINES)],
    ids=lambda v: str(v).replace("\n", "")[:60] if isinstance(v, BaseEstimator) else "",
)
def test_scores_equal_sklearns(estimator, grid, classes, all_answered):
    X, y, groups = data(classes)
    scoring = {"scoring": ["accuracy", "balanced_accuracy"], "refit": "balanced_accuracy"}
    options = {"cv": StratifiedGroupKFold(3), "return_train_score": True, **scoring}
    theirs = GridSearchCV(clone(estimator), grid, **options).fit(X, y, groups=groups)
    if not any(
        name in str(estimator) for name in ("LogisticRegression", "KNeighbors")
    ):  # whose labels may hang on ties
        all_answered()
    ours = FastGridSearchCV(clone(estimator), grid, **options).fit(X, y, groups=groups)
    assert_same(ours, theirs, 1e-6)
    assert type(ours.best_estimator_) is type(theirs.best_estimator_)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


HEADS = [
    ({"epochs": [5, 2], "learning_rate": [1e-3, 1e-2]}, 2),
    ({"epochs": [3, 12], "patience": [1, 2], "dropout": [0.1]}, 4),
    pytest.param(
        {"epochs": [2, 4], "checkpoint": [True], "activation": ["relu", "sigmoid"]}, 2, marks=pytest.mark.slow
    ),
    pytest.param(
        [{"units": [(8, 4)], "epochs": [2]}, {"optimizer": ["sgd"], "batch_norm": [True], "epochs": [1, 3]}],
        4,
        marks=pytest.mark.slow,
    ),
    pytest.param(
        {"l2": [0.01], "optimizer": ["adamw"], "batch_size": [8, 64], "class_weight": ["balanced"], "epochs": [3]},
        2,
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("grid", "classes"), HEADS, ids=str)
def test_heads_equal_those_fitted_alone(grid, classes, all_answered):
    X, y, groups = data(classes, d=40)
    X[:, 5:9] = 0  # columns that no row uses
    head = DenseHeadClassifier(8, random_state=1)
    options = {"cv": StratifiedGroupKFold(2), "scoring": ["accuracy", "neg_log_loss"], "refit": "neg_log_loss"}
    with sklearn.config_context(enable_metadata_routing=True):  # so that heads get the groups, as ours hands them on
        asking = clone(head).set_fit_request(groups=True)
        theirs = GridSearchCV(asking, grid, **options).fit(X, y, groups=groups)
    all_answered()
    ours = FastGridSearchCV(head, grid, **options).fit(X, y, groups=groups)
    assert_same(ours, theirs, 1e-5)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
    assert ours.best_estimator_.n_iter_ == theirs.best_estimator_.n_iter_


def known_area(model, X, Y):
    """Mean ROC area of the labels, each over the rows of which it is known."""
    given, known = model.predict_proba(X), ~np.isnan(Y)
    return np.mean([roc_auc_score(Y[known[:, k], k], given[known[:, k], k]) for k in range(Y.shape[1])])


LABELS, NUMBER = DenseHeadMultilabelClassifier(8, random_state=1), DenseHeadRegressor(8, random_state=1)
OTHERS = [
    (LABELS, {"epochs": [5, 2], "class_weight": [None, "balanced"]}, {"scoring": "roc_auc"}),
    (LABELS, {"epochs": [3, 6], "patience": [1], "dropout": [0.1, 0.3]}, {"scoring": known_area}),
    (NUMBER, {"epochs": [3, 8], "patience": [2]}, {"scoring": ["r2", "neg_mean_absolute_error"], "refit": "r2"}),
    (NUMBER, {"epochs": [2, 4], "loss": ["squared", "huber"], "batch_norm": [True]}, {"scoring": None}),
]


@pytest.mark.parametrize(("head", "grid", "scoring"), OTHERS, ids=["labels", "known labels", "number", "losses"])
def test_heads_of_labels_and_numbers_equal_those_fitted_alone(head, grid, scoring, all_answered):
    X, _, groups = data(2, d=40)
    rng = np.random.default_rng(3)
    values = X @ rng.normal(size=(40, 3)) + rng.normal(size=(90, 3))
    y = 50 + 10 * values[:, 0] if head is NUMBER else (values > np.median(values, axis=0)).astype(float)
    if scoring["scoring"] is known_area:
        y[rng.random(y.shape) < 0.3] = np.nan
        y[np.isnan(y).all(axis=1), 0] = 1
    options = {"cv": GroupKFold(2), "return_train_score": True, **scoring}
    with sklearn.config_context(enable_metadata_routing=True):
        theirs = GridSearchCV(clone(head).set_fit_request(groups=True), grid, **options).fit(X, y, groups=groups)
    all_answered()
    ours = FastGridSearchCV(head, grid, **options).fit(X, y, groups=groups)
    assert not np.isnan(ours.cv_results_[next(name for name in ours.cv_results_ if "mean_test" in name)]).any()
    assert_same(ours, theirs, 1e-5)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-5)


def test_epochs_are_read_from_one_training(monkeypatch):
    X, y, _ = data(2, d=40)
    trained = []
    real = engine.train

    def count(*args, **kwargs):
        trained.extend(job.spec.epochs for job in args[3])
        return real(*args, **kwargs)

    monkeypatch.setattr(engine, "train", count)
    grid = {"epochs": [2, 4, 6], "dropout": [0.1, 0.2]}
    FastGridSearchCV(DenseHeadClassifier(8, random_state=0), grid, cv=3, refit=False).fit(X, y)
    assert trained == [6] * 2 * 3


def test_a_limit_on_memory_makes_smaller_stacks(monkeypatch):
    X, y, _ = data(2, d=40)
    stacks = []
    real = engine.train
    monkeypatch.setattr(engine, "train", lambda *a, **k: stacks.append(len(a[3])) or real(*a, **k))
    grid = {"dropout": [0.1, 0.2, 0.3, 0.4]}
    head = DenseHeadClassifier(8, epochs=2, random_state=0)
    parameters = 40 * 8 + 8 + 8 + 1
    wide = FastGridSearchCV(head, grid, cv=3, refit=False).fit(X, y)
    monkeypatch.setattr(memory, "resident", lambda: 10**9)
    five = 10**9 + engine.COMPILER + 6 * 4 * parameters * 5
    tight = FastGridSearchCV(head, grid, cv=3, refit=False, memory=five).fit(X, y)
    assert stacks == [12, 5, 5, 2]
    assert_same(tight, wide)
    with pytest.raises(UsageError, match="1,200 MB are too little; the process holds 1,000 MB"):
        FastGridSearchCV(clone(head).set_params(units=9), grid, cv=3, memory=12 * 10**8).fit(X, y)


@pytest.mark.slow
def test_own_cnn_equals_networks_fitted_alone(all_answered):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 255, (18, 16, 16, 3), dtype=np.uint8), np.arange(18) % 2
    X[y == 1, :8] //= 4
    network = OwnCNNClassifier(4, batch_size=6, random_state=0)
    grid = [{"epochs": [1, 3]}, {"epochs": [2, 5], "patience": [1], "validation_fraction": [0.34]}]
    theirs = GridSearchCV(network, grid, cv=2, scoring="neg_log_loss", refit=False).fit(X, y)
    all_answered()
    ours = FastGridSearchCV(network, grid, cv=2, scoring="neg_log_loss", refit=False).fit(X, y)
    assert_same(ours, theirs, 1e-5)


def test_what_a_score_looks_at_is_respected(all_answered):
    """A scorer that reads the rows themselves must not be shown them in other coordinates."""
    X, y, _ = data(2)

    def width(model, rows, labels):
        return rows.shape[1] + model.score(rows, labels)

    for search in (GridSearchCV, FastGridSearchCV):
        fitted = search(LogisticRegression(), {"C": [0.1, 1]}, cv=3, scoring=width).fit(X, y)
        assert fitted.best_score_ > 240
    theirs = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=3, scoring=make_scorer(accuracy_score)).fit(X, y)
    all_answered()
    ours = FastGridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=3, scoring=make_scorer(accuracy_score)).fit(X, y)
    assert_same(ours, theirs)


def test_sample_weights_frames_and_lists_of_models():
    X, y, _ = data(2)
    weight = np.random.default_rng(1).uniform(0.1, 3, len(y))
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])])
    labels = np.array(["no", "yes"])[y]
    head = DenseHeadClassifier(8, epochs=3, random_state=0)
    steps = [
        {"svc": [SVC(C=0.5), LogisticRegression(), RandomForestClassifier(5, random_state=0)]},
        {"standardscaler": ["passthrough", StandardScaler(with_mean=False)]},
    ]
    for model, grid, extra in (
        (LogisticRegression(), {"C": [0.1, 1]}, {"sample_weight": weight}),
        (head, {"epochs": [1, 3]}, {"sample_weight": weight}),
        (make_pipeline(StandardScaler(), SVC()), {"svc__C": [0.1, 1]}, {"svc__sample_weight": weight}),
        (make_pipeline(StandardScaler(), SVC()), steps, {}),
    ):
        theirs = GridSearchCV(model, grid, cv=3).fit(frame, labels, **extra)
        ours = FastGridSearchCV(model, grid, cv=3).fit(frame, labels, **extra)
        np.testing.assert_allclose(
            ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], atol=1e-6
        )
        assert ours.best_index_ == theirs.best_index_
        assert hasattr(ours, "feature_names_in_") == hasattr(theirs, "feature_names_in_")


@pytest.mark.parametrize(
    "cv",
    [ShuffleSplit(3, random_state=np.random.RandomState(0)), 3, None, "generator"],
    ids=["shuffled", "3", "default", "generator"],
)
def test_folds_are_drawn_as_sklearn_draws_them(cv):
    X, y, _ = data(2)
    made = [StratifiedKFold(3).split(X, y) if cv == "generator" else pickle.loads(pickle.dumps(cv)) for _ in range(2)]
    theirs = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=made[0]).fit(X, y)
    ours = FastGridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=made[1]).fit(X, y)
    assert_same(ours, theirs)


@pytest.mark.filterwarnings(r"ignore:\s*\d+ fits failed:sklearn.exceptions.FitFailedWarning", "ignore:.*non-finite")
def test_candidates_that_fail_are_reported_by_sklearn():
    X, y, _ = data(2, d=40)
    grid = {"learning_rate": [1e-3, -1.0], "epochs": [2]}
    head = DenseHeadClassifier(8, random_state=0)
    theirs, ours = (search(head, grid, cv=3).fit(X, y) for search in (GridSearchCV, FastGridSearchCV))
    assert_same(ours, theirs, 1e-5)
    assert np.isnan(ours.cv_results_["mean_test_score"][1])
    with pytest.raises(UsageError, match=r"learning_rate -1\.0 is out of range"):
        FastGridSearchCV(head, grid, cv=3, error_score="raise").fit(X, y)
    with pytest.raises(ValueError, match=r"All the 3 fits failed"):
        FastGridSearchCV(head, {"learning_rate": [-1.0]}, cv=3).fit(X, y)


@pytest.mark.parametrize("jobs", [None, 2])
def test_models_with_no_way_of_their_own_go_the_ordinary_one(jobs, tmp_path):
    X, y, _ = data(2, d=20)
    tree = RandomForestClassifier(4, random_state=0)
    grid = {"max_depth": [1, 3]}
    theirs = GridSearchCV(tree, grid, cv=3, refit=lambda results: 1).fit(X, y)
    seen: list[Progress] = []
    ours = FastGridSearchCV(
        tree, grid, cv=3, refit=lambda results: 1, n_jobs=jobs, journal=tmp_path / "j", on_cell=seen.append
    ).fit(X, y)
    assert_same(ours, theirs)
    assert [p.done for p in seen] == [1, 2, 3, 4, 5, 6]
    assert all(p.cells == 6 and 0 <= p.score <= 1 for p in seen)


@pytest.mark.slow
def test_random_and_halving_equal_sklearns():
    X, y, _ = data(2, d=40)
    head = DenseHeadClassifier(8, epochs=4, random_state=0)
    _compare_random_and_halving(head, X, y)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["labels", "number"])
def test_random_and_halving_of_labels_and_numbers_equal_sklearns(kind):
    X, _, _ = data(2, d=40)
    values = X @ np.random.default_rng(3).normal(size=(40, 3))
    if kind == "labels":
        y = (values > np.median(values, axis=0)).astype(int)
        _compare_random_and_halving(clone(LABELS).set_params(epochs=4), X, y, scoring="roc_auc")
    else:
        _compare_random_and_halving(clone(NUMBER).set_params(epochs=4), X, values[:, 0])


def _compare_random_and_halving(head, X, y, **scoring):
    space = {"learning_rate": stats.loguniform(1e-4, 1e-1), "dropout": [0.1, 0.2]}
    drawn = {"n_iter": 4, "random_state": 3, "cv": 3, **scoring}
    theirs = RandomizedSearchCV(head, space, **drawn).fit(X, y)
    assert_same(FastRandomizedSearchCV(head, space, **drawn).fit(X, y), theirs, 1e-5)
    options = {"resource": "epochs", "max_resources": 8, "min_resources": 2, "factor": 2, "cv": 3, "random_state": 0}
    options |= scoring
    grid = {"learning_rate": [1e-4, 1e-3, 1e-2, 1e-1]}
    halved = HalvingGridSearchCV(head, grid, **options).fit(X, y)
    assert_same(FastHalvingGridSearchCV(head, grid, **options).fit(X, y), halved, 1e-5)


def test_is_an_estimator_like_its_parent():
    search = FastGridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=3, memory=10**9)
    again = clone(search)
    assert {name: str(v) for name, v in again.get_params().items()} == {
        n: str(v) for n, v in search.get_params().items()
    }
    X, y, _ = data(2)
    fitted = pickle.loads(pickle.dumps(again.fit(X, y)))
    np.testing.assert_array_equal(fitted.predict(X), again.predict(X))
    assert isinstance(again, GridSearchCV)


@pytest.mark.slow
def test_sklearns_own_tests_hold(tmp_path):
    """sklearn's tests of its searches, run with ours in their place."""
    (tmp_path / "in_their_place.py").write_text(
        "import sklearn.model_selection as m\n"
        "from heads.search.search_cv import FastGridSearchCV, FastRandomizedSearchCV\n"
        "m.GridSearchCV, m.RandomizedSearchCV = FastGridSearchCV, FastRandomizedSearchCV\n"
    )
    plugins = ["-p", "in_their_place", "-p", "no:cacheprovider"]
    options = ["-q", "--no-header", "-x", "-W", "ignore", "--pyargs", "sklearn.model_selection.tests.test_search"]
    before = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]  # another sklearn's, maybe
    places = os.pathsep.join([*before, str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        env={**os.environ, "PYTHONPATH": places, "PYTEST_ADDOPTS": ""},
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(done.stdout.rsplit(" passed", 1)[0].split()[-1]) > 100


# -- the journal ---------------------------------------------------------------------------------


class Counted(ClassifierMixin, BaseEstimator):
    """Writes down each fit of itself."""

    def __init__(self, level: float = 0.0, log: str = ""):
        self.level = level
        self.log = log

    def fit(self, X, y):
        with open(self.log, "a") as file:
            file.write(f"{self.level}\n")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return self.classes_[(X[:, 0] > self.level).astype(int)]


def counted(folder, **options):
    X, y, _ = data(2, d=5)
    log = folder / "fits"
    search = FastGridSearchCV(
        Counted(log=str(log)), {"level": [0.1, 0.2, 0.3]}, cv=3, refit=False, journal=folder / "j", **options
    ).fit(X, y)
    fits = log.read_text().count("\n") if log.exists() else 0
    log.unlink(missing_ok=True)
    return search, fits


def test_finished_cells_are_not_fitted_again(tmp_path):
    first, fits = counted(tmp_path)
    assert fits == 9
    again, fits = counted(tmp_path)
    assert fits == 0
    assert_same(again, first)
    seen: list[Progress] = []
    counted(tmp_path, on_cell=seen.append)
    assert all(p.from_journal for p in seen)
    assert len(seen) == 9
    assert counted(tmp_path, scoring="balanced_accuracy")[1] == 9  # another question
    assert counted(tmp_path)[1] == 0  # and the first is still answered
    assert counted(tmp_path, restart=True)[1] == 9


def test_torn_and_damaged_lines_cost_their_cells_alone(tmp_path):
    first, _ = counted(tmp_path)
    journal = tmp_path / "j"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-5])
    again, fits = counted(tmp_path)
    assert fits == 1
    assert_same(again, first)
    assert len(journal.read_bytes().splitlines()) == len(whole.splitlines())
    lines = whole.splitlines(keepends=True)
    lines[4] = lines[4].replace(b"test_scores", b"test_scoreS")
    journal.write_bytes(b"".join(lines))
    again, fits = counted(tmp_path)
    assert fits == 1
    assert_same(again, first)


def test_a_file_that_is_no_journal_is_left_alone(tmp_path):
    for text in ("my thesis\n", "no newline", "featcache journal 2\n"):
        (tmp_path / "j").write_text(text)
        with pytest.raises(UsageError, match="is no journal of a search"):
            counted(tmp_path)
        assert (tmp_path / "j").read_text() == text
    (tmp_path / "j").write_text("")
    assert counted(tmp_path)[1] == 9


def test_two_searches_do_not_share_a_journal(tmp_path):
    from heads.search.journal import Journal

    with Journal(tmp_path / "j"), pytest.raises(UsageError, match="another search"):
        counted(tmp_path)
    assert counted(tmp_path)[1] == 9


def test_what_cannot_be_recognised_again_is_refused(tmp_path):
    X, y, _ = data(2, d=5)
    search = FastGridSearchCV(
        LogisticRegression(), {"C": [1]}, cv=3, journal=tmp_path / "j", scoring=lambda m, a, b: m.score(a, b)
    )
    with pytest.raises(UsageError, match="defined in a module, or no journal"):
        search.fit(X, y)


SEARCH = """
import json, sys, time
import numpy as np
from sklearn.linear_model import LogisticRegression
from heads import FastGridSearchCV
rng = np.random.default_rng(0)
y = np.arange(120) % 2
X = rng.normal(size=(120, 400)) + 0.2 * y[:, None]
grid = {"C": np.logspace(-4, 1, 20).tolist()}
search = FastGridSearchCV(LogisticRegression(), grid, cv=5, refit=False, journal=sys.argv[1],
                          on_cell=lambda progress: time.sleep(0.01))
search.fit(X, y)
keep = {k: np.asarray(v).tolist() for k, v in search.cv_results_.items() if "time" not in k and "param" not in k}
print(json.dumps(keep))
"""


@pytest.mark.slow
def test_killed_at_ten_random_moments_and_resumed(tmp_path):
    script = tmp_path / "search.py"
    script.write_text(SEARCH)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])}

    def start(journal: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, script, tmp_path / journal], stdout=subprocess.PIPE, env=env)

    wanted = json.loads(start("whole").communicate()[0])
    journal = tmp_path / "cut"
    kills, before = 0, 0
    while kills < 10:
        process = start("cut")
        deadline = time.monotonic() + 60
        # Not before it has got further, else it would never end; then at any moment.
        while process.poll() is None and time.monotonic() < deadline:
            if journal.exists() and journal.stat().st_size > before + 300:
                break
            time.sleep(0.002)
        time.sleep(random.random() * 0.08)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        before = journal.stat().st_size if journal.exists() else 0
        kills += 1
    got = json.loads(start("cut").communicate()[0])
    assert got == wanted
    lines = journal.read_bytes().splitlines()[1:]
    keys = [json.loads(line[17:])["key"] for line in lines]
    assert len(keys) == len(set(keys)) == 100  # every cell once


def test_rows_set_aside_to_stop_early_are_whole_groups(monkeypatch):
    """Of images of one patient some would tell when to stop learning from the others."""
    rng = np.random.default_rng(0)
    groups = np.repeat([f"p{i}" for i in range(20)], 4)
    y = np.repeat(np.arange(20) % 2, 4)
    X = rng.normal(size=(80, 6)).astype(np.float32)
    seen = []
    real = DenseHeadClassifier.prepare

    def spied(self, X, y, *args, **kwargs):
        ready = real(self, X, y, *args, **kwargs)
        seen.append((args, kwargs, ready))
        return ready

    monkeypatch.setattr(DenseHeadClassifier, "prepare", spied)
    head = DenseHeadClassifier(2, epochs=2, patience=1, random_state=0)
    for model, grid in (
        (head, {"units": [2, 3]}),
        (make_pipeline(StandardScaler(), head), {"denseheadclassifier__units": [2, 3]}),
    ):
        seen.clear()
        search = FastGridSearchCV(model, grid, cv=StratifiedGroupKFold(2)).fit(X, y, groups=groups)
        assert len(seen) >= 5  # two candidates on two folds, and the best one on all rows
        for args, kwargs, ready in seen:
            own = np.asarray(kwargs.get("groups") if kwargs.get("groups") is not None else args[2])
            assert len(own) == len(ready.rows) + len(ready.val_rows)
            assert not set(own[ready.rows]) & set(own[ready.val_rows])
            assert 0.1 <= len(ready.val_rows) / len(own) <= 0.35
            assert set(ready.targets[ready.rows]) == set(ready.targets[ready.val_rows]) == {0, 1}
        assert search.best_score_ > 0


def test_groups_that_cannot_be_spared():
    X, y = np.zeros((12, 2), np.float32), np.repeat([0, 1], 6)
    with pytest.raises(ValueError, match="besides one of each to learn from"):
        DenseHeadClassifier(2, patience=1).fit(X, y, groups=np.repeat(["a", "b"], 6))


@pytest.mark.parametrize(
    ("scoring", "scores", "answered"),
    [
        (None, 0.5, True),
        ("accuracy", {}, False),
        ("accuracy", {"accuracy": 0.5}, False),
        (["accuracy", "f1"], {"accuracy": 0.5, "f1": 0.5}, True),
        (["accuracy", "f1"], {"accuracy": 0.5}, False),
        (["accuracy", "f1"], 0.5, False),
        (lambda model, X, y: {"a": 1.0}, {"a": 1.0}, True),
        (lambda model, X, y: {"a": 1.0}, {}, False),
        (lambda model, X, y: 1.0, None, False),
    ],
)
def test_a_journals_scores_answer_the_question_or_are_passed_over(scoring, scores, answered):
    assert answers_the_question({"test_scores": scores}, scoring, with_train=False) is answered
