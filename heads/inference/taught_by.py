"""Who taught a model an answer: the patients without whom a ridge on the same features would answer most differently.

The ridge stands in for the model, since what it would say without a patient follows without a fit
(:mod:`heads.evaluation.ridge_smoother`); a head would have to be trained again for each. Whether the two agree about an
answer stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize

from featcache.features.labelled_features import Features

from ..auditing.audited_targets import told_of
from ..evaluation.clusters import group_codes, rows_of_groups
from ..evaluation.ridge_smoother import RidgeSmoother

_MOST = 50_000_000  # numbers in the rows learnt from, which stand in memory
_MOST_ROWS = 2500  # or columns, whichever are fewer: they are decomposed in some seconds

# What a ridge regresses on, array of shape (n, m), given what is learnt and how many classes there are. Several labels
# are not among them: each is learnt from other rows.
_TARGETS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "classes": lambda y, count: np.where(y[:, None] == np.arange(count), 1.0, -1.0),
    "number": lambda y, count: y[:, None].astype(np.float64),
}


def taught_by(learnt: Features, X: np.ndarray, answers: np.ndarray, count: int) -> list[dict[str, Any]] | None:
    """The patients, or other groups, with the most influence on some answers.

    Parameters
    ----------
    learnt : what the model learnt from, in memory.
    X : rows that were answered, array of shape (k, d).
    answers : what the model says of each: position of a class, or a number; array of shape (k,).
    count : of each answer, how many patients.

    Returns
    -------
    For each row ``score``, what the ridge gives the model's class (1 where it is sure, -1 where it is sure of the
    contrary) or the number; ``agrees``, whether the ridge's class is the same, None of a number; and ``patients``,
    ``group images labels change``: by how much the score would change without it. None of several labels, where there
    are no two patients, and where there are more rows than can be decomposed at once.
    """
    targets_of = _TARGETS.get(learnt.task.kind)
    codes = group_codes(learnt.groups, len(learnt))
    shape = learnt.X.shape
    if targets_of is None or len(np.unique(codes)) < 2 or np.prod(shape) > _MOST or min(shape) > _MOST_ROWS:
        return None
    targets = targets_of(learnt.y, len(learnt.classes))
    groups = rows_of_groups(codes)
    smoother = RidgeSmoother(normalize(learnt.X))
    penalty = smoother.best_penalty(targets, groups)
    shares = smoother.answers(normalize(X), penalty)
    given = shares @ targets
    classes = learnt.task.kind == "classes"
    asked = answers.astype(np.int64) if classes else np.zeros(len(X), np.int64)
    places = np.arange(len(X))
    # What each group adds to an answer that it would not add if it had the targets which the others give it.
    changes = np.stack(
        [
            (shares[:, rows] @ (own - targets[rows]))[places, asked]
            for rows, own in zip(groups, smoother.left_out(targets, groups, penalty), strict=True)
        ],
        axis=1,
    )
    told = told_of(learnt.task, learnt.y, learnt.classes)
    found = []
    for row, line in enumerate(changes):
        first = np.argsort(-np.abs(line), kind="stable")[:count]
        found.append(
            {
                "score": float(given[row, asked[row]]),
                "agrees": bool(given[row].argmax() == asked[row]) if classes else None,
                "patients": [
                    {
                        "group": str(learnt.groups[groups[number][0]]),
                        "images": len(groups[number]),
                        "labels": sorted({told[place] for place in groups[number]}),
                        "change": float(line[number]),
                    }
                    for number in first.tolist()
                ],
            }
        )
    return found
