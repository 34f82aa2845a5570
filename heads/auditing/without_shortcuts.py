"""What a model would score without what the shortcut probes know.

Classes that differ in what a probe sees can be told apart by it, so a model's score is made of two parts. Weights make
the classes alike in it (:mod:`heads.evaluation.overlap_weights`), as if the shortcut had been dealt out by chance
(Landeiro & Culotta 2016; Makar et al. 2022); a model that is judged by rows so weighed gains nothing by it. One that
learns from them does not look for it: it learns by the weights' roots, since by the weights themselves hardly more
patients are left to learn from than to judge by.

Taking out of the features what the probes know was tried and left: regressed on the probes alone they lose the class
with the shortcut, since both go together, and beside the class an imperfect probe leaves most of the shortcut in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..evaluation.held_out_ridge import held_out_labels, whole_group_folds
from ..evaluation.listing import with_and
from ..evaluation.overlap_weights import Overlap, kish, overlap
from ..evaluation.weighed_recall import weighed_recall

_LEAST_PATIENTS = 10  # of each class, that those alike are worth; of fewer nothing is said
_NEARLY_ALL = 0.9  # of the way from chance to certainty: what the probes then get wrong may be noise of their own
_LEFT = 0.25  # of the same way, that they may still reach among images that are alike
_SMALL = 1e-3  # a probability below is taken for this: a forest has no finer ones


def without_shortcuts(
    X: np.ndarray, y: np.ndarray, of_group: np.ndarray, answers: Mapping[str, np.ndarray], seed: int = 0
) -> dict[str, Any] | None:
    """Balanced accuracy of a ridge classifier, and of one for which the probes' answers tell nothing.

    Parameters
    ----------
    X : array of shape (n, d): features.
    y : int array of shape (n,), classes counted from 0, each with rows.
    of_group : int array of shape (n,), groups counted from 0.
    answers : by the name of a probe, one at least, what it gives rows that it did not learn from: array of shape
        (n, n_classes), NaN where it says nothing.
    seed : of folds.

    Returns
    -------
    ``plain plain_ci net net_ci difference difference_ci how matched{score, ci, effective_patients, fewest_patients}
    probes probes_score n said``. ``net`` and what hangs on it are None where the classes have hardly any patients who
    are alike in what the probes see. None where a class has fewer than ten groups.
    """
    n_classes = int(y.max()) + 1
    if min(len(np.unique(of_group[y == label])) for label in range(n_classes)) < _LEAST_PATIENTS:
        return None
    alike = overlap(np.column_stack([_log_odds(given) for given in answers.values()]), y)
    fewest = min(kish(alike.weight[y == label], of_group[y == label]) for label in range(n_classes))
    folds = whole_group_folds(y, of_group, seed)
    usual = held_out_labels(X, y, folds)
    plain, matched = (weighed_recall(y, usual, of_group, weights) for weights in (None, alike))
    found: dict[str, Any] = {
        "plain": plain.score,
        "plain_ci": list(plain.interval()),
        "net": None,
        "net_ci": None,
        "difference": None,
        "difference_ci": None,
        "how": "overlap weights",
        "matched": {"score": None, "ci": None, "effective_patients": matched.worth, "fewest_patients": fewest},
        "probes": list(answers),
        "probes_score": alike.told,
        "n": len(y),
    }
    if fewest >= _LEAST_PATIENTS and _comparable(alike, 1 / n_classes):
        found["matched"] |= {"score": matched.score, "ci": list(matched.interval())}
        net = weighed_recall(y, held_out_labels(X, y, folds, np.sqrt(alike.weight)), of_group, alike)
        found |= {"net": net.score, "net_ci": list(net.interval())}
        gap, reach = plain.above(net)
        reach = max(reach, 1 / n_classes / fewest)  # a patient more or less, at least
        found |= {"difference": gap, "difference_ci": [max(-1.0, gap - reach), min(1.0, gap + reach)]}
    return found | {"said": _said(found)}


def _comparable(alike: Overlap, chance: float) -> bool:
    told, left = ((score - chance) / (1 - chance) for score in (alike.told, alike.left))
    return told <= _NEARLY_ALL and left <= _LEFT


def _log_odds(given: np.ndarray) -> np.ndarray:
    """Log odds of the classes against the first; a row of which nothing is said stands in the middle of the others."""
    logs = np.log(np.maximum(given, _SMALL))
    odds = logs[:, 1:] - logs[:, :1]
    return np.asarray(np.where(np.isnan(odds), np.nanmean(odds, axis=0), odds))


def _said(found: Mapping[str, Any]) -> str:
    """In a sentence, what comes from what the probes know."""
    names, one = with_and(found["probes"]), len(found["probes"]) == 1
    of = f"Of a balanced accuracy of {found['plain']:.2f}"
    if found["net"] is None:
        return (
            f"{of} nothing can be told apart from the shortcut: {names} alone tell{'s' if one else ''} the classes to "
            f"{found['probes_score']:.0%}, and hardly any images of different classes are alike in "
            f"{'it' if one else 'them'}, so that nothing is left to compare"
        )
    low, high = found["difference_ci"]
    gives = f"{names} alone give{'s' if one else ''} away"
    left = (
        f"among images alike in {'it' if one else 'them'}, worth {found['matched']['effective_patients']:.0f} patients "
        f"or other groups, {found['net']:.2f} ({found['net_ci'][0]:.2f} to {found['net_ci'][1]:.2f}) is left"
    )
    if low > 0:
        return f"{of}, some {found['difference']:.2f} ({low:.2f} to {high:.2f}) comes from what {gives}; {left}"
    return (
        f"{of}, no part is shown to come from what {gives} (a difference of {found['difference']:.2f}, {low:.2f} to "
        f"{high:.2f}); {left}"
    )
