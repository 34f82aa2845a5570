"""A small search whose shapes this machine has compiled before, against ``GridSearchCV`` over scikeras, by process.

    pip install scikeras
    pytest tests/benchmarks/test_cold_search_speed.py -s

The reference's binary head: 24 fits of pooled width, 12 of flattened width, half of 40 epochs and half of 120. With
FEATCACHE_CACHE naming a cache with the VGG16 features of a dataset, on the training rows of its last extract; else on
156 made-up rows. Each round starts a process for either. One more of ours goes before them, whose programs are kept.
FEATCACHE_ROUNDS sets the number of rounds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import featcache

ROOT = Path(__file__).parents[2]
ROUNDS = int(os.environ.get("FEATCACHE_ROUNDS", "3"))
DATA = """
import json, sys, time
import numpy as np
dropouts = json.loads(sys.argv[1])
X, y = np.load("X.npy"), np.load("y.npy")
width = X.shape[1]
from sklearn.model_selection import GridSearchCV, StratifiedKFold
seconds = []
def timed(search):
    begun = time.perf_counter()
    search.fit(X, y)
    seconds.append(time.perf_counter() - begun)
"""
OURS = """
from heads import DenseHeadClassifier, FastGridSearchCV
if sys.argv[2] == "loaded":
    from featcache.backbones.tensorflow_setup import load_tensorflow
    load_tensorflow()
head = DenseHeadClassifier(256, learning_rate=0.001, batch_size=32, random_state=0)
values = {"epochs": [40, 120], "activation": ["relu", "sigmoid"], "dropout": dropouts}
for _ in range(1 if sys.argv[2] == "cold" else 3):
    timed(FastGridSearchCV(head, values, cv=StratifiedKFold(3), refit=False))
print(json.dumps(seconds))
"""
THEIRS = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import keras
from scikeras.wrappers import KerasClassifier
def build(activation, dropout):
    layers = [keras.Input((width,)), keras.layers.Dense(256, activation), keras.layers.Dropout(dropout)]
    model = keras.Sequential([*layers, keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(0.001), "binary_crossentropy", metrics=["accuracy"])
    return model
head = KerasClassifier(build, activation="relu", dropout=0.2, batch_size=32, verbose=0)
values = {"epochs": [40, 120], "model__activation": ["relu", "sigmoid"], "model__dropout": dropouts}
timed(GridSearchCV(head, values, cv=StratifiedKFold(3), refit=False))
print(json.dumps(seconds))
"""


def data(width: int) -> tuple[np.ndarray, np.ndarray]:
    if "FEATCACHE_CACHE" in os.environ:
        pooling = "avg" if width == 512 else "flatten"
        train = featcache.load("vgg16", task="binary", pooling=pooling, cache=os.environ["FEATCACHE_CACHE"])
        train = train.split("train")
        return np.asarray(train.X), train.y
    rng = np.random.default_rng(0)
    X = np.maximum(rng.normal(-0.5, 1, (156, width)), 0).astype(np.float32)
    return X, rng.integers(0, 2, 156)


def process(code: str, dropouts: list[float], how: str, folder: Path) -> tuple[float, list[float]]:
    """Seconds that a process took, and those of the searches in it."""
    environment = {**os.environ, "FEATCACHE_PROGRAMS": str(folder / "programs")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    begun = time.perf_counter()
    command = [sys.executable, "-c", DATA + code, json.dumps(dropouts), how]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=True)
    return time.perf_counter() - begun, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("width", "dropouts"), [(512, [0.1, 0.25]), (25_088, [0.25])], ids=["pooled", "flattened"])
def test_against_scikeras(tmp_path, width, dropouts):
    pytest.importorskip("scikeras")
    (tmp_path / "programs").mkdir(mode=0o700)
    for name, array in zip(("X", "y"), data(width), strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    before, _ = process(OURS, dropouts, "cold", tmp_path)
    found: dict[str, list[float]] = {"whole process": [], "TensorFlow loaded": [], "warm": []}
    taken: dict[str, list[float]] = {name: [] for name in found} | {"theirs": []}
    for _ in range(ROUNDS):
        ours, _ = process(OURS, dropouts, "cold", tmp_path)
        _, (first, *warm) = process(OURS, dropouts, "loaded", tmp_path)
        theirs, (search,) = process(THEIRS, dropouts, "", tmp_path)
        mine = dict(zip(found, (ours, first, statistics.median(warm)), strict=True))
        for name, seconds in mine.items():
            taken[name].append(seconds)
            found[name].append((theirs if name == "whole process" else search) / seconds)
        taken["theirs"].append(search)
    usual = statistics.median(taken["theirs"])
    print(f"\n{width} features: never met before {before:.1f} s; GridSearchCV {usual:.1f} s")  # noqa: T201
    for name, times in found.items():
        low, middle, high = min(times), statistics.median(times), max(times)
        print(f"{name}: {statistics.median(taken[name]):.2f} s, {middle:.1f} times ({low:.1f} to {high:.1f})")  # noqa: T201
