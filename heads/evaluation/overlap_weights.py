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

_LOOSE = 100.0  # C: next to no penalty, which a perfect separation needs to end at all
_LEAST = 1e-4  # of the greatest weight; a row below it counts no less


@dataclass(frozen=True)
class Overlap:
    """Rows weighed so that classes are alike.

    Attributes
    ----------
    weight : array of shape (n,) of numbers above 0, 1 on average in each class.
    told : balanced accuracy with which what is known tells the classes apart, all rows counting alike.
    left : the same where rows count by their weights; near chance, unless classes hardly overlap.
    pulls : array of shape (n, m): how each row pulls at the coefficients of the regression that the weights are from.
    """

    weight: np.ndarray
    told: float
    left: float
    pulls: np.ndarray

    def freed(self, shares: np.ndarray) -> np.ndarray:
        """What rows add to a weighed mean, without what the weights would take back.

        Had a row been drawn more often, the weights would be others. A mean by weights that are estimated varies as
        what its rows add, less what of it goes with the pulls (Robins, Rotnitzky & Zhao 1994; Lunceford & Davidian
        2004).

        Parameters
        ----------
        shares : array of shape (n,), what each row adds as if the weights were given.
        """
        return np.asarray(shares - self.pulls @ np.linalg.lstsq(self.pulls, shares, rcond=None)[0])


def overlap(known: np.ndarray, y: np.ndarray) -> Overlap:
    """Weigh rows.

    The probabilities are those of a logistic regression in which classes count alike. Of two classes, its likelihood
    equations balance the means of all columns exactly where it is not penalised.

    Parameters
    ----------
    known : array of shape (n, d): what is to be alike in the classes.
    y : int array of shape (n,), classes counted from 0, each of which has rows.
    """
    rows = known - known.mean(axis=0)
    rows = rows / np.maximum(rows.std(axis=0), 1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where it is separated, which `told` says
        model = LogisticRegression(C=_LOOSE, class_weight="balanced", max_iter=1000).fit(rows, y)
    shares = np.maximum(model.predict_proba(rows), 1e-12)
    weight = 1 / (1 / shares).sum(axis=1) / shares[np.arange(len(y)), y]
    weight = np.maximum(weight, _LEAST * weight.max())
    counts = np.bincount(y)
    weight *= (counts / np.bincount(y, weight))[y]
    right = shares.argmax(axis=1) == y
    told, left = (float((np.bincount(y, right * every) / counts).mean()) for every in (np.ones(len(y)), weight))
    errors = (np.eye(len(counts))[y] - shares)[:, 1:] / counts[y][:, None]
    pulls = (errors[:, :, None] * np.column_stack([np.ones(len(y)), rows])[:, None, :]).reshape(len(y), -1)
    return Overlap(weight, told, left, pulls)


def kish(weight: np.ndarray, of_group: np.ndarray) -> float:
    """How many groups that count alike rows with these weights are worth (Kish 1965), groups counted from 0."""
    of_groups = np.bincount(of_group, weight)
    return float(of_groups.sum() ** 2 / (of_groups**2).sum())
