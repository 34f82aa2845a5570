"""How well targets that mean nothing agree with predictions: a permutation test that keeps patients as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import rankdata

from .dealt_targets import Dealer, DealtLabels, DealtNumbers

_DRAWS = 1999
_TWICE = 2**0.5
Agreement = Literal["recalls", "area", "ranks"]
# What agrees how well with targets, each a row: array of shape (targets, predictions).
_Measure = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Predicted:
    """Predictions of one target, cross-validated with whole groups.

    Attributes
    ----------
    y : array of shape (n,): classes counted from 0, of which ``area`` takes two, or numbers.
    predictions : arrays of shape (n,): of ``recalls`` classes, else scores.
    groups : array of shape (n,).
    agreement : ``recalls`` is balanced accuracy, ``area`` that under the ROC curve, ``ranks`` the correlation of ranks.
    """

    y: np.ndarray
    predictions: Sequence[np.ndarray]
    groups: np.ndarray
    agreement: Agreement = "recalls"


def p_values(y: np.ndarray, predictions: Sequence[np.ndarray], groups: np.ndarray, seed: int = 0) -> list[float]:
    """:func:`joint_p_values` of predictions of one target by classes."""
    return joint_p_values([Predicted(y, predictions, groups)], seed)[0]


def joint_p_values(families: Sequence[Predicted], seed: int = 0) -> list[list[float]]:
    """How often targets dealt out anew agree with cross-validated predictions as well as the actual ones do.

    Each agreement is divided by its own deviation over the dealings, and compared with the highest among all of them
    (Westfall & Young 1993): of targets that mean nothing, a p below 0.01 anywhere comes up in 1 set of 100. Several
    targets are dealt apart from each other, which corrects for their number as Sidak's rule does, whatever they have to
    do with each other: of those that go together a p so small comes up less often.

    What is dealt keeps the structure that is there (:mod:`heads.evaluation.dealt_targets`).

    The predictions are held fixed (Ojala & Garriga 2010, their first test), but they were learnt from the very targets:
    where two patients look alike, either is predicted from the other, and what one pair agrees in counts twice. That
    doubles the variance of sums over pairs, so the dealings' deviations are taken as larger by the root of two.

    Parameters
    ----------
    families : of each target.

    Returns
    -------
    p of each prediction of each target, in their order.
    """
    rng = np.random.default_rng(seed)
    above, highest = [], np.full(_DRAWS, -np.inf)
    for one in families:
        dealer, agreement = _AGREEMENTS[one.agreement](one)
        actual = agreement(dealer.actual[None])[0]
        dealt = np.concatenate([agreement(some) for some in dealer.dealt(_DRAWS, rng)])
        mean, deviation = dealt.mean(axis=0), dealt.std(axis=0)
        deviation[deviation < 1e-9] = 1  # predictions that are all the same
        above.append((actual - mean) / deviation / _TWICE - 1e-9)
        highest = np.maximum(highest, ((dealt - mean) / deviation).max(axis=1))
    return [((1 + (highest[:, None] >= reached).sum(axis=0)) / (1 + _DRAWS)).tolist() for reached in above]


def _recalls(one: Predicted) -> tuple[Dealer, _Measure]:
    dealer = DealtLabels(one.y, _codes(one.groups))
    n_classes = int(one.y.max()) + 1
    tables = [dealer.totals(np.eye(n_classes)[predicted]) for predicted in one.predictions]

    def balanced(dealt: np.ndarray, table: np.ndarray) -> np.ndarray:
        recalls = []
        for label in range(n_classes):
            taken = (dealt == label) @ table
            rows = taken.sum(axis=1)
            recalls.append(np.divide(taken[:, label], rows, out=np.full(len(rows), np.nan), where=rows > 0))
        return np.nanmean(recalls, axis=0)

    return dealer, lambda dealt: np.stack([balanced(dealt, table) for table in tables], axis=1)


def _area(one: Predicted) -> tuple[Dealer, _Measure]:
    # An area rises with the correlation of labels and ranks, which takes labels that were dealt as numbers too: so
    # patients of whom some images have the label change with the others.
    return _correlation(one, np.asarray(one.y, np.float64))


def _ranks(one: Predicted) -> tuple[Dealer, _Measure]:
    return _correlation(one, rankdata(one.y))


def _correlation(one: Predicted, y: np.ndarray) -> tuple[Dealer, _Measure]:
    dealer = DealtNumbers(y, _codes(one.groups))
    ranks = standardised(np.stack([rankdata(given) for given in one.predictions]))

    def correlation(dealt: np.ndarray) -> np.ndarray:
        return np.asarray(standardised(dealt) @ ranks.T)

    return dealer, correlation


_AGREEMENTS: dict[str, Callable[[Predicted], tuple[Dealer, _Measure]]] = {
    "recalls": _recalls,
    "area": _area,
    "ranks": _ranks,
}


def standardised(rows: np.ndarray) -> np.ndarray:
    """Each row about its mean and of length 1, of shape (m, n); zeros where all of it is the same."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-9)


def _codes(groups: np.ndarray) -> np.ndarray:
    return np.unique(groups, return_inverse=True)[1]
