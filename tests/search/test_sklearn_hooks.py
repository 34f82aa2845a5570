"""The searches where sklearn or joblib are not what they were: sklearn's ordinary way, said once; what it prints."""

from __future__ import annotations

import functools
import importlib.util
import re
import types
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from featcache.errors import UsageError
from heads import DenseHeadClassifier, FastGridSearchCV, FastHalvingGridSearchCV, FastRandomizedSearchCV
from heads.search import joblib_backend, sklearn_hooks

GRID = {"alpha": [0.01, 1.0, 100.0]}
SEARCH = "sklearn.model_selection._search"
SCORER = "sklearn.metrics._scorer"
BOOSTING = "sklearn.ensemble._hist_gradient_boosting.gradient_boosting"


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """More columns than rows, so that cells are computed on fewer."""
    rng = np.random.default_rng(0)
    y = np.arange(36) % 2
    return rng.normal(size=(36, 60)) + 0.3 * y[:, None], y


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    """As in a process that has not searched yet."""
    monkeypatch.setattr(sklearn_hooks, "_told", set())
    sklearn_hooks._rehearsal.cache_clear()
    yield
    sklearn_hooks._rehearsal.cache_clear()


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of so small fits only wait for one another, where other processes hold the cores."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def left(monkeypatch) -> list[int]:
    """How many cells each search left to sklearn; a search that goes sklearn's way altogether does not appear."""
    counts: list[int] = []
    real = joblib_backend.run_ordinarily

    def counted(tasks, **options):
        counts.append(len(tasks))
        return real(tasks, **options)

    monkeypatch.setattr(joblib_backend, "run_ordinarily", counted)
    return counts


def assert_equal(ours, theirs) -> None:
    for name, wanted in theirs.cv_results_.items():
        if "time" not in name:
            np.testing.assert_array_equal(np.asarray(ours.cv_results_[name]), np.asarray(wanted), err_msg=name)
    assert ours.best_params_ == theirs.best_params_


# -- other releases ------------------------------------------------------------------------------


def _functions(owner):
    """All functions of a module or class, those behind decorators and in classes too."""
    for value in list(vars(owner).values()):
        if isinstance(value, type) and value.__module__ == getattr(owner, "__name__", None):
            yield from _functions(value)
        function = value.fget if isinstance(value, property) else value
        while isinstance(function, types.FunctionType | staticmethod | classmethod):
            if isinstance(function, types.FunctionType):
                yield function
            function = getattr(function, "__wrapped__", None) or getattr(function, "__func__", None)


def _recoded(code, old: str, new: str):
    """A function's code with a name in place of another."""

    def other(value):
        if isinstance(value, types.CodeType):
            return _recoded(value, old, new)
        if isinstance(value, tuple):  # names of arguments in a call
            return tuple(other(item) for item in value)
        return new if isinstance(value, str) and value == old else value

    names = {field: other(getattr(code, field)) for field in ("co_consts", "co_names", "co_varnames")}
    return code.replace(**names)


def rename(*paths: str, old: str, new: str):
    """A release in which the code of these modules or classes calls something by another name, and works as before."""

    def change(monkeypatch):
        for path in paths:
            owner = sklearn_hooks.Hook(path).find()
            for function in {id(f): f for f in _functions(owner)}.values():
                monkeypatch.setattr(function, "__code__", _recoded(function.__code__, old, new))
                if old in (defaults := function.__kwdefaults__ or {}):
                    changed = {new if name == old else name: value for name, value in defaults.items()}
                    monkeypatch.setattr(function, "__kwdefaults__", changed)
            for place in (owner, *(value for value in vars(owner).values() if isinstance(value, type))):
                if old in vars(place):
                    monkeypatch.setattr(place, new, vars(place)[old], raising=False)
                    monkeypatch.delattr(place, old)

    return change


