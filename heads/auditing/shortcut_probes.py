"""Shortcut probes: classifiers that do not see the subject.

Where one of them tells the classes apart, so may any model, and know nothing (Geirhos et al. 2020; DeGrave et al.
2021).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from featcache.data.tasks import Task

from ..evaluation.label_permutation import Predicted, joint_p_values
from .image_summary import SQUARE, ImageSummary
from .metadata_probes import Column, follows, told_by, worth_asking
from .questions import MEASURES, Measure, Question, ask, held_out

_TREES = 100
_TREES_A_LABEL = 40  # where several labels are asked for
_BORDER = 6  # of 64 pixels
_RARE = 0.01  # of audits of labels that mean nothing, so many may show anything
_LIFT = 0.2  # of the way from chance to certainty


@dataclass(frozen=True)
class Probe:
    """What a classifier gets to see: a name, the numbers, and whether disease itself may show in them."""

    name: str
    see: Callable[[ImageSummary], np.ndarray]
    disease_shows: bool = False


def _border(summary: ImageSummary) -> np.ndarray:
    rim = np.ones((SQUARE, SQUARE), bool)
    rim[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    return summary.square[rim]


def _thumbnail(summary: ImageSummary) -> np.ndarray:
    return np.asarray(Image.fromarray(summary.square).resize((8, 8), Image.Resampling.BOX)).ravel()


PROBES = (
    Probe("file properties", lambda summary: summary.properties),
    Probe("border", _border),
    Probe("corners", lambda summary: summary.corners.ravel()),
    Probe("histogram", lambda summary: summary.histogram, disease_shows=True),
    Probe("thumbnail", _thumbnail, disease_shows=True),
)


@dataclass(frozen=True)
class Answer:
    """What one probe says to one question: its rows, and what is given for each of them."""

    probe: str
    question: Question
    given: np.ndarray
    disease_shows: bool = False
    column: Column | None = None


def answers_of(
    summaries: Sequence[ImageSummary],
    task: Task,
    y: np.ndarray,
    names: Sequence[str],
    groups: Sequence[str] | np.ndarray,
    columns: Mapping[str, np.ndarray],
    seed: int = 0,
) -> list[Answer]:
    """What each probe says, cross-validated with whole groups.

    From what a probe sees of an image a random forest learns in 5 folds, classes counting alike. From a column of the
    metadata, and from whether it is empty, a category's share of each class among the other patients is learnt (of a
    number, its fifths; of a target that is a number, its mean).

    Parameters
    ----------
    summaries : n summaries.
    task : what is learnt.
    y : its targets of each image, as :class:`featcache.data.tasks.Targets` holds them.
    names : of its classes, labels or number.
    groups : group of each image, which must not be torn apart.
    columns : metadata by name, arrays of shape (n,).
    seed : of folds and forests.

    Returns
    -------
    An answer of each probe and label; none where a class has fewer than two groups.
    """
    asked = ask(task, np.asarray(y), names, groups, seed)
    measure = MEASURES[task.kind]
    every = list(worth_asking(dict(columns)))
    seen = [
        np.stack([np.asarray(probe.see(summary), np.float32) for summary in summaries]) if asked else np.empty(0)
        for probe in PROBES
    ]
    trees = _TREES if len(asked) == 1 else min(_TREES, _TREES_A_LABEL)
    answers: list[Answer] = []
    for question in asked:
        for probe, X in zip(PROBES, seen, strict=True):
            given = _learnt(measure, X[question.rows], question, trees, seed)
            answers.append(Answer(probe.name, question, given, probe.disease_shows))
        for column in every:
            told = told_by(column, question, measure)
            if told is not None:
                answers.append(Answer(column.name, *told, column=column))
    return answers


def shortcuts(answers: Sequence[Answer], task: Task, seed: int = 0) -> list[dict[str, Any]]:
    """What each answer is worth.

    The score is the balanced accuracy on what was held out; of several labels, each label's area under the ROC curve;
    of a number, the correlation of ranks. The p-value is that of a permutation test that keeps patients as they are
    (:func:`heads.evaluation.label_permutation.joint_p_values`), corrected for the number of probes and labels: of
    audits of labels that mean nothing, 1 in 100 or fewer have a probe with p below 0.01. A probe is flagged where that
    is so, and the interval of the score lies above chance by a tenth of the way to 1, the score itself by a fifth. A
    column from which the class follows without exception is not flagged but asked about: it may be another name of it.

    Returns
    -------
    ``probe label of measure score score_ci accuracy chance p_value flag names_label verdict n`` of each answer, ``of``
    being ``image`` or ``metadata``.
    """
    measure = MEASURES[task.kind]
    p_values = chances(measure, [(one.question, one.given) for one in answers], seed)
    return [_judged(measure, one, p) for one, p in zip(answers, p_values, strict=True)]


def _learnt(measure: Measure, X: np.ndarray, question: Question, trees: int, seed: int) -> np.ndarray:
    """What a forest gives for each row, learnt from the other folds."""

    def told(learnt: np.ndarray, held: np.ndarray) -> np.ndarray:
        forest = measure.forest(trees, seed).fit(X[learnt], question.y[learnt])
        return measure.given(forest, X[held], question.n_classes)

    return held_out(question.folds, told)


def chances(measure: Measure, answers: Sequence[tuple[Question, np.ndarray]], seed: int) -> list[float]:
    """p-value of each answer, corrected for all of them; answers to one question share its dealings.

    Parameters
    ----------
    measure : how they are judged.
    answers : a question, and what is given for each of its rows.
    seed : of dealings.
    """
    families: dict[int, list[int]] = {}
    for place, (question, _) in enumerate(answers):
        families.setdefault(id(question), []).append(place)
    predicted = []
    for places in families.values():
        question = answers[places[0]][0]
        given = [measure.judged(answers[place][1]) for place in places]
        predicted.append(Predicted(question.y, given, question.groups, measure.agreement))
    found = np.ones(len(answers))
    for places, p in zip(families.values(), joint_p_values(predicted, seed), strict=True):
        found[places] = p
    return found.tolist()


def _judged(measure: Measure, answer: Answer, p: float) -> dict[str, Any]:
    question, chance = answer.question, answer.question.chance
    score, interval, accuracy = measure.score(question.y, answer.given, question.groups)
    lift, least = ((value - chance) / (1 - chance) for value in (score, interval[0]))
    flag = p < _RARE and lift >= _LIFT and least >= _LIFT / 2
    column = answer.column
    same = column is not None and p < _RARE and follows(column, question.y, column.codes[question.rows], score >= 1)
    found = {
        "probe": answer.probe,
        "label": question.label,
        "of": "image" if column is None else "metadata",
        "measure": measure.name,
        "disease_shows": answer.disease_shows,
        "score": score,
        "score_ci": list(interval),
        "accuracy": accuracy,
        "chance": chance,
        "p_value": p,
        "flag": flag and not same,
        "names_label": same,
        "n": len(question.y),
    }
    return {**found, "verdict": _verdict(found)}


def _verdict(found: Mapping[str, Any]) -> str:
    reached = f"{found['probe']} alone: {in_words(found)}"
    if found["names_label"]:
        return (
            f"{reached}. The label follows from it without exception: is it another name of the label? Else it is a "
            "shortcut, and a perfect one"
        )
    if found["flag"] and found["disease_shows"]:
        reason = "Some of it may be the subject itself, where it changes brightness; the rest needs no look at it"
        return f"{reached}. {reason}"
    if found["flag"] and found["of"] == "metadata":
        return f"{reached}. A model that sees it in the picture can score as much without looking at the subject"
    if found["flag"]:
        return f"{reached}. A model can score as much without looking at the subject"
    if found["p_value"] < _RARE:
        return f"{reached}. A trace of a shortcut, too weak to explain a good model"
    return f"{reached}. No shortcut shown"


def in_words(found: Mapping[str, Any]) -> str:
    """What a probe reached, and what guessing does."""
    if found["measure"] == "balanced accuracy":
        return f"{found['score']:.0%} right, guessing gives {found['chance']:.0%}"
    return f"{found['measure']} {found['score']:.2f} for {found['label']}, guessing gives {found['chance']:g}"
