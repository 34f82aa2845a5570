"""What the classifiers that train by epochs share: classes, and what each counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .epoch_estimator import EpochEstimator


class EpochClassifier(ClassifierMixin, EpochEstimator):
    """Base of classifiers with ``class_weight``, each row of one class."""

    class_weight: Any

    def _new_targets(self, y: Any) -> np.ndarray:
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes to tell apart; y has 1 class, {self.classes_[0]!r}"
            )
        return codes

    def targets_of(self, y: Any) -> np.ndarray:
        """Classes of other rows, once :meth:`prepare` knows them.

        Parameters
        ----------
        y : array of shape (n_samples,)
            Labels.

        Returns
        -------
        int array of shape (n_samples,)
            Their positions in ``classes_``.

        Raises
        ------
        ValueError
            Labels that are not among them.
        """
        unknown = sorted(set(np.unique(y)) - set(self.classes_))
        if unknown:
            raise ValueError(f"the validation data has classes that the training data lacks: {unknown}")
        return np.searchsorted(self.classes_, y)

    def _weighed(self, weight: np.ndarray, targets: np.ndarray) -> np.ndarray:
        if self.class_weight is None:
            return weight
        of_class = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[targets])
        return (weight * of_class[targets]).astype(np.float32)

    def _strata(self, targets: np.ndarray) -> np.ndarray:
        return targets

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array of shape (n_samples, ...)
            Rows as ``fit`` takes them.

        Returns
        -------
        array of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        raise NotImplementedError

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row.

        Parameters
        ----------
        X : array of shape (n_samples, ...), or :class:`featcache.StoredRows` of that shape
            Rows as ``fit`` takes them.

        Returns
        -------
        array of shape (n_samples,)
            Labels out of ``classes_``.
        """
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]
