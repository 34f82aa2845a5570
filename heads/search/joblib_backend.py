"""How sklearn's search gets at results that are there already: folds drawn once, and a joblib backend that answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from joblib.parallel import ParallelBackendBase

from .shared_fits import Cell


class Splits:
    """Folds drawn once, so that sklearn's loop sees those that were computed."""

    def __init__(self, splitter: Any, X: Any, y: Any, params: Mapping[str, Any]) -> None:
        self.folds = list(splitter.split(X, y, **params))

    def split(self, X: Any = None, y: Any = None, groups: Any = None, **_: Any) -> Iterator[Any]:
        return iter(self.folds)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None, **_: Any) -> int:
        return len(self.folds)


class Answers(ParallelBackendBase):
    """A joblib backend that answers for cells that are there, and runs the others one by one.

    sklearn hands over its cells candidate by candidate, fold by fold, as the layout of ``cv_results_`` needs them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(nesting_level=0, **options)
        self.answers: dict[Cell, dict[str, Any]] = {}
        self.folds = 1
        self._asked = 0

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        return 2  # with one, joblib would run the cells without asking

    def start_call(self) -> None:
        self._asked = 0

    def compute_batch_size(self) -> int:
        return 1_000_000  # all at once: a batch handed over within the hand-over of another would nest

    def submit(self, func: Any, callback: Any = None) -> Any:
        first, self._asked = self._asked, self._asked + len(func)
        if callback is not None:
            callback(None)
        return first, func

    def retrieve_result(self, out: Any, timeout: float | None = None) -> list[Any]:
        first, batch = out
        results = []
        for number, (function, arguments, options) in enumerate(batch.items, start=first):
            answer = self.answers.get((number // self.folds, number % self.folds))
            results.append(function(*arguments, **options) if answer is None else answer)
        return results
