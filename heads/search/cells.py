"""A search's cells, one candidate on one fold each: what is asked of them, and what a fitted one is."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator, clone

from featcache.system import memory

_log = logging.getLogger(__name__)
Cell = tuple[int, int]  # numbers of the candidate and the fold
OnEstimate = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Problem:
    """What a search asks.

    Attributes
    ----------
    estimator : sklearn estimator
        The model, unfitted.
    candidates : sequence of dict
        Values for its parameters.
    X : array-like of shape (n, ...)
        The rows.
    y : array of shape (n,) or (n, n_labels)
        What is to be learnt of them.
    folds : sequence of pairs of int arrays
        (train, test) positions.
    weight : array of shape (n,), or None
        Sample weights.
    limit : int
        Bytes that this process may hold at its peak.
    jobs : int
        Models fitted side by side, where a way does not fill the cores by itself.
    transparent : bool
        Whether scores depend on predictions and labels alone, not on the rows' coordinates.
    limited : bool
        Whether someone asked for that limit, and must be told where it cannot be kept.
    by_label : bool
        Whether scores depend on the labels predicted alone, not on how sure they are.
    on_train : bool
        Whether the rows learnt from are scored, too.
    on_estimate : callable, optional
        Called before large heads or networks are trained, with how many trainings there are, how many epochs each has
        at most, and the seconds that all will take if none stops early, the refit counted in.
    groups : array of shape (n,), or None
        Group of each row, for models that set rows aside to validate on.
    """

    estimator: BaseEstimator
    candidates: Sequence[Mapping[str, Any]]
    X: Any
    y: np.ndarray
    folds: Sequence[tuple[np.ndarray, np.ndarray]]
    weight: np.ndarray | None
    limit: int
    jobs: int
    transparent: bool = True
    limited: bool = False
    by_label: bool = True
    on_train: bool = False
    on_estimate: OnEstimate | None = None
    groups: np.ndarray | None = None

    @functools.cached_property
    def models(self) -> list[Any]:
        """The candidates as models, to look at; :meth:`candidate` gives one to fit."""
        return [self.candidate(number) for number in range(len(self.candidates))]

    def candidate(self, number: int) -> Any:
        """The model with a candidate's values, unfitted."""
        return clone(self.estimator).set_params(**clone(dict(self.candidates[number]), safe=False))

    def jobs_of(self, size: int) -> int:
        """How many fits may run side by side where each takes ``size`` bytes."""
        return max(1, min(self.jobs, self.room // max(1, size)))

    @property
    def room(self) -> int:
        """Bytes that are left below the limit."""
        return max(0, self.limit - memory.resident())

    def weights(self, index: np.ndarray) -> np.ndarray | None:
        """Weights of these rows."""
        return None if self.weight is None else self.weight[index]

    def groups_of(self, index: np.ndarray) -> np.ndarray | None:
        """Groups of these rows."""
        return None if self.groups is None else self.groups[index]

    def alike_but_for(self, cell: Cell, *names: str) -> tuple[Any, int]:
        """What is equal for cells that differ in these parameters alone."""
        params = self.models[cell[0]].get_params()
        return joblib.hash({name: value for name, value in params.items() if name not in names}), cell[1]


@dataclass(frozen=True)
class FittedCell:
    """A fitted cell: score ``model`` on the rows ``test`` of ``X``, and on ``train`` where that is wanted.

    ``seconds`` is the cell's share of the time that its fit took.
    """

    cell: Cell
    model: Any
    X: Any
    train: np.ndarray
    test: np.ndarray
    seconds: float


OnFitted = Callable[[FittedCell], None]


def grouped(cells: Sequence[Cell], key: Callable[[Cell], Any]) -> list[list[Cell]]:
    """Cells in groups of equal keys, in order of appearance."""
    groups: dict[Any, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return list(groups.values())


@contextlib.contextmanager
def else_left_to_sklearn() -> Iterator[None]:
    """What fails here is left to sklearn, which says what is wrong in its own terms."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        _log.debug("left to sklearn: %s", error)
