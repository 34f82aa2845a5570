"""What a call means where a label is as frequent as it is said to be, and not as frequent as in the test images.

A test set is often half full of what in a clinic one patient in fifty has. Sensitivity and specificity may carry over;
the share of calls that are right does not: by Bayes it is ``p s / (p s + (1 - p) (1 - c))``, p being the prevalence, s
the sensitivity and c the specificity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .intervals import Interval, share_interval


def predictive_values(
    positive: np.ndarray,
    called: np.ndarray,
    groups: Sequence[object] | np.ndarray | None,
    prevalence: float,
) -> dict[str, Any]:
    """Positive and negative predictive value at a prevalence, with 95% intervals.

    The interval joins those of sensitivity and specificity, taken as independent, by how far each moves the value
    (MOVER: Zou and Donner 2008). It takes the prevalence as known.

    Parameters
    ----------
    positive : bool array of shape (n,), what is true.
    called : bool array of shape (n,), what is said.
    groups : n hashable values, or None where each row is its own.
    prevalence : share of those who have it, above 0 and below 1.

    Returns
    -------
    ``ppv``, of those called, the share who have it; ``npv``, of those not called, the share who have it not; a ``_ci``
    pair beside each; None where none is called, or all are, or none has it, or all have.
    """
    told: dict[str, Any] = {"ppv": None, "ppv_ci": None, "npv": None, "npv_ci": None}
    if positive.all() or not positive.any():
        return told
    groups = np.arange(len(positive)) if groups is None else np.asarray(groups)
    hit, passed = called[positive], ~called[~positive]
    sensitivity, specificity = float(hit.mean()), float(passed.mean())
    of_sensitivity, of_specificity = share_interval(hit, groups[positive]), share_interval(passed, groups[~positive])

    def ppv(found: float, spared: float) -> float | None:
        return _share(prevalence * found, (1 - prevalence) * (1 - spared))

    def npv(found: float, spared: float) -> float | None:
        return _share((1 - prevalence) * spared, prevalence * (1 - found))

    for name, value in (("ppv", ppv), ("npv", npv)):
        told[name] = value(sensitivity, specificity)
        ends = _reach(value, (sensitivity, *of_sensitivity), (specificity, *of_specificity))
        told[f"{name}_ci"] = None if ends is None else list(ends)
    return told


def _share(right: float, wrong: float) -> float | None:
    return right / (right + wrong) if right + wrong > 0 else None


def _reach(
    value: Callable[[float, float], float | None],
    first: tuple[float, float, float],
    second: tuple[float, float, float],
) -> Interval | None:
    """Ends of something that rises with both of two shares, each given with its own low and high end."""
    centre = value(first[0], second[0])
    if centre is None:
        return None
    (a, low_a, high_a), (b, low_b, high_b) = first, second
    below, above = (
        math.hypot(*(0.0 if moved is None else moved - centre for moved in (value(of_a, b), value(a, of_b))))
        for of_a, of_b in ((low_a, low_b), (high_a, high_b))
    )
    return max(0.0, centre - below), min(1.0, centre + above)
