"""What decides a search and orders a leaderboard, of each kind of task; greater is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..evaluation.label_scorer import label_scorer


@dataclass(frozen=True)
class SearchScore:
    """How candidates of a search, and models of a leaderboard, are compared.

    Attributes
    ----------
    scoring : str, callable or None
        As sklearn's searches take it; None is the model's own.
    said : str
        What a cross-validated score is called in pictures.
    metric : str
        Its like among the metrics on test.
    label : str
        What that is called in pictures.
    sign : int
        What makes a cross-validated score comparable to it: -1 where sklearn turns a loss around.
    beside : tuple of str
        Other metrics that a leaderboard lists.
    best : float or None
        What a model without fault would have, where that is the end of the scale.
    chance_label : str
        What no model at all would do.
    chance : callable
        Gets what is true of the rows learnt from, and of those judged by; gives that in the metric.
    """

    scoring: Any
    said: str
    metric: str
    label: str
    sign: int
    beside: tuple[str, ...]
    best: float | None
    chance_label: str
    chance: Callable[[np.ndarray, np.ndarray], float]


SCORES: dict[str, SearchScore] = {
    "classes": SearchScore(
        scoring=None,
        said="accuracy",
        metric="accuracy",
        label="accuracy",
        sign=1,
        beside=("balanced_accuracy", "macro_f1", "roc_auc", "loss"),
        best=1.0,
        chance_label="most frequent class",
        chance=lambda learnt, judged: float(np.bincount(judged).max() / len(judged)),
    ),
    "labels": SearchScore(
        scoring=label_scorer,
        said="mean ROC area",
        metric="mean_roc_auc",
        label="mean ROC area",
        sign=1,
        beside=("mean_average_precision", "loss"),
        best=1.0,
        chance_label="chance",
        chance=lambda learnt, judged: 0.5,
    ),
    "number": SearchScore(
        scoring="neg_mean_absolute_error",
        said="minus the mean absolute error",
        metric="mae",
        label="mean absolute error (less is better)",
        sign=-1,
        beside=("rmse", "r2", "spearman", "mean_error"),
        best=None,
        chance_label="mean of the training images",
        chance=lambda learnt, judged: float(np.abs(judged - learnt.mean()).mean()),
    ),
}
