"""Labels that are probably wrong, each with the evidence: copies that contradict each other first, then what several
models and the nearest images of other patients speak against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from featcache.features.labelled_features import Features

from ..evaluation.clusters import group_codes
from ..evaluation.confident_learning import LabelNoise, doubts, label_noise, likely_classes, suspected
from ..evaluation.label_metrics import enough
from ..evaluation.nearest_of_others import nearest_of_others

_NEIGHBOURS = 5


@dataclass(frozen=True)
class Question:
    """One thing that is labelled: of classes which one, of several labels whether an image has this one.

    Attributes
    ----------
    about : the label's name; None of classes.
    rows : int array of shape (m,), positions of the images of which it is known.
    labels : int array of shape (m,), positions in ``names``.
    by_model : array of shape (n_models, m, n_names), what each model says.
    names : what the labels are called.
    """

    about: str | None
    rows: np.ndarray
    labels: np.ndarray
    by_model: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True)
class Suspects:
    """What was found.

    Attributes
    ----------
    suspects : of each ``path label suggested score reason about part group copy models neighbours``, best first.
    wrong : labels that are estimated to be wrong, of how many: ``estimated_wrong`` and ``labels``.
    pairs : ``about label likely images wrong`` of each pair of classes that any image is estimated to be confused in.
    left_out : labels of which there is too little to say.
    """

    suspects: list[dict[str, Any]]
    wrong: dict[str, int]
    pairs: list[dict[str, Any]]
    left_out: list[str]


def _of_classes(features: Features, outputs: np.ndarray) -> list[Question]:
    return [Question(None, np.arange(len(features)), features.y, outputs, features.classes)]


def _of_labels(features: Features, outputs: np.ndarray) -> list[Question]:
    of_group = group_codes(features.groups, len(features))
    questions = []
    for label, name in enumerate(features.classes):
        rows = np.flatnonzero(~np.isnan(features.y[:, label]))
        has = features.y[rows, label] == 1
        if enough(has, of_group[rows]):
            said = outputs[:, rows, label]
            names = (f"no {name}", name)
            questions.append(Question(name, rows, has.astype(np.int64), np.stack([1 - said, said], axis=-1), names))
    return questions


# By the task's kind. A number has no other one that would be meant.
QUESTIONS: dict[str, Callable[[Features, np.ndarray], list[Question]]] = {"classes": _of_classes, "labels": _of_labels}


def find_suspects(
    features: Features, outputs: np.ndarray, rows: np.ndarray, links: Sequence[tuple[int, int]]
) -> Suspects:
    """Ask each question of the task, and put what is found in one order.

    Parameters
    ----------
    features : Features
        All images.
    outputs : array of shape (n_models, n, ...)
        What models that did not learn from it give each image.
    rows : array of shape (n, d)
        The features, of unit length, as neighbours are told by.
    links : sequence of (int, int)
        Positions of images that are copies of each other, exact or near.
    """
    questions = QUESTIONS[features.task.kind](features, outputs)
    of_group = group_codes(features.groups, len(features))
    suspects: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    wrong = 0.0
    for question in questions:
        noise = label_noise(question.labels, question.by_model.mean(axis=0))
        wrong += noise.wrong
        pairs += _pairs(question, noise)
        suspects += _suspects(features, question, noise, rows, of_group, links)
    suspects.sort(key=lambda one: (one["copy"] is None, -one["score"]))
    asked = {question.about for question in questions}
    return Suspects(
        suspects,
        {"estimated_wrong": round(wrong), "labels": sum(len(question.rows) for question in questions)},
        sorted(pairs, key=lambda pair: -pair["wrong"]),
        [name for name in features.classes if name not in asked] if None not in asked else [],
    )


def _pairs(question: Question, noise: LabelNoise) -> list[dict[str, Any]]:
    counts = np.bincount(question.labels, minlength=len(question.names))
    return [
        {
            "about": question.about,
            "label": label,
            "likely": likely,
            "images": int(counts[i]),
            "wrong": round(float(noise.joint[i, j]), 1),
        }
        for i, label in enumerate(question.names)
        for j, likely in enumerate(question.names)
        if i != j and noise.joint[i, j] >= 0.05
    ]


def _suspects(
    features: Features,
    question: Question,
    noise: LabelNoise,
    rows: np.ndarray,
    of_group: np.ndarray,
    links: Sequence[tuple[int, int]],
) -> list[dict[str, Any]]:
    mean, labels = question.by_model.mean(axis=0), question.labels
    likely, doubt = likely_classes(labels, mean), doubts(labels, mean)
    copies = _contradictions(question, mean, links)
    flagged = suspected(labels, mean, noise)
    flagged[list(copies)] = False
    chosen = [*copies, *np.flatnonzero(flagged)]
    near = nearest_of_others(rows, of_group, question.rows[chosen], question.rows, _NEIGHBOURS)
    place_of = {int(row): place for place, row in enumerate(question.rows)}
    found = []
    for place, neighbours in zip(chosen, near, strict=True):
        copy = copies.get(place)
        suggested = int(labels[copy]) if copy is not None else int(likely[place])
        score = float(doubt[place])
        if copy is not None:  # one of the two is wrong: which one, the models say
            for_it, against = mean[place, suggested], mean[place, labels[place]]
            score = float(for_it / max(for_it + against, 1e-9))
        votes = int((question.by_model[:, place].argmax(axis=1) == suggested).sum())
        alike = sum(int(labels[place_of[int(other)]]) == suggested for other in neighbours)
        evidence = {"models": [votes, len(question.by_model)], "neighbours": [alike, len(neighbours)]}
        other = None if copy is None else int(question.rows[copy])
        row = int(question.rows[place])
        found.append(
            {
                "path": features.paths[row],
                "label": question.names[labels[place]],
                "suggested": question.names[suggested],
                "score": round(score, 4),
                "reason": _reason(features, row, other, question.names[suggested], evidence),
                "about": question.about,
                "part": str(features.splits[row]),
                "group": str(features.groups[row]),
                "copy": None if other is None else features.paths[other],
                **evidence,
            }
        )
    return found


def _contradictions(question: Question, mean: np.ndarray, links: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Images whose copies are labelled otherwise, with a copy of the label that is likelier for all of them.

    Of the labels that a set of copies has, the one that most copies have, or of equally many the models find likelier,
    is taken to be right; both are positions within the question.
    """
    place = {int(row): number for number, row in enumerate(question.rows)}
    ends = np.array([(place[a], place[b]) for a, b in links if a in place and b in place], dtype=int).reshape(-1, 2)
    count = len(question.rows)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    of_set = connected_components(graph, directed=False)[1]
    found: dict[int, int] = {}
    for number in np.flatnonzero(np.bincount(of_set) > 1):
        members = np.flatnonzero(of_set == number)
        there = np.unique(question.labels[members])
        if len(there) < 2:
            continue
        often = [int((question.labels[members] == label).sum()) for label in there]
        probable = mean[members][:, there].mean(axis=0)
        right = there[max(range(len(there)), key=lambda k: (often[k], probable[k]))]
        kept = members[question.labels[members] == right][0]
        found |= {int(member): int(kept) for member in members if question.labels[member] != right}
    return found


def _reason(features: Features, row: int, other: int | None, suggested: str, evidence: dict[str, Any]) -> str:
    said, of = evidence["models"]
    alike, neighbours = evidence["neighbours"]
    text = f"{said} of {of} models say {suggested}"
    if neighbours:
        text += f"; {alike} of the {neighbours} nearest images of other patients are {suggested}"
    if other is None:
        return text
    same = "the same file" if features.keys[row] == features.keys[other] else "a near-copy"
    return f"{same} stands as {suggested}, so one of the two is wrong; {text}"
