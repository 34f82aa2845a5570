"""Of which class, label or number the evidence in an image is drawn: a table, by the kind of task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from featcache.data.tasks import Task
from featcache.errors import UsageError
from featcache.system.plain_text import printable


@dataclass(frozen=True)
class Explained:
    """What is drawn of each of n images.

    Attributes
    ----------
    target : int array of shape (n,), positions of classes or labels; 0 for a number.
    grouped : int array of shape (n,), whose mean map an image counts in.
    groups : what those are called.
    group_target : int array of shape (n,), the target of that mean map.
    """

    target: np.ndarray
    grouped: np.ndarray
    groups: tuple[str, ...]
    group_target: np.ndarray


class SaliencyTargets(Protocol):
    """What is drawn of one kind of task."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Of a table, what :meth:`cells` gives."""

    def explained(
        self, task: Task, names: Sequence[str], y: np.ndarray | None, outputs: np.ndarray, answers: np.ndarray
    ) -> Explained:
        """What is drawn of images; ``y`` is None of such without labels."""

    def evidence(self, name: str) -> str:
        """What positive evidence is called."""

    def nothing(self, name: str) -> str:
        """What is said where there is none."""

    def cells(
        self, names: Sequence[str], y: np.ndarray | None, output: np.ndarray, answer: np.ndarray, target: int
    ) -> tuple[Any, ...]:
        """What is true of one image, what the model says of it, and of what the evidence is."""

    def caption(
        self, names: Sequence[str], y: np.ndarray | None, output: np.ndarray, answer: np.ndarray, target: int
    ) -> str:
        """The same in words."""


def about_label(task: Task, names: Sequence[str], label: str, y: np.ndarray | None, answers: np.ndarray) -> Explained:
    """One label for all images, those that have it apart from the others.

    Raises :class:`UsageError` where the model has no such label.
    """
    require_label(task, names, label)
    place = list(names).index(label)
    target = np.full(len(answers), place, np.int64)
    own = answers[:, place] if y is None else y[:, place]
    grouped = np.where(np.isnan(own), 2, own == 1).astype(np.int64)
    said = "called " if y is None else ""
    return Explained(target, grouped, (f"not {said}{label}", f"{said}{label}", f"{label} not known"), target)


def require_label(task: Task, names: Sequence[str], label: str) -> None:
    """Raise :class:`UsageError` where a model of this task has no such label."""
    if task.kind != "labels":
        raise UsageError(
            f"--label {printable(label, lines=False)}: the model learnt {task.name}; only one of several "
            "labels has labels to choose"
        )
    if label not in names:
        raise UsageError(
            f"--label {printable(label, lines=False)}: the model has no such label; it has {', '.join(names)}"
        )


class _OfClasses:
    columns = ("label", "predicted", "probability")

    def explained(
        self, task: Task, names: Sequence[str], y: np.ndarray | None, outputs: np.ndarray, answers: np.ndarray
    ) -> Explained:
        """The predicted class; in the mean maps the true one."""
        shown = answers if y is None else y
        groups = tuple(names) if y is not None else tuple(f"predicted {name}" for name in names)
        return Explained(answers, shown, groups, shown)

    def evidence(self, name: str) -> str:
        return f"evidence for {name}"

    def nothing(self, name: str) -> str:
        return f"no cell speaks for {name}"

    def cells(
        self, names: Sequence[str], y: np.ndarray | None, output: np.ndarray, answer: np.ndarray, target: int
    ) -> tuple[Any, ...]:
        return "" if y is None else names[int(y)], names[int(answer)], f"{output[int(answer)]:.6g}"

    def caption(
        self, names: Sequence[str], y: np.ndarray | None, output: np.ndarray, answer: np.ndarray, target: int
    ) -> str:
        labelled = "" if y is None else f"labelled {names[int(y)]}, "
        return f"{labelled}predicted {names[int(answer)]}, {output[int(answer)]:.3f}"


class _OfLabels:
    columns = ("labels", "predicted", "explained", "probability")

    def explained(
        self, task: Task, names: Sequence[str], y: np.ndarray | None, outputs: np.ndarray, answers: np.ndarray
    ) -> Explained:
        """Each image's rarest true label, else the most probable one; without labels the most probable that is said."""
        said = np.where(answers == 1, outputs, -1)
        probable = np.where(said.max(axis=1) >= 0, said.argmax(axis=1), outputs.argmax(axis=1))
        target = probable
        if y is not None:
            rarest = task.strata(y)  # counted from 1
            target = np.where(rarest > 0, rarest - 1, probable)
        return Explained(target, target, tuple(names), target)

    def evidence(self, name: str) -> str:
        return f"evidence for {name}"

    def nothing(self, name: str) -> str:
        return f"no cell speaks for {name}"

    def cells(
        self, names: Sequence[str], y: np.ndarray | None, output: np.ndarray, answer: np.ndarray, target: int
    ) -> tuple[Any, ...]:
        true = "" if y is None else "|".join(_those(names, y))
        return true, "|".join(_those(names, answer)), names[target], f"{output[target]:.6g}"

    def caption(
        self, names: Sequence[str], y: np.ndarray | None, output: np.ndarray, answer: np.ndarray, target: int
    ) -> str:
        labelled = "" if y is None else f"labelled {', '.join(_those(names, y)) or 'none'}, "
        said = ", ".join(_those(names, answer)) or "none"
        return f"{labelled}predicted {said}; {names[target]} {output[target]:.3f}"


class _OfNumbers:
    columns = ("true", "predicted")

    def explained(
        self, task: Task, names: Sequence[str], y: np.ndarray | None, outputs: np.ndarray, answers: np.ndarray
    ) -> Explained:
        """The number; mean maps are of its fifths."""
        target = np.zeros(len(outputs), np.int64)
        grouped, groups = task.as_classes(outputs if y is None else y, names)
        return Explained(target, grouped, groups if y is not None else tuple(f"predicted {g}" for g in groups), target)

    def evidence(self, name: str) -> str:
        return f"what raises {name}"

    def nothing(self, name: str) -> str:
        return f"no cell raises {name}"

    def cells(
        self, names: Sequence[str], y: np.ndarray | None, output: np.ndarray, answer: np.ndarray, target: int
    ) -> tuple[Any, ...]:
        return "" if y is None else f"{float(y):.6g}", f"{float(output):.6g}"

    def caption(
        self, names: Sequence[str], y: np.ndarray | None, output: np.ndarray, answer: np.ndarray, target: int
    ) -> str:
        true = "" if y is None else f"{names[0]} {float(y):.4g}, "
        return f"{true}predicted {float(output):.4g}"


def _those(names: Sequence[str], has: np.ndarray) -> list[str]:
    return [name for name, one in zip(names, has, strict=True) if one == 1]


SALIENCY_TARGETS: dict[str, SaliencyTargets] = {
    "classes": _OfClasses(),
    "labels": _OfLabels(),
    "number": _OfNumbers(),
}
