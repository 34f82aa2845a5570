"""What a search tries, checked before it begins: values that no fit can take are named, with what is allowed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from sklearn.base import BaseEstimator, clone
from xgboost import XGBModel

from featcache.errors import FeatcacheError, UsageError
from featcache.system.foreign_errors import first_line, translated

from ..training.epoch_estimator import EpochEstimator


@dataclass(frozen=True)
class Between:
    """Values from ``low`` to ``high`` for a random search: evenly over their logarithms from 1 to 10 upwards."""

    low: float
    high: float

    def distribution(self) -> Any:
        """As sklearn's random search takes it."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return stats.randint(self.low, self.high + 1)
        if self.low > 0 and self.high >= 10 * self.low:
            return stats.loguniform(self.low, self.high)
        return stats.uniform(self.low, self.high - self.low)


def check_space(estimator: Any, space: Mapping[str, Any]) -> None:
    """Try each value by itself, of a :class:`Between` both ends, before any time is spent on fits.

    Parameters
    ----------
    estimator : the model, unfitted.
    space : values by sklearn's names of the parameters.

    Raises :class:`UsageError` for a parameter without values, and for a value that the model does not take.
    """
    for name, values in space.items():
        ends = (values.low, values.high) if isinstance(values, Between) else tuple(values)
        short = name.split("__")[-1]
        if not ends:
            raise UsageError(f"--param {short} has no values; expected {short}=V,V")
        for value in ends:
            try:
                _check(clone(estimator).set_params(**{name: value}))
            except (ValueError, TypeError) as error:
                raise UsageError(f"--param {short}={value}: {first_line(error)}") from error


def _check(model: Any) -> None:
    """Raise where a parameter of a model, or of a model within it, is none that a fit can take."""
    for part in [model, *model.get_params(deep=True).values()]:
        if isinstance(part, EpochEstimator):
            part.check()
        elif isinstance(part, XGBModel):
            _try(part)
        elif isinstance(part, BaseEstimator) and hasattr(part, "_parameter_constraints"):  # as sklearn's own have
            part._validate_params()


def _try(model: XGBModel) -> None:
    """Fit two trees on six made-up rows: XGBoost knows what it takes when it trains, and not before."""
    if not (isinstance(model.n_estimators, int | np.integer | None) and (model.n_estimators or 1) >= 1):
        raise UsageError(f"n_estimators {model.n_estimators!r}: expected a whole number, at least 1")
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    clone(model).set_params(n_estimators=2, n_jobs=1).fit(rows, np.arange(6) % 2)


@contextlib.contextmanager
def naming_candidates() -> Iterator[None]:
    """What fails within a search, as a :class:`UsageError` that says which parameter, where the model says it.

    The search itself is to raise: sklearn's ``error_score="raise"``.
    """
    try:
        yield
    except FeatcacheError:
        raise
    except (ValueError, TypeError, ArithmeticError) as error:
        ours = translated(error)
        said = str(ours) if ours is not None else first_line(error)
        raise UsageError(
            f"a candidate of this search cannot be fitted: {said}. Take the value out of the --param; cells that were "
            "done are kept"
        ) from error
