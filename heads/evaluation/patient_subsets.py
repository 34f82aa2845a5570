"""Nested subsets of patients: what models learn from, to see what more patients are worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SMALLEST = 0.1  # of the patients of each stratum
LEAST = 4  # patients of each stratum, where there are as many
SIZES = 7
FOLDS = 10


def strata_of_patients(strata: np.ndarray, of_group: np.ndarray) -> np.ndarray:
    """One stratum a patient, int array of shape (n_groups,): of those of his rows the one that fewest patients have.

    Parameters
    ----------
    strata : int array of shape (n,), not negative.
    of_group : int array of shape (n,), patients counted from 0.
    """
    pairs = np.unique(np.c_[strata, of_group], axis=0)
    own = np.full(int(of_group.max()) + 1, -1)
    for stratum in np.argsort(-np.bincount(pairs[:, 0]), kind="stable"):  # the rarest comes last, and stays
        own[pairs[pairs[:, 0] == stratum, 1]] = stratum
    return own


def subset_shares(strata: np.ndarray) -> np.ndarray:
    """The share of the patients that each size has, rising to 1: evenly on a logarithmic scale, from a tenth on, or
    from where half of the strata have four patients each.

    Parameters
    ----------
    strata : int array of shape (n_groups,), of patients.
    """
    counts = np.bincount(strata)
    first = max(SMALLEST, LEAST / float(np.median(counts[counts > 0])))
    return np.geomspace(min(first, 0.5), 1, SIZES)


def nested_subsets(strata: np.ndarray, shares: Sequence[float] | np.ndarray, seed: int) -> list[np.ndarray]:
    """Patients of each share, each subset holding the one before; bool arrays of shape (n_groups,).

    Of each stratum there is that share of its patients, four at least where there are as many.

    Parameters
    ----------
    strata : int array of shape (n_groups,), of patients.
    shares : rising, the last one 1.
    seed : of which patients come first.
    """
    order = np.random.default_rng(seed).permutation(len(strata))
    place, count = np.empty(len(strata)), np.empty(len(strata))
    for stratum in np.unique(strata):
        own = order[strata[order] == stratum]
        place[own], count[own] = np.arange(len(own)), len(own)
    return [place < np.maximum(np.round(share * count), LEAST) for share in shares]


def dealt_folds(strata: np.ndarray, subset: np.ndarray, seed: int) -> np.ndarray:
    """The fold of each patient of a subset, int array of shape (n_groups,); -1 of others.

    Strata are dealt evenly: to ten folds, or as many as the rarest has patients.

    Parameters
    ----------
    strata : int array of shape (n_groups,), of patients; each has two or more of the subset.
    subset : bool array of shape (n_groups,).
    seed : of who goes where.
    """
    chance = np.random.default_rng(seed).random(len(strata))
    own = np.flatnonzero(subset)
    there = np.bincount(strata[own])
    count = int(np.clip(there[there > 0].min(), 2, FOLDS))
    folds = np.full(len(strata), -1)
    folds[own[np.lexsort((chance[own], strata[own]))]] = np.arange(len(own)) % count
    return folds
