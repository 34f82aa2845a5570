"""Sets of labels, and intervals of numbers, that hold the truth as often as promised: a table, by the task's kind.

A *question* is what has a threshold of its own (:mod:`heads.evaluation.held_out_scores`). Of classes there is one for
each: are images of it given sets without it? So the promise holds of each class, and no frequent one makes up for
another (Vovk's Mondrian predictors); where one of them has too few patients, all are asked at once, and the promise is
for all together. Of several labels there are two for each, by itself: is "no" said of an image that has it, and "yes"
of one that has it not; asked at once, always saying "no" would do for a rare label. Of a number there is one.

An answer belongs to a set where its score, how far off it would be, reaches no farther than the threshold. Of what the
model says itself the score is 0, so that it is in every set: an empty set is no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .held_out_scores import HeldOutScores, hierarchical_quantile

COVERAGE = 0.9  # that results are told at
CANNOT_SAY = "cannot say"


@dataclass(frozen=True)
class Held:
    """What sets hold of what is true.

    Attributes
    ----------
    rows : int array of shape (m,): rows of which something is known, of labels once for each.
    held : bool array of shape (m,): whether the truth is in the set.
    sizes : float array of shape (m,): answers in it, or how wide an interval is.
    parts : tuples of what is true of some of them, as keys, and which these are.
    """

    rows: np.ndarray
    held: np.ndarray
    sizes: np.ndarray
    parts: list[tuple[dict[str, str], np.ndarray]]


class Sets(Protocol):
    """The sets of one kind of task."""

    @property
    def highest(self) -> float:
        """The highest score that there can be."""

    def questions(self, names: Sequence[str]) -> list[dict[str, str]]:
        """What is asked, each as keys."""

    def thresholds(self, scores: HeldOutScores, coverage: float, names: Sequence[str]) -> np.ndarray:
        """The threshold of each question, infinite where there are too few patients."""

    def scores(self, y: np.ndarray, outputs: np.ndarray, answers: np.ndarray, patients: np.ndarray) -> HeldOutScores:
        """How far off the truth is from what a model gives; ``answers`` are what it says, ``patients`` are counted from
        0."""

    def sets(self, outputs: np.ndarray, answers: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
        """The sets: bool (n, n_classes); of labels (n, n_labels, 2), no and yes; of a number the ends of its interval,
        (n, 2)."""

    def held(self, y: np.ndarray, sets: np.ndarray, names: Sequence[str]) -> Held:
        """What they hold of what is true."""

    def said(self, sets: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
        """Each as JSON has it."""


class _OfClasses:
    """Least ambiguous sets (Sadinle, Lei and Wasserman 2019): the classes that are probable enough."""

    highest = 1.0

    def questions(self, names: Sequence[str]) -> list[dict[str, str]]:
        return [{"class": name} for name in names]

    def thresholds(self, scores: HeldOutScores, coverage: float, names: Sequence[str]) -> np.ndarray:
        each = scores.thresholds(coverage, len(names))
        if np.isfinite(each).all():
            return each
        return np.full(len(names), hierarchical_quantile(scores.scores, scores.patients, coverage))

    def scores(self, y: np.ndarray, outputs: np.ndarray, answers: np.ndarray, patients: np.ndarray) -> HeldOutScores:
        return _held_out(_far(outputs, answers)[np.arange(len(y)), y], patients, y)

    def sets(self, outputs: np.ndarray, answers: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
        return _far(outputs, answers) <= thresholds

    def held(self, y: np.ndarray, sets: np.ndarray, names: Sequence[str]) -> Held:
        rows = np.arange(len(y))
        parts = [({"class": name}, y == label) for label, name in enumerate(names)]
        return Held(rows, sets[rows, y], sets.sum(axis=1).astype(float), parts)

    def said(self, sets: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
        return [{"set": [name for name, within in zip(names, row, strict=True) if within]} for row in sets]


class _OfLabels:
    highest = 1.0

    def questions(self, names: Sequence[str]) -> list[dict[str, str]]:
        return [{"label": name, "truth": truth} for name in names for truth in ("no", "yes")]

    def thresholds(self, scores: HeldOutScores, coverage: float, names: Sequence[str]) -> np.ndarray:
        return scores.thresholds(coverage, 2 * len(names))

    def scores(self, y: np.ndarray, outputs: np.ndarray, answers: np.ndarray, patients: np.ndarray) -> HeldOutScores:
        rows, labels = np.nonzero(~np.isnan(y))
        has = (y[rows, labels] == 1).astype(np.int64)
        far = _far(np.stack([1 - outputs, outputs], axis=2), answers)
        return _held_out(far[rows, labels, has], patients[rows], 2 * labels + has)

    def sets(self, outputs: np.ndarray, answers: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
        return _far(np.stack([1 - outputs, outputs], axis=2), answers) <= thresholds.reshape(-1, 2)

    def held(self, y: np.ndarray, sets: np.ndarray, names: Sequence[str]) -> Held:
        rows, labels = np.nonzero(~np.isnan(y))
        has = (y[rows, labels] == 1).astype(np.int64)
        parts = [
            ({"label": name, "truth": truth}, (labels == label) & (has == code))
            for label, name in enumerate(names)
            for code, truth in enumerate(("no", "yes"))
        ]
        return Held(rows, sets[rows, labels, has], sets[rows, labels].sum(axis=1).astype(float), parts)

    def said(self, sets: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
        words = np.where(sets.all(axis=2), CANNOT_SAY, np.where(sets[:, :, 1], "yes", "no"))
        return [{"answers": dict(zip(names, row, strict=True))} for row in words.tolist()]


class _OfNumbers:
    """The number that is said, and as much on either side."""

    highest = float(np.finfo(np.float64).max)

    def questions(self, names: Sequence[str]) -> list[dict[str, str]]:
        return [{}]

    def thresholds(self, scores: HeldOutScores, coverage: float, names: Sequence[str]) -> np.ndarray:
        return scores.thresholds(coverage, 1)

    def scores(self, y: np.ndarray, outputs: np.ndarray, answers: np.ndarray, patients: np.ndarray) -> HeldOutScores:
        return _held_out(np.abs(y - np.asarray(outputs, np.float64)), patients, np.zeros(len(y)))

    def sets(self, outputs: np.ndarray, answers: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
        return np.asarray(outputs, np.float64)[:, None] + np.array([-1, 1]) * thresholds[0]

    def held(self, y: np.ndarray, sets: np.ndarray, names: Sequence[str]) -> Held:
        return Held(np.arange(len(y)), (sets[:, 0] <= y) & (y <= sets[:, 1]), sets[:, 1] - sets[:, 0], [])

    def said(self, sets: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
        return [{"interval": row} for row in sets.tolist()]


def _far(probabilities: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """What each answer lacks of being certain, of the shape of the probabilities, the last axis being the answers;
    nothing of the one that is said."""
    # Probabilities of float32 may exceed 1 in their last digit.
    far = np.maximum(1 - np.asarray(probabilities, np.float64), 0.0)
    np.put_along_axis(far, np.asarray(answers)[..., None], 0.0, axis=-1)
    return far


def _held_out(scores: np.ndarray, patients: np.ndarray, questions: np.ndarray) -> HeldOutScores:
    return HeldOutScores(scores, patients.astype(np.int32), questions.astype(np.int32))


SETS: dict[str, Sets] = {"classes": _OfClasses(), "labels": _OfLabels(), "number": _OfNumbers()}
