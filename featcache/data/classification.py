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
        """The images of its classes, and the position of each one's class among them."""
        names = self.classes_of(dataset)
        rows = np.array([i for i, label in enumerate(dataset.labels) if label in names], dtype=np.int64)
        return Targets(rows, label_array([dataset.labels[i] for i in rows], names), names)

    def judged(self, dataset: Dataset) -> Targets:
        """The images of its classes."""
        names = self.classes or self.classes_of(dataset)
        rows = np.array([i for i, label in enumerate(dataset.labels) if label in names], dtype=np.int64)
        if not len(rows):
            raise DataError(
                f"{dataset.root}: none of its classes ({', '.join(dataset.classes)}) is one of the model's "
                f"({', '.join(names)})"
            )
        return Targets(rows, label_array([dataset.labels[i] for i in rows], names), names)

    def settled(self, names: Sequence[str]) -> Task:
        """With these classes."""
        return Classification(self.task, tuple(names))

    def unknown(self, count: int, names: Sequence[str]) -> np.ndarray:
        """Zeros."""
        return np.zeros(count, np.int64)

    def as_classes(self, y: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
        """They are classes."""
        return y, tuple(names)

    def classes_of(self, dataset: Dataset) -> tuple[str, ...]:
        """Its classes, in the order of their labels 0, 1, …; raises :class:`DataError` where they are not there."""
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
        """Those of another class."""
        return answers != y

    def strata(self, y: np.ndarray) -> np.ndarray:
        """The classes themselves."""
        return y

    def counts(self, y: np.ndarray, names: Sequence[str]) -> dict[str, int]:
        """Images of each class."""
        return dict(zip(names, map(int, np.bincount(y, minlength=len(names))), strict=True))

    def columns(self, y: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """``label`` and ``y``."""
        return {"label": [names[i] for i in y], "y": y}

    def among(self, available: Sequence[str]) -> tuple[str, ...]:
        """Its classes, of those that there are; raises :class:`DataError` where they are not there."""
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
