"""Rows that are set aside to validate on: about this share of each stratum, in whole groups."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length


def rows_aside(strata: np.ndarray, groups: object, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, and rows to validate on.

    Parameters
    ----------
    strata : int array of shape (n,), what is kept in proportion.
    groups : array-like of shape (n,), which rows belong together; None where each stands for itself.
    fraction : share to set aside.
    seed : what it is drawn from.

    Raises
    ------
    ValueError
        Too few rows, or groups, to set any aside.
    """
    rows = np.arange(len(strata))
    if groups is not None:
        check_consistent_length(strata, groups)
        groups = np.unique(np.asarray(groups, str), return_inverse=True)[1]
        if len(np.unique(groups)) < len(rows):
            return groups_aside(strata, groups, fraction, seed)
    train, aside = train_test_split(rows, test_size=fraction, stratify=strata, random_state=seed)
    return train, aside


def whole_strata(strata: np.ndarray, fraction: float) -> np.ndarray:
    """Strata counted from 0; those of which this share is less than a row are added to the largest.

    So a label that hardly any row has, or the fifths of a few numbers, do not keep rows from being set aside.
    """
    strata = np.unique(strata, return_inverse=True)[1]
    counts = np.bincount(strata)
    few = counts[strata] * fraction < 1
    return np.unique(np.where(few, counts.argmax(), strata), return_inverse=True)[1]


def groups_aside(codes: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, and rows to validate on: whole groups, about this share of each class.

    Parameters
    ----------
    codes : int array of shape (n,), strata counted from 0.
    groups : int array of shape (n,), counted from 0.

    Raises
    ------
    ValueError
        No group can be spared: each stratum needs one to learn from.
    """
    counts = np.zeros((int(groups.max()) + 1, int(codes.max()) + 1))
    np.add.at(counts, (groups, codes), 1)
    total, aside, taken = counts.sum(axis=0), np.zeros(counts.shape[1]), np.zeros(len(counts), bool)
    order = np.random.default_rng(seed).permutation(len(counts))
    for group in order:
        after = aside + counts[group]
        nearer = np.abs(after - fraction * total).sum() < np.abs(aside - fraction * total).sum()
        if nearer and (after < total).all():
            taken[group], aside = True, after
    for label in np.flatnonzero(aside == 0):  # large groups, any of which is more than the share
        spare = [g for g in order if counts[g, label] and (aside + counts[g] < total).all()]
        if spare:
            group = min(spare, key=lambda g: counts[g].sum())
            taken[group], aside = True, aside + counts[group]
    if not taken.any():
        raise ValueError(
            f"found {len(counts)} groups of {counts.shape[1]} classes, labels or parts of a number's range; to stop "
            "early needs one to validate on besides one of each to learn from. Give more groups, validation_data, or "
            "neither patience nor checkpoint"
        )
    return np.flatnonzero(~taken[groups]), np.flatnonzero(taken[groups])
