"""How well labels that mean nothing agree with predictions: a permutation test that keeps patients as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .dealing import cells_of, dealings

_DRAWS = 1999
_TWICE = 2**0.5


def p_values(y: np.ndarray, predictions: Sequence[np.ndarray], groups: np.ndarray, seed: int = 0) -> list[float]:
    """How often labels dealt out anew agree with cross-validated predictions as well as the actual ones do.

    Agreement is balanced accuracy, of several predictions each divided by its own deviation over the dealings, and
    compared with the highest among all of them (Westfall & Young 1993): of labels that mean nothing, a p below 0.01
    anywhere among the predictions comes up in 1 set of 100.

    What is dealt keeps the structure that is there: patients of one class change their labels among each other, whole;
    of a patient with images of several classes, the images change theirs among each other; see
    :func:`heads.evaluation.dealing.cells_of`.

    The predictions are held fixed (Ojala & Garriga 2010, their first test), but they were learnt from the very labels:
    where two patients look alike, either is predicted from the other, and what one pair agrees in counts twice. That
    doubles the variance of sums over pairs, so the dealings' deviations are taken as larger by the root of two.

    Parameters
    ----------
    y, predictions : int arrays of shape (n,), classes counted from 0.
    groups : array of shape (n,).
    """
    cells = cells_of(y, groups)
    n_classes = int(y.max()) + 1
    tables = [np.zeros((len(cells.values), n_classes)) for _ in predictions]
    for table, predicted in zip(tables, predictions, strict=True):
        np.add.at(table, (cells.of_row, predicted), 1)

    def balanced(dealt: np.ndarray, table: np.ndarray) -> np.ndarray:
        recalls = []
        for label in range(n_classes):
            taken = (dealt == label) @ table
            rows = taken.sum(axis=1)
            recalls.append(np.divide(taken[:, label], rows, out=np.full(len(rows), np.nan), where=rows > 0))
        return np.nanmean(recalls, axis=0)

    actual = np.array([balanced(cells.values[None], table)[0] for table in tables])
    some_at_a_time = dealings(cells, np.random.default_rng(seed), _DRAWS)
    dealt = np.concatenate([np.stack([balanced(some, table) for table in tables], axis=1) for some in some_at_a_time])
    mean, deviation = dealt.mean(axis=0), dealt.std(axis=0)
    deviation[deviation < 1e-9] = 1  # predictions that are all the same
    highest = ((dealt - mean) / deviation).max(axis=1)
    reached = (highest[:, None] >= (actual - mean) / deviation / _TWICE - 1e-9).sum(axis=0)
    return ((1 + reached) / (1 + _DRAWS)).tolist()
