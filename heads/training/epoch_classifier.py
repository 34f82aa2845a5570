"""What the classifiers that train by epochs share: labels, weights, seeds, and rows to validate on."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from featcache.errors import UsageError
from featcache.features.stored_rows import StoredRows

OnEpoch = Callable[[int, list[dict[str, float]]], None]
_SEEDS = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Layer:
    """One line of a layer table: name, shape of the output, number of parameters."""

    name: str
    output: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Prepared:
    """What a fit starts from: ``rows`` and ``val_rows`` point into ``X`` and ``codes``."""

    X: np.ndarray | StoredRows
    codes: np.ndarray
    weight: np.ndarray
    rows: np.ndarray
    val_rows: np.ndarray
    seed: int


class EpochClassifier(ClassifierMixin, BaseEstimator):
    """Base of classifiers with ``class_weight``, ``patience``, ``checkpoint``, ``validation_fraction`` and
    ``random_state``; they set ``weights_``, ``history_``, ``n_iter_`` and ``best_epoch_``."""

    class_weight: Any
    patience: int | None
    checkpoint: bool
    validation_fraction: float
    random_state: Any

    def check(self) -> None:
        """Raise for a parameter that no fit can take, whatever the data."""
        raise NotImplementedError

    def _check_validation_fraction(self) -> None:
        fraction = self.validation_fraction
        if not (isinstance(fraction, float) and 0 < fraction < 1):
            raise UsageError(f"validation_fraction {fraction!r} is out of range; expected more than 0, and less than 1")

    def _checked(self, *arrays: Any, reset: bool) -> Any:
        """X, or X and y, as ``validate_data`` leaves them; rows in the store stay there."""
        if not isinstance(arrays[0], StoredRows):
            return validate_data(self, *arrays, dtype=np.float32, reset=reset)
        if arrays[0].ndim != 2:
            raise ValueError(f"X has shape {arrays[0].shape}; expected (n_samples, n_features)")
        return check_stored(self, *arrays, reset=reset)

    def prepare(
        self, X: Any, y: Any, sample_weight: Any = None, validation: tuple[Any, Any] | None = None, groups: Any = None
    ) -> Prepared:
        """Check the data, and set what a fit starts from.

        Afterwards ``classes_`` and the width of the rows are known.

        Parameters
        ----------
        X : array of shape (n_samples, ...), or :class:`featcache.StoredRows` of that shape
            The rows.
        y : array of shape (n_samples,)
            Their labels.
        sample_weight : array of shape (n_samples,), optional
            What each row counts.
        validation : (X, y), optional
            Rows to validate on. Where they are needed and not given, some are set aside.
        groups : array of shape (n_samples,), optional
            Which rows belong together: those set aside are whole groups.

        Returns
        -------
        Prepared
            Checked rows, which of them to learn from, weights and a seed.

        Raises
        ------
        ValueError
            Data that no head can learn from.
        """
        X, y = self._checked(X, y, reset=True)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes to tell apart; y has 1 class, {self.classes_[0]!r}"
            )
        weight = checked_weight(sample_weight, X)
        if self.class_weight is not None:
            of_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
            weight = (weight * of_class[codes]).astype(np.float32)
        seed = int(check_random_state(self.random_state).randint(_SEEDS))
        rows, val_rows = np.arange(len(X)), np.empty(0, np.int64)
        if validation is not None:
            X_val, val_codes = self._check_validation(validation)
            val_rows = np.arange(len(X), len(X) + len(X_val))
            X, codes = _joined(X, X_val), np.concatenate([codes, val_codes])
        elif self.patience is not None or self.checkpoint:
            if groups is not None:
                check_consistent_length(X, groups)
                groups = np.unique(np.asarray(groups, str), return_inverse=True)[1]
            if groups is None or len(np.unique(groups)) == len(rows):
                rows, val_rows = train_test_split(
                    rows, test_size=self.validation_fraction, stratify=codes, random_state=seed
                )
            else:
                rows, val_rows = groups_aside(codes, groups, self.validation_fraction, seed)
        return Prepared(X, codes, weight, rows, val_rows, seed)

    def _check_validation(self, validation: tuple[Any, Any]) -> tuple[np.ndarray, np.ndarray]:
        X_val, y_val = self._checked(*validation, reset=False)
        unknown = sorted(set(np.unique(y_val)) - set(self.classes_))
        if unknown:
            raise ValueError(f"the validation data has classes that the training data lacks: {unknown}")
        return X_val, np.searchsorted(self.classes_, y_val)

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


def groups_aside(codes: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, and rows to validate on: whole groups, about this share of each class.

    Parameters
    ----------
    codes, groups : int arrays of shape (n,), counted from 0.

    Raises
    ------
    ValueError
        No group can be spared: each class needs one to learn from.
    """
    counts = np.zeros((int(groups.max()) + 1, int(codes.max()) + 1))
    np.add.at(counts, (groups, codes), 1)
    total, aside, taken = counts.sum(axis=0), np.zeros(counts.shape[1]), np.zeros(len(counts), bool)
    order = np.random.default_rng(seed).permutation(len(counts))
    for group in order:
        after = aside + counts[group]
        nearer = np.abs(after - fraction * total).sum() < np.abs(aside - fraction * total).sum()
        if nearer and (after < total).all():
            taken[group], aside = True, after
    for label in np.flatnonzero(aside == 0):  # large groups, any of which is more than the share
        spare = [g for g in order if counts[g, label] and (aside + counts[g] < total).all()]
        if spare:
            group = min(spare, key=lambda g: counts[g].sum())
            taken[group], aside = True, aside + counts[group]
    if not taken.any():
        raise ValueError(
            f"found {len(counts)} groups of {counts.shape[1]} classes; to stop early needs one to validate on besides "
            "one of each class to learn from. Give more groups, validation_data, or neither patience nor checkpoint"
        )
    return np.flatnonzero(~taken[groups]), np.flatnonzero(taken[groups])


