"""Weights that make classes alike in what is known of their rows: overlap weights (Li, Morgan & Zaslavsky 2018).

A row of class k whose probability of being of its class is e_k, given what is known, counts ``h / e_k``, with
``h = 1 / sum(1 / e)`` over the classes (Li & Li 2019 for several). What is known is then distributed alike in all
classes, and tells nothing of them (Rosenbaum & Rubin 1983); rows whose like the other classes do not have hardly count,
where weights by ``1 / e_k`` would make a handful of rows count for all the rest.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from .clusters import kish

_LOOSE = 100.0  # C: next to no penalty, which a perfect separation needs to end at all
_LEAST = 1e-4  # of the greatest weight; a row below it counts nothing


@dataclass(frozen=True)
class Overlap:
    """Rows weighed so that classes are alike.

    Attributes
    ----------
    weight : array of shape (n,), 1 on average in each class; 0 where a row has no like in the other classes.
    told : balanced accuracy with which what is known still tells the classes apart where rows count so; chance, unless
        it separates them.
    worth : array of shape (n_classes,): groups of each that count alike these are worth (Kish 1965).
    total : the same of all groups.
    """

    weight: np.ndarray
    told: float
    worth: np.ndarray
    total: float


def overlap(known: np.ndarray, y: np.ndarray, of_group: np.ndarray) -> Overlap:
    """Weigh rows.

    The probabilities are those of a logistic regression in which classes count alike. Its likelihood equations balance
    the means of all columns exactly where it is not penalised.

    Parameters
    ----------
    known : array of shape (n, d): what is to be alike in the classes.
    y : int array of shape (n,), classes counted from 0, each of which has rows.
    of_group : int array of shape (n,), groups counted from 0.
    """
    rows = known - known.mean(axis=0)
    rows = rows / np.maximum(rows.std(axis=0), 1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where it is separated, which `told` says
        model = LogisticRegression(C=_LOOSE, class_weight="balanced", max_iter=1000).fit(rows, y)
    shares = np.maximum(model.predict_proba(rows), 1e-12)
    tilt = 1 / (1 / shares).sum(axis=1)
    weight = tilt / shares[np.arange(len(y)), y]
    weight[weight < _LEAST * weight.max()] = 0
    sums = np.bincount(y, weight)
    if (sums <= 0).any():
        return Overlap(np.zeros(len(y)), 1.0, np.zeros(len(sums)), 0.0)
    weight *= (np.bincount(y) / sums)[y]
    told = np.bincount(y, weight * (shares.argmax(axis=1) == y)) / np.bincount(y)
    worth = np.array([kish(weight[y == label], of_group[y == label]) for label in range(len(sums))])
    evenly = weight / np.bincount(y)[y]
    return Overlap(weight, float(told.mean()), worth, kish(evenly, of_group))
