"""The correlation of ranks and its 95% interval, over rows that come in groups."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata, t

from .clusters import alike_scores, effective_number
from .intervals import Interval
from .label_permutation import standardised


def rank_correlation(a: np.ndarray, b: np.ndarray, of_group: np.ndarray) -> tuple[float, Interval]:
    """Spearman's correlation; 0 where either is all the same.

    The interval is Student's t about Fisher's z (1921), whose variance is that of what each group adds to the
    correlation (its influence: Devlin et al. 1975), and no less than as many independent rows would give it (Bonett &
    Wright 2000) as the groups are worth, whose rows are alike in both.

    Parameters
    ----------
    a, b : arrays of shape (n,).
    of_group : int array of shape (n,), groups counted from 0.
    """
    u, v = standardised(np.stack([rankdata(a), rankdata(b)])) * np.sqrt(len(a))
    value = float(np.clip(u @ v / len(a), -1, 1))
    groups = int(of_group.max()) + 1
    if groups < 4 or not u.any() or not v.any():
        return value, (-1.0, 1.0)
    added = np.bincount(of_group, u * v - value * (u**2 + v**2) / 2) / len(a)
    inside = max(1e-6, 1 - value**2)
    variance = float(added @ added) * groups / (groups - 1) / inside**2
    sizes = np.bincount(of_group)
    worth = float(groups)
    if sizes.max() > 1:
        worth = max(worth, effective_number(sizes, alike_scores(a, of_group) * alike_scores(b, of_group)))
    reach = float(t.ppf(0.975, groups - 2)) * np.sqrt(max(variance, (1 + value**2 / 2) / (worth - 3)))
    centre = np.arctanh(np.clip(value, -1 + 1e-9, 1 - 1e-9))
    return value, (float(np.tanh(centre - reach)), float(np.tanh(centre + reach)))
