"""How far answers are from becoming other ones."""

from __future__ import annotations

import numpy as np

CERTAIN = 1e-6  # of float32 probabilities closer to 0 or 1 than this, the digits that are left say nothing


def margins(probabilities: np.ndarray, labels: np.ndarray, threshold: float | None) -> np.ndarray:
    """How far each answer is from becoming another one, in log-odds; negative where it is not this model's own.

    Parameters
    ----------
    probabilities : array of shape (n, n_classes).
    labels : int array of shape (n,).
    threshold : on the second of two classes' probability; None gives the most probable class.

    Returns
    -------
    float64 array of shape (n,).
    """
    logs = np.log(np.clip(probabilities.astype(np.float64), CERTAIN, 1.0))
    if threshold is not None:
        even = min(max(threshold, CERTAIN), 1 - CERTAIN)
        over = logs[:, 1] - logs[:, 0] - np.log(even / (1 - even))
        return np.where(labels == 1, over, -over)
    rows = np.arange(len(logs))
    own = logs[rows, labels]
    logs[rows, labels] = -np.inf
    return own - logs.max(axis=1, initial=-np.inf)
