"""How far a model's numbers are from the true ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats


def scores_of_numbers(y: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """``n mae rmse r2 spearman mean_error``."""
    error = predicted - y
    spread = float(((y - y.mean()) ** 2).sum())
    return {
        "n": len(y),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "r2": 1 - float((error**2).sum()) / spread if spread else None,
        "spearman": float(stats.spearmanr(y, predicted).statistic) if spread and np.ptp(predicted) else None,
        "mean_error": float(error.mean()),
    }


def evaluate_numbers(y: np.ndarray, predicted: np.ndarray, groups: Any) -> dict[str, Any]:
    """The same."""
    return scores_of_numbers(y, predicted)
