"""Whether a model that was fitted on the projection labels rows as it would on the rows themselves.

The projection (:mod:`heads.search.gram_projection`) keeps every distance but for rounding, which decides where things
are equal: two neighbours at one distance, as copies of an image or features of few values have, or two classes with as
many votes. And a solver that stops when its gradient is small in every coordinate stops elsewhere in other coordinates.
Where a label hangs on either, the answer is no.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from ..training.label_wise import LabelWiseClassifier

_ROUNDING = 64 * np.finfo(np.float64).eps  # of a product of two rows, in multiples of the sum of all squared lengths
_NEARER = 100  # times nearer to its solution a solver is brought
_WEIGHED = 1e6  # times the error of a squared distance, a distance must be that is to weigh alike to the sixth digit
_FAR = 10  # times what that changes, a decision must be from where the label turns


def answers_alike(model: Any, X: np.ndarray, y: np.ndarray, train: np.ndarray, judged: np.ndarray, weight: Any) -> bool:
    """Whether the labels of some rows, or the numbers that neighbours give them, are certain.

    Parameters
    ----------
    model : fitted on ``X[train]``.
    X : float64 array of shape (n, n), the projection.
    y : array of shape (n,) or (n, n_labels), what is learnt.
    train, judged : positions of the rows it learnt from, and of those it is judged on.
    weight : sample weights of ``train``, or None.
    """
    if isinstance(model, LabelWiseClassifier):
        for one, known in zip(model.models_, np.asarray(y, dtype=np.float64).T, strict=True):
            there = ~np.isnan(known[train])
            of_rows = None if weight is None else weight[there]
            labels = np.nan_to_num(known).astype(np.int64)
            if not isinstance(one, float) and not answers_alike(one, X, labels, train[there], judged, of_rows):
                return False
        return True
    if isinstance(model, KNeighborsClassifier | KNeighborsRegressor):
        squares = np.einsum("ij,ij->i", X, X)
        return _neighbours(model, X[judged], _ROUNDING * float(squares.sum()))
    if isinstance(model, LogisticRegression):
        return _solution(model, X, y, train, judged, weight)
    return True


def _neighbours(model: KNeighborsClassifier | KNeighborsRegressor, rows: np.ndarray, slack: float) -> bool:
    """No tie between the last neighbour and the next, nor between votes.

    ``slack`` is the error of squared distances.
    """
    k, there = int(model.n_neighbors), int(model.n_samples_fit_)
    squares = model.kneighbors(rows, min(k + 1, there))[0] ** 2
    if k < there and (squares[:, k] - squares[:, k - 1] <= 2 * slack).any():
        return False
    if model.weights == "uniform":
        return True
    if isinstance(model, KNeighborsRegressor):  # whose answer moves by as much as a weight does, in parts of itself
        return bool((squares[:, 0] >= _WEIGHED * slack).all())
    same = squares[:, :k] <= slack  # the row itself, or a copy, whose vote outweighs all others
    if (same.sum(axis=1) > 1).any() or (k > 1 and (squares[same[:, 0], 1] <= (4 * k) ** 2 * slack).any()):
        return False
    given = model.predict_proba(rows[~same[:, 0]])
    nearest = squares[~same[:, 0], 0]
    sorted_votes = [np.sort(votes, axis=1) for votes in (given if isinstance(given, list) else [given])]
    return all(
        bool((votes[:, -1] - votes[:, -2] > 2 * slack / nearest).all()) for votes in sorted_votes if votes.shape[1] > 1
    )


def _solution(
    model: LogisticRegression, X: np.ndarray, y: np.ndarray, train: np.ndarray, judged: np.ndarray, weight: Any
) -> bool:
    """Decisions that coming nearer to the solution does not nearly turn."""
    if int(np.max(model.n_iter_)) >= model.max_iter:
        return False  # it was stopped on its way, and where that is depends on the last digits
    nearer = clone(model).set_params(tol=model.tol / _NEARER, max_iter=10 * model.max_iter, warm_start=True)
    nearer.coef_, nearer.intercept_ = model.coef_.copy(), np.copy(model.intercept_)  # there is one solution: go on
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        nearer.fit(X[train], y[train], weight)
    before, after = (each.decision_function(X[judged]) for each in (model, nearer))
    if after.ndim == 1:
        before, after = (np.stack([np.zeros_like(each), each], axis=1) for each in (before, after))
    highest = np.sort(after, axis=1)
    return bool((highest[:, -1] - highest[:, -2] > _FAR * np.abs(after - before).max()).all())
