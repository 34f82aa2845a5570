"""A step of a head with a wide first layer: one pass over its kernel, against XLA's program and Keras ``fit``.

    pytest tests/benchmarks/test_large_head_speed.py -s

The reference's head (dense 256, dropout 0.25, Adam) on 64 rows, batches of 32, with as many zeros as VGG16's last map
has on radiographs. A step is the difference of trainings of 30 and 10 epochs, so that beginning and end do not count.
Keras is timed with FEATCACHE_KERAS=1.
"""

from __future__ import annotations

import os
import statistics
import time

import numpy as np
import pytest

from featcache.backbones.tensorflow_setup import load_tensorflow
from heads.training import compiled_program, engine
from heads.training.architectures import HeadShape, dense_head
from heads.training.train_spec import Job, TrainSpec

ROUNDS, ROWS = int(os.environ.get("FEATCACHE_ROUNDS", "7")), 64


@pytest.mark.parametrize("features", [25_088, 100_352])
@pytest.mark.parametrize("density", [0.31, 0.6])
def test_step(features, density, monkeypatch):
    _, keras = load_tensorflow()
    rng = np.random.default_rng(0)
    X = rng.random((ROWS, features), np.float32) + 0.1
    X[1:][rng.random((ROWS - 1, features)) > density] = 0  # the first row has all columns, so that none is left out
    y = rng.integers(0, 2, ROWS)
    shape = HeadShape(features, 2)
    model = dense_head(shape, 0.25)
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", metrics=["accuracy"])

    def step(train) -> float:
        seconds = []
        for epochs in (10, 30):
            begun = time.perf_counter()
            train(epochs)
            seconds.append(time.perf_counter() - begun)
        return (seconds[1] - seconds[0]) / (20 * ROWS // 32)

    def ours(suits: bool):
        def train(epochs: int) -> None:
            monkeypatch.setattr(compiled_program, "suits", lambda *_: suits)
            engine.train(X, y, shape, [Job(TrainSpec(epochs=epochs), np.arange(ROWS))])

        return train

    ways = {"compiled": ours(True), "XLA": ours(False)}
    if os.environ.get("FEATCACHE_KERAS"):
        ways["Keras fit"] = lambda epochs: model.fit(X, y, epochs=epochs, batch_size=32, verbose=0)
    rounds = [{name: step(train) for name, train in ways.items()} for _ in range(ROUNDS + 1)][1:]
    middle = {name: statistics.median(taken[name] for taken in rounds) for name in ways}
    said = [f"{name} {1000 * seconds:.1f} ms" for name, seconds in middle.items()]
    for name in list(ways)[1:]:
        each = [taken[name] / taken["compiled"] for taken in rounds]
        times = middle[name] / middle["compiled"]
        said.append(f"{times:.2f} times as fast as {name} ({min(each):.2f} to {max(each):.2f})")
    print(f"\n{features} features, {density:.0%} not zero: {', '.join(said)}")  # noqa: T201