def check_stored(estimator: Any, X: StoredRows, y: Any = None, *, reset: bool) -> Any:
    """What ``validate_data`` checks and can be checked without reading ``X``."""
    if y is None:
        return validate_data(estimator, X, reset=reset, skip_check_array=True)
    y = column_or_1d(y, warn=True)
    check_consistent_length(X, y)
    return validate_data(estimator, X, reset=reset, skip_check_array=True), y


def blocks(X: np.ndarray | StoredRows) -> Iterator[np.ndarray]:
    """Checked rows in order: an array at once, rows in the store some at a time."""
    return X.blocks() if isinstance(X, StoredRows) else iter([X])


def rows_of(X: Any, index: np.ndarray) -> Any:
    """Some rows, of arrays, frames and lists as of what they are; rows in the store stay there."""
    if isinstance(X, StoredRows):
        return X.take(index)
    if hasattr(X, "iloc"):
        return X.iloc[index]
    return X[index] if hasattr(X, "shape") else [X[place] for place in index]


def checked_weight(sample_weight: Any, X: Any, dtype: Any = np.float32) -> np.ndarray:
    """Weights of the rows of ``X``, array of shape (n,); ones for None, and a number stands for all.

    Raises
    ------
    ValueError
        They are not one number a row, not finite, or all zero.
    """
    count = X.shape[0] if hasattr(X, "shape") else len(X)
    if sample_weight is None or isinstance(sample_weight, numbers.Number):
        return np.full(count, 1 if sample_weight is None else sample_weight, dtype or np.float64)
    wanted = dtype or [np.float64, np.float32]
    weight = check_array(sample_weight, ensure_2d=False, dtype=wanted, order="C", input_name="sample_weight")
    if weight.shape != (count,):
        raise ValueError(f"sample_weight has shape {weight.shape}; expected ({count},), one for each row")
    if not weight.any():
        raise ValueError("the sample weights are all zero; expected at least one that is not")
    return weight


def _joined(X: np.ndarray | StoredRows, more: np.ndarray | StoredRows) -> np.ndarray | StoredRows:
    if isinstance(X, StoredRows) and isinstance(more, StoredRows):
        return X.concatenate(more)
    if isinstance(X, StoredRows) or isinstance(more, StoredRows):
        raise UsageError("training and validation rows must both stay in the store, or both be arrays")
    return np.concatenate([X, more])
