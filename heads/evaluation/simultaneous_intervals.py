"""Intervals of several models that were judged on the same images, all of which hold at once: what a choice costs.

The best of twelve models looks better than it is, and its own 95% interval does not know of the other eleven. Here all
intervals are widened so that, in 95 of 100 test sets, every one holds its truth; then the best one's does, however it
was chosen. By how much follows from the largest studentised deviation of all models together (max-|t|: Beran 1988;
Romano and Wolf 2005), drawn over patients: models that err on the same patients cost little, unlike ones as much as
Bonferroni's correction. That says how much each interval may leave out; the intervals themselves are those that hold
with few patients, where a bootstrap's do not (``docs/coverage.md``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from featcache.data.tasks import Kind

from .clusters import group_codes
from .intervals import Interval
from .task_metrics import TASK_METRICS

_LEVEL, _TAIL = 0.95, 0.025
_DRAWS = 10_000
_DOUBT = 4  # patients that the models erring independently is worth, against what the patients show


@dataclass(frozen=True)
class Simultaneous:
    """Intervals that hold at once.

    Attributes
    ----------
    intervals : of each model; None where nothing can be said of it.
    tail : what each leaves out on either side.
    """

    intervals: dict[str, Interval | None]
    tail: float


def simultaneous_intervals(
    kind: Kind, y: np.ndarray, outputs: Mapping[str, np.ndarray], groups: np.ndarray
) -> Simultaneous:
    """Intervals of the headline metric of several models on the same rows.

    Parameters
    ----------
    kind : of the task.
    y : array of shape (n, ...), what is true.
    outputs : by model, as :mod:`heads.evaluation.task_metrics` has them.
    groups : n hashable values.
    """
    measures, of_group = TASK_METRICS[kind], group_codes(groups, len(y))
    added = np.array([np.bincount(of_group, measures.influence(y, given)) for given in outputs.values()])
    tail = joint_tail(added)
    return Simultaneous(
        {name: measures.headline_interval(y, given, of_group, tail) for name, given in outputs.items()}, tail
    )


def best_sentence(
    values: Mapping[str, float | None],
    intervals: Mapping[str, Sequence[float] | None],
    metric: str,
    lower_is_better: bool,
    named: str | None = None,
    digits: str = ".3g",
) -> str:
    """What the best of several models comes to, the choice allowed for: one sentence; empty where nothing can be said.

    Parameters
    ----------
    values, intervals : by model, its metric and its interval of :func:`simultaneous_intervals`.
    metric : what the figures are of.
    lower_is_better : of it.
    named : a model that was chosen otherwise, such as by cross-validation; said too, where it is not the best.
    digits : how numbers are written.
    """
    known = {name: value for name, value in values.items() if value is not None and intervals.get(name) is not None}
    if len(known) < 2:
        return ""
    best = (min if lower_is_better else max)(known, key=lambda name: known[name])

    def told(name: str) -> str:
        low, high = intervals[name] or (0.0, 0.0)
        return f"{known[name]:{digits}}, allowing for the choice {low:{digits}} to {high:{digits}}"

    text = f"the best of {len(known)} on test, by {metric}: {best} {told(best)}"
    return text if named in (None, best) or named not in known else f"{text}; {named} {told(named)}"


def joint_tail(added: np.ndarray, doubt: float = _DOUBT, seed: int = 0) -> float:
    """What each of several intervals may leave out on either side so that all hold at once in 95%.

    Parameters
    ----------
    added : array of shape (n_models, n_groups), what each group adds to each model's metric, linearised.
    doubt : groups that independence of the models is worth, above 0; the fewer there are, the less their correlations
        say.
    seed : of the draws.

    Returns
    -------
    Between 0.025 divided by the number of models and 0.025, rounded down to two digits.
    """
    groups = added.shape[1]
    lengths = np.linalg.norm(added, axis=1, keepdims=True)
    known = lengths[:, 0] > 1e-12
    # Models alike to the last patient are one; one in which no patient differs says nothing of how it goes with others.
    unit = np.unique(np.round(added[known] / lengths[known], 9), axis=0)
    alone = int((~known).sum())
    count = len(unit) + alone
    least = _TAIL / max(1, count)
    if count <= 1:
        return _TAIL
    # A normal number for each patient, times what he adds, summed: so deviations of all models vary together. Such sums
    # are drawn at once, by their correlations.
    own = doubt / (groups + doubt)
    together = np.eye(count)
    together[: len(unit), : len(unit)] = (1 - own) * (unit @ unit.T) + own * np.eye(len(unit))
    drawn = np.random.default_rng(seed).standard_normal((_DRAWS, count)) @ np.linalg.cholesky(together).T
    tail = float(1 - ndtr(np.quantile(np.abs(drawn).max(axis=1), _LEVEL)))
    tail = min(max(tail, least), _TAIL)
    unit_of = 10.0 ** (np.floor(np.log10(tail)) - 1)
    return float(f"{np.floor(tail / unit_of + 1e-9) * unit_of:.2g}")
