"""What more patients would buy: a saturating power law through a learning curve, and how far it can be trusted.

The score of models that learnt from n patients is taken to be ``a - b (n + n0)^-c``, ``a`` no better than perfect and
``c`` up to 1.5; ``n0`` lets a curve begin slowly. Every such law on a grid is weighed by how well it passes through the
measured scores, whose errors go together: all sizes are judged by the same patients, and larger subsets hold the
smaller ones. Beside those errors the law itself is wrong a little; that is a random walk along the logarithm of n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from .learning_curve import LearningCurve

LEVEL = 0.9  # of intervals
FARTHEST = 4  # times the patients that are there: no law is trusted beyond

_ENDS = (0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2)
_RISES = np.linspace(0, 1, 61)  # from the last score to the limit, in units of what is left to perfect
_POWERS = np.linspace(0.1, 1.5, 15)
_ONSETS = np.array([0, 0.1, 0.3, 0.8, 2])  # n0, in units of all patients
_BEGUN = 0.4  # weight of the last of these from which on a curve has only begun
_LEAST = 1e-3  # of the likeliest law's weight: others are let go
_NODES = ndtri((np.arange(15) + 0.5) / 15)  # of a normal
_SMALL = 0.6  # of the patients: subsets up to here differ enough to see what another choice of patients does
_DECAY = 1.25  # of the variance between training sets: 1 were each patient's own share, 2 what pairs of them make
_MISFIT = 0.05  # of what is left to perfect, where patients become e times as many


@dataclass(frozen=True)
class Measured:
    """A score at each size, higher being better, and how its errors go together.

    Attributes
    ----------
    values : array of shape (n_sizes,).
    learnt : array of shape (n_sizes,): patients.
    covariance : array of shape (n_sizes, n_sizes), of the errors over draws of all patients.
    room : from the last value to a perfect one, above 0.
    """

    values: np.ndarray
    learnt: np.ndarray
    covariance: np.ndarray
    room: float

    def limits(self) -> np.ndarray:
        """Ends of the interval of each value, array of shape (n_sizes, 2)."""
        far = np.sqrt(np.diag(self.covariance)) * ndtri(_ENDS[2])
        return np.c_[self.values - far, self.values + far]

    def rise(self) -> tuple[float, float, float]:
        """From the first value to the last: the ends of its interval, and itself between them."""
        step = np.zeros(len(self.values))
        step[0], step[-1] = -1, 1
        found = float(step @ self.values)
        far = float(np.sqrt(step @ self.covariance @ step) * ndtri(_ENDS[2]))
        return found - far, found, found + far


def differ_enough(curve: LearningCurve) -> bool:
    """Whether any subset is small enough to see what another choice of patients does."""
    return bool(_differing(curve.learnt).any())


def _differing(learnt: np.ndarray) -> np.ndarray:
    return np.asarray(learnt < _SMALL * learnt[-1])


def measured(curve: LearningCurve, target: int | None, lower_is_better: bool) -> Measured:
    """The score of a target, or with None the mean of those that are judged.

    Parameters
    ----------
    curve : what was measured.
    target : its position.
    lower_is_better : of errors, which are turned round.
    """
    targets = curve.judged if target is None else np.array([target])
    spread = curve.spread if target is None else float(curve.spreads[target])
    sign = -1 if lower_is_better else 1
    of_repeat = sign * curve.values[:, :, targets].mean(axis=2)
    added = curve.added[:, :, targets].mean(axis=2)
    repeats = len(of_repeat)
    values, learnt = of_repeat.mean(axis=0), curve.learnt
    # Other patients to be judged by, the same at every size; how much they may differ is what the interval of the
    # score says, which knows what few patients do not show ...
    covariance = added @ added.T
    covariance += max(0.0, spread**2 - covariance[-1, -1])
    # ... other orders of them, which more repeats would average out ...
    between = np.cov(of_repeat.T)
    covariance += between / repeats
    # ... and others to learn from. Subsets of one size differ by their patients, the less so the more of them they
    # share, and by a power of that size; what is left at the size of all is a step that every size shares.
    share = learnt / learnt[-1]
    small = _differing(learnt)
    differ = np.diag(between)[small] / (1 - share[small] ** _DECAY) * share[small] ** _DECAY
    if small.any():
        covariance += np.exp(np.log(np.maximum(differ, 1e-12)).mean())
    covariance += 1e-12 * np.eye(len(values))
    room = -values[-1] if lower_is_better else 1 - values[-1]
    return Measured(values, learnt, covariance, max(float(room), 1e-3))


@dataclass(frozen=True)
class Forecast:
    """Of one number of patients; each a low end, a middle and a high end.

    Attributes
    ----------
    score : of the score as it would be measured with them, those that are there being among them.
    gain : of what the law rises, with no noise of measuring.
    """

    score: np.ndarray
    gain: np.ndarray


class PowerLaws:
    """All laws of the grid, weighed by what was measured; scores are higher where better."""

    def __init__(self, of: Measured) -> None:
        self._of = of
        last = of.learnt[-1]
        rises, self._power, self._onset = (
            axis.ravel() for axis in np.meshgrid(_RISES * of.room, _POWERS, _ONSETS, indexing="ij")
        )
        self._rise = rises
        apart = np.log(last / of.learnt)
        walk = (_MISFIT * of.room) ** 2 * np.minimum.outer(apart, apart)
        precision = np.linalg.inv(of.covariance + walk)
        left = of.values - np.array([self._gained(n / last) for n in of.learnt]).T  # what the level now explains
        self._level = left @ precision.sum(axis=0) / precision.sum()
        self._doubt = 1 / float(precision.sum())  # variance of a level
        missed = left - self._level[:, None]
        misfit = np.einsum("ij,jk,ik->i", missed, precision, missed)
        weight = np.exp(-0.5 * (misfit - misfit.min()))
        likely = weight > _LEAST * weight.max()
        self._weight = weight[likely] / weight[likely].sum()
        self._rise, self._power, self._onset = self._rise[likely], self._power[likely], self._onset[likely]
        self._level = self._level[likely]

    def _gained(self, times: float) -> np.ndarray:
        """What each law gains from all patients that are there to so many times as many; below 0 for fewer."""
        return np.asarray(self._rise * (1 - ((times + self._onset) / (1 + self._onset)) ** -self._power))

    def at(self, times: float) -> np.ndarray:
        """Low end, middle and high end of the law's own score at so many times the patients, above 0."""
        apart = _MISFIT * self._of.room * np.sqrt(abs(np.log(times)))
        return self._spread(self._level + self._gained(times), np.sqrt(self._doubt + apart**2))

    def forecast(self, times: float) -> Forecast:
        """For so many times the patients, above 1."""
        of, gained = self._of, self._gained(times)
        apart = _MISFIT * of.room * np.sqrt(np.log(times))
        # The patients who are there stay: as they lift or lower the score now, they do by their share later.
        keep = 1 / times
        middle = self._level + gained + keep * (of.values[-1] - self._level)
        others = of.covariance[-1, -1] / (times - 1)  # variance of the score of the new ones
        far = np.sqrt((1 - keep) ** 2 * (self._doubt + others) + apart**2)
        return Forecast(self._spread(middle, far), self._spread(gained, apart))

    def only_begun(self) -> bool:
        """Whether much speaks for the laws that begin slowest: where such a curve ends is not to be seen yet."""
        return bool(self._weight[self._onset == _ONSETS[-1]].sum() > _BEGUN)

    def likeliest(self) -> dict[str, float]:
        """``a``, ``b``, ``c`` and ``n0`` of the law that passes best, higher being better."""
        best = int(self._weight.argmax())
        onset, power = float(self._onset[best]) * self._of.learnt[-1], float(self._power[best])
        rise, last = float(self._rise[best]), float(self._of.learnt[-1])
        return {"a": float(self._level[best]) + rise, "b": rise * (last + onset) ** power, "c": power, "n0": onset}

    def limit(self) -> np.ndarray:
        """Low end, middle and high end of ``a``."""
        return self._spread(self._level + self._rise, np.sqrt(self._doubt))

    def _spread(self, middles: np.ndarray, far: float) -> np.ndarray:
        """Quantiles of normals around these, weighed."""
        values = (middles[:, None] + far * _NODES).ravel()
        order = np.argsort(values)
        up_to = np.cumsum(np.repeat(self._weight / len(_NODES), len(_NODES))[order])
        return np.asarray(values[order][np.searchsorted(up_to, _ENDS)])
