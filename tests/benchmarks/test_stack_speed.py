"""Small heads as one batched product by XLA, side by side by XLA, and side by side by numba's code, on a processor.

    pytest tests/benchmarks/test_stack_speed.py -s

One epoch, interleaved, after a warm-up of each. XLA's one product is what a GPU takes for small heads; this is why a
processor does not.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest

from heads.training import compiled_program, xla_stack
from heads.training.architectures import HeadShape
from heads.training.engine import train
from heads.training.train_spec import Job, TrainSpec

ROUNDS = 5
WAYS = {"one product": (False, True), "XLA, side by side": (False, False), "numba, side by side": (True, False)}


@pytest.mark.parametrize(
    ("heads", "rows", "columns", "units"), [(8, 20_000, 512, 256), (24, 20_000, 512, 64), (4, 40_000, 2048, 64)]
)
def test_one_epoch_of_a_stack(heads, rows, columns, units, monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(rows, columns)).astype(np.float32), rng.integers(0, 4, rows)
    shape = HeadShape(columns, 4, (units,))
    jobs = [Job(TrainSpec(1e-3 * (seed + 1) / heads, epochs=1, seed=seed), np.arange(rows)) for seed in range(heads)]
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS + 1):
        for way, (numba, together) in WAYS.items():
            monkeypatch.setattr(compiled_program, "suits", lambda *_, numba=numba: numba)
            monkeypatch.setattr(xla_stack, "suits", lambda *_, together=together: together)
            started = time.perf_counter()
            train(X, y, shape, jobs)
            seconds[way].append(time.perf_counter() - started)
    medians = {way: statistics.median(times[1:]) for way, times in seconds.items()}
    beside = medians["XLA, side by side"]
    print(f"\n{heads} heads, {rows} x {columns}, {units} units:", end=" ")  # noqa: T201
    print(", ".join(f"{way} {took:.2f} s ({took / beside:.2f})" for way, took in medians.items()))  # noqa: T201
