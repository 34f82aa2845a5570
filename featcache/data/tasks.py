"""What is to be learnt: one class of several, several labels at once, or a number.

A task knows its targets: which images it has, and what is true of each. What is lost, measured and drawn of it stands
in :mod:`heads`, by the task's ``kind``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ..errors import DataError, UsageError
from ..system import schema
from ..system.plain_text import printable
from .dataset import Dataset, label_array
from .label_table import UNCERTAIN, label_table
from .metadata import is_unknown, number
from .private_columns import are_dates

_log = logging.getLogger(__name__)
# The order gives y: 1 is the class one looks for.
_BINARY = ("normal", "covid")
NAMES = ("binary", "multiclass", "multilabel", "regression")
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

    def strata(self, y: np.ndarray) -> np.ndarray:
        """What is kept in proportion where rows are divided, int array of shape (n,)."""
        raise NotImplementedError

    def counts(self, y: np.ndarray, names: Sequence[str]) -> dict[str, int]:
        """How many rows there are of what."""
        raise NotImplementedError

    def columns(self, y: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """The targets as columns of a table."""
        raise NotImplementedError


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
            raise UsageError(f"--classes needs two or more different names, got {_list(self.classes)}")
        if self.name == "binary" and len(self.classes) != 2:
            raise UsageError(f"task binary takes exactly two classes, got {_list(self.classes)}")

    @property
    def name(self) -> str:
        """``binary`` or ``multiclass``."""
        return self.task

    def targets(self, dataset: Dataset) -> Targets:
        """The images of its classes, and the position of each one's class among them."""
        names = self.classes_of(dataset)
        rows = np.array([i for i, label in enumerate(dataset.labels) if label in names], dtype=np.int64)
        return Targets(rows, label_array([dataset.labels[i] for i in rows], names), names)

    def classes_of(self, dataset: Dataset) -> tuple[str, ...]:
        """Its classes, in the order of their labels 0, 1, …; raises :class:`DataError` where they are not there."""
        if not any(dataset.labels):
            there = ", ".join(dataset.table) or "none"
            raise DataError(
                f"{dataset.root}: no column 'label', which task {self.name} learns; of its other columns ({there}) "
                "learn several labels with --task multilabel --labels A,B, or a number with --task regression "
                "--target COLUMN"
            )
        names = self._chosen_of(dataset.labels)
        for name in names:  # they are printed, and a bundle's reader refuses what steers a terminal
            check_name(name, "class", "Rename it, or leave it out: --classes A,B")
        return names

    def strata(self, y: np.ndarray) -> np.ndarray:
        """The classes themselves."""
        return y

    def counts(self, y: np.ndarray, names: Sequence[str]) -> dict[str, int]:
        """Images of each class."""
        return dict(zip(names, map(int, np.bincount(y, minlength=len(names))), strict=True))

    def columns(self, y: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """``label`` and ``y``."""
        return {"label": [names[i] for i in y], "y": y}

    def _chosen_of(self, available: Sequence[str]) -> tuple[str, ...]:
        known = sorted(set(available))
        if self.classes is not None:
            missing = [name for name in self.classes if name not in known]
            if missing:
                raise DataError(f"no images of the class(es) {_list(missing)}; the data has {_list(known)}")
            return self.classes
        if self.name == "multiclass":
            if len(known) < 2:
                raise DataError(f"found the class(es) {_list(known)}; a task needs at least two")
            return tuple(known)
        lowered = {name.lower(): name for name in known}
        if all(name in lowered for name in _BINARY):
            return tuple(lowered[name] for name in _BINARY)
        if len(known) == 2:
            return tuple(known)
        raise DataError(
            f"task binary means covid against normal, but the data has the classes {_list(known)}; "
            "name the two to tell apart with --classes A,B"
        )


@dataclass(frozen=True)
class Multilabel(Task):
    """Several labels at once, each of which an image has, has not, or is not known to have.

    Parameters
    ----------
    labels : tuple of str, "all" or None
        Columns of 0 and 1, or of ``column``'s labels, some; ``all`` are all that there are. None is all of a known
        collection, or of ``column``.
    column : str or None
        A column that lists an image's labels, between ``|``, ``;`` or commas.
    uncertain : {"ignore", "zeros", "ones"}
        What a cell of -1 counts as: not known, no, or yes.

    Raises
    ------
    UsageError
        No data whatever could have such labels.
    """

    labels: tuple[str, ...] | Literal["all"] | None = None
    column: str | None = None
    uncertain: str = "ignore"
    kind: ClassVar[Kind] = "labels"

    def __post_init__(self) -> None:
        if self.uncertain not in UNCERTAIN:
            raise UsageError(f"--uncertain {self.uncertain!r} is unknown; expected one of {', '.join(UNCERTAIN)}")
        if self.labels is not None and self.labels != "all":
            object.__setattr__(self, "labels", tuple(self.labels))
            if len(set(self.labels)) != len(self.labels) or not all(self.labels):
                raise UsageError(f"--labels needs different names, got {_list(self.labels)}")

    @property
    def name(self) -> str:
        """``multilabel``."""
        return "multilabel"

    def targets(self, dataset: Dataset) -> Targets:
        """The images of which any label is known, and what is known."""
        names, known = label_table(dataset, self.labels, self.column, self.uncertain)
        for name in names:
            check_name(name, "label", "Rename it, or name others with --labels A,B")
        rows = np.flatnonzero(~np.isnan(known).all(axis=1))
        if not len(rows):
            raise DataError(f"{dataset.root}: of no image is any of the labels {_list(names)} known")
        if len(rows) < len(known):
            _log.warning(
                "%d of %d images are left out: none of their labels is known", len(known) - len(rows), len(known)
            )
        nobody = [name for name, column in zip(names, known.T, strict=True) if not (column == 1).any()]
        if nobody:
            raise DataError(
                f"{dataset.root}: no image is known to have {_list(nobody)}; leave it out: --labels "
                + (",".join(name for name in names if name not in nobody) or "A,B")
            )
        return Targets(rows, known[rows], names)

    def strata(self, y: np.ndarray) -> np.ndarray:
        """The rarest label that each image has, counted from 1; 0 where it has none."""
        often = np.where((y == 1).any(axis=0), (y == 1).sum(axis=0), len(y) + 1)
        order = np.argsort(often, kind="stable")
        has = (y == 1)[:, order]
        return np.where(has.any(axis=1), order[has.argmax(axis=1)] + 1, 0)

    def counts(self, y: np.ndarray, names: Sequence[str]) -> dict[str, int]:
        """Images that are known to have each label."""
        return dict(zip(names, map(int, (y == 1).sum(axis=0)), strict=True))

    def columns(self, y: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """One a label: 1, 0, or NaN."""
        return {f"label:{name}": column for name, column in zip(names, y.T, strict=True)}


@dataclass(frozen=True)
class Regression(Task):
    """A number, such as an age.

    Parameters
    ----------
    target : str
        The column that holds it.
    """

    target: str = ""
    kind: ClassVar[Kind] = "number"

    def __post_init__(self) -> None:
        if not self.target:
            raise UsageError("task regression learns a number: name its column with --target COLUMN")

    @property
    def name(self) -> str:
        """``regression``."""
        return "regression"

    def targets(self, dataset: Dataset) -> Targets:
        """The images of which the number is known, and it."""
        check_name(self.target, "column", "Rename it")
        if self.target not in dataset.table:
            there = ", ".join(dataset.table) or "none besides path, label, split and group"
            raise DataError(f"{dataset.root}: no column {self.target!r}; found {there}")
        cells = dataset.table[self.target]
        if are_dates({cell for cell in cells if not is_unknown(cell)}):
            raise DataError(
                f"{dataset.root}: column {self.target!r} holds dates; expected numbers. No age is made of a date: "
                "write the age at the time of the image, in years, into a column of its own"
            )
        values = [number(cell) for cell in cells]
        odd = [i for i, value in enumerate(values) if value is None]
        if odd:
            cell = printable(cells[odd[0]], lines=False)
            raise DataError(
                f"{dataset.root}: column {self.target!r} holds {len(odd)} cell(s) that are no numbers, the first is "
                f"{cell!r} in row {odd[0] + 1}; expected numbers (an age in years), or nothing where it is unknown"
            )
        y = np.array(values, dtype=np.float64)
        rows = np.flatnonzero(~np.isnan(y))
        if len(rows) < len(y):
            _log.warning("%d of %d images are left out: their %s is not known", len(y) - len(rows), len(y), self.target)
        if len(np.unique(y[rows])) < 2:
            raise DataError(f"{dataset.root}: column {self.target!r} has fewer than two different numbers to learn")
        return Targets(rows, y[rows], (self.target,))

    def strata(self, y: np.ndarray) -> np.ndarray:
        """Fifths of the numbers."""
        return np.searchsorted(np.quantile(y, (0.2, 0.4, 0.6, 0.8)), y, side="left")

    def counts(self, y: np.ndarray, names: Sequence[str]) -> dict[str, int]:
        """Images."""
        return {names[0]: len(y)}

    def columns(self, y: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """``y``."""
        return {"y": y}


def as_task(task: str | Task, classes: Sequence[str] | None = None) -> Task:
    """A task as it is, or by its name; with classes, with these.

    Raises :class:`UsageError` for what is none, and for the name of one that needs to be told more.
    """
    if isinstance(task, Task):
        if classes is not None:
            return Classification(task.name, tuple(classes))
        return task
    if task == "multilabel":
        return Multilabel()
    if task == "regression":
        return Regression()
    return Classification(task, None if classes is None else tuple(classes))


def task_of(about: Mapping[str, Any]) -> Task:
    """A task as :func:`about_task` wrote it down."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in about.items()}
    kinds: dict[str, type[Task]] = {one.kind: one for one in (Classification, Multilabel, Regression)}
    return kinds[str(values.pop("kind"))](**values)


def about_task(task: Task) -> dict[str, Any]:
    """A task as plain values."""
    if isinstance(task, Multilabel):
        labels = task.labels
        return {
            "kind": task.kind,
            "labels": list(labels) if isinstance(labels, tuple) else labels,
            "column": task.column,
            "uncertain": task.uncertain,
        }
    if isinstance(task, Regression):
        return {"kind": task.kind, "target": task.target}
    assert isinstance(task, Classification)
    return {"kind": task.kind, "task": task.task, "classes": None if task.classes is None else list(task.classes)}


def task_classes(task: str, available: Sequence[str], classes: Sequence[str] | None = None) -> tuple[str, ...]:
    """The classes of a task, in the order of their labels 0, 1, …; see :class:`Classification`.

    Raises
    ------
    UsageError, DataError
    """
    wanted = as_task(task, classes)
    if not isinstance(wanted, Classification):
        raise UsageError(f"task {wanted.name} has no classes; expected binary or multiclass")
    names = wanted._chosen_of(available)
    for name in names:
        check_name(name, "class", "Rename it, or leave it out: --classes A,B")
    return names


def check_task(task: str | Task, classes: Sequence[str] | None = None) -> None:
    """Raise :class:`UsageError` where no data whatever could make these a task's classes."""
    as_task(task, classes)


def check_name(name: str, what: str, advice: str) -> None:
    """Raise :class:`DataError` for a name that cannot be printed, or be written into a bundle."""
    schema.check(name, schema.ClassName, f"{what} {printable(name, lines=False)!r}", advice, DataError)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "(none)"
