"""Ridge regressions that differ in their penalty alone: one decomposition of the rows serves all penalties.

sklearn's own ridge does it. It takes a penalty for each target, and decomposes the rows once: so the target is given to
it once for each penalty.
"""

from __future__ import annotations

import copy
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge


def shares_penalties(model: Any) -> bool:
    """Whether a model is a ridge that solves for all penalties as it does for each: by singular values."""
    return type(model) is Ridge and model.solver == "svd" and isinstance(model.alpha, numbers.Real)


def fit_penalties(models: Sequence[Ridge], X: np.ndarray, y: np.ndarray, weight: Any = None) -> list[Ridge]:
    """Models, equal but for ``alpha``, as each would be if it were fitted alone.

    Parameters
    ----------
    models : unfitted; they are fitted where they stand.
    X : array of shape (n, d).
    y : array of shape (n,) or (n, m).
    weight : array of shape (n,), or None.
    """
    targets = np.reshape(y, (len(y), -1))
    count = targets.shape[1]
    alphas = np.repeat([float(model.alpha) for model in models], count)
    many = copy.copy(models[0]).set_params(alpha=alphas)
    many.fit(X, np.tile(targets, (1, len(models))), sample_weight=weight)
    coefficients = np.reshape(many.coef_, (len(models), count, -1))
    intercepts = np.reshape(np.broadcast_to(many.intercept_, (len(alphas),)), (len(models), count))
    for model, slopes, levels in zip(models, coefficients, intercepts, strict=True):
        vars(model).update({name: value for name, value in vars(many).items() if name.endswith("_")})
        model.coef_ = slopes if np.ndim(y) > 1 else slopes[0]
        model.intercept_ = (levels if np.ndim(y) > 1 else levels[0]) if model.fit_intercept else 0.0
    return list(models)