def behind(path: str, wrapper):
    """A release in which a function is what ``wrapper`` makes of it."""

    def change(monkeypatch):
        owner, _, name = path.rpartition(".")
        monkeypatch.setattr(sklearn_hooks.Hook(owner).find(), name, wrapper(sklearn_hooks.Hook(path).find()))

    return change


def any_arguments(function):
    return lambda *args, **kwargs: function(*args, **kwargs)


def one_more_argument(function):
    return lambda self, params, more=None, *, most=None: function(self, params)


def another_result(function):
    @functools.wraps(function)
    def other(*args, **kwargs):
        return {**function(*args, **kwargs), "energy": 1.0}

    return other


def no_backend(parallel):
    return lambda **options: parallel(**options, backend="sequential")


BACKEND = "joblib.parallel.ParallelBackendBase"
RELEASES = {
    "task renamed": (rename(SEARCH, old="_fit_and_score", new="_fit_cell"), "there is no .*_fit_and_score"),
    "task takes others": (behind(f"{SEARCH}._fit_and_score", any_arguments), "_fit_and_score takes no estimator, X"),
    "task gives more": (behind(f"{SEARCH}._fit_and_score", another_result), r"other keys than expected \(energy\)"),
    "no number of the cell": (
        rename(SEARCH, "sklearn.model_selection._validation", old="split_progress", new="fold_progress"),
        "takes no split_progress",
    ),
    "routing renamed": (
        rename(SEARCH, old="_get_routed_params_for_fit", new="_route"),
        "there is no .*_get_routed_params_for_fit",
    ),
    "routing takes others": (
        behind(f"{SEARCH}.BaseSearchCV._get_routed_params_for_fit", any_arguments),
        "_get_routed_params_for_fit takes no self, params",
    ),
    "scorer renamed": (rename(SCORER, old="_score_func", new="_function"), "has no _score_func"),
    "response renamed": (rename(SCORER, old="_response_method", new="_asked"), "has no _response_method"),
    "no submit": (rename(BACKEND, old="submit", new="_submit"), "there is no .*ParallelBackendBase.submit"),
    "no retrieve_result": (rename(BACKEND, old="retrieve_result", new="_get"), "there is no .*retrieve_result"),
    "configure takes others": (behind(f"{BACKEND}.configure", any_arguments), "configure takes no self"),
    "start_call takes others": (behind(f"{BACKEND}.start_call", any_arguments), "start_call takes no self"),
    "effective_n_jobs takes others": (behind(f"{BACKEND}.effective_n_jobs", any_arguments), "effective_n_jobs takes"),
    "no active backend": (rename("joblib.parallel", old="get_active_backend", new="_now"), "no .*get_active_backend"),
    "batches renamed": (
        rename("joblib.parallel.BatchedCalls", old="items", new="calls"),
        "does not take results from a backend",
    ),
    "backend not asked": (behind(f"{SEARCH}.Parallel", no_backend), "asks no backend"),
}
if importlib.util.find_spec("sklearn.callback"):
    callbacks = [f"sklearn.callback.{name}" for name in ("_callback_support", "_callback_context")]
    RELEASES["callbacks renamed"] = (
        rename("sklearn.base", *callbacks, old="_skl_callbacks", new="_callbacks_"),
        "has no _skl_callbacks",
    )


@pytest.mark.parametrize("release", RELEASES)
def test_another_release_is_told_once_and_goes_sklearns_way(release, data, monkeypatch, left):
    X, y = data
    model = make_pipeline(StandardScaler(), RidgeClassifier())
    grid = {"ridgeclassifier__alpha": GRID["alpha"]}
    wanted = GridSearchCV(model, grid, cv=3, return_train_score=True).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_equal(FastGridSearchCV(model, grid, cv=3, return_train_score=True).fit(X, y), wanted)
    assert left == [3, 0]  # the rehearsal's, and none of the search's own
    left.clear()
    change, said = RELEASES[release]
    change(monkeypatch)
    sklearn_hooks._rehearsal.cache_clear()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        first, second = (FastGridSearchCV(model, grid, cv=3, return_train_score=True).fit(X, y) for _ in range(2))
    messages = [str(warning.message) for warning in heard]
    assert len(messages) == 1, messages
    assert re.search(said, messages[0])
    assert messages[0].endswith("so this search goes sklearn's ordinary way: same answer, slower")
    assert heard[0].category is UserWarning
    for ours in (first, second):
        assert_equal(ours, wanted)
    np.testing.assert_array_equal(second.predict(X), wanted.predict(X))


