"""A step of the training engine against a step of Keras ``fit``, side by side.

    pytest tests/benchmarks/test_head_speed.py -s

The reference's head (dense 256, dropout 0.25, Adam) on 104 rows, batches of 32; compiled and warm. Each round times
both.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest

from featcache.backbones.tensorflow_setup import load_tensorflow
from heads.training import engine
from heads.training.architectures import HeadShape, dense_head
from heads.training.train_spec import Job, TrainSpec

ROUNDS, EPOCHS, ROWS = 5, 40, 104


@pytest.mark.parametrize("features", [25_088, 512], ids=["flattened", "pooled"])
def test_step_against_keras_fit(features, benchmark):
    _, keras = load_tensorflow()
    rng = np.random.default_rng(0)
    # As many zeros as VGG16's last map has on radiographs.
    X = np.maximum(rng.normal(-0.5, 1, (ROWS, features)), 0).astype(np.float32)
    y = rng.integers(0, 2, ROWS)
    shape = HeadShape(features, 2)
    job = Job(TrainSpec(epochs=EPOCHS), np.arange(ROWS))
    model = dense_head(shape, 0.25)
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", metrics=["accuracy"])
    steps = EPOCHS * -(-ROWS // 32)
    theirs: list[float] = []
    ours: list[float] = []

    def fit() -> None:
        started = time.perf_counter()
        model.fit(X, y, epochs=EPOCHS, batch_size=32, verbose=0)
        theirs.append((time.perf_counter() - started) / steps)

    def train() -> None:
        started = time.perf_counter()
        engine.train(X, y, shape, [job])
        ours.append((time.perf_counter() - started) / steps)

    benchmark.pedantic(train, setup=fit, rounds=ROUNDS, warmup_rounds=1)
    ratio = statistics.median(theirs[1:]) / statistics.median(ours[1:])
    spread = [t / o for t, o in zip(theirs[1:], ours[1:], strict=True)]
    benchmark.extra_info["times_faster"] = ratio
    print(  # noqa: T201
        f"\n{features} features: {1e3 * statistics.median(ours[1:]):.2f} ms a step, Keras fit "
        f"{1e3 * statistics.median(theirs[1:]):.2f} ms: {ratio:.1f} times ({min(spread):.1f} to {max(spread):.1f})"
    )
