"""The nearest images of other patients."""

from __future__ import annotations

import numpy as np

_PRODUCTS = 20_000_000  # between rows, held at a time


def nearest_of_others(
    rows: np.ndarray, of_group: np.ndarray, asked: np.ndarray, among: np.ndarray, count: int
) -> list[np.ndarray]:
    """Of some rows the nearest ones of other groups, by Euclidean distance.

    Parameters
    ----------
    rows : array of shape (n, d).
    of_group : int array of shape (n,), group of each.
    asked : int array of shape (m,), positions of the rows whose nearest are wanted.
    among : int array, positions of those that may be one.
    count : of each, how many.

    Returns
    -------
    m int arrays of positions, the nearest first; fewer than ``count`` where other groups have no more.
    """
    candidates = rows[among]
    squares = np.square(candidates).sum(axis=1)
    found = []
    block = max(1, _PRODUCTS // max(1, len(among)))
    for start in range(0, len(asked), block):
        own = asked[start : start + block]
        # Of one row all distances lack the same square of its own.
        distances = squares - 2 * (rows[own] @ candidates.T)
        distances[of_group[own][:, None] == of_group[among]] = np.inf
        first = np.argsort(distances, axis=1, kind="stable")[:, :count]
        found += [among[order[np.isfinite(line[order])]] for order, line in zip(first, distances, strict=True)]
    return found
