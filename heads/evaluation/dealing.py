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
        first = np.zeros(int(of_group.max()) + 1, np.int64)
        first[of_group[::-1]] = np.arange(len(y))[::-1]
        torn = np.zeros(len(first), bool)
        torn[of_group[y != y[first][of_group]]] = True
        own = np.where(torn[of_group], np.arange(len(y)) + len(first), of_group)
        _, start, self._cell = np.unique(own, return_index=True, return_inverse=True)
        self.actual = y[start]
        self._block = np.where(torn[of_group[start]], of_group[start] + 1, 0)

    def totals(self, values: np.ndarray) -> np.ndarray:
        """Sums over the rows of each cell, array of shape (n_cells, k)."""
        sums = np.zeros((len(self.actual), values.shape[1]))
        np.add.at(sums, self._cell, values)
        return sums

    def dealt(self, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Labels shuffled within blocks."""
        order = np.argsort(self._block, kind="stable")
        sorted_labels, sorted_blocks = self.actual[order], self._block[order]
        for count in _parts(draws, len(order)):
            keys = sorted_blocks + rng.random((count, len(order)))
            labels = np.empty(keys.shape, self.actual.dtype)
            labels[:, order] = sorted_labels[np.argsort(keys, axis=1)]
            yield labels


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
