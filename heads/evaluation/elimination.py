"""Which of several models on the same groups may still be the best: the losers of a round, and how sure that is.

A model is stopped where the leader is better by the permutation test over groups
(:func:`heads.evaluation.paired_tests.recall_difference`). A model that is as good as the best is stopped in 5% of runs
or fewer: that risk is spent in equal parts on the rounds, and within a round on the models that it might be compared
with (Bonferroni, one-sided: being better stops nobody). The rounds may see the same groups again and the models may be
alike in any way.

Two models that are equally good on average differ on one set of images by what they happened to learn from it, and the
groups that are held out are judged by models that learnt from each other. The variance of a difference is taken as
twice what independent groups would give: ten folds would have it so by the correction of Nadeau & Bengio (2003), with
``1 + 10 / 9``.

How often it goes wrong, and how soon the better one is found, is measured by ``tests/benchmarks/coverage.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .intervals import mean_recall
from .paired_tests import Difference, recall_difference

LEVEL = 0.05
_TOSSES = 9_999
_WIDENED = 2**0.5
_RESOLVED = 10  # tosses that as small a p as stops is made of, where it takes more than the usual number


@dataclass(frozen=True)
class Standing:
    """A model after a round.

    Attributes
    ----------
    score : its balanced accuracy.
    score_ci : 95% interval of it, taken alone.
    gap : the leader's score minus its own, with the 95% interval of one comparison looked at once; None of the leader.
    p : one-sided, of no gap, times the rounds and the other models: below 0.05 it is stopped. None of the leader.
    """

    score: float
    score_ci: tuple[float, float]
    gap: Difference | None = None
    p: float | None = None

    @property
    def stopped(self) -> bool:
        """Whether it is shown to be worse than the leader."""
        return self.p is not None and self.p < LEVEL


def standings(
    y: np.ndarray, predicted: Mapping[str, np.ndarray], of_group: np.ndarray, rounds: int, models: int
) -> dict[str, Standing]:
    """How the models that are left stand after a round, the leader first.

    Parameters
    ----------
    y : int array of shape (n,), classes counted from 0.
    predicted : for each model its labels of rows it has not learnt from, int array of shape (n,).
    of_group : int array of shape (n,), groups counted from 0.
    rounds, models : how many there are at most, those before and those stopped counted in; known before the first
        round.
    """
    recalls = {name: _balanced(y, labels) for name, labels in predicted.items()}
    order = sorted(predicted, key=lambda name: -recalls[name])
    leader = order[0]
    looks = rounds * (models - 1)
    tosses = max(_TOSSES, int(_RESOLVED * looks / LEVEL))
    gaps = {
        name: recall_difference(y, predicted[leader], predicted[name], of_group, tosses, _WIDENED) for name in order[1:]
    }
    return {
        name: Standing(
            recalls[name],
            mean_recall(y, predicted[name], of_group),
            gaps.get(name),
            min(1.0, gaps[name].p / 2 * looks) if name in gaps else None,
        )
        for name in order
    }


def _balanced(y: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean([(predicted[y == label] == label).mean() for label in np.unique(y)]))
