"""Shortcut probes: classifiers that do not see the subject. Where one of them tells the classes apart, so may any model, and
know nothing (Geirhos et al. 2020; DeGrave et al. 2021)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from .evaluate import evaluate
from .looks import SQUARE, Look

_FOLDS = 5
_TREES = 100
_DRAWS = 1999
_BORDER = 6  # of 64 pixels
_RARE = 0.01  # p-value
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
    looks: Sequence[Look], y: np.ndarray, classes: Sequence[str], units: Sequence[str], seed: int = 0
) -> list[dict[str, Any]]:
    """What each probe reaches, cross-validated with whole units.

    A random forest learns from each probe's numbers, in 5 folds, classes counting alike. Its score is the balanced
    accuracy on what was held out; chance is one by the number of classes. The p-value is that of a permutation test:
    how often labels dealt out anew among the units agree with the predictions as well (1,999 times; Ojala & Garriga
    2010, their first test, with the predictions held fixed). A probe is flagged where p is below 0.01 and the interval of the score lies
    above chance by a tenth of the way to 1, the score itself by a fifth.

    Parameters
    ----------
    looks : n looks; of more than 5,000, a random 5,000 take part.
    y : int array of shape (n,), classes counted from 0.
    units : groups of images that must not be torn apart.

    Returns
    -------
    ``probe score score_ci accuracy chance p_value flag verdict n`` of each probe; empty where a class has fewer than
    two units.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(y))[:_ROWS])
    y, groups = np.asarray(y)[rows], np.asarray(units, str)[rows]
    fewest = min(len(np.unique(groups[y == label])) for label in range(len(classes)))
    if fewest < 2:
        return []
    folds = list(StratifiedGroupKFold(min(_FOLDS, fewest), shuffle=True, random_state=seed).split(y, y, groups))
    found = []
    for probe in PROBES:
        X = np.stack([np.asarray(probe.see(looks[row]), np.float32) for row in rows])
        forest = RandomForestClassifier(_TREES, class_weight="balanced", random_state=seed, n_jobs=os.cpu_count())
        probabilities = cross_val_predict(forest, X, y, cv=folds, method="predict_proba")
        figures = evaluate(y, probabilities, groups)
        found.append(_judged(probe, figures, classes, _p_value(y, probabilities.argmax(axis=1), groups, rng)))
    return found


def _judged(probe: Probe, figures: dict[str, Any], classes: Sequence[str], p: float) -> dict[str, Any]:
    score, low, chance = figures["balanced_accuracy"], figures["balanced_accuracy_ci"][0], 1 / len(classes)
    lift, least = ((value - chance) / (1 - chance) for value in (score, low))
    flag = p < _RARE and lift >= _LIFT and least >= _LIFT / 2
    return {
        "probe": probe.name, "disease_shows": probe.disease_shows, "score": score, "score_ci": figures["balanced_accuracy_ci"],
        "accuracy": figures["accuracy"], "chance": chance, "p_value": p, "flag": flag,
        "verdict": _verdict(probe, score, chance, p, flag), "n": figures["n"],
    }  # fmt: skip


def _verdict(probe: Probe, score: float, chance: float, p: float, flag: bool) -> str:
    found = f"{probe.name} alone: {score:.0%} right, guessing gives {chance:.0%}"
    if flag and probe.disease_shows:
        return (
            f"{found}. Some of it may be the subject itself, where it changes brightness; the rest needs no look at it"
        )
    if flag:
        return f"{found}. A model can score as much without looking at the subject"
    if p < _RARE:
        return f"{found}. A trace of a shortcut, too weak to explain a good model"
    return f"{found}. No shortcut shown"


def _p_value(y: np.ndarray, predicted: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> float:
    """Share of dealings of the units' labels that reach the balanced accuracy, the actual one counted in."""
    _, first, unit = np.unique(groups, return_index=True, return_inverse=True)
    labels = y[first]  # a unit of several classes counts as its first image's
    if (labels[unit] != y).any():
        labels, unit, y = y, np.arange(len(y)), y
    n_classes = int(y.max()) + 1
    # Rows of each unit by prediction: of a dealing, all that is needed are sums of these.
    table = np.zeros((len(labels), n_classes))
    np.add.at(table, (unit, predicted), 1)

    def balanced(dealt: np.ndarray) -> float:
        counts = np.zeros((n_classes, n_classes))
        np.add.at(counts, dealt, table)
        rows = counts.sum(axis=1)
        return float(np.mean(np.diagonal(counts)[rows > 0] / rows[rows > 0]))

    actual = balanced(labels)
    reached = sum(balanced(rng.permutation(labels)) >= actual - 1e-12 for _ in range(_DRAWS))
    return (1 + reached) / (1 + _DRAWS)
