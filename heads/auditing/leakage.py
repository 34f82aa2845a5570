"""How much folds that tear patients apart overestimate a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import StratifiedGroupKFold

from ..evaluation.intervals import mean_interval
from ..search.gram_projection import isometric

FOLDS, _REPEATS = 5, 5


def leak_inflation(X: np.ndarray, y: np.ndarray, groups: Sequence[str], seed: int = 0) -> dict[str, Any] | None:
    """Accuracy by image-wise folds minus accuracy by folds that keep groups whole.

    A ridge classifier on the scaled rows, 5 folds of each kind, 5 times. The interval is that of the mean
    difference, image by image, over groups.

    Parameters
    ----------
    X : array of shape (n, d): features, or small pictures where none are kept.
    y : int array of shape (n,): classes, or what else is kept in proportion.
    groups : group of each image.

    Returns
    -------
    ``image_wise``, ``group_wise``, ``difference``, ``interval``; None where no group has two images, a class fewer
    groups than folds, or all are of one class.
    """
    names, of_group = np.unique(np.asarray(groups, str), return_inverse=True)
    fewest = min(len(np.unique(of_group[y == label])) for label in np.unique(y))
    if len(names) == len(y) or fewest < FOLDS or not np.ptp(y):
        return None
    rows = np.asarray(X, np.float32)
    rows = (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-6)
    penalty = 0.1 * rows.shape[1]
    if rows.shape[1] > len(rows):
        rows = isometric(rows)  # scaled before: the labels play no part in it
    right = {"image_wise": np.zeros(len(y)), "group_wise": np.zeros(len(y))}
    for repeat in range(_REPEATS):
        alone = np.arange(len(y))
        for kind, whole in (("image_wise", alone), ("group_wise", of_group)):
            folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed + repeat)
            for train, test in folds.split(rows, y, whole):
                model = RidgeClassifier(penalty).fit(rows[train], y[train])
                right[kind][test] += model.predict(rows[test]) == y[test]
    image, group = (right[kind] / _REPEATS for kind in ("image_wise", "group_wise"))
    low, high = mean_interval(image - group, of_group)
    return {
        "image_wise": float(image.mean()),
        "group_wise": float(group.mean()),
        "difference": float((image - group).mean()),
        "interval": [low, high],
    }
