"""All that the searches rest on and that sklearn or joblib have not promised to keep.

A search looks for each of these when it begins (:func:`missing_hook`). Where one is gone, or is not what it was, it
says so once and goes sklearn's ordinary way, to the same answer. A private name that the searches come to need belongs
into this module.

- ``_fit_and_score`` is what sklearn's search hands to joblib, once a cell, and with all that a cell is; its result is a
  dict of which sklearn makes ``cv_results_`` (:mod:`heads.search.joblib_backend`).
- ``_get_routed_params_for_fit`` says what a model's ``fit`` is given, groups among it.
- joblib's backends: ``submit`` gets batches with ``items``, ``retrieve_result`` gives their results.
- ``_score_func`` and ``_response_method`` tell what a scorer looks at.
- ``_skl_callbacks`` holds the callbacks of an estimator, from sklearn 1.9 on.
- ``_predictors`` holds the trees of a histogram boosting; it is there on a fitted one, and looked for then.
"""

from __future__ import annotations

import functools
import inspect
import pkgutil
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV

from featcache.system.foreign_errors import first_line

from .cells import Cell
from .joblib_backend import Answers, Task, run_ordinarily

_OPTIONS = (
    *("scorer", "train", "test", "verbose", "parameters", "fit_params", "score_params"),
    *("return_train_score", "error_score", "split_progress", "candidate_progress"),
)
_RESULT = {"fit_error", "test_scores", "train_scores", "n_test_samples", "fit_time", "score_time"}
_ROUTING = "sklearn.model_selection._search.BaseSearchCV._get_routed_params_for_fit"


@dataclass(frozen=True)
class Hook:
    """A private function or method, and arguments that it has to take.

    Attributes
    ----------
    path : str
        Module and names, dotted.
    takes : tuple of str
        Names of arguments.
    """

    path: str
    takes: tuple[str, ...] = ()

    def find(self) -> Any:
        """The object; raises an AttributeError or ImportError where it is gone."""
        return pkgutil.resolve_name(self.path)

    def fault(self) -> str:
        """What is wrong with it, in words; empty where nothing is."""
        try:
            parameters = inspect.signature(self.find()).parameters
        except (AttributeError, ImportError, TypeError, ValueError):
            return f"there is no {self.path}"
        unknown = [name for name in self.takes if name not in parameters]
        required = [
            name
            for name, parameter in parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        ]
        more = [name for name in required if name not in self.takes]
        if unknown or more:
            expected = f"takes no {', '.join(unknown)}" if unknown else f"wants {', '.join(more)}"
            return f"{self.path} {expected}"
        return ""


HOOKS = (
    Hook("sklearn.model_selection._search._fit_and_score", ("estimator", "X", "y", *_OPTIONS)),
    Hook(_ROUTING, ("self", "params")),
    Hook("joblib.parallel.get_active_backend"),
    Hook("joblib.parallel.ParallelBackendBase.submit", ("self", "func", "callback")),
    Hook("joblib.parallel.ParallelBackendBase.retrieve_result", ("self", "out", "timeout")),
    Hook("joblib.parallel.ParallelBackendBase.configure", ("self", "n_jobs", "parallel")),
    Hook("joblib.parallel.ParallelBackendBase.effective_n_jobs", ("self", "n_jobs")),
    Hook("joblib.parallel.ParallelBackendBase.start_call", ("self",)),
)
_told: set[str] = set()


def missing_hook() -> str:
    """What of sklearn or joblib is not as the searches need it, in words; empty where all is."""
    for hook in HOOKS:
        if fault := hook.fault():
            return fault
    if fault := _scorer_fault() or _callback_fault():
        return fault
    return _rehearsal()


def hands_on_groups() -> bool:
    """Whether what ``fit`` is given passes through the method that the searches add groups in."""
    return not Hook(_ROUTING, ("self", "params")).fault()


