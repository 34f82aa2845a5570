"""How sklearn's search gets at results that were had otherwise: a joblib backend that takes its tasks and answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib

from .cells import Cell

# Looked up, not imported: where joblib has it no longer, the ordinary way is taken (heads.search.sklearn_hooks).
_Backend: Any = getattr(joblib.parallel, "ParallelBackendBase", object)


@dataclass(frozen=True)
class Task:
    """A cell as sklearn hands it to joblib: what to call, and with what."""

    function: Callable[..., dict[str, Any]]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    @property
    def cell(self) -> Cell:
        """Which candidate and fold this is, as sklearn numbers them for its messages."""
        return self.options["candidate_progress"][0], self.options["split_progress"][0]

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of candidates and folds of the search that this is part of."""
        return self.options["candidate_progress"][1], self.options["split_progress"][1]


Results = Mapping[Cell, dict[str, Any]]


class Answers(_Backend):
    """A joblib backend that gathers all tasks of a call, has them answered, and runs those left in the ordinary way.

    Parameters
    ----------
    answer : callable
        Gets the tasks, and gives the results of as many cells as it can.
    n_jobs, pre_dispatch : int or str, optional
        How the tasks that are left are run, as ``joblib.Parallel`` takes them.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Task]], Results],
        n_jobs: int | None = None,
        pre_dispatch: Any = "2*n_jobs",
    ) -> None:
        super().__init__(nesting_level=0)
        self._answer = answer
        self._ordinary = {"n_jobs": n_jobs, "pre_dispatch": pre_dispatch}
        self._config: Any = None
        self.start_call()

    @contextlib.contextmanager
    def for_the_next_parallel(self) -> Iterator[None]:
        """Be the backend of the ``joblib.Parallel`` that is set up next on this thread, and of no other."""
        self._config = joblib.parallel_config(self)
        try:
            yield
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._config is not None:
            self._config.unregister()
            self._config = None

    # -- joblib's contract -----------------------------------------------------------------------

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """Called by the ``Parallel`` that took this backend: what else uses joblib from now on takes its own."""
        self._let_go()
        self.parallel = parallel
        return self.effective_n_jobs(n_jobs)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Two: where it is one, joblib runs tasks itself, and asks no backend."""
        return 2

    def start_call(self) -> None:
        """Called before the tasks of each call."""
        self._tasks: list[Task] = []
        self._results: list[Any] | None = None
        self._callbacks: list[Callable[[Any], None]] = []
        self._handing_over = False

    def submit(self, func: Any, callback: Any = None) -> tuple[int, int]:
        """Take some tasks, and ask for more: joblib hands over the next when it hears that some are done."""
        first = len(self._tasks)
        self._tasks += [Task(*item) for item in func.items]
        taken = first, len(self._tasks)
        if callback is not None:
            self._callbacks.append(callback)
        if not self._handing_over:  # else this is called by a callback that the loop below has called
            self._handing_over = True
            while self._callbacks:
                self._callbacks.pop()(None)
            self._handing_over = False
        return taken

    def retrieve_result(self, out: tuple[int, int], timeout: float | None = None) -> list[Any]:
        """Results of the tasks that one call of :meth:`submit` took; the first of these calls has all computed."""
        if self._results is None:
            self._results = self._all_results()
        return self._results[slice(*out)]

    def _all_results(self) -> list[Any]:
        answered = self._answer(self._tasks)
        left = [task for task in self._tasks if task.cell not in answered]
        ran = run_ordinarily(left, **self._ordinary)
        results = {**answered, **{task.cell: result for task, result in zip(left, ran, strict=True)}}
        return [results[task.cell] for task in self._tasks]


def run_ordinarily(tasks: Sequence[Task], n_jobs: int | None = None, pre_dispatch: Any = "2*n_jobs") -> list[Any]:
    """Results of tasks, run as sklearn would have them run."""
    if not tasks:
        return []
    run = joblib.Parallel(n_jobs=n_jobs, pre_dispatch=pre_dispatch)
    return list(run((task.function, task.arguments, dict(task.options)) for task in tasks))
