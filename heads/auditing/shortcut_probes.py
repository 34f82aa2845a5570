"""Shortcut probes: classifiers that do not see the subject.

Where one of them tells the classes apart, so may any model, and know nothing (Geirhos et al. 2020; DeGrave et al.
2021).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from ..evaluation.label_permutation import p_values
from ..evaluation.metrics import evaluate
from .image_summary import SQUARE, Look

_FOLDS = 5
_TREES = 100
_BORDER = 6  # of 64 pixels
_RARE = 0.01  # of audits of labels that mean nothing, so many may show anything
_LIFT = 0.2  # of the way from chance to certainty
_ROWS = 5000  # learn from at most so many images: more change no verdict


@dataclass(frozen=True)
class Probe:
    """What a classifier gets to see: a name, the numbers, and whether disease itself may show in them."""

    name: str
    see: Callable[[Look], np.ndarray]
    disease_shows: bool = False


def _border(look: Look) -> np.ndarray:
    rim = np.ones((SQUARE, SQUARE), bool)
    rim[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    return look.square[rim]


def _thumbnail(look: Look) -> np.ndarray:
    return np.asarray(Image.fromarray(look.square).resize((8, 8), Image.Resampling.BOX)).ravel()


PROBES = (
    Probe("file properties", lambda look: look.properties),
    Probe("border", _border),
    Probe("corners", lambda look: look.corners.ravel()),
    Probe("histogram", lambda look: look.histogram, disease_shows=True),
    Probe("thumbnail", _thumbnail, disease_shows=True),
)


def shortcuts(
    looks: Sequence[Look], y: np.ndarray, classes: Sequence[str], groups: Sequence[str], seed: int = 0
) -> list[dict[str, Any]]:
    """What each probe reaches, cross-validated with whole groups.

    A random forest learns from each probe's numbers, in 5 folds, classes counting alike. Its score is the balanced
    accuracy on what was held out; chance is one by the number of classes. The p-value is that of a permutation test
    that keeps patients as they are (:func:`heads.evaluation.label_permutation.p_values`), corrected for the number of
    probes: of audits of labels that mean nothing, 1 in 100 or fewer have a probe with p below 0.01. A probe is flagged
    where that is so, and the interval of the score lies above chance by a tenth of the way to 1, the score itself by a
    fifth.

    Parameters
    ----------
    looks : n looks; of more than 5,000, a random 5,000 take part.
    y : int array of shape (n,), classes counted from 0.
    groups : group of each image, which must not be torn apart.

    Returns
    -------
    ``probe score score_ci accuracy chance p_value flag verdict n`` of each probe; empty where a class has fewer than
    two groups.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(y))[:_ROWS])
    y, of_group = np.asarray(y)[rows], np.asarray(groups, str)[rows]
    fewest = min(len(np.unique(of_group[y == label])) for label in range(len(classes)))
    if fewest < 2:
        return []
    folds = list(StratifiedGroupKFold(min(_FOLDS, fewest), shuffle=True, random_state=seed).split(y, y, of_group))
    given = []
    for probe in PROBES:
        X = np.stack([np.asarray(probe.see(looks[row]), np.float32) for row in rows])
        forest = RandomForestClassifier(_TREES, class_weight="balanced", random_state=seed, n_jobs=os.cpu_count())
        given.append(cross_val_predict(forest, X, y, cv=folds, method="predict_proba"))
    chances = p_values(y, [probabilities.argmax(axis=1) for probabilities in given], of_group, seed)
    return [
        _judged(probe, evaluate(y, probabilities, of_group), classes, p)
        for probe, probabilities, p in zip(PROBES, given, chances, strict=True)
    ]


def _judged(probe: Probe, metrics: dict[str, Any], classes: Sequence[str], p: float) -> dict[str, Any]:
    score, low, chance = metrics["balanced_accuracy"], metrics["balanced_accuracy_ci"][0], 1 / len(classes)
    lift, least = ((value - chance) / (1 - chance) for value in (score, low))
    flag = p < _RARE and lift >= _LIFT and least >= _LIFT / 2
    return {
        "probe": probe.name,
        "disease_shows": probe.disease_shows,
        "score": score,
        "score_ci": metrics["balanced_accuracy_ci"],
        "accuracy": metrics["accuracy"],
        "chance": chance,
        "p_value": p,
        "flag": flag,
        "verdict": _verdict(probe, score, chance, p, flag),
        "n": metrics["n"],
    }


def _verdict(probe: Probe, score: float, chance: float, p: float, flag: bool) -> str:
    reached = f"{probe.name} alone: {score:.0%} right, guessing gives {chance:.0%}"
    if flag and probe.disease_shows:
        reason = "Some of it may be the subject itself, where it changes brightness; the rest needs no look at it"
        return f"{reached}. {reason}"
    if flag:
        return f"{reached}. A model can score as much without looking at the subject"
    if p < _RARE:
        return f"{reached}. A trace of a shortcut, too weak to explain a good model"
    return f"{reached}. No shortcut shown"
