"""``FastGridSearchCV``: sklearn's ``GridSearchCV``, the same answer sooner.

sklearn keeps the search: candidates, folds, scorers, ranks, refit. Only its cells, one candidate on one fold each, are
computed here first, by :mod:`heads.search.shared_fits`, or taken from the journal of a search that was cut off. sklearn's own loop
then hands every cell to a joblib backend, which answers with what is there and runs the rest.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import numbers
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import sklearn
from sklearn.base import is_classifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV, check_cv, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable
from sklearn.utils.validation import _check_sample_weight

import featcache
from featcache.errors import UsageError
from featcache.features.stored_rows import StoredRows
from featcache.system import memory as memory_use

from ..training.epoch_classifier import EpochClassifier, rows_of
from .joblib_backend import Answers, Splits
from .journal import Journal
from .shared_fits import Cell, FittedCell, OnEstimate, Problem, fit_cells, may_have_a_way, portions

_log = logging.getLogger(__name__)
_PORTIONS = 2  # for each worker of a cluster, so that none waits long for the slowest
_WORKER = 400_000_000  # bytes of a process that fits models for us, sklearn and the like in it


@dataclass(frozen=True)
class Progress:
    """A finished cell, and how far the search is; ``score`` is that of the metric that decides."""

    done: int
    cells: int
    params: Mapping[str, Any]
    fold: int
    score: float
    from_journal: bool


OnCell = Callable[[Progress], None]


class _Fast:
    """What the searches below add to sklearn's."""

    estimator: Any
    scoring: Any
    cv: Any
    refit: Any
    n_jobs: int | None
    return_train_score: bool
    error_score: Any
    journal: str | os.PathLike[str] | None
    restart: bool
    memory: int | None
    on_cell: OnCell | None
    on_estimate: OnEstimate | None = None  # no parameter: who wants to hear it sets it on the search

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """As sklearn's own ``fit``."""
        search: Any = super()
        helped = self.journal is not None or self.on_cell is not None or may_have_a_way(self.estimator, self)
        if y is None or not helped or hasattr(self.cv, "__next__"):
            return search.fit(X, y, **params)
        self._call = _Call(*indexable(X, y))
        self._call.cluster = _cluster()
        try:
            with contextlib.ExitStack() as stack:
                if self.journal is not None:
                    self._call.journal = stack.enter_context(Journal(self.journal, self.restart))
                # sklearn's loop takes the backend that is in force when it is set up; _run_search lets go of it again.
                self._call.in_force = stack.enter_context(contextlib.ExitStack())
                self._call.in_force.enter_context(joblib.parallel_config(self._call.backend))
                return search.fit(X, y, **params)
        finally:
            del self._call

    def _get_scorers(self) -> Any:
        found = super()._get_scorers()  # type: ignore[misc]
        if hasattr(self, "_call"):
            self._call.scorers = found[0]
        return found

    def _get_routed_params_for_fit(self, params: Any) -> Any:
        routed = super()._get_routed_params_for_fit(params)  # type: ignore[misc]
        if (name := self._groups_name()) and params.get("groups") is not None:
            routed.estimator.fit.setdefault(name, np.asarray(params["groups"]))
        if hasattr(self, "_call"):
            self._call.routed = routed
        return routed

    def _run_search(self, evaluate_candidates: Callable[..., Any], callback_ctx: Any = None) -> None:
        search: Any = super()
        takes_context = "callback_ctx" in inspect.signature(search._run_search).parameters
        context = {"callback_ctx": callback_ctx} if takes_context else {}
        if not hasattr(self, "_call"):
            search._run_search(evaluate_candidates, **context)
            return
        self._call.in_force.close()

        def evaluate(candidate_params: Any, cv: Any = None, more_results: Any = None, **more: Any) -> Any:
            candidates = list(candidate_params)
            splitter = cv or check_cv(self.cv, self._call.y, classifier=is_classifier(self.estimator))
            splits = Splits(splitter, self._call.X, self._call.y, self._call.routed.splitter.split)
            self._call.backend.answers = self._compute(candidates, splits.folds)
            self._call.backend.folds = len(splits.folds)
            return evaluate_candidates(candidates, cv=splits, more_results=more_results, **more)

        search._run_search(evaluate, **context)

    # -- cells ---------------------------------------------------------------------------------

    def _compute(self, candidates: Sequence[Mapping[str, Any]], folds: Sequence[Any]) -> dict[Cell, dict[str, Any]]:
        """Results of as many cells as can be had before sklearn's own loop."""
        call, answers = self._call, dict[Cell, dict[str, Any]]()
        weight, groups, plain = self._besides()
        if call.routed.scorer.score or not plain:
            return answers
        asked = self.memory or memory_use.limit()
        limit = asked or memory_use.resident() + memory_use.available() // 2
        jobs = joblib.effective_n_jobs(self.n_jobs) if self.n_jobs is not None else 1
        problem = Problem(
            self.estimator, candidates, call.X, np.asarray(call.y), folds, weight, limit,
            max(jobs, os.cpu_count() or 1), transparent=_transparent(self.scoring), limited=asked is not None,
            by_label=_by_label(self.scoring), on_train=self.return_train_score,
            on_estimate=self.on_estimate, groups=groups,
        )  # fmt: skip
        todo = [(c, s) for c in range(len(candidates)) for s in range(len(folds))]
        keys = self._keys(problem, todo) if call.journal is not None else {}

        def keep(cell: Cell, result: dict[str, Any], known: bool = False) -> None:
            answers[cell] = result
            if call.journal is not None and not known:
                call.journal.add(keys[cell], {name: value for name, value in result.items() if name != "fit_error"})
            if self.on_cell is not None:
                score = _deciding(result["test_scores"], self.refit)
                self.on_cell(Progress(len(answers), len(todo), candidates[cell[0]], cell[1], score, known))

        for cell, key in keys.items():
            found = call.journal.get(key) if call.journal is not None else None
            if found is not None and _fits(found, call.scorers, self.return_train_score):
                keep(cell, {**found, "fit_error": None}, known=True)

        def score(fitted: FittedCell) -> None:
            result = _scored(fitted, problem, call.scorers, self.return_train_score)
            if result is not None:
                keep(fitted.cell, result)

        left = [cell for cell in todo if cell not in answers]
        if call.cluster is not None:
            for cell, result in self._far(problem, left):
                keep(cell, result)
            left = [cell for cell in left if cell not in answers]
        fit_cells(problem, left, score)
        left = [cell for cell in left if cell not in answers]
        if jobs > 1 or call.journal is not None or self.on_cell is not None:
            for cell, result in self._ordinary(problem, left, jobs):
                keep(cell, result)
        return answers

    def _besides(self) -> tuple[np.ndarray | None, np.ndarray | None, bool]:
        """Sample weights, groups, and whether they are all that ``fit`` was given besides."""
        given = {name: value for name, value in self._call.routed.estimator.fit.items() if value is not None}
        groups = given.pop(self._groups_name(), None)
        step = f"{self.estimator.steps[-1][0]}__" if isinstance(self.estimator, Pipeline) else ""
        weight = given.pop(f"{step}sample_weight", None)
        return None if weight is None else _check_sample_weight(weight, self._call.X), groups, not given

    def _groups_name(self) -> str:
        """What the model's ``fit`` calls groups; empty where it takes none, or candidates replace it."""
        model, name = self.estimator, "groups"
        if isinstance(model, Pipeline):
            name, model = f"{model.steps[-1][0]}__groups", model.steps[-1][1]
            grids = getattr(self, "param_grid", None) or getattr(self, "param_distributions", None) or {}
            if any(
                name.removesuffix("__groups") in grid for grid in ([grids] if isinstance(grids, Mapping) else grids)
            ):
                return ""
        return name if isinstance(model, EpochClassifier) else ""

    def _far(self, problem: Problem, left: Sequence[Cell]) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Cells fitted on the workers of a Dask cluster. The data goes there once; what comes back is numbers."""
        call = self._call
        workers = max(1, len(call.cluster.scheduler_info(n_workers=-1)["workers"]))
        tasks = (
            joblib.delayed(_portion)(
                problem.X, call.y, problem.estimator, problem.candidates, problem.folds, problem.weight,
                problem.groups, problem.transparent, problem.by_label, self.memory or memory_use.limit(), call.scorers, call.routed.estimator.fit, self.return_train_score, cells,
            )
            for cells in portions(problem, left, _PORTIONS * workers)
        )  # fmt: skip
        with joblib.parallel_config("dask", client=call.cluster):
            for results in joblib.Parallel(-1, return_as="generator_unordered", batch_size=1)(tasks):
                yield from results

    def _ordinary(self, problem: Problem, left: Sequence[Cell], jobs: int) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Cells fitted one by one, ``jobs`` side by side; those that fail are left out."""
        fit_params = self._call.routed.estimator.fit
        tasks = (
            joblib.delayed(_fit_one)(
                problem.candidate(cell[0]), problem.X, self._call.y, problem.folds[cell[1]], self._call.scorers, fit_params,
                self.return_train_score,
            )
            for cell in left
        )  # fmt: skip
        jobs = min(jobs, problem.jobs_of(_WORKER + 2 * getattr(problem.X, "nbytes", 0)))
        done = joblib.Parallel(jobs, pre_dispatch="2*n_jobs", return_as="generator")(tasks)
        for cell, result in zip(left, done, strict=True):
            if result is not None:
                yield cell, result

    def _keys(self, problem: Problem, todo: Sequence[Cell]) -> dict[Cell, str]:
        """What each cell is found by in the journal: all that decides its result."""
        try:
            data = joblib.hash([
                problem.X.identity if isinstance(problem.X, StoredRows) else problem.X,
                problem.y, problem.weight, self.scoring, self.return_train_score, sklearn.__version__, featcache.__version__,
                *([] if problem.groups is None else [problem.groups]),
            ])  # fmt: skip
            folds = [joblib.hash(fold) for fold in problem.folds]
            prints = [joblib.hash([type(model).__qualname__, model.get_params()]) for model in problem.models]
        except MemoryError:
            raise
        except Exception as error:
            raise UsageError(
                f"the journal has to recognise a cell, and something of this search cannot be written down ({error}); "
                "give functions that are defined in a module, or no journal"
            ) from error
        return {(c, s): joblib.hash([data, prints[c], folds[s]]) for c, s in todo}


