"""How well labels that mean nothing agree with predictions: a permutation test that keeps patients as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

_DRAWS = 1999
_TWICE = 2**0.5
_AT_ONCE = 4_000_000  # labels dealt at a time


def p_values(y: np.ndarray, predictions: Sequence[np.ndarray], groups: np.ndarray, seed: int = 0) -> list[float]:
    """How often labels dealt out anew agree with cross-validated predictions as well as the actual ones do.

    Agreement is balanced accuracy, of several predictions each divided by its own deviation over the dealings, and
    compared with the highest among all of them (Westfall & Young 1993): of labels that mean nothing, a p below 0.01
    anywhere among the predictions comes up in 1 set of 100.

    What is dealt keeps the structure that is there: patients of one class change their labels among each other, whole;
    of a patient with images of several classes, the images change theirs among each other. (Dealing all labels out one
    by one as soon as one such patient is there takes the images of the others for independent, and finds what is not
    there.)

    The predictions are held fixed (Ojala & Garriga 2010, their first test), but they were learnt from the very labels:
    where two patients look alike, either is predicted from the other, and what one pair agrees in counts twice. That
    doubles the variance of sums over pairs, so the dealings' deviations are taken as larger by the root of two.

    Parameters
    ----------
    y, predictions : int arrays of shape (n,), classes counted from 0.
    groups : array of shape (n,).
    """
    _, of_group = np.unique(groups, return_inverse=True)
    first = np.zeros(int(of_group.max()) + 1, np.int64)
    first[of_group[::-1]] = np.arange(len(y))[::-1]
    torn = np.zeros(len(first), bool)
    torn[of_group[y != y[first][of_group]]] = True
    # A cell is what gets one label: a whole patient of one class, or one image of a patient of several.
    own = np.where(torn[of_group], np.arange(len(y)) + len(first), of_group)
    _, start, cell = np.unique(own, return_index=True, return_inverse=True)
    labels, block = y[start], np.where(torn[of_group[start]], of_group[start] + 1, 0)
    n_classes = int(y.max()) + 1
    tables = [np.zeros((len(labels), n_classes)) for _ in predictions]
    for table, predicted in zip(tables, predictions, strict=True):
        np.add.at(table, (cell, predicted), 1)

    def balanced(dealt: np.ndarray, table: np.ndarray) -> np.ndarray:
        recalls = []
        for label in range(n_classes):
            taken = (dealt == label) @ table
            rows = taken.sum(axis=1)
            recalls.append(np.divide(taken[:, label], rows, out=np.full(len(rows), np.nan), where=rows > 0))
        return np.nanmean(recalls, axis=0)

    actual = np.array([balanced(labels[None], table)[0] for table in tables])
    dealings = _dealings(labels, block, np.random.default_rng(seed))
    dealt = np.concatenate([np.stack([balanced(some, table) for table in tables], axis=1) for some in dealings])
    mean, deviation = dealt.mean(axis=0), dealt.std(axis=0)
    deviation[deviation < 1e-9] = 1  # predictions that are all the same
    highest = ((dealt - mean) / deviation).max(axis=1)
    reached = (highest[:, None] >= (actual - mean) / deviation / _TWICE - 1e-9).sum(axis=0)
    return ((1 + reached) / (1 + _DRAWS)).tolist()


def _dealings(labels: np.ndarray, block: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Labels shuffled within blocks, 1,999 rows, some at a time."""
    order = np.argsort(block, kind="stable")
    sorted_labels, sorted_blocks = labels[order], block[order]
    at_once = max(1, _AT_ONCE // len(labels))
    for start in range(0, _DRAWS, at_once):
        keys = sorted_blocks + rng.random((min(at_once, _DRAWS - start), len(labels)))
        dealt = np.empty(keys.shape, labels.dtype)
        dealt[:, order] = sorted_labels[np.argsort(keys, axis=1)]
        yield dealt
