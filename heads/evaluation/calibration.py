"""Calibration: probabilities mended on validation rows, as a handful of plain numbers.

sklearn fits the calibrators (``CalibratedClassifierCV`` on a frozen model); what they learnt is kept as numbers, so
that a bundle needs no object of sklearn's to apply it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from featcache.errors import UsageError

METHODS = ("temperature", "isotonic", "sigmoid")
_FEW = 100
LEAST = 1e-300  # a smaller probability counts as this; no logarithm then is infinite


def fit_calibration(
    probabilities: np.ndarray, y: np.ndarray, method: str
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Learn how probabilities are to be mended from rows that the model did not learn from.

    Parameters
    ----------
    probabilities : array of shape (n, n_classes), the model's own, of validation rows (or out of the folds of a
        search).
    y : int array of shape (n,), every class present.
    method : ``temperature`` divides the logits by one number, and changes no label of the most probable class (Guo et
        al. 2017); ``sigmoid`` fits a logistic curve to each class's log-odds (Platt 2000); ``isotonic`` any rising step
        curve (Zadrozny & Elkan 2002).

    Returns
    -------
    The calibration for :func:`calibrate`, JSON values, or None where these rows cannot say; and warnings.

    Raises
    ------
    UsageError
        An unknown method.
    """
    check_method(method)
    if method != "sigmoid" and (probabilities.argmax(axis=1) == y).all():
        # The likelihood then rises without end as probabilities go to 0 and 1; Platt's priors keep a sigmoid from that.
        return None, (
            f"calibration: all {len(y)} validation images are labelled rightly, so nothing tells {method} how unsure "
            "the model should be; its probabilities are left as they are. Give more validation images, or try sigmoid",
        )
    warnings: tuple[str, ...] = ()
    if method == "isotonic" and len(y) < _FEW:
        warnings = (
            f"calibration: isotonic on {len(y)} validation images overfits (expected at least {_FEW}, better 1,000): "
            "temperature has one number to learn",
        )
    logits = _logits(probabilities, method)
    rows = np.arange(len(y))
    # The model is frozen, so one fold of all rows is as good as five, which a class of four has not.
    frozen = FrozenEstimator(_Given(probabilities.shape[1]))
    given = CalibratedClassifierCV(frozen, method=method, cv=[(rows, rows)], ensemble=False).fit(logits, y)
    calibrators = given.calibrated_classifiers_[0].calibrators
    if method == "temperature":
        numbers: dict[str, Any] = {"inverse_temperature": float(calibrators[0].beta_)}
    elif method == "sigmoid":
        numbers = {"slope": [float(c.a_) for c in calibrators], "intercept": [float(c.b_) for c in calibrators]}
    else:
        numbers = {
            "logits": [c.X_thresholds_.tolist() for c in calibrators],
            "shares": [c.y_thresholds_.tolist() for c in calibrators],
        }
    return {"method": method, "rows": len(y), **numbers}, warnings


def calibrate(probabilities: np.ndarray, calibration: Mapping[str, Any] | None) -> np.ndarray:
    """Mended probabilities, array of shape (n, n_classes); with None they stay as they are.

    ``isotonic`` and ``sigmoid`` mend several classes each against the rest, and divide by the sum (Zadrozny & Elkan
    2002); where all are 0, every class gets as much.
    """
    if calibration is None:
        return probabilities
    method, n_classes = calibration["method"], probabilities.shape[1]
    logits = _logits(probabilities, method)
    if method == "temperature":
        both = np.stack([-logits, logits], axis=1) if n_classes == 2 else logits
        return softmax(calibration["inverse_temperature"] * both, axis=1)
    columns = logits.reshape(len(logits), -1).T
    if method == "sigmoid":
        curves = zip(columns, calibration["slope"], calibration["intercept"], strict=True)
        shares = np.stack([expit(-(slope * column + intercept)) for column, slope, intercept in curves], axis=1)
    else:
        steps = zip(columns, calibration["logits"], calibration["shares"], strict=True)
        shares = np.stack([np.interp(column, x, share) for column, x, share in steps], axis=1)
    if n_classes == 2:
        return np.concatenate([1 - shares, shares], axis=1)
    total = shares.sum(axis=1, keepdims=True)
    return np.divide(shares, total, out=np.full_like(shares, 1 / n_classes), where=total > 0)


def check_method(method: str) -> None:
    """Raise :class:`UsageError` for an unknown method."""
    if method not in METHODS:
        raise UsageError(f"calibration {method!r} is unknown; expected one of {', '.join(METHODS)}")


def check_calibration(calibration: Any, n_classes: int) -> None:
    """Raise ValueError, TypeError or KeyError unless :func:`fit_calibration` gives the like for so many classes."""
    if calibration is None:
        return
    method = calibration["method"]
    names = {
        "temperature": {"inverse_temperature"},
        "sigmoid": {"slope", "intercept"},
        "isotonic": {"logits", "shares"},
    }[method]
    if set(calibration) != {"method", "rows"} | names:
        raise ValueError(f"calibration holds {sorted(calibration)}")
    curves = 1 if n_classes == 2 else n_classes
    if method == "temperature":
        sound = _numbers([calibration["inverse_temperature"]]) and calibration["inverse_temperature"] > 0
    elif method == "sigmoid":
        sound = all(_numbers(calibration[name]) and len(calibration[name]) == curves for name in names)
    else:
        pairs = list(zip(calibration["logits"], calibration["shares"], strict=True))
        sound = len(pairs) == curves and all(
            _numbers(x) and _numbers(share) and len(x) == len(share) > 0 and _rising(x) and _rising([0, *share, 1])
            for x, share in pairs
        )
    if not sound or not isinstance(calibration["rows"], int):
        raise ValueError(f"calibration by {method} holds numbers that no fit gives")


def _logits(probabilities: np.ndarray, method: str) -> np.ndarray:
    """What the calibrators work on: log-odds, of shape (n,) for the second of two classes, else (n, n_classes).

    Temperature takes half the log-odds of two classes, since sklearn spreads them to (-x, x), and logarithms of
    several.
    """
    p = np.maximum(probabilities.astype(np.float64), LEAST)
    if p.shape[1] == 2:
        odds = np.log(p[:, 1]) - np.log(p[:, 0])
        return odds / 2 if method == "temperature" else odds
    if method == "temperature":
        return np.log(p)
    return np.log(p) - np.log(p @ (1 - np.eye(p.shape[1])))  # 1 - p would lose the digits of a p near 1


class _Given(ClassifierMixin, BaseEstimator):
    """A fitted model whose rows are its own logits: what there is to calibrate is computed already."""

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self.classes_ = np.arange(n_classes)

    def fit(self, X: np.ndarray, y: np.ndarray) -> _Given:
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return X

    def predict(self, X: np.ndarray) -> np.ndarray:
        return (X > 0).astype(np.int64) if self.n_classes == 2 else X.argmax(axis=1)


def _numbers(values: Sequence[Any]) -> bool:
    return all(type(value) in (int, float) and math.isfinite(value) for value in values)


def _rising(values: Sequence[float]) -> bool:
    return all(a <= b for a, b in itertools.pairwise(values))