class FastGridSearchCV(_Fast, GridSearchCV):
    """``sklearn.model_selection.GridSearchCV``, exact and sooner where it can be.

    All of sklearn's parameters, attributes and behaviour, and these:

    Parameters
    ----------
    journal : path, optional
        File of finished cells, kept as they finish. A search that was killed goes on from it.
    restart : bool
        Forget what the journal holds.
    memory : int, optional
        Bytes that this process and its workers may hold at their peak, all told; None is what they hold already and
        half of what is free.
    on_cell : callable, optional
        Called with a :class:`Progress` after each cell.

    Notes
    -----
    ``fit_time`` of cells that share a training is their share of it. Of models that are fitted on fewer columns, a fit whose
    labels could hang on rounding, or on where a solver stops, is done again in the ordinary way (:mod:`heads.search.projection_check`).
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        journal: str | os.PathLike[str] | None = None,
        restart: bool = False,
        memory: int | None = None,
        on_cell: OnCell | None = None,
    ) -> None:
        super().__init__(
            estimator, param_grid, scoring=scoring, n_jobs=n_jobs, refit=refit, cv=cv, verbose=verbose,
            pre_dispatch=pre_dispatch, error_score=error_score, return_train_score=return_train_score,
        )  # fmt: skip
        self.journal = journal
        self.restart = restart
        self.memory = memory
        self.on_cell = on_cell


class FastRandomizedSearchCV(_Fast, RandomizedSearchCV):
    """``sklearn.model_selection.RandomizedSearchCV``, sooner; see :class:`FastGridSearchCV`."""

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        journal: str | os.PathLike[str] | None = None,
        restart: bool = False,
        memory: int | None = None,
        on_cell: OnCell | None = None,
    ) -> None:
        super().__init__(
            estimator, param_distributions, n_iter=n_iter, scoring=scoring, n_jobs=n_jobs, refit=refit, cv=cv,
            verbose=verbose, pre_dispatch=pre_dispatch, random_state=random_state, error_score=error_score,
            return_train_score=return_train_score,
        )  # fmt: skip
        self.journal = journal
        self.restart = restart
        self.memory = memory
        self.on_cell = on_cell


class FastHalvingGridSearchCV(_Fast, HalvingGridSearchCV):
    """``sklearn.model_selection.HalvingGridSearchCV``, sooner; see :class:`FastGridSearchCV`.

    A heuristic: what looks poor with few resources is dropped, though it might have won with more.
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        factor: float = 3,
        resource: str = "n_samples",
        max_resources: Any = "auto",
        min_resources: Any = "exhaust",
        aggressive_elimination: bool = False,
        cv: Any = 5,
        scoring: Any = None,
        refit: Any = True,
        error_score: Any = np.nan,
        return_train_score: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        journal: str | os.PathLike[str] | None = None,
        restart: bool = False,
        memory: int | None = None,
        on_cell: OnCell | None = None,
    ) -> None:
        super().__init__(
            estimator, param_grid, factor=factor, resource=resource, max_resources=max_resources,
            min_resources=min_resources, aggressive_elimination=aggressive_elimination, cv=cv, scoring=scoring,
            refit=refit, error_score=error_score, return_train_score=return_train_score, random_state=random_state,
            n_jobs=n_jobs, verbose=verbose,
        )  # fmt: skip
        self.journal = journal
        self.restart = restart
        self.memory = memory
        self.on_cell = on_cell


