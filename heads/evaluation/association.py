"""How closely a column goes with a target, and how often a column that has nothing to do with it would.

Categories with classes: Cramér's V. Numbers with classes, and categories with numbers: the correlation ratio. Numbers
with numbers: the correlation of ranks. All are 0 where nothing goes together and 1 where one follows from the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import gamma, rankdata, skew

from .dealt_targets import Dealer, DealtLabels, DealtNumbers
from .label_permutation import standardised

_DRAWS = 999
_SEEN = 10  # dealings that reach a strength, from which their share is its p


@dataclass(frozen=True)
class Association:
    """How closely two columns go together.

    Attributes
    ----------
    strength : 0 to 1.
    p : how often targets dealt out anew among patients go with the column as closely.
    groups : patients of whom both are known.
    """

    strength: float
    p: float
    groups: int


def association(column: np.ndarray, y: np.ndarray, groups: np.ndarray, seed: int = 0) -> Association | None:
    """How closely a column goes with a target.

    Parameters
    ----------
    column : array of shape (n,): float64, NaN where it is not known, or objects, None where it is not.
    y : int array of shape (n,), classes; or float array, numbers.
    groups : array of shape (n,).
    seed : of the dealings.

    Returns
    -------
    None where, of the rows in which the column is known, either has but one value, or fewer than four patients are
    left.
    """
    known = is_known(column)
    y, of_group = np.asarray(y)[known], np.unique(np.asarray(groups)[known], return_inverse=True)[1]
    if len(np.unique(y)) < 2 or int(of_group.max()) + 1 < 4:
        return None
    classes, numeric = y.dtype.kind in "iu", column.dtype.kind == "f"
    values = _values(column[known], ranked=not classes)
    if values is None:
        return None
    dealer: Dealer
    if classes and len(np.unique(y)) > 2:
        dealer, squares = DealtLabels(np.unique(y, return_inverse=True)[1], of_group), _of_classes
        most = 1 if numeric else min(values.shape[1], len(np.unique(y))) - 1
    else:  # of two classes a number as well, and dealt as one: a patient may have images of both
        if numeric and not classes:
            y = rankdata(y)
        dealer, squares, most = DealtNumbers(y, of_group), _of_numbers, 1
    totals, sizes = dealer.totals(values), dealer.totals(np.ones((len(y), 1)))[:, 0]
    actual = float(squares(dealer.actual[None], totals, sizes)[0])
    rng = np.random.default_rng(seed)
    dealt = np.concatenate([squares(some, totals, sizes) for some in dealer.dealt(_DRAWS, rng)])
    strength = float(np.sqrt(min(1.0, max(0.0, actual) / most)))
    return Association(strength, tail(actual, dealt), int(of_group.max()) + 1)


def is_known(column: np.ndarray) -> np.ndarray:
    """Where a column says something, bool array of shape (n,)."""
    if column.dtype.kind == "f":
        return np.asarray(~np.isnan(column))
    return np.array([value is not None for value in column], bool)


def _values(column: np.ndarray, ranked: bool) -> np.ndarray | None:
    """Columns whose sums tell how closely they go with a target; None where all values are the same."""
    if column.dtype.kind == "f":
        values = standardised(np.asarray(rankdata(column) if ranked else column, np.float64)[None]).T
        return values if values.any() else None
    names, codes, counts = np.unique(column.astype(str), return_inverse=True, return_counts=True)
    return np.asarray(np.eye(len(names))[codes] / np.sqrt(counts)) if len(names) > 1 else None


def tail(actual: float, dealt: np.ndarray) -> float:
    """How often dealings reach so much: their share, or where too few do, that of a gamma distribution.

    It has their mean, deviation and skewness (Winkler et al. 2016), since 999 dealings know no p below 0.001, and a
    table of many columns and labels has to be corrected for its size.
    """
    reached = int((dealt >= actual - 1e-9).sum())
    share = (1 + reached) / (1 + len(dealt))
    deviation, lean = float(dealt.std()), float(skew(dealt)) if np.ptp(dealt) > 1e-12 else 0.0
    if reached >= _SEEN or deviation < 1e-12 or lean < 1e-6:
        return share
    shape = 4 / lean**2
    scale = deviation * lean / 2
    return float(min(share, gamma.sf(actual - (float(dealt.mean()) - shape * scale), shape, scale=scale)))


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for how many they are: a p below 0.05 among any that mean nothing in 1 table of 20."""
    order = np.argsort(p, kind="stable")
    raised = np.asarray(p, np.float64)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(raised)) if len(p) else raised
    return corrected.tolist()


def _of_classes(dealt: np.ndarray, totals: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Of labels dealt: a table's chi-square by its rows; of one column, the share of its variance between classes."""
    found = np.zeros(len(dealt))
    for label in np.unique(dealt[0]):
        own = dealt == label
        found += ((own @ totals) ** 2).sum(axis=1) / (own @ sizes)
    return found - 1 if totals.shape[1] > 1 else found


def _of_numbers(dealt: np.ndarray, totals: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Of numbers dealt: the share of their variance that columns explain."""
    return np.asarray(((standardised(dealt) @ totals) ** 2).sum(axis=1))
