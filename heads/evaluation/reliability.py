"""Whether probabilities mean what they say: of the images given 0.8, are eight in ten right?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_MOST_BINS, _ROWS_A_BIN = 10, 10
_SIMULATED = 500


@dataclass(frozen=True)
class Bins:
    """Rows in order of their probability, cut into bins; each array is of shape (n_bins,).

    Attributes
    ----------
    stated : mean probability of the rows in a bin.
    hits : how many of them were of the class that the probability is of.
    counts : rows in a bin.
    """

    stated: np.ndarray
    hits: np.ndarray
    counts: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: the mean gap between stated and observed, bins weighed by their rows."""
        return float(np.abs(self.stated * self.counts - self.hits).sum() / self.counts.sum())


def reliability_bins(y: np.ndarray, probabilities: np.ndarray) -> Bins:
    """Stated probabilities beside observed shares.

    Of two classes it is the second one's probability; of several, that of the most probable class (Guo et al. 2017).
    Bins hold equally many rows, ties apart, as sklearn's ``calibration_curve(strategy="quantile")`` cuts them: bins of
    equal width leave most rows of a confident model in one bin, and are the more biased (Roelofs et al. 2022). There
    are 10, fewer where that would leave fewer than ten rows to a bin.

    Parameters
    ----------
    y : int array of shape (n,), n > 0.
    probabilities : array of shape (n, n_classes).
    """
    stated, hit = _stated(y, probabilities)
    return _cut(stated, hit)


def calibration_metrics(y: np.ndarray, probabilities: np.ndarray, seed: int = 0) -> dict[str, float | int]:
    """The expected calibration error, and what a perfectly calibrated model would show.

    Parameters
    ----------
    y, probabilities : as in :func:`reliability_bins`.
    seed : of the simulation.

    Returns
    -------
    ``ece``; ``ece_bins``; ``ece_by_chance``, which a model whose probabilities are right exceeds on as many rows in one
    case of twenty (500 sets of outcomes drawn from the probabilities; Bröcker & Smith 2007). An ``ece`` below it shows
    no fault, on few rows even where there is a large one.
    """
    stated, hit = _stated(y, probabilities)
    bins = _cut(stated, hit)
    rng = np.random.default_rng(seed)
    bin_of = _bin_of(stated)
    sums = np.bincount(bin_of, stated)
    drawn = [np.abs(sums - np.bincount(bin_of, rng.random(len(stated)) < stated)).sum() for _ in range(_SIMULATED)]
    by_chance = float(np.quantile(drawn, 0.95) / len(stated))
    return {"ece": bins.error, "ece_bins": len(bins.counts), "ece_by_chance": by_chance}


def _stated(y: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if probabilities.shape[1] == 2:
        return probabilities[:, 1], y == 1
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == y


def _bin_of(stated: np.ndarray) -> np.ndarray:
    bins = int(np.clip(len(stated) // _ROWS_A_BIN, 1, _MOST_BINS))
    inner = np.quantile(stated, np.arange(1, bins) / bins)
    return np.unique(np.searchsorted(inner, stated), return_inverse=True)[1]


def _cut(stated: np.ndarray, hit: np.ndarray) -> Bins:
    bin_of = _bin_of(stated)
    counts = np.bincount(bin_of)
    return Bins(np.bincount(bin_of, stated) / counts, np.bincount(bin_of, hit).astype(int), counts)
