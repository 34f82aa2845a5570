"""The score by which searches rank models of several labels: the mean ROC area, where some labels are not known."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score


def mean_area(y: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean ROC area over the labels that some rows are known to have and others not to have.

    Parameters
    ----------
    y : array of shape (n, n_labels): 1, 0, or NaN where it is not known.
    probabilities : array of shape (n, n_labels).

    Returns
    -------
    NaN where there is no such label: a fold says nothing then.
    """
    y, p = np.asarray(y, np.float64), np.asarray(probabilities)
    areas = []
    for known, label, score in zip(~np.isnan(y).T, y.T, p.T, strict=True):
        positive = label[known] == 1
        if 0 < positive.sum() < len(positive):
            areas.append(float(roc_auc_score(positive, score[known])))
    return float(np.mean(areas)) if areas else float("nan")


class LabelScorer:
    """A scorer in sklearn's sense, ``scorer(estimator, X, y)``, of what ``predict_proba`` gives.

    sklearn's own would look at the labels first, and refuse those that are not known. The estimator gives (n,
    n_labels), or, as sklearn's forests do, a list of (n, 2) for each label.
    """

    _score_func = staticmethod(mean_area)  # by which a search sees that it looks at predictions and labels alone
    _response_method = "predict_proba"

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        return mean_area(y, label_probabilities(estimator, X))

    def __repr__(self) -> str:
        return "mean_roc_auc"


def label_probabilities(estimator: Any, X: Any) -> np.ndarray:
    """Probabilities of each label, array of shape (n, n_labels)."""
    given = estimator.predict_proba(X)
    if not isinstance(given, list):
        return np.asarray(given)
    classes = estimator.classes_
    columns = [
        one[:, list(seen).index(1)] if 1 in list(seen) else np.zeros(len(one))
        for one, seen in zip(given, classes, strict=True)
    ]
    return np.column_stack(columns)


label_scorer = LabelScorer()
SCORERS = {"mean_roc_auc": label_scorer}
