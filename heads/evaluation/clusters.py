"""How much images of one group are alike, and how many independent ones they are worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln, ndtri
from scipy.stats import rankdata, t

# Intra-class correlations that are weighed against each other, and what is believed of each before the data speak: the
# density 2 (1 - rho), integrated over the interval around each. Without any belief, few errors tell next to nothing.
_ALIKE = np.array([0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97])
_EDGES = np.r_[0, (_ALIKE[1:] + _ALIKE[:-1]) / 2, 1]
_BELIEF = (1 - _EDGES[:-1]) ** 2 - (1 - _EDGES[1:]) ** 2
_DOUBT = 0.25  # of the rows of a group, said to be right and as many wrong, so that no likelihood is taken at 0 or 1


def group_codes(groups: Sequence[object] | np.ndarray | None, count: int) -> np.ndarray:
    """Groups counted from 0, int array of shape (count,); with None each row is its own."""
    if groups is None:
        return np.arange(count)
    groups = np.asarray(groups)
    return np.unique(groups if groups.dtype.kind in "iu" else groups.astype(str), return_inverse=True)[1]


def rows_of_groups(codes: np.ndarray) -> list[np.ndarray]:
    """Positions of the rows of each group, groups counted from 0, all of which there are."""
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])


def alike_hits(hits: np.ndarray, sizes: np.ndarray) -> float:
    """Intra-class correlation of what is right or wrong: its mean given the data, under a beta-binomial model.

    Estimates from the variance between groups are wild where errors are few (two errors in different groups give one of
    0, in the same group one of 1); the likelihood knows what each is worth.

    Parameters
    ----------
    hits, sizes : arrays of shape (n_groups,): rows that are right, and rows.
    """
    tally = np.bincount(hits.astype(np.int64) + sizes.astype(np.int64) * (int(sizes.max()) + 1))
    kinds = np.flatnonzero(tally)  # of groups: so many right of so many
    n, x = np.divmod(kinds, int(sizes.max()) + 1)
    doubt = _DOUBT * float((sizes**2).sum() / sizes.sum())
    p = (hits.sum() + doubt) / (sizes.sum() + 2 * doubt)
    strength = 1 / _ALIKE[1:, None] - 1
    a, b = p * strength, (1 - p) * strength
    alike = gammaln(x + a) - gammaln(a) + gammaln(n - x + b) - gammaln(b) - gammaln(n + a + b) + gammaln(a + b)
    likelihood = np.concatenate([(x * np.log(p) + (n - x) * np.log1p(-p))[None], alike]) @ tally[kinds]
    return _expected(likelihood)


def alike_scores(scores: np.ndarray, of_group: np.ndarray) -> float:
    """Intra-class correlation of scores' ranks, as normal deviates: its mean given the data, under a normal model."""
    z = ndtri((rankdata(scores) - 0.5) / len(scores))
    z /= max(np.sqrt(np.mean(z**2)), 1e-9)
    _, of_group = np.unique(of_group, return_inverse=True)
    sizes = np.bincount(of_group).astype(float)
    between, total = np.bincount(of_group, z) ** 2 / sizes, float((z**2).sum())
    within, rho = 1 - _ALIKE[:, None], _ALIKE[:, None]
    among = 1 + (sizes - 1) * rho
    likelihood = -0.5 * (
        ((sizes - 1) * np.log(within) + np.log(among) + between / among).sum(axis=1)
        + (total - between.sum()) / within[:, 0]
    )
    return _expected(likelihood)


def _expected(likelihood: np.ndarray) -> float:
    weights = np.exp(likelihood - likelihood.max()) * _BELIEF
    return float(weights @ _ALIKE / weights.sum())


def effective_number(sizes: np.ndarray, alike: float, tail: float = 0.025) -> float:
    """Independent rows that groups of these sizes are worth.

    ``n / (1 + (m - 1) alike)``, m the mean size of a row's group (Kish 1965), the excess over n widened for few groups
    as Student's t is over the normal (Korn & Graubard 1998 widen all of it). Groups count by their sizes: thirty, ten
    of which have nearly all rows, are few.
    """
    rows, own = float(sizes.sum()), float((sizes**2).sum() / sizes.sum())
    if len(sizes) < 2:
        return 1.0
    excess, few = own - 1, (t.ppf(1 - tail, max(1.0, rows / own - 1)) / ndtri(1 - tail)) ** 2
    return float(rows / (1 + excess * alike * few))
