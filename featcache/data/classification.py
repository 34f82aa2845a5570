"""A task of one class of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import DataError, UsageError
from .dataset import Dataset, label_array
from .task import Kind, Targets, Task, check_name, listed

# The order gives y: 1 is the class one looks for.
_BINARY = ("normal", "covid")
NAMES = ("binary", "multiclass", "multilabel", "regression")


@dataclass(frozen=True)
class Classification(Task):
    """One class of several.

    Parameters
    ----------
    task : {"binary", "multiclass"}
        ``binary`` is normal (0) against covid (1), or, in data of just two classes, these two in alphabetical order.
        ``multiclass`` is every class of the data, in alphabetical order.
    classes : tuple of str or None
        Any two or more of them; they take the place of the task's own.

    Raises
    ------
    UsageError
        No data whatever could make these a task's classes.

    Examples
    --------
    >>> import featcache
    >>> featcache.Classification("binary", ("normal", "covid")).name
    'binary'
    """

    task: str = "multiclass"
    classes: tuple[str, ...] | None = None
    kind: ClassVar[Kind] = "classes"

    def __post_init__(self) -> None:
        if self.task not in ("binary", "multiclass"):
            raise UsageError(f"task {self.task!r} is unknown; expected one of {', '.join(NAMES)}")
        if self.classes is None:
            return
        object.__setattr__(self, "classes", tuple(self.classes))
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise UsageError(f"--classes needs two or more different names, got {listed(self.classes)}")
        if self.name == "binary" and len(self.classes) != 2:
            raise UsageError(f"task binary takes exactly two classes, got {listed(self.classes)}")

    @property
    def name(self) -> str:
        """``binary`` or ``multiclass``."""
        return self.task

    def targets(self, dataset: Dataset) -> Targets:
        """What it finds in a dataset.

        Parameters
        ----------
        dataset : Dataset
            Images and their table.

        Returns
        -------
        Targets
            The images of its classes, and the position of each one's class among them.

        Raises
        ------
        DataError
            There is nothing of it to learn, or a cell that it cannot be.
        """
        names = self.classes_of(dataset)
        rows = np.array([i for i, label in enumerate(dataset.labels) if label in names], dtype=np.int64)
        return Targets(rows, label_array([dataset.labels[i] for i in rows], names), names)

    def judged(self, dataset: Dataset) -> Targets:
        """What there is to judge a model of it by; not all that it learnt has to be there.

        Parameters
        ----------
        dataset : Dataset
            Images and their table.

        Returns
        -------
        Targets
            The images of its classes.

        Raises
        ------
        DataError
            Nothing of it is there.
        """
        names = self.classes or self.classes_of(dataset)
        rows = np.array([i for i, label in enumerate(dataset.labels) if label in names], dtype=np.int64)
        if not len(rows):
            raise DataError(
                f"{dataset.root}: none of its classes ({', '.join(dataset.classes)}) is one of the model's "
                f"({', '.join(names)})"
            )
        return Targets(rows, label_array([dataset.labels[i] for i in rows], names), names)

    def settled(self, names: Sequence[str]) -> Task:
        """The same task with the names that a dataset gave it.

        Parameters
        ----------
        names : sequence of str
            As of :class:`featcache.Features`' ``classes``.

        Returns
        -------
        Task
            With these classes.
        """
        return Classification(self.task, tuple(names))

    def unknown(self, count: int, names: Sequence[str]) -> np.ndarray:
        """Targets of images of which nothing is known.

        Parameters
        ----------
        count : int
            How many images.
        names : sequence of str
            What targets are of.

        Returns
        -------
        numpy.ndarray
            Zeros.
        """
        return np.zeros(count, np.int64)

    def as_classes(self, y: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
        """One class for each row, to be drawn in one colour.

        Parameters
        ----------
        y : numpy.ndarray
            Targets.
        names : sequence of str
            What they are of.

        Returns
        -------
        codes : int array of shape (n,)
            They are classes.
        called : tuple of str
            What the codes are called.
        """
        return y, tuple(names)

    def classes_of(self, dataset: Dataset) -> tuple[str, ...]:
        """Its classes, in the order of their labels 0, 1, ….

        Parameters
        ----------
        dataset : Dataset
            Images and their table.

        Returns
        -------
        tuple of str
            They.

        Raises
        ------
        DataError
            They are not there.
        """
        if not any(dataset.labels):
            there = ", ".join(dataset.table) or "none"
            raise DataError(
                f"{dataset.root}: no column 'label', which task {self.name} learns; of its other columns ({there}) "
                "learn several labels with --task multilabel --labels A,B, or a number with --task regression "
                "--target COLUMN"
            )
        names = self.among(dataset.labels)
        for name in names:  # they are printed, and a bundle's reader refuses what steers a terminal
            check_name(name, "class", "Rename it, or leave it out: --classes A,B")
        return names

    def wrong(self, y: np.ndarray, answers: np.ndarray) -> np.ndarray | None:
        """Which rows have an answer that is not true.

        Parameters
        ----------
        y : numpy.ndarray
            Targets.
        answers : numpy.ndarray
            What a model says, of the same shape.

        Returns
        -------
        bool array of shape (n,), or None
            Those of another class.
        """
        return answers != y

    def strata(self, y: np.ndarray) -> np.ndarray:
        """What is kept in proportion where rows are divided.

        Parameters
        ----------
        y : numpy.ndarray
            Targets.

        Returns
        -------
        int array of shape (n,)
            The classes themselves.
        """
        return y

    def counts(self, y: np.ndarray, names: Sequence[str]) -> dict[str, int]:
        """How many rows there are of what.

        Parameters
        ----------
        y : numpy.ndarray
            Targets.
        names : sequence of str
            What they are of.

        Returns
        -------
        dict of str to int
            Images of each class.
        """
        return dict(zip(names, map(int, np.bincount(y, minlength=len(names))), strict=True))

    def columns(self, y: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """The targets as columns of a table.

        Parameters
        ----------
        y : numpy.ndarray
            Targets.
        names : sequence of str
            What they are of.

        Returns
        -------
        dict of str to array
            ``label`` and ``y``.
        """
        return {"label": [names[i] for i in y], "y": y}

    def among(self, available: Sequence[str]) -> tuple[str, ...]:
        """Its classes, of those that there are.

        Parameters
        ----------
        available : sequence of str
            The labels of the images.

        Returns
        -------
        tuple of str
            In the order of their labels 0, 1, ….

        Raises
        ------
        DataError
            They are not there.
        """
        known = sorted(set(available))
        if self.classes is not None:
            missing = [name for name in self.classes if name not in known]
            if missing:
                raise DataError(f"no images of the class(es) {listed(missing)}; the data has {listed(known)}")
            return self.classes
        if self.name == "multiclass":
            if len(known) < 2:
                raise DataError(f"found the class(es) {listed(known)}; a task needs at least two")
            return tuple(known)
        lowered = {name.lower(): name for name in known}
        if all(name in lowered for name in _BINARY):
            return tuple(lowered[name] for name in _BINARY)
        if len(known) == 2:
            return tuple(known)
        raise DataError(
            f"task binary means covid against normal, but the data has the classes {listed(known)}; "
            "name the two to tell apart with --classes A,B"
        )
