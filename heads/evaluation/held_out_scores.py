"""How far off a model was on images of patients that it did not learn from, and how far off it may be on another one.

Split conformal prediction with patients as the unit, in place of images: of K patients each has the mass 1/(K + 1),
shared equally among his images, and the rest of the mass lies at infinity. The threshold is the quantile of that
distribution at the wanted coverage. A random image of another patient, drawn as these were, then has a score no higher
with at least that probability, however alike a patient's images are (two-layer hierarchical models: Dunn, Wasserman and
Ramdas 2023; Lee, Barber and Willett 2023). Where every patient has one image it is the ordinary threshold (Vovk,
Gammerman and Shafer 2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

COVERAGES = (0.5, 0.99)  # the least and the most that may be asked for
MOST_PATIENTS = 2000  # whose scores are kept; more would move a threshold by less than chance does
_LEAST = 1e-9  # by so much sums of masses may be off in their last digits


@dataclass(frozen=True)
class HeldOutScores:
    """Scores of images of patients that a model did not learn from.

    Attributes
    ----------
    scores : float64 array of shape (m,), finite, not negative: the higher, the farther off.
    patients : int32 array of shape (m,): whose image each is of, counted from 0.
    questions : int32 array of shape (m,): what it answers, counted from 0; each question has a threshold of its own.
    """

    scores: np.ndarray
    patients: np.ndarray
    questions: np.ndarray

    def patient_counts(self, questions: int) -> np.ndarray:
        """Patients who have scores of each question, int array of shape (questions,)."""
        pairs = np.unique(self.questions.astype(np.int64) + questions * self.patients.astype(np.int64))
        return np.bincount(pairs % questions, minlength=questions)

    def thresholds(self, coverage: float, questions: int) -> np.ndarray:
        """The score up to which an answer belongs to a set, array of shape (questions,); infinite of too few patients.

        Parameters
        ----------
        coverage : how often the truth is to be in the set, above 0 and below 1.
        questions : how many there are.
        """
        asked = [self.questions == question for question in range(questions)]
        return np.array([hierarchical_quantile(self.scores[own], self.patients[own], coverage) for own in asked])

    def of_few(self, seed: int = 0) -> HeldOutScores:
        """The scores of at most 2,000 of the patients, drawn at random."""
        names, codes = np.unique(self.patients, return_inverse=True)
        if len(names) <= MOST_PATIENTS:
            return HeldOutScores(self.scores, codes.astype(np.int32), self.questions)
        drawn = np.random.default_rng(seed).permutation(len(names))
        place = np.full(len(names), -1)
        place[drawn[:MOST_PATIENTS]] = np.arange(MOST_PATIENTS)
        kept = place[codes] >= 0
        return HeldOutScores(self.scores[kept], place[codes][kept].astype(np.int32), self.questions[kept])

    def tensors(self) -> list[np.ndarray]:
        """As arrays to be written; :func:`read_scores` reads them."""
        return [self.scores, self.patients, self.questions]


def hierarchical_quantile(scores: np.ndarray, patients: np.ndarray, coverage: float) -> float:
    """The threshold of one question; infinite where the patients are fewer than :func:`patients_needed`.

    Parameters
    ----------
    scores : array of shape (m,).
    patients : int array of shape (m,).
    coverage : above 0 and below 1.
    """
    counts = np.bincount(patients)[patients] if len(patients) else np.empty(0)
    number = len(np.unique(patients))
    order = np.argsort(scores, kind="stable")
    mass = np.cumsum(1 / counts[order])  # in units of a patient's
    reached = np.flatnonzero(mass >= coverage * (number + 1) - _LEAST * (number + 1))
    return float(scores[order[reached[0]]]) if len(reached) else math.inf


def patients_needed(coverage: float) -> int:
    """The fewest patients of whom something can be promised so often: with fewer, even the worst score is too few."""
    return math.ceil(1 / (1 - coverage) - 1 - 1e-9)


def between(coverage: float, patients: int) -> tuple[float, float]:
    """Where the coverage of one bundle lies in 95 of 100, on patients without end, by the luck of its few patients.

    That of patients with one image each and scores without ties (a beta distribution: Vovk 2012); several images a
    patient make it vary by less.
    """
    rank = math.ceil(coverage * (patients + 1) - _LEAST * (patients + 1))
    low, high = beta.ppf((0.025, 0.975), rank, patients + 1 - rank)
    return float(low), float(high)


def read_scores(tensors: Sequence[np.ndarray], questions: int, most: float) -> HeldOutScores:
    """What :meth:`HeldOutScores.tensors` gave.

    Parameters
    ----------
    tensors : as they were read.
    questions : how many there are.
    most : the highest score that there can be.

    Raises
    ------
    ValueError
        They are anything else.
    """
    if len(tensors) != 3:
        raise ValueError(f"held-out scores are of {len(tensors)} tensors; expected 3")
    scores, patients, kinds = tensors
    sound = (
        scores.ndim == 1
        and scores.dtype == np.float64
        and all(one.shape == scores.shape and one.dtype == np.int32 for one in (patients, kinds))
        and len(scores) > 0
        and bool(((scores >= 0) & (scores <= most)).all())
        and bool(((patients >= 0) & (patients < MOST_PATIENTS)).all())
        and bool(((kinds >= 0) & (kinds < questions)).all())
    )
    if not sound:
        raise ValueError("the held-out scores, or whose they are, are none that this package writes")
    return HeldOutScores(scores, patients, kinds)
