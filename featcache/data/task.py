"""What a task is: it knows which images of a dataset it has, and what is true of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ..errors import DataError
from ..system import schema
from ..system.plain_text import printable
from .dataset import Dataset

Kind = Literal["classes", "labels", "number"]


@dataclass(frozen=True)
class Targets:
    """What a task finds in a dataset.

    Attributes
    ----------
    rows : int array of shape (m,)
        Positions of the images that it has.
    y : numpy.ndarray
        Of these: int64 of shape (m,), positions in ``names``; float32 of shape (m, n_labels), 1, 0 or NaN where it is
        not known; or float64 of shape (m,).
    names : tuple of str
        Of the classes, the labels, or the number.
    """

    rows: np.ndarray
    y: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """What is to be learnt; one of :class:`Classification`, :class:`Multilabel` and :class:`Regression`."""

    kind: ClassVar[Kind]

    @property
    def name(self) -> str:
        """What it is called in results and folders."""
        raise NotImplementedError

    def targets(self, dataset: Dataset) -> Targets:
        """What it finds in a dataset.

        Raises :class:`DataError` where that is nothing to learn.
        """
        raise NotImplementedError

    def judged(self, dataset: Dataset) -> Targets:
        """What there is to judge a model of this task by, whose names are settled (:meth:`settled`).

        Not all that it learnt has to be there. Raises :class:`DataError` where nothing of it is.
        """
        raise NotImplementedError

    def settled(self, names: Sequence[str]) -> Task:
        """The same task with the names that a dataset gave it."""
        raise NotImplementedError

    def unknown(self, count: int, names: Sequence[str]) -> np.ndarray:
        """Targets of images of which nothing is known, as ``y`` has them; of classes the first, which means nothing."""
        raise NotImplementedError

    def as_classes(self, y: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
        """One class for each row, to be drawn in one colour: codes (n,), and what they are called."""
        raise NotImplementedError

    def wrong(self, y: np.ndarray, answers: np.ndarray) -> np.ndarray | None:
        """Which rows have an answer that is not true, bool array of shape (n,); None where none can be."""
        raise NotImplementedError

    def strata(self, y: np.ndarray) -> np.ndarray:
        """What is kept in proportion where rows are divided, int array of shape (n,)."""
        raise NotImplementedError

    def counts(self, y: np.ndarray, names: Sequence[str]) -> dict[str, int]:
        """How many rows there are of what."""
        raise NotImplementedError

    def columns(self, y: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """The targets as columns of a table."""
        raise NotImplementedError


def check_name(name: str, what: str, advice: str) -> None:
    """Raise :class:`DataError` for a name that cannot be printed, or be written into a bundle."""
    schema.check(name, schema.ClassName, f"{what} {printable(name, lines=False)!r}", advice, DataError)


def listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "(none)"
