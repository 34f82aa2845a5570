"""Which images each round of a scouting looks at: more of the same patients' classes each time, patients whole."""

from __future__ import annotations

import numpy as np

FIRST = 0.1  # of the groups of each class
LEAST = 10  # groups of each class in the first round, where there are as many
_ALMOST_ALL = 2 / 3


def scouting_rounds(y: np.ndarray, of_group: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """Positions of the rows of each round, ascending; each holds the one before, and the last one holds all.

    The first has a tenth of the groups, at least ten of each class, or all of a class that has fewer; the next ones
    twice as many each, until that leaves less than a third, when the last one takes all. A group of several classes
    counts as of the rarest of them.

    Parameters
    ----------
    y : int array of shape (n,), classes counted from 0.
    of_group : int array of shape (n,), groups counted from 0.
    seed : of which groups come first.
    """
    pairs = np.unique(np.c_[y, of_group], axis=0)  # class, group
    groups = np.bincount(pairs[:, 0])
    stratum = np.full(int(of_group.max()) + 1, -1)
    for label in np.argsort(-np.bincount(y), kind="stable"):  # the rarest comes last, and stays
        stratum[of_group[y == label]] = label
    order = np.random.default_rng(seed).permutation(len(stratum))
    place = np.empty(len(stratum))  # of a group among those of its class, as a share of them
    least = np.empty(len(stratum))
    for label in np.unique(stratum):
        own = order[stratum[order] == label]
        place[own] = (np.arange(len(own)) + 1) / len(own)
        least[own] = min(len(own), LEAST) / len(own)
    rounds: list[np.ndarray] = []
    share = FIRST
    while True:
        taken = place <= np.maximum(least, share) + 1e-9
        of_class = np.bincount(pairs[taken[pairs[:, 1]], 0], minlength=len(groups))
        rows = np.flatnonzero(taken[of_group])
        if share < 1 and len(rows) > _ALMOST_ALL * len(y):
            share = 1.0
            continue
        # A class that stands only in groups of rarer ones may be short of its number yet.
        if (of_class >= np.minimum(groups, LEAST)).all() and (not rounds or len(rows) > len(rounds[-1])):
            rounds.append(rows)
            share = max(share, len(rows) / len(y))  # more than a tenth, where there are few of a class
        if len(rows) == len(y):
            return rounds
        share = min(1.0, 2 * share)
