"""Loading a feature set beside ``np.load`` of the same array, in processor time, which other processes disturb little.

    pytest tests/benchmarks/test_loading_speed.py -s

``featcache benchmark load`` has the same contenders, and others, by the clock.
"""

from __future__ import annotations

import time

import numpy as np

from heads.benchmark import cases

ROUNDS = 81


def test_beside_numpys(tmp_path):
    with cases.load(tmp_path, files=100) as case:
        contenders = [
            one for one in case.contenders if one.name in ("featcache.load", "its rows alone, by key", "np.load")
        ]
        seconds: dict[str, list[float]] = {one.name: [] for one in contenders}
        for _ in range(ROUNDS):
            for one in contenders:
                started = time.process_time()
                one.run()
                seconds[one.name].append(time.process_time() - started)
    medians = {name: float(np.median(of)) for name, of in seconds.items()}
    for name, median in medians.items():
        print(f"\n{name}: {1000 * median:.1f} ms, {median / medians['np.load']:.2f} times np.load", end="")  # noqa: T201
