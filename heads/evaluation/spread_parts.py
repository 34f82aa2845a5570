"""How much a metric moves between runs that differ in nothing but chance, and which part of chance moves it.

A recipe was judged on R divisions of the same patients, with S seeds on each. A value is taken for

    value[r, s] = mean + test images[r] + split[r] + seed[r, s],

parts that are independent and of mean 0. Their variances are estimated by moments:

- *seed*: the variance within a division, pooled over the divisions. It holds all that a seed moves, the images on which
  models of two seeds disagree included.
- *test images*: the square of the metric's standard error over the patients of a test part, linearised (Cochran 1977;
  of ROC areas DeLong et al. 1988), as far as models of different seeds have it in common: a covariance between seeds,
  so that nothing is counted here and under *seed*. It is what other patients, as many and of the same mix of classes,
  would move.
- *split*: the variance between divisions of the mean over seeds, minus what the other two put into it: ``seed / S``,
  and of *test images* the share ``1 - q``, ``q`` the share of all patients that a test part takes: test parts drawn
  without replacement from the same patients differ by so much less than parts of other patients would (the correction
  for a finite population, Cochran 1977). Without it the split's part comes out as 0 nearly always.

A part below 0, which an estimate of a small variance may be, is told as 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

from .clusters import group_codes

# What each part is, in words for whoever reads a result.
PARTS = {
    "test_images": ("test images", "which patients it is judged on: other ones, as many, would give another value"),
    "split": ("split", "which of these patients it learnt from"),
    "seed": ("seed", "chance in the training itself: initial weights, order of batches, dropout, trees"),
}


def part_in_words(spread: Mapping[str, Any], part: str, number: Callable[[float], str]) -> str:
    """A part of what :meth:`Spread.about` tells: ``± 0.012`` with such a number, or why there is none."""
    if part == "seed" and spread["has_seed"] is False:
        return "has no seed"
    deviation = spread["parts"][part]
    return "not told apart" if deviation is None else f"± {number(deviation)}"


@dataclass(frozen=True)
class Spread:
    """Values of a metric over divisions and seeds.

    Attributes
    ----------
    values : array of shape (repeats, seeds)
        NaN where of a test part too little was to be said.
    test_variances : array of shape (repeats,)
        Of each test part, see :func:`variance_over_patients`; NaN where it is not known.
    judged : float
        Share of all patients that a test part takes.
    has_seed : bool or None
        Whether models of two seeds differed at all; None where there was one seed.
    """

    values: np.ndarray
    test_variances: np.ndarray
    judged: float
    has_seed: bool | None

    def about(self) -> dict[str, Any]:
        """``repeats seeds one_seed has_seed mean parts total split_ci values``.

        ``parts`` are standard deviations of ``test_images``, ``split`` and ``seed``, None where one cannot be told
        from the others; ``total`` is that of a single run with other patients and another seed, None where not all
        parts that there are were told apart; ``split_ci`` a 95% interval of the split's part (chi-square of the
        variance between divisions, the other parts taken as known).
        """
        repeats, seeds = self.values.shape
        known = self.values[np.isfinite(self.values).all(axis=1)]
        parts: dict[str, float | None] = dict.fromkeys(PARTS)
        # A deviation below a millionth of the values is rounding, as of a model that is the same each time.
        least = (1e-6 * float(np.abs(known).max())) ** 2 if len(known) else 0.0

        def deviation_of(variance: float) -> float:
            return math.sqrt(variance) if variance > least else 0.0

        interval: list[float] | None = None
        variances = self.test_variances[np.isfinite(self.test_variances)]
        test = float(variances.mean()) if len(variances) else math.nan
        seed = self._seed(known)
        if math.isfinite(test):
            parts["test_images"] = deviation_of(test)
        if seeds > 1 and len(known):
            parts["seed"] = deviation_of(seed)
        if len(known) > 1 and math.isfinite(test):
            between = float(known.mean(axis=1).var(ddof=1))
            besides = test * (1 - self.judged) + seed / seeds
            parts["split"] = deviation_of(between - besides)
            freedom = len(known) - 1
            ends = (freedom * between / chi2.ppf(tail, freedom) - besides for tail in (0.975, 0.025))
            interval = [deviation_of(end) for end in ends]
        told = [part for part in parts.values() if part is not None]
        whole = parts["test_images"] is not None and parts["split"] is not None
        return {
            "repeats": repeats,
            "seeds": seeds,
            "one_seed": seeds == 1,
            "has_seed": self.has_seed,
            "mean": float(known.mean()) if len(known) else None,
            "parts": parts,
            "total": math.hypot(*told) if whole else None,
            "split_ci": interval,
            "values": [[float(v) if math.isfinite(v) else None for v in row] for row in self.values],
        }

    def _seed(self, known: np.ndarray) -> float:
        """The seed's variance; 0 of one seed, whose part is then in the split's."""
        return float(known.var(axis=1, ddof=1).mean()) if known.shape[1] > 1 and len(known) else 0.0


def variance_over_patients(influences: np.ndarray, groups: Sequence[object] | np.ndarray, strata: np.ndarray) -> float:
    """Variance of a metric over the patients of a test part, as far as models of different seeds have it in common.

    Parameters
    ----------
    influences : array of shape (n_seeds, n)
        What each row adds to each model's metric, see
        :meth:`heads.evaluation.task_metrics.TaskMetrics.influence`.
    groups : array of shape (n,)
        Whose rows they are; all rows of a group count as one.
    strata : int array of shape (n,)
        What test parts have in the same proportions, so that nothing varies with it.

    Returns
    -------
    float
        Of one seed, the square of the standard error; NaN where there are no more groups than strata.
    """
    of_group, codes = group_codes(groups, len(strata)), np.unique(strata, return_inverse=True)[1]
    count, kinds, seeds = int(of_group.max()) + 1, int(codes.max()) + 1, len(influences)
    if count <= kinds:
        return math.nan
    rows = np.bincount(codes)
    sums = np.empty((seeds, count))
    for place, added in enumerate(influences):
        of_strata = np.bincount(codes, added) / rows
        sums[place] = np.bincount(of_group, added - of_strata[codes])
    own = float((sums**2).sum())
    if seeds > 1:
        own = (float((sums.sum(axis=0) ** 2).sum()) - own) / (seeds - 1)
    return own / seeds * count / (count - kinds)


def compared(first: np.ndarray, other: np.ndarray, lower_is_better: bool) -> dict[str, Any] | None:
    """How often one model is above another on the same divisions and seeds. It is a count, and no test.

    Parameters
    ----------
    first, other : arrays of shape (repeats, seeds)
        Values of one metric, NaN where there is none.
    lower_is_better : bool
        Of the metric.

    Returns
    -------
    dict or None
        ``better``, ``equal`` and ``of``, counts, and ``difference``, the mean of first minus other; None where the two
        have no values in common. Of models without a seed each division counts once.
    """
    if all(((values == values[:, :1]) | np.isnan(values)).all() for values in (first, other)):
        first, other = first[:, :1], other[:, :1]
    differences = (first - other)[np.isfinite(first - other)]
    if not len(differences):
        return None
    better = differences < 0 if lower_is_better else differences > 0
    return {
        "better": int(better.sum()),
        "equal": int((differences == 0).sum()),
        "of": len(differences),
        "difference": float(differences.mean()),
    }
