"""What is to be told apart: a task is an ordered choice of classes."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import DataError, UsageError
from ..system import schema
from ..system.plain_text import printable

# The order gives y: 1 is the class one looks for.
_BINARY = ("normal", "covid")
NAMES = ("binary", "multiclass")


def task_classes(task: str, available: Sequence[str], classes: Sequence[str] | None = None) -> tuple[str, ...]:
    """The classes of a task, in the order of their labels 0, 1, ….

    Parameters
    ----------
    task : {"binary", "multiclass"}
        ``binary`` is normal (0) against covid (1), or, in data of just two classes, these two in
        alphabetical order. ``multiclass`` is every class of the data, in alphabetical order.
    available : the class names of the data.
    classes : any two or more of them; they take the place of the task's own.

    Raises
    ------
    UsageError, DataError
    """
    names = _chosen_of(task, available, classes)
    for name in names:  # they are printed, and a bundle's reader refuses what steers a terminal
        schema.check(
            name,
            schema.ClassName,
            f"class {printable(name, lines=False)!r}",
            "Rename it, or leave it out: --classes A,B",
            DataError,
        )
    return names


def check_task(task: str, classes: Sequence[str] | None = None) -> None:
    """Raise :class:`UsageError` where no data whatever could make these a task's classes."""
    if task not in NAMES:
        raise UsageError(f"task {task!r} is unknown; expected one of {', '.join(NAMES)}")
    if classes is None:
        return
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise UsageError(f"--classes needs two or more different names, got {_list(classes)}")
    if task == "binary" and len(classes) != 2:
        raise UsageError(f"task binary takes exactly two classes, got {_list(classes)}")


def _chosen_of(task: str, available: Sequence[str], classes: Sequence[str] | None) -> tuple[str, ...]:
    check_task(task, classes)
    known = sorted(set(available))
    if classes is not None:
        missing = [name for name in classes if name not in known]
        if missing:
            raise DataError(f"no images of the class(es) {_list(missing)}; the data has {_list(known)}")
        return tuple(classes)
    if task == "multiclass":
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


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "(none)"
