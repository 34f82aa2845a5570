"""Several labels at once by a classifier of two classes: one for each label, learnt from the rows that know it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from .calibrated_ridge import CalibratedRidgeClassifier
from .checked_rows import checked_weight
from .epoch_estimator import EpochEstimator

_NOTHING_KNOWN = 0.5
_WITH_GROUPS = (EpochEstimator, CalibratedRidgeClassifier)


def takes_groups(model: Any) -> bool:
    """Whether a model of this package makes use of groups in its ``fit``."""
    return isinstance(model.estimator if isinstance(model, LabelWiseClassifier) else model, _WITH_GROUPS)


def _gives_probabilities(model: LabelWiseClassifier) -> bool:
    return hasattr(model.estimator, "predict_proba")


class LabelWiseClassifier(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A classifier for each of several labels, as ``MultiOutputClassifier``, where not every row knows every label.

    Parameters
    ----------
    estimator : estimator
        A classifier of two classes; one with ``predict_proba``, for probabilities.
    n_jobs : int, optional
        Labels learnt side by side, in threads.

    Attributes
    ----------
    models_ : list of estimator or float
        Of each label its classifier, fitted; or the probability of every row, where the rows learnt from know one
        value of it alone, or none.
    classes_ : list of array
        0 and 1 for each label, as sklearn has it for several outputs.
    n_features_in_ : int
        Columns of ``X``.

    Notes
    -----
    A label of one value in the rows learnt from has that value's share, 0 or 1, as the probability of every row; one
    that no row knows has 0.5.

    Examples
    --------
    >>> import numpy as np
    >>> from heads import LabelWiseClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 4))
    >>> Y = (X[:, :2] > 0).astype(float)
    >>> Y[:20, 1] = np.nan  # of a third of the rows the second label is not known
    >>> model = LabelWiseClassifier(LogisticRegression()).fit(X, Y)
    >>> model.predict_proba(X).shape
    (60, 2)
    >>> bool((model.predict(X[20:]) == Y[20:]).mean() > 0.9)
    True
    """

    def __init__(self, estimator: Any, n_jobs: int | None = None) -> None:
        self.estimator = estimator
        self.n_jobs = n_jobs

    def fit(self, X: Any, Y: Any, sample_weight: Any = None, groups: Any = None) -> LabelWiseClassifier:
        """Fit a classifier for each label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to learn from.
        Y : array-like of shape (n_samples, n_labels)
            1, 0, or NaN where it is not known.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows; only where the classifier's own ``fit`` takes them.
        groups : array-like of shape (n_samples,), optional
            Which rows belong together; for classifiers of this package alone whose ``fit`` takes them.

        Returns
        -------
        self
            The classifiers, fitted.

        Raises
        ------
        ValueError
            ``Y`` is no table, or holds something besides 1, 0 and NaN.
        """
        X = validate_data(self, X, accept_sparse="csr", dtype=None, ensure_all_finite=False)
        Y = checked_labels(Y, X.shape[0])
        weight = None if sample_weight is None else checked_weight(sample_weight, X, None)

        def learnt(y: np.ndarray) -> Any:
            known = np.flatnonzero(~np.isnan(y))
            values = np.unique(y[known])
            if len(values) < 2:
                return float(values[0]) if len(values) else _NOTHING_KNOWN
            # All rows as they stand where all know it: a copy of them for each label would be large.
            rows, own = (X, slice(None)) if len(known) == len(y) else (X[known], known)
            besides = {} if weight is None else {"sample_weight": weight[own]}
            if groups is not None and takes_groups(self.estimator):
                besides["groups"] = np.asarray(groups)[own]
            return clone(self.estimator).fit(rows, y[own].astype(np.int64), **besides)

        self.models_ = joblib.Parallel(self.n_jobs, prefer="threads")(joblib.delayed(learnt)(y) for y in Y.T)
        self.classes_ = [np.array([0, 1]) for _ in self.models_]
        return self

    @classmethod
    def of(cls, models: Sequence[Any]) -> LabelWiseClassifier:
        """One whose classifiers are fitted already.

        Parameters
        ----------
        models : sequence of estimator or float
            Of each label a fitted classifier of 0 and 1, or the probability of every row.

        Returns
        -------
        LabelWiseClassifier
            It, fitted.
        """
        fitted = [model for model in models if not isinstance(model, float)]
        whole = cls(fitted[0] if fitted else DummyClassifier())
        whole.models_ = list(models)
        whole.classes_ = [np.array([0, 1]) for _ in models]
        return whole

    @available_if(_gives_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        float64 array of shape (n_samples, n_labels)
            Each label by itself; they add up to nothing.
        """
        X = self._rows(X)
        return self._columns(X, lambda model: model if isinstance(model, float) else model.predict_proba(X)[:, 1])

    def predict(self, X: Any) -> np.ndarray:
        """Whether each row has each label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        int64 array of shape (n_samples, n_labels)
            1 or 0, as each label's classifier says; 0 of one that no row knew.
        """
        X = self._rows(X)
        said = self._columns(X, lambda model: model > _NOTHING_KNOWN if isinstance(model, float) else model.predict(X))
        return said.astype(np.int64)

    def __sklearn_tags__(self) -> Any:
        """What sklearn is told of it: several outputs, and rows of the kind that the classifier takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        tags.target_tags.single_output = False
        tags.target_tags.multi_output = True
        return tags

    def _rows(self, X: Any) -> Any:
        check_is_fitted(self)
        return validate_data(self, X, reset=False, accept_sparse="csr", dtype=None, ensure_all_finite=False)

    def _columns(self, X: Any, of: Callable[[Any], Any]) -> np.ndarray:
        columns = np.empty((X.shape[0], len(self.models_)))
        for label, model in enumerate(self.models_):
            columns[:, label] = of(model)
        return columns


def checked_labels(Y: Any, rows: int) -> np.ndarray:
    """Several labels of some rows, float64 array of shape (rows, n_labels) of 1, 0 and NaN.

    Raises
    ------
    ValueError
        They are none.
    """
    labels = check_array(Y, dtype=np.float64, ensure_all_finite="allow-nan", ensure_2d=False, input_name="Y")
    if labels.ndim != 2 or len(labels) != rows:
        raise ValueError(
            f"Y is of shape {labels.shape}; expected ({rows}, n_labels): a row of labels for each row of X. "
            "One label alone is a table of one column"
        )
    odd = labels[~(np.isnan(labels) | (labels == 0) | (labels == 1))]
    if odd.size:
        raise ValueError(f"Y holds {odd[0]:g}; expected 1, 0, or NaN where a label is not known")
    return labels