def test_more_arguments_that_may_be_left_out_are_no_reason(data, monkeypatch, left):
    X, y = data
    behind(f"{SEARCH}.BaseSearchCV._get_routed_params_for_fit", one_more_argument)(monkeypatch)
    wanted = GridSearchCV(RidgeClassifier(), GRID, cv=3).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_equal(FastGridSearchCV(RidgeClassifier(), GRID, cv=3).fit(X, y), wanted)
    assert left == [3, 0]


def test_what_the_ordinary_way_lacks_is_said(data, monkeypatch, tmp_path):
    X, y = data
    behind(f"{SEARCH}._fit_and_score", any_arguments)(monkeypatch)
    search = FastGridSearchCV(RidgeClassifier(), GRID, cv=3, journal=tmp_path / "j", on_cell=lambda progress: None)
    with pytest.warns(UserWarning, match=r"ordinary way, without journal and on_cell: same answer, slower"):
        search.fit(X, y)
    assert not (tmp_path / "j").exists()


def test_trees_kept_elsewhere_are_fitted_again(data, monkeypatch, left):
    X, y = data
    model, grid = HistGradientBoostingClassifier(random_state=0, early_stopping=False), {"max_iter": [2, 4]}
    wanted = GridSearchCV(model, grid, cv=2).fit(X, y)
    assert_equal(FastGridSearchCV(model, grid, cv=2).fit(X, y), wanted)
    assert left == [3, 0]
    rename(BOOSTING, old="_predictors", new="_trees")(monkeypatch)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for _ in range(2):
            assert_equal(FastGridSearchCV(model, grid, cv=2).fit(X, y), wanted)
    said = [str(warning.message) for warning in heard]
    assert len(said) == 1
    assert "does not keep its trees in _predictors" in said[0]
    assert left == [3, 0, 4, 4]


def test_groups_reach_heads_or_the_search_refuses(data, monkeypatch):
    """A head must not set rows aside image by image because a release routes groups in another way."""
    X, y = data
    groups = np.repeat(np.arange(18), 2)
    y = groups % 2
    rename(SEARCH, old="_get_routed_params_for_fit", new="_route")(monkeypatch)
    seen: list[np.ndarray] = []
    real = DenseHeadClassifier.prepare

    def spied(self, X, y, sample_weight=None, validation=None, groups=None):
        seen.append(groups)
        return real(self, X, y, sample_weight, validation, groups)

    monkeypatch.setattr(DenseHeadClassifier, "prepare", spied)
    head = DenseHeadClassifier(2, epochs=1, random_state=0)
    options = {"cv": StratifiedGroupKFold(2), "error_score": "raise"}
    with pytest.warns(UserWarning, match="ordinary way"):
        FastGridSearchCV(head, {"dropout": [0.1]}, **options).fit(X, y, groups=groups)
    assert seen == [None] * 3  # no rows are set aside, and groups change nothing
    for model, grid in ((clone(head).set_params(patience=1), {"dropout": [0.1]}), (head, {"checkpoint": [True]})):
        with pytest.raises(UsageError, match="another way of handing groups to a model"):
            FastGridSearchCV(model, grid, **options).fit(X, y, groups=groups)
    seen.clear()
    inside = make_pipeline(StandardScaler(), clone(head).set_params(patience=1))
    FastGridSearchCV(inside, {"denseheadclassifier__dropout": [0.1]}, **options).fit(X, y, groups=groups)
    assert len(seen) == 3
    assert all(own is not None for own in seen)


