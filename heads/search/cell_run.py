"""One evaluation of a search, all its candidates on all its folds: out of the journal, shared, on a cluster, or one by
one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import sklearn
from sklearn.pipeline import Pipeline

import featcache
from featcache.errors import UsageError
from featcache.features.stored_rows import StoredRows
from featcache.system import memory as memory_use

from ..training.checked_rows import checked_weight
from .cell_scoring import (
    Result,
    answers_the_question,
    deciding,
    fitted_alone,
    looks_at_labels,
    looks_at_predictions,
    scored,
)
from .cells import Cell, FittedCell, OnEstimate, Problem
from .joblib_backend import Task
from .journal import Journal
from .progress_lines import progress_lines
from .shared_fits import fit_cells, portions
from .worker_processes import affordable_processes

_PORTIONS = 2  # for each worker of a cluster, so that none waits long for the slowest


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


@dataclass(frozen=True)
class SearchRequest:
    """What a search was asked besides what sklearn hands over with each cell.

    Attributes
    ----------
    scoring, refit, n_jobs : as in sklearn's searches
    groups_name : str
        What the model's ``fit`` calls groups; empty where it takes none.
    memory : int or None
        Bytes that the search may hold.
    journal : Journal or None
        Where finished cells are kept.
    cluster : Dask client or None
        Whose workers fit the cells.
    on_cell, on_estimate : callable or None
        Who wants to hear of finished cells, and of what large heads will take.
    """

    scoring: Any
    refit: Any
    n_jobs: int | None
    groups_name: str
    memory: int | None
    journal: Journal | None
    cluster: Any
    on_cell: OnCell | None
    on_estimate: OnEstimate | None


def results_of(tasks: Sequence[Task], request: SearchRequest) -> dict[Cell, Result]:
    """Results of as many cells as can be had before sklearn's own loop."""
    candidates, folds = tasks[0].counts
    numbered = {task.cell: task for task in tasks}
    whole = set(numbered) == {(c, s) for c in range(candidates) for s in range(folds)}
    if not whole or tasks[0].options["score_params"]:
        return {}
    weight, groups, plain = _besides(tasks[0], request.groups_name)
    return _Evaluation(numbered, request, weight, groups).results() if plain else {}


def _besides(task: Task, groups_name: str) -> tuple[np.ndarray | None, np.ndarray | None, bool]:
    """Sample weights, groups, and whether they are all that ``fit`` is given besides."""
    estimator, X, _ = task.arguments
    given = {name: value for name, value in (task.options["fit_params"] or {}).items() if value is not None}
    groups = given.pop(groups_name, None)
    step = f"{estimator.steps[-1][0]}__" if isinstance(estimator, Pipeline) else ""
    weight = given.pop(f"{step}sample_weight", None)
    return None if weight is None else checked_weight(weight, X, None), groups, not given