def has_callbacks(estimators: Iterable[Any]) -> bool:
    """Whether any of these estimators, or of those within them, has callbacks of sklearn's."""
    models = [model for model in estimators if isinstance(model, BaseEstimator)]
    inner = [part for model in models for part in model.get_params(deep=True).values()]
    return any(getattr(part, "_skl_callbacks", None) for part in (*models, *inner))


def keep_first_trees(model: Any, size: int) -> None:
    """Cut a fitted histogram boosting down to its first trees; raises where this sklearn keeps them elsewhere."""
    trees = getattr(model, "_predictors", None)
    if isinstance(trees, list):
        model._predictors = trees[:size]
    if trees is None or model.n_iter_ != size:
        reason = f"{type(model).__name__} does not keep its trees in _predictors"
        warn_once(f"{reason}, so each number of trees is fitted for itself: the same answer, slower")
        raise AttributeError(reason)


def warn_once(sentence: str) -> None:
    """Warn, unless the very same was said before in this process."""
    if sentence not in _told:
        _told.add(sentence)
        warnings.warn(sentence, UserWarning, stacklevel=2)


def _scorer_fault() -> str:
    scorer = make_scorer(accuracy_score)
    if getattr(scorer, "_score_func", None) is not accuracy_score:
        return "a scorer of sklearn has no _score_func"
    if getattr(scorer, "_response_method", None) != "predict":
        return "a scorer of sklearn has no _response_method"
    return ""


class _Callback:
    """One that does nothing."""

    def setup(self, estimator: Any, context: Any) -> None: ...

    def teardown(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_begin(self, estimator: Any, context: Any, **more: Any) -> None: ...

    def on_fit_task_end(self, estimator: Any, context: Any, **more: Any) -> None: ...


def _callback_fault() -> str:
    search = GridSearchCV(DummyClassifier(), {})
    if not hasattr(search, "set_callbacks"):
        return ""
    try:
        search.set_callbacks(_Callback())
    except Exception as error:  # noqa: BLE001 - whatever another release objects to
        return f"callbacks of sklearn are not what they were ({first_line(error)})"
    return "" if has_callbacks([search]) else "an estimator with callbacks has no _skl_callbacks"


@functools.cache
def _rehearsal() -> str:
    """A search of four cells, of which one is answered and three are run: what goes wrong, in words."""
    made_up = {"test_scores": 0.25, "train_scores": 0.75, "n_test_samples": 2, "fit_error": None}
    made_up |= {"fit_time": 0.0, "score_time": 0.0}
    faults: list[str] = []

    def answer(tasks: Sequence[Task]) -> dict[Cell, dict[str, Any]]:
        lacking = [name for name in _OPTIONS if name not in tasks[0].options]
        if lacking:
            faults.append(f"sklearn's search hands over its cells without {', '.join(lacking)}")
        keys = set(run_ordinarily(tasks[:1])[0])
        if keys != _RESULT:
            changed = ", ".join(sorted(keys ^ _RESULT))
            faults.append(f"a cell's result in sklearn's search has other keys than expected ({changed})")
        return {(1, 0): made_up}

    search = GridSearchCV(
        DummyClassifier(), {"strategy": ["most_frequent", "prior"]}, cv=2, refit=False, return_train_score=True
    )
    backend = Answers(answer)
    try:
        routed = search._get_routed_params_for_fit({})
        routed.estimator.fit.setdefault("groups", None)
        with backend.for_the_next_parallel():
            search.fit(np.zeros((4, 1)), [0, 1, 0, 1])
        scores = [search.cv_results_[f"split{fold}_test_score"][number] for number in (0, 1) for fold in (0, 1)]
    except Exception as error:  # noqa: BLE001 - whatever another release objects to
        return faults[0] if faults else f"sklearn's search does not take results from a backend ({first_line(error)})"
    if not faults and scores != [0.5, 0.5, 0.25, 0.5]:
        faults.append("sklearn's search asks no backend of joblib for its cells' results")
    return faults[0] if faults else ""