# -- between sklearn's loop and the cells ------------------------------------------------------------


class _Call:
    """What one ``fit`` holds: the data as sklearn sees it, and the way to answer sklearn."""

    def __init__(self, X: Any, y: Any) -> None:
        self.X, self.y = X, y
        self.backend = Answers()
        self.journal: Journal | None = None
        self.in_force: Any = None
        self.scorers: Any = None
        self.routed: Any = None
        self.cluster: Any = None


def _cluster() -> Any | None:
    """The client of the Dask cluster that ``joblib.parallel_config("dask")`` has put in force, or None."""
    backend, _ = joblib.parallel.get_active_backend()
    return getattr(backend, "client", None) if type(backend).__name__ == "DaskDistributedBackend" else None


def _portion(
    X: Any, y: Any, estimator: Any, candidates: Sequence[Mapping[str, Any]], folds: Sequence[Any],
    weight: np.ndarray | None, groups: np.ndarray | None, transparent: bool, by_label: bool, memory: int | None, scorers: Any, fit_params: Any,
    return_train_score: bool, cells: Sequence[Cell],
) -> list[tuple[Cell, dict[str, Any]]]:  # fmt: skip
    """Runs on a worker: results of these cells, without those that fail."""
    limit = memory or memory_use.resident() + memory_use.available() // 4
    problem = Problem(
        estimator, candidates, X, np.asarray(y), folds, weight, limit, 1, transparent=transparent,
        limited=memory is not None, by_label=by_label, on_train=return_train_score, groups=groups,
    )  # fmt: skip
    found: dict[Cell, dict[str, Any]] = {}

    def score(fitted: FittedCell) -> None:
        result = _scored(fitted, problem, scorers, return_train_score)
        if result is not None:
            found[fitted.cell] = result

    fit_cells(problem, cells, score)
    for cell in cells:
        if cell not in found:
            result = _fit_one(problem.candidate(cell[0]), X, y, folds[cell[1]], scorers, fit_params, return_train_score)
            if result is not None:
                found[cell] = result
    return list(found.items())


