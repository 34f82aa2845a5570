"""Fewer columns, the same geometry: exact for every model that sees rows only through products or distances.

Of n rows in d > n dimensions, an orthonormal basis of the n-dimensional space they span gives n coordinates a row
with the same inner products. L2-penalised linear models (the optimal weights lie in the span of the rows: representer
theorem, Kimeldorf & Wahba 1971), kernel machines, neighbours, PCA and t-SNE cannot tell the difference, and work on n
columns instead of d. Labels play no part, and no product between rows changes, so rows that are held out later may
take part without a leak.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg


def isometric(X: Any) -> np.ndarray:
    """Rows with the same inner products in at most as many columns as there are rows.

    Parameters
    ----------
    X : array of shape (n, d).

    Returns
    -------
    float64 array of shape (n, min(n, d)); ``X`` itself, as float64, where it has no more columns than rows. Products
    agree to float64's rounding of the largest of them: with K = X X' = V L V', the rows are those of V sqrt(L).
    """
    count, columns = np.shape(X)
    if columns <= count:
        return np.asarray(X, dtype=np.float64)
    rows = np.asarray(X, dtype=np.float64)
    squares, directions = linalg.eigh(rows @ rows.T, driver="evd", overwrite_a=True)
    return directions * np.sqrt(np.maximum(squares, 0))  # below zero by rounding, where rows depend on each other