class _Evaluation:
    """The cells of one evaluation, and the results that are there."""

    def __init__(
        self, tasks: Mapping[Cell, Task], request: SearchRequest, weight: np.ndarray | None, groups: np.ndarray | None
    ) -> None:
        self._tasks, self._request = tasks, request
        candidates, folds = tasks[0, 0].counts
        estimator, X, self._y = tasks[0, 0].arguments
        self._options = tasks[0, 0].options
        asked = request.memory or memory_use.limit()
        self._jobs = joblib.effective_n_jobs(request.n_jobs) if request.n_jobs is not None else 1
        self._problem = Problem(
            estimator,
            [tasks[number, 0].options["parameters"] for number in range(candidates)],
            X,
            np.asarray(self._y),
            [(tasks[0, fold].options["train"], tasks[0, fold].options["test"]) for fold in range(folds)],
            weight,
            limit=asked or memory_use.resident() + memory_use.available() // 2,
            jobs=max(self._jobs, os.cpu_count() or 1),
            transparent=looks_at_predictions(request.scoring),
            limited=asked is not None,
            by_label=looks_at_labels(request.scoring),
            on_train=self._options["return_train_score"],
            on_estimate=request.on_estimate,
            groups=groups,
        )
        self._keys = self._journal_keys() if request.journal is not None else {}
        self._results: dict[Cell, Result] = {}

    def results(self) -> dict[Cell, Result]:
        """By all ways that there are, the quickest first."""
        self._from_journal()
        if self._request.cluster is not None:
            for cell, result in self._on_cluster():
                self._keep(cell, result)
        fit_cells(self._problem, self._left(), self._score)
        if self._jobs > 1 or self._request.journal is not None or self._request.on_cell is not None:
            for cell, result in self._one_by_one():
                self._keep(cell, result)
        return self._results

    def _left(self) -> list[Cell]:
        return [cell for cell in sorted(self._tasks) if cell not in self._results]

    def _keep(self, cell: Cell, result: Result, known: bool = False) -> None:
        self._results[cell] = result
        options, request = self._tasks[cell].options, self._request
        if request.journal is not None and not known:
            request.journal.add(
                self._keys[cell], {name: value for name, value in result.items() if name != "fit_error"}
            )
        for line in progress_lines(options["verbose"], options, result):
            print(line)  # noqa: T201 - as sklearn's own verbose does
        if request.on_cell is not None:
            score = deciding(result["test_scores"], request.refit)
            request.on_cell(
                Progress(len(self._results), len(self._tasks), options["parameters"], cell[1], score, known)
            )

    def _score(self, fitted: FittedCell) -> None:
        result = scored(fitted, self._problem, self._options["scorer"])
        if result is not None:
            self._keep(fitted.cell, result)

    def _from_journal(self) -> None:
        for cell, key in self._keys.items():
            result = self._request.journal.get(key) if self._request.journal is not None else None
            if result is not None and answers_the_question(result, self._request.scoring, self._problem.on_train):
                self._keep(cell, {**result, "fit_error": None}, known=True)

    def _on_cluster(self) -> Iterator[tuple[Cell, Result]]:
        """Cells fitted on the workers of a Dask cluster. The data goes there once; what comes back is numbers."""
        problem, client = self._problem, self._request.cluster
        workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        asked = _Asked(
            problem.estimator,
            problem.candidates,
            problem.transparent,
            problem.by_label,
            problem.on_train,
            self._request.memory or memory_use.limit(),
            self._options["scorer"],
            self._options["fit_params"],
        )
        # Arrays are arguments of their own: joblib sends each large one to the workers once.
        rows = (problem.X, self._y, problem.folds, problem.weight, problem.groups)
        parts = portions(problem, self._left(), _PORTIONS * workers)
        with joblib.parallel_config("dask", client=client):
            run = joblib.Parallel(-1, return_as="generator_unordered", batch_size=1)
            for results in run(joblib.delayed(_portion)(asked, *rows, cells) for cells in parts):
                yield from results

    def _one_by_one(self) -> Iterator[tuple[Cell, Result]]:
        """Cells fitted one by one, as many side by side as was asked; those that fail are left out."""
        problem, options, left = self._problem, self._options, self._left()
        besides = options["scorer"], options["fit_params"], problem.on_train
        fit = joblib.delayed(fitted_alone)
        jobs = affordable_processes(min(self._jobs, problem.jobs), problem.room, getattr(problem.X, "nbytes", 0))
        ready = joblib.Parallel(jobs, pre_dispatch="2*n_jobs", return_as="generator")(
            fit(problem.candidate(number), problem.X, self._y, problem.folds[fold], *besides) for number, fold in left
        )
        for cell, result in zip(left, ready, strict=True):
            if result is not None:
                yield cell, result

    def _journal_keys(self) -> dict[Cell, str]:
        """What each cell is found by in the journal: all that decides its result."""
        problem = self._problem
        X = problem.X.identity if isinstance(problem.X, StoredRows) else problem.X
        question = [self._request.scoring, problem.on_train, sklearn.__version__, featcache.__version__]
        groups = [] if problem.groups is None else [problem.groups]
        try:
            data = joblib.hash([X, problem.y, problem.weight, *question, *groups])
            folds = [joblib.hash(fold) for fold in problem.folds]
            models = [joblib.hash([type(model).__qualname__, model.get_params()]) for model in problem.models]
        except MemoryError:
            raise
        except Exception as error:
            raise UsageError(
                f"the journal has to recognise a cell, and something of this search cannot be written down ({error}); "
                "give functions that are defined in a module, or no journal"
            ) from error
        return {
            (number, fold): joblib.hash([data, models[number], folds[fold]]) for number, fold in sorted(self._tasks)
        }


@dataclass(frozen=True)
class _Asked:
    """What a worker of a cluster has to know besides the data."""

    estimator: Any
    candidates: Sequence[Mapping[str, Any]]
    transparent: bool
    by_label: bool
    on_train: bool
    memory: int | None
    scorers: Any
    fit_params: Any


def _portion(
    asked: _Asked,
    X: Any,
    y: Any,
    folds: Sequence[Any],
    weight: np.ndarray | None,
    groups: np.ndarray | None,
    cells: Sequence[Cell],
) -> list[tuple[Cell, Result]]:
    """Runs on a worker: results of these cells, without those that fail."""
    problem = Problem(
        asked.estimator,
        asked.candidates,
        X,
        np.asarray(y),
        folds,
        weight,
        limit=asked.memory or memory_use.resident() + memory_use.available() // 4,
        jobs=1,
        transparent=asked.transparent,
        limited=asked.memory is not None,
        by_label=asked.by_label,
        on_train=asked.on_train,
        groups=groups,
    )
    results: dict[Cell, Result] = {}

    def score(fitted: FittedCell) -> None:
        result = scored(fitted, problem, asked.scorers)
        if result is not None:
            results[fitted.cell] = result

    fit_cells(problem, cells, score)
    for number, fold in (cell for cell in cells if cell not in results):
        result = fitted_alone(
            problem.candidate(number), X, y, folds[fold], asked.scorers, asked.fit_params, asked.on_train
        )
        if result is not None:
            results[number, fold] = result
    return list(results.items())
