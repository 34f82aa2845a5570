"""A step that learns 14 labels, a third of them unknown, against a step of Keras ``fit`` with the same masked loss.

    FEATCACHE_ROWS=100000 pytest tests/benchmarks/test_labels_speed.py -s

A head of 256 units on 100,000 rows of 512 made-up features (an average of VGG16's last map has as many), in batches of
32 and of 256. Compiled and warm; each round times both, one epoch of each. Then a process of its own trains the
estimator below a memory limit, and says what it took at its peak.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from featcache.backbones.tensorflow_setup import load_tensorflow
from heads.training import engine
from heads.training.architectures import HeadShape, dense_head
from heads.training.train_spec import Job, TrainSpec

ROOT = Path(__file__).parents[2]
ROWS = int(os.environ.get("FEATCACHE_ROWS", "100000"))
ROUNDS, FEATURES, LABELS = 3, 512, 14
LIMIT = "2GB"
DATA = f"""
rng = np.random.default_rng(0)
X = np.maximum(rng.normal(-0.5, 1, ({ROWS}, {FEATURES})).astype(np.float32), 0)
Y = (X[:, :{LABELS}] + X[:, {LABELS}:{2 * LABELS}] > 0.8).astype(np.float32)
Y[rng.random(Y.shape) < 1 / 3] = np.nan
Y[np.isnan(Y).all(axis=1), 0] = 0
"""
FIT = f"""
import numpy as np
import featcache
from heads import DenseHeadMultilabelClassifier
{DATA}
with featcache.memory_limit("{LIMIT}"):
    head = DenseHeadMultilabelClassifier(256, epochs=2, batch_size=64, checkpoint=True, random_state=0).fit(X, Y)
print(head.history_["val_accuracy"][-1])
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.parametrize("batch", [32, 256])
def test_step_against_keras_fit(batch, benchmark):
    _, keras = load_tensorflow()
    made: dict[str, np.ndarray] = {}
    exec("import numpy as np" + DATA, made)
    X, Y = made["X"], made["Y"]
    shape = HeadShape(FEATURES, LABELS, loss="labels")
    job = Job(TrainSpec(epochs=1, batch_size=batch), np.arange(ROWS))
    ops = keras.ops

    def masked(Y, predicted):
        known = ops.cast(ops.equal(Y, Y), "float32")
        return ops.mean(known * ops.binary_crossentropy(ops.where(ops.isnan(Y), 0.0, Y), predicted), axis=-1)

    model = dense_head(shape, 0.25)
    model.compile(keras.optimizers.Adam(1e-3), masked)
    steps = -(-ROWS // batch)
    theirs: list[float] = []
    ours: list[float] = []

    def fit() -> None:
        started = time.perf_counter()
        model.fit(X, Y, epochs=1, batch_size=batch, verbose=0)
        theirs.append((time.perf_counter() - started) / steps)

    def train() -> None:
        started = time.perf_counter()
        engine.train(X, Y, shape, [job])
        ours.append((time.perf_counter() - started) / steps)

    benchmark.pedantic(train, setup=fit, rounds=ROUNDS, warmup_rounds=1)
    ratio = statistics.median(theirs[1:]) / statistics.median(ours[1:])
    spread = [t / o for t, o in zip(theirs[1:], ours[1:], strict=True)]
    benchmark.extra_info["times_faster"] = ratio
    print(  # noqa: T201
        f"\n{ROWS} rows, {LABELS} labels, batches of {batch}: {1e3 * statistics.median(ours[1:]):.2f} ms a step, Keras "
        f"fit {1e3 * statistics.median(theirs[1:]):.2f} ms: {ratio:.1f} times ({min(spread):.1f} to {max(spread):.1f})"
    )


def test_memory():
    done = subprocess.run([sys.executable, "-c", FIT], check=True, capture_output=True, text=True, cwd=ROOT)
    accuracy, peak = done.stdout.split()[-2:]
    print(f"\nbelow {LIMIT}: {int(peak) * 1024 / 1e9:.2f} GB at the peak, accuracy {float(accuracy):.3f}")  # noqa: T201
    assert int(peak) * 1024 <= 2e9