def _scored(fitted: FittedCell, problem: Problem, scorers: Any, return_train_score: bool) -> dict[str, Any] | None:
    """The result of a fitted cell as sklearn writes it down; None where a scorer fails, for sklearn to say so."""
    started = time.perf_counter()
    train, test = problem.folds[fitted.cell[1]]
    try:
        scores = _plain(scorers(fitted.model, rows_of(fitted.X, fitted.test), problem.y[test]))
        result = {"test_scores": scores, "n_test_samples": len(test), "fit_error": None}
        seconds = time.perf_counter() - started
        if return_train_score:
            rows = rows_of(fitted.X, fitted.train)
            result["train_scores"] = _plain(scorers(fitted.model, rows, problem.y[train]))
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        _log.debug("left to sklearn: %s", error)
        return None
    return {**result, "fit_time": fitted.seconds, "score_time": seconds}


def _fit_one(
    model: Any, X: Any, y: Any, fold: Any, scorers: Any, fit_params: Any, return_train_score: bool
) -> dict[str, Any] | None:
    """A cell in the ordinary way, None where it fails."""
    try:
        found = cross_validate(
            model, X, y, cv=[fold], scoring=scorers, params=fit_params or None, error_score="raise",
            return_train_score=return_train_score,
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - whatever a model raises is sklearn's to report, by error_score
        _log.debug("left to sklearn: %s", error)
        return None
    result: dict[str, Any] = {name: float(found[name][0]) for name in ("fit_time", "score_time")}
    for part in ("test", "train") if return_train_score else ("test",):
        scores = {name[len(part) + 1 :]: float(v[0]) for name, v in found.items() if name.startswith(f"{part}_")}
        result[f"{part}_scores"] = scores["score"] if set(scores) == {"score"} else scores
    return {**result, "n_test_samples": len(fold[1]), "fit_error": None}


def _plain(scores: Any) -> Any:
    """Scores as numbers; a ValueError where they are none."""
    if isinstance(scores, dict):
        return {name: _plain(value) for name, value in scores.items()}
    value = scores.item() if hasattr(scores, "item") else scores
    if not isinstance(value, numbers.Number):
        raise ValueError(f"a scorer gave {value!r}")
    return value


def _fits(found: Mapping[str, Any], scorers: Any, with_train: bool) -> bool:
    """Whether a cell out of a journal, which anybody may have written, has the scores that this search asks for."""
    names = getattr(scorers, "_scorers", None)
    parts = [found.get(part) for part in (("test_scores", "train_scores") if with_train else ("test_scores",))]
    return all(
        part is not None and (names is None or (isinstance(part, dict) and set(part) == set(names))) for part in parts
    )


def _deciding(scores: Any, refit: Any) -> float:
    if isinstance(scores, dict):
        return float(scores[refit] if isinstance(refit, str) and refit in scores else next(iter(scores.values())))
    return float(scores)


def _transparent(scoring: Any) -> bool:
    """Whether scorers look at predictions and labels alone, and so may be shown rows in other coordinates."""
    if isinstance(scoring, dict):
        return all(_transparent(value) for value in scoring.values())
    if isinstance(scoring, list | tuple | set):
        return all(_transparent(value) for value in scoring)
    return scoring is None or isinstance(scoring, str) or hasattr(scoring, "_score_func")


def _by_label(scoring: Any) -> bool:
    """Whether scorers ask a model for its labels alone."""
    if isinstance(scoring, dict):
        return all(_by_label(value) for value in scoring.values())
    if isinstance(scoring, list | tuple | set):
        return all(_by_label(value) for value in scoring)
    if isinstance(scoring, str):
        scoring = get_scorer(scoring)
    return scoring is None or getattr(scoring, "_response_method", None) == "predict"
