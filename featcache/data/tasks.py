"""What is to be learnt: one class of several, several labels at once, or a number.

A task knows its targets: which images it has, and what is true of each. What is lost, measured and drawn of it stands
in :mod:`heads`, by the task's ``kind``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UsageError
from .classification import NAMES, Classification
from .multilabel import Multilabel
from .regression import Regression
from .task import Kind, Targets, Task, check_name

__all__ = ["NAMES", "Classification", "Kind", "Multilabel", "Regression", "Targets", "Task"]


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
    names = wanted.among(available)
    for name in names:
        check_name(name, "class", "Rename it, or leave it out: --classes A,B")
    return names


def check_task(task: str | Task, classes: Sequence[str] | None = None) -> None:
    """Raise :class:`UsageError` where no data whatever could make these a task's classes."""
    as_task(task, classes)
