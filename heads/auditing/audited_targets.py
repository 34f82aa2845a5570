"""What is learnt of audited images, told of each in words, and when two copies of one image contradict each other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from featcache.data.dataset import Dataset
from featcache.data.tasks import Targets, Task
from featcache.errors import DataError, UsageError


@dataclass(frozen=True)
class AuditedTargets:
    """The targets of some images.

    Attributes
    ----------
    task : what is learnt.
    names : of its classes, labels or number.
    y : one row an image, as :class:`featcache.data.tasks.Targets` holds them.
    told : of each image in words: its class, the labels it has, or its number.
    """

    task: Task
    names: tuple[str, ...]
    y: np.ndarray
    told: list[str]

    def conflict(self, a: int, other: AuditedTargets, b: int) -> bool:
        """Whether an image of these and one of others, which show one exposure, are said to be different.

        Their classes differ, a label that is known of both, or their numbers, by a deviation of all of these or more.
        """
        return _CONFLICTS[self.task.kind](self, a, other, b)


def targets_of(task: Task, targets: Targets, every: Dataset, looked_at: Dataset) -> AuditedTargets:
    """The targets of those images that were looked at; ``targets`` are of a dataset of which ``every`` has its rows."""
    place = {path: row for row, path in enumerate(every.paths)}
    y = targets.y[[place[path] for path in looked_at.paths]]
    return AuditedTargets(task, targets.names, y, told_of(task, y, targets.names))


def targets_elsewhere(task: Task, names: Sequence[str], dataset: Dataset) -> AuditedTargets:
    """The targets of a second set, as far as its table says them; of classes, what it calls them."""
    if task.kind == "classes":
        return AuditedTargets(task, tuple(names), np.zeros(len(dataset), np.int64), list(dataset.labels))
    unknown = np.full((len(dataset), len(names)) if task.kind == "labels" else len(dataset), np.nan)
    with contextlib.suppress(DataError, UsageError):
        found = task.targets(dataset)
        if task.kind == "number":
            unknown[found.rows] = found.y
        else:
            for place, name in enumerate(names):
                if name in found.names:
                    unknown[found.rows, place] = found.y[:, found.names.index(name)]
    return AuditedTargets(task, tuple(names), unknown, told_of(task, unknown, names))


def told_of(task: Task, y: np.ndarray, names: Sequence[str]) -> list[str]:
    """What is learnt of each image, in words."""
    return _TOLD[task.kind](y, tuple(names))


def _classes_differ(one: AuditedTargets, a: int, other: AuditedTargets, b: int) -> bool:
    return one.told[a] != other.told[b]


def _labels_differ(one: AuditedTargets, a: int, other: AuditedTargets, b: int) -> bool:
    mine, theirs = one.y[a], other.y[b]
    return bool(((mine != theirs) & ~np.isnan(mine) & ~np.isnan(theirs)).any())


def _numbers_differ(one: AuditedTargets, a: int, other: AuditedTargets, b: int) -> bool:
    return bool(abs(one.y[a] - other.y[b]) >= np.std(one.y))  # NaN is no conflict


def _labels_in_words(y: np.ndarray, names: tuple[str, ...]) -> list[str]:
    return [", ".join(name for name, has in zip(names, row, strict=True) if has == 1) for row in y]


_TOLD: dict[str, Callable[[np.ndarray, tuple[str, ...]], list[str]]] = {
    "classes": lambda y, names: [names[label] for label in y],
    "labels": _labels_in_words,
    "number": lambda y, names: ["" if np.isnan(value) else f"{value:g}" for value in y],
}
_CONFLICTS: dict[str, Callable[[AuditedTargets, int, AuditedTargets, int], bool]] = {
    "classes": _classes_differ,
    "labels": _labels_differ,
    "number": _numbers_differ,
}
