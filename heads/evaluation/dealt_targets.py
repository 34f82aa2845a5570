"""Targets dealt out anew among patients, as if they meant nothing, with the structure that is there kept.

Patients of one class change their labels among each other, whole; of a patient with images of several classes, the
images change theirs among each other. (Dealing all labels out one by one as soon as one such patient is there takes the
images of the others for independent, and finds what is not there.) Of numbers, patients change their means, and the
images of each what they differ from its mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from .dealing import cells_of, dealings

_AT_ONCE = 4_000_000  # targets dealt at a time


class Dealer(Protocol):
    """Targets of some rows, and as many others as are wanted that mean nothing."""

    actual: np.ndarray

    def totals(self, values: np.ndarray) -> np.ndarray:
        """Sums of what rows have, array of shape (n, k), over the rows that get one target."""

    def dealt(self, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Targets dealt, arrays of shape (some of the draws, number of targets)."""


class DealtLabels:
    """Labels of classes.

    Parameters
    ----------
    y : int array of shape (n,), classes counted from 0.
    of_group : int array of shape (n,), groups counted from 0.

    Attributes
    ----------
    actual : int array of shape (n_cells,): a cell is what gets one label, a whole patient of one class or one image of
        a patient of several.
    """

    def __init__(self, y: np.ndarray, of_group: np.ndarray) -> None:
        self._cells = cells_of(y, of_group)
        self.actual = self._cells.values

    def totals(self, values: np.ndarray) -> np.ndarray:
        """Sums over the rows of each cell, array of shape (n_cells, k)."""
        sums = np.zeros((len(self.actual), values.shape[1]))
        np.add.at(sums, self._cells.of_row, values)
        return sums

    def dealt(self, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Labels shuffled within blocks."""
        yield from dealings(self._cells, rng, draws)


class DealtNumbers:
    """Numbers; a patient's images may have several.

    Parameters
    ----------
    y : float array of shape (n,).
    of_group : int array of shape (n,), groups counted from 0.
    """

    def __init__(self, y: np.ndarray, of_group: np.ndarray) -> None:
        self.actual = np.asarray(y, np.float64)
        self._of_group = of_group
        self._means = np.bincount(of_group, self.actual) / np.bincount(of_group)
        self._differences = self.actual - self._means[of_group]

    def totals(self, values: np.ndarray) -> np.ndarray:
        """The values themselves: each row has a number of its own."""
        return np.asarray(values, np.float64)

    def dealt(self, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Means shuffled among patients, and differences from them within each."""
        order = np.argsort(self._of_group, kind="stable")
        of_group, differences = self._of_group[order], self._differences[order]
        alone = not self._differences.any()
        for count in _parts(draws, len(order)):
            means = self._means[np.argsort(rng.random((count, len(self._means))), axis=1)]
            numbers = np.empty((count, len(order)))
            numbers[:, order] = means[:, of_group]
            if not alone:
                shuffled = np.argsort(of_group + rng.random((count, len(order))), axis=1)
                numbers[:, order] += differences[shuffled]
            yield numbers


def _parts(draws: int, width: int) -> Iterator[int]:
    at_once = max(1, _AT_ONCE // width)
    for start in range(0, draws, at_once):
        yield min(at_once, draws - start)
