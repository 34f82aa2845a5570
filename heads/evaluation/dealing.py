"""What a permutation test deals out anew, so that patients stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_AT_ONCE = 4_000_000  # values dealt at a time


@dataclass(frozen=True)
class Cells:
    """What gets one value: a whole patient who has but one, or one row of a patient who has several.

    Attributes
    ----------
    of_row : int array of shape (n,): the cell of each row.
    values : int array of shape (n_cells,).
    blocks : int array of shape (n_cells,): those within which values change places: all patients of one value (of one
        stratum), and each patient of several by himself.
    """

    of_row: np.ndarray
    values: np.ndarray
    blocks: np.ndarray


def cells_of(values: np.ndarray, groups: np.ndarray, strata: np.ndarray | None = None) -> Cells:
    """The cells of values, int array of shape (n,), over groups, array of shape (n,).

    Dealing all values out one by one as soon as one patient has several takes the rows of the others for independent,
    and finds what is not there.

    Parameters
    ----------
    strata : int array of shape (n,), counted from 0; patients of one value change theirs with those alone who have rows
        of the same strata. None are one.
    """
    _, of_group = np.unique(groups, return_inverse=True)
    first = np.zeros(int(of_group.max()) + 1, np.int64)
    first[of_group[::-1]] = np.arange(len(values))[::-1]
    torn = np.zeros(len(first), bool)
    torn[of_group[values != values[first][of_group]]] = True
    own = np.where(torn[of_group], np.arange(len(values)) + len(first), of_group)
    _, start, of_row = np.unique(own, return_index=True, return_inverse=True)
    stratum = np.zeros(len(first), np.int64)
    if strata is not None:
        has = np.zeros((len(first), int(strata.max()) + 1), bool)
        has[of_group, strata] = True
        stratum = np.unique(has, axis=0, return_inverse=True)[1].ravel()
    of_cell = of_group[start]
    blocks = np.where(torn[of_cell], of_cell + int(stratum.max()) + 1, stratum[of_cell])
    return Cells(of_row, values[start], blocks)


def dealings(cells: Cells, rng: np.random.Generator, draws: int, at_once: int | None = None) -> Iterator[np.ndarray]:
    """Values of cells shuffled within blocks, arrays of shape (some, n_cells), so many rows in all."""
    order = np.argsort(cells.blocks, kind="stable")
    sorted_values, sorted_blocks = cells.values[order], cells.blocks[order]
    most = max(1, _AT_ONCE // len(cells.values))
    step = most if at_once is None else min(at_once, most)
    for start in range(0, draws, step):
        keys = sorted_blocks + rng.random((min(step, draws - start), len(cells.values)))
        dealt = np.empty(keys.shape, cells.values.dtype)
        dealt[:, order] = sorted_values[np.argsort(keys, axis=1)]
        yield dealt
