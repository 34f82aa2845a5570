"""What all that trains by epochs shares: checked data, weights, seeds, and rows to validate on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from featcache.errors import UsageError
from featcache.features.stored_rows import StoredRows

from .checked_rows import check_stored, checked_weight, joined
from .rows_aside import rows_aside

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
    """What a fit starts from: ``rows`` and ``val_rows`` point into ``X`` and ``targets``.

    Targets are classes counted from 0, int array of shape (n,); labels, float32 array of shape (n, n_labels); or
    numbers, float64 array of shape (n,).
    """

    X: np.ndarray | StoredRows
    targets: np.ndarray
    weight: np.ndarray
    rows: np.ndarray
    val_rows: np.ndarray
    seed: int


class EpochEstimator(BaseEstimator):
    """Base of estimators with ``patience``, ``checkpoint``, ``validation_fraction`` and ``random_state``; they set
    ``weights_``, ``history_``, ``n_iter_`` and ``best_epoch_``."""

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

        Afterwards the targets and the width of the rows are known.

        Parameters
        ----------
        X : array of shape (n_samples, ...), or :class:`featcache.StoredRows` of that shape
            The rows.
        y : array of shape (n_samples,) or (n_samples, n_labels)
            What is to be learnt of them.
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
            Data that nothing can be learnt from.
        """
        X, y = self._checked(X, y, reset=True)
        targets = self._new_targets(y)
        weight = self._weighed(checked_weight(sample_weight, X), targets)
        seed = int(check_random_state(self.random_state).randint(_SEEDS))
        rows, val_rows = np.arange(len(X)), np.empty(0, np.int64)
        if validation is not None:
            X_val, y_val = self._checked(*validation, reset=False)
            val_rows = np.arange(len(X), len(X) + len(X_val))
            X, targets = joined(X, X_val), np.concatenate([targets, self.targets_of(y_val)])
        elif self.patience is not None or self.checkpoint:
            rows, val_rows = rows_aside(self._strata(targets), groups, self.validation_fraction, seed)
        return Prepared(X, targets, weight, rows, val_rows, seed)

    def _new_targets(self, y: Any) -> np.ndarray:
        """What is to be learnt of checked rows; what a fitted one has to know of it is set."""
        raise NotImplementedError

    def targets_of(self, y: Any) -> np.ndarray:
        """What is to be learnt of other rows, once :meth:`prepare` knows the targets.

        Parameters
        ----------
        y : array of shape (n_samples,) or (n_samples, n_labels)
            As in :meth:`prepare`.

        Returns
        -------
        array of shape (n_samples,) or (n_samples, n_labels)
            As in :class:`Prepared`.

        Raises
        ------
        ValueError
            Targets that those of :meth:`prepare` lack.
        """
        raise NotImplementedError

    def _weighed(self, weight: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Sample weights, with what the targets add to them."""
        return weight

    def _strata(self, targets: np.ndarray) -> np.ndarray:
        """What is kept in proportion where rows are set aside, int array of shape (n,) counted from 0."""
        raise NotImplementedError