# -- what sklearn prints, and calls --------------------------------------------------------------


def _lines(text: str) -> list[str]:
    """What was printed, in any order, times aside."""
    return sorted(re.sub(r"\.*( *)time= *[\d.]+(s|min)$", r" time", line) for line in text.splitlines())


SEARCHES = {
    "grid": (GridSearchCV, FastGridSearchCV, {"param_grid": GRID}),
    "random": (
        RandomizedSearchCV,
        FastRandomizedSearchCV,
        {"param_distributions": GRID, "n_iter": 2, "random_state": 0},
    ),
    "halving": (HalvingGridSearchCV, FastHalvingGridSearchCV, {"param_grid": GRID, "factor": 2, "random_state": 0}),
}


@pytest.mark.parametrize("verbose", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("kind", SEARCHES)
def test_verbose_prints_what_sklearn_prints(kind, verbose, data, capsys, left):
    X, y = data
    theirs, ours, options = SEARCHES[kind]
    theirs(RidgeClassifier(), cv=3, verbose=verbose, **options).fit(X, y)
    wanted = capsys.readouterr().out
    ours(RidgeClassifier(), cv=3, verbose=verbose, **options).fit(X, y)
    assert _lines(capsys.readouterr().out) == _lines(wanted)
    assert set(left[1:]) == {0}
    assert bool(wanted) == bool(verbose)


@pytest.mark.parametrize("with_train", [False, True])
@pytest.mark.parametrize("jobs", [None, 2])
def test_verbose_of_several_metrics(with_train, jobs, data, capsys):
    X, y = data
    options = {"scoring": ["accuracy", "balanced_accuracy"], "refit": "accuracy", "return_train_score": with_train}
    GridSearchCV(RidgeClassifier(), GRID, cv=3, verbose=3, **options).fit(X, y)
    wanted = capsys.readouterr().out
    FastGridSearchCV(RidgeClassifier(), GRID, cv=3, verbose=3, n_jobs=jobs, **options).fit(X, y)
    assert _lines(capsys.readouterr().out) == _lines(wanted)
    assert len(wanted.splitlines()) == 10


class Recorder:
    """A callback that notes each task it hears of."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def setup(self, estimator, context):
        self.heard.append("setup")

    def teardown(self, estimator, context):
        self.heard.append("teardown")

    def on_fit_task_begin(self, estimator, context, **more):
        self.heard.append(f"begin {context.task_name} {context.task_id}")

    def on_fit_task_end(self, estimator, context, **more):
        self.heard.append(f"end {context.task_name} {context.task_id}")


@pytest.mark.skipif(not hasattr(GridSearchCV, "set_callbacks"), reason="callbacks came with sklearn 1.9")
def test_callbacks_hear_what_they_hear_in_sklearn(data, tmp_path, left):
    X, y = data
    heard = []
    for search in (GridSearchCV, FastGridSearchCV):
        recorder = Recorder()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fitted = search(LogisticRegression(), {"C": [0.01, 1.0, 100.0]}, cv=3).set_callbacks(recorder).fit(X, y)
        heard.append((recorder.heard, fitted))
    assert heard[0][0] == heard[1][0]
    assert sum("candidate-split-evaluation" in line for line in heard[0][0]) == 2 * 9
    assert_equal(heard[1][1], heard[0][1])
    assert left == []
    search = FastGridSearchCV(LogisticRegression(), {"C": [0.01, 1.0, 100.0]}, cv=3, journal=tmp_path / "j")
    with pytest.warns(UserWarning, match="callbacks are set, so .* without journal"):
        search.set_callbacks(Recorder()).fit(X, y)
    assert_equal(search, heard[0][1])
