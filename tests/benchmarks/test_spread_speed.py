"""Fifty heads, of five seeds on each of ten divisions, in one stack, against the same fifty ``fit`` calls in turn.

    pytest tests/benchmarks/test_spread_speed.py -s

Heads of 256 units, 30 epochs in batches of 32, on 400 rows of which 240 are learnt; each round times both. Both
give the same probabilities.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest

from heads import DenseHeadClassifier
from heads.experiments.repeated_fits import Fit, head_outputs

ROUNDS, ROWS, REPEATS, SEEDS = 3, 400, 10, 5


class Rows:
    """What :func:`head_outputs` needs of a dataset's features."""

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        from featcache import Classification

        self.X, self.y, self.groups, self.task = X, y, np.arange(len(y)).astype(object), Classification()


@pytest.mark.parametrize("columns", [64, 512, 1280])
def test_one_stack_against_fits_in_turn(columns):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, ROWS)
    X = np.maximum(rng.normal(size=(ROWS, columns)) + 0.3 * y[:, None] * (np.arange(columns) < 8), 0).astype(np.float32)
    head = DenseHeadClassifier(epochs=30)
    fits = []
    for repeat in range(REPEATS):
        order = rng.permutation(ROWS)
        for number in range(SEEDS):
            model = DenseHeadClassifier(**{**head.get_params(), "random_state": 100 * repeat + number})
            fits.append(Fit(model, order[:240], order[320:], order[240:320]))
    rows = Rows(X, y)
    times: dict[str, list[float]] = {"stack": [], "turn": []}
    for _ in range(ROUNDS + 1):  # the first compiles
        started = time.perf_counter()
        stacked = head_outputs(rows, fits)  # type: ignore[arg-type]
        times["stack"].append(time.perf_counter() - started)
        started = time.perf_counter()
        single = []
        for fit in fits:
            model = DenseHeadClassifier(**fit.model.get_params())
            model.fit(X[fit.learnt], y[fit.learnt], validation_data=(X[fit.watched], y[fit.watched]))
            single.append(model.predict_proba(X[fit.judged]))
        times["turn"].append(time.perf_counter() - started)
    for one, other in zip(stacked, single, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    ratios = [turn / stack for stack, turn in zip(times["stack"][1:], times["turn"][1:], strict=True)]
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    times_faster = medians["turn"] / medians["stack"]
    print(  # noqa: T201
        f"\n{columns} columns: {REPEATS * SEEDS} heads {medians['stack']:.2f} s in one stack, "
        f"{medians['turn']:.2f} s in turn: {times_faster:.1f} times ({min(ratios):.1f} to {max(ratios):.1f})"
    )
