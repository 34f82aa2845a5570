"""By how much an answer is wrong, and in which unit a worklist counts it: a table, by the kind of task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Cells = Mapping[str, str]  # a row of predictions.csv


class _Loss(Protocol):
    def __call__(self, truth: Cells, said: Cells, names: Sequence[str]) -> float:
        """How wrong what is said is; raises KeyError or ValueError for rows of another task."""


@dataclass(frozen=True)
class Counted:
    """How one kind of task is counted.

    Attributes
    ----------
    unit : what a point is.
    metric : what the answers are judged by on the page of changes.
    loss : of one image; truth and answer may be of different runs.
    share : whether the value is 1 minus the mean loss; else it is the mean loss.
    """

    unit: str
    metric: str
    loss: _Loss
    share: bool

    def points(self, difference: float, mean: float) -> float:
        """A difference of mean losses in points; of numbers, percent of the mean loss itself."""
        if self.share:
            return 100 * difference
        return 100 * difference / mean if mean else 0.0

    def value(self, mean: float) -> float:
        """The value that a mean loss stands for."""
        return 1 - mean if self.share else mean


def _of_classes(truth: Cells, said: Cells, names: Sequence[str]) -> float:
    return float(truth["label"] != said["predicted"])


def _of_labels(truth: Cells, said: Cells, names: Sequence[str]) -> float:
    """The share of the known labels that are said otherwise; NaN where none is known."""
    known = [name for name in names if truth[name] != ""]
    wrong = sum(float(truth[name]) != float(said[f"{name} predicted"]) for name in known)
    return wrong / len(known) if known else math.nan


def _of_number(truth: Cells, said: Cells, names: Sequence[str]) -> float:
    return abs(float(truth[names[0]]) - float(said[f"{names[0]} predicted"]))


COUNTED: dict[str, Counted] = {
    "classes": Counted("percentage points of test accuracy", "accuracy", _of_classes, True),
    "labels": Counted(
        "percentage points of the test's labels that are right",
        "share of known labels that are right",
        _of_labels,
        True,
    ),
    "number": Counted("percent of the test's mean absolute error", "mean absolute error", _of_number, False),
}
