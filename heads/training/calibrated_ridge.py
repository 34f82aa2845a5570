"""A ridge classifier with probabilities, calibrated on what it gives rows, and whole groups of them, left out."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from ..evaluation.clusters import group_codes, rows_of_groups
from ..evaluation.ridge_smoother import RidgeSmoother, classifier_targets

_SHARPEST = 1e4  # the priors keep it far from that


class CalibratedRidgeClassifier(ClassifierMixin, BaseEstimator):
    """sklearn's ``RidgeClassifier``, its labels unchanged, and probabilities.

    Scores of rows that the model did not learn from follow exactly from one decomposition
    (:class:`heads.evaluation.ridge_smoother.RidgeSmoother`), each group left out in turn. One number, by which all
    scores are multiplied, makes them logits: that under which those left out are most likely, with Platt's priors
    (Platt 2000), so that scores that are all right do not end in certainty.

    Parameters
    ----------
    alpha : float
        Penalty, above 0, of the squared length of the slopes.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        What can be predicted.
    coef_, intercept_ : float64 arrays of shape (n_classes, n_features) and (n_classes,); (1, ...) of two classes
        Of the logits.
    sharpness_ : float
        What the ridge's own scores, -1 to 1, are multiplied by.
    n_features_in_ : int
        Columns of ``X``.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def fit(self, X: Any, y: Any, groups: Any = None) -> CalibratedRidgeClassifier:
        """Fit the ridge, and what makes its scores probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to learn from.
        y : array-like of shape (n_samples,)
            Two or more classes.
        groups : array-like of shape (n_samples,), optional
            Patients or other groups, which are left out whole; None leaves out each row by itself, as one group does.

        Returns
        -------
        self
            The model, fitted.

        Raises
        ------
        ValueError
            ``alpha`` is not above 0, or there is one class alone.
        """
        if not self.alpha > 0:
            raise ValueError(f"alpha is {self.alpha}; expected a number above 0")
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class alone, {self.classes_[0]!r}; expected two classes or more")
        targets = classifier_targets(labels, len(self.classes_))
        smoother = RidgeSmoother(X)
        held_out = smoother.held_out(targets, _each_group(len(y), groups), float(self.alpha))
        self.sharpness_ = _sharpness(held_out, labels)
        slopes, levels = smoother.model(targets, float(self.alpha))
        self.coef_, self.intercept_ = self.sharpness_ * slopes.T, self.sharpness_ * levels
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        float64 array of shape (n_samples, n_classes), or (n_samples,) of two classes
            Of the second class, where there are two.
        """
        check_is_fitted(self)
        logits = validate_data(self, X, reset=False, dtype=np.float64) @ self.coef_.T + self.intercept_
        return np.asarray(logits[:, 0] if len(self.classes_) == 2 else logits)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        float64 array of shape (n_samples, n_classes)
            Rows add up to 1.
        """
        logits = self.decision_function(X)
        return np.asarray(softmax(_for_each_class(logits.reshape(len(logits), -1)), axis=1))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row: that of sklearn's ``RidgeClassifier``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        array of shape (n_samples,)
            Of the values in ``y``.
        """
        logits = self.decision_function(X)
        return np.asarray(self.classes_[(logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(axis=1)])


def _each_group(count: int, groups: Any) -> list[np.ndarray]:
    """Positions of the rows of each group; of each row where there are no two groups."""
    if groups is not None:
        check_consistent_length(np.empty(count), groups)
        found = rows_of_groups(group_codes(groups, count))
        if len(found) > 1:
            return found
    return list(np.arange(count)[:, None])


def _for_each_class(logits: np.ndarray) -> np.ndarray:
    """A column for each class, of shape (n, n_classes); the first of two has 0."""
    return np.concatenate([np.zeros_like(logits), logits], axis=1) if logits.shape[1] == 1 else logits


def _sharpness(scores: np.ndarray, labels: np.ndarray) -> float:
    """What to multiply scores of left-out rows by, of shape (n, n_classes) or (n, 1), to make them logits."""
    columns = _for_each_class(scores)
    n_classes = columns.shape[1]
    counts = np.bincount(labels, minlength=n_classes)
    # Platt's priors: as though there had been one more row of each class.
    own = labels[:, None] == np.arange(n_classes)
    shares = (1 + own * counts) / (counts + n_classes)[labels, None]

    def unlikely(power: float) -> float:
        return float(-(shares * log_softmax(np.exp(power) * columns, axis=1)).sum())

    end = np.log(_SHARPEST)
    return float(np.exp(minimize_scalar(unlikely, bounds=(-end, end), method="bounded", options={"xatol": 1e-8}).x))
