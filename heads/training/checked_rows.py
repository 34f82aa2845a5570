"""Rows that estimators are given, arrays or in the store: checked, picked, joined, and weighed."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import column_or_1d, validate_data

from featcache.errors import UsageError
from featcache.features.stored_rows import StoredRows


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


def joined(X: np.ndarray | StoredRows, more: np.ndarray | StoredRows) -> np.ndarray | StoredRows:
    """These rows and then those; :class:`UsageError` where some alone stay in the store."""
    if isinstance(X, StoredRows) and isinstance(more, StoredRows):
        return X.concatenate(more)
    if isinstance(X, StoredRows) or isinstance(more, StoredRows):
        raise UsageError("training and validation rows must both stay in the store, or both be arrays")
    return np.concatenate([X, more])
