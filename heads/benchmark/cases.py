"""What ``benchmark`` times: each function sets up contenders for a kind of work, and says what it could not."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import featcache
from featcache.backbones import registry
from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.backbones.weights import WeightsSource, build
from featcache.data.dataset import open_dataset
from featcache.data.decoding import RECIPE
from featcache.errors import UsageError
from featcache.extraction.extract_paths import extract_paths
from featcache.extraction.planning import plan, row_keys
from featcache.extraction.request import ExtractionRequest
from featcache.extraction.resolution import resolve
from featcache.spec import FeatureSpec
from featcache.store import maintenance
from featcache.store.shard import Rows
from featcache.store.store import Store

from ..experiments.convolution_toy import RUNS, convolutions
from ..experiments.reference import CONVOLUTION
from ..search.search_cv import FastGridSearchCV
from ..training import engine
from ..training.architectures import HeadShape
from ..training.dense_head_classifier import DenseHeadClassifier
from ..training.train_spec import Job, TrainSpec
from .case import Case, decoded, some_images, timed
from .timing import Contender

_FLATTENED, _MAP = 25_088, (7, 7, 512)


@contextlib.contextmanager
def conv(folder: Path, runs: int = RUNS) -> Iterator[Case]:
    """The reference's toy, ``runs`` convolutions at a time."""
    case = Case(f"{runs} convolutions: 32 filters of 3 x 3 x 3 over 120 images of 224 x 224 x 3", [])
    toys = convolutions()
    for device, once in toys.items():

        def several(once: Any = once) -> None:
            for _ in range(runs):
                once()

        case.contenders.append(Contender(f"TensorFlow, {device}", several, items=120 * runs, ours=True))
    if "GPU" not in toys:
        case.leave_out("TensorFlow, GPU", "there is no GPU here")
    case.notes.append(
        f"the reference's own {RUNS}: CPU {CONVOLUTION['cpu_seconds']} s, GPU {CONVOLUTION['gpu_seconds']} s, 46 times"
    )
    case.values["reference"] = CONVOLUTION
    yield case


@contextlib.contextmanager
def cache(folder: Path, backbone: str = "vgg16", images: int = 64, data: str | None = None) -> Iterator[Case]:
    """An epoch of the reference's head with the frozen backbone in the loop, against one on cached features."""
    _, keras = load_tensorflow()
    row = registry.get(backbone)
    if row.name == "pixels":
        raise UsageError("pixels are no network; name a backbone")
    paths = some_images(folder, images, data)
    y = np.arange(len(paths)) % 2
    pixels = decoded(paths, row.size).astype(np.float32)
    own = getattr(keras.applications, row.module).preprocess_input(pixels)
    network = build(row, row.size, WeightsSource("random"))
    head = (keras.layers.Dense(256, "relu"), keras.layers.Dropout(0.25), keras.layers.Dense(1, "sigmoid"))
    notebook = keras.Sequential([network, keras.layers.Flatten(), *head])
    notebook.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", metrics=["accuracy"])
    with Store(folder / "cache") as store:
        resolved = resolve(ExtractionRequest(row.name, "random"), store)
        extracted = extract_paths(store, resolved, paths)
        keys = [key for key in row_keys(store, paths)[0] if key is not None]
        X = store.read(extracted.feature_set, keys, "map").reshape(len(paths), -1)
    shape, epochs = HeadShape(X.shape[1], 2), 20

    def cached() -> None:
        engine.train(X, y, shape, [Job(TrainSpec(epochs=epochs), np.arange(len(y)))])

    case = Case(
        f"an epoch of the reference's head (flatten, dense 256, dropout) on {row.name}, {len(paths)} images",
        [
            Contender("cached features", cached, items=epochs, ours=True),
            Contender("backbone in the loop", timed(lambda: notebook.fit(own, y, epochs=1, batch_size=32, verbose=0))),
        ],
        unit="epochs/s",
        notes=[f"{epochs} epochs a run on cached features; extracting them took {extracted.seconds:.1f} s, once"],
        values={"extraction_seconds": extracted.seconds},
    )
    yield case


@contextlib.contextmanager
def grid(folder: Path, pooling: str = "avg", features: str | os.PathLike[str] | None = None) -> Iterator[Case]:
    """A slice of the reference's binary grid: 9 of the 270 fits, with the full grid's mix of epochs.

    Learning rate 0.001, relu, dropout 0.2, and 40, 80 and 120 epochs, 3 folds.
    """
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    if features is not None:
        loaded = featcache.load("vgg16", task="binary", pooling=pooling, cache=features).split("train")
        X, y = np.asarray(loaded.X), loaded.y
        origin = "VGG16 features of the cache"
    else:
        rng = np.random.default_rng(0)
        width = _FLATTENED if pooling == "flatten" else _MAP[-1]
        X = np.maximum(rng.normal(-0.5, 1, (156, width)), 0).astype(np.float32)
        y = rng.integers(0, 2, 156)
        origin = "made-up features"
    values, folds = {"epochs": [40, 80, 120]}, StratifiedKFold(3)
    head = DenseHeadClassifier(256, dropout=0.2, learning_rate=0.001, batch_size=32, random_state=0)
    ours = FastGridSearchCV(head, values, cv=folds, refit=False)
    case = Case(
        f"9 of the 270 fits of the reference's binary grid, {X.shape[0]} x {X.shape[1]} ({origin})",
        [Contender("FastGridSearchCV", timed(lambda: ours.fit(X, y)), items=9, ours=True)],
        unit="fits/s",
        notes=["the full grid has 30 times as many fits"],
    )
    tf, _ = load_tensorflow()  # before scikeras does, which would let TensorFlow chatter
    try:
        from scikeras.wrappers import KerasClassifier
    except ImportError:
        case.leave_out("GridSearchCV, scikeras", "scikeras is not installed: pip install scikeras")
        yield case
        return

    wrapped = KerasClassifier(lambda: _notebook_head(X.shape[1]), batch_size=32, verbose=0)
    theirs = GridSearchCV(wrapped, values, cv=folds, refit=False)
    case.contenders.append(Contender("GridSearchCV, scikeras", timed(lambda: theirs.fit(X, y)), items=9))
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # each of their models is traced anew, which TensorFlow warns of
    try:
        yield case
    finally:
        logger.setLevel(level)


def _notebook_head(width: int) -> Any:
    """The reference's binary head as a Keras model, compiled."""
    _, keras = load_tensorflow()
    layers = (keras.layers.Dense(256, "relu"), keras.layers.Dropout(0.2), keras.layers.Dense(1, "sigmoid"))
    model = keras.Sequential([keras.Input((width,)), *layers])
    model.compile(keras.optimizers.Adam(0.001), "binary_crossentropy", metrics=["accuracy"])
    return model


@contextlib.contextmanager
def load(folder: Path, rows: int = 440, files: int = 10_000) -> Iterator[Case]:
    """Loading a feature set against ``np.load``, ``verify`` against plain SHA-256, and planning what is unchanged."""
    tiny_files(folder / "images", rows)
    paths = open_dataset(folder / "images").paths  # in the order in which extract would commit them
    rng = np.random.default_rng(0)
    spec = FeatureSpec("vgg16", "", "random0", "0" * 64, 224, RECIPE, "caffe", "map", "float32", "float32")
    maps = rng.random((rows, *_MAP), dtype=np.float32)
    where = folder / "cache"
    with Store(where) as store:
        keys, _ = row_keys(store, paths)
        for start in range(0, rows, 128):
            block = slice(start, min(rows, start + 128))
            flat = np.frombuffer(b"".join(key for key in keys[block] if key), np.uint8).reshape(-1, 32)
            store.commit(spec, Rows(flat, {"map": maps[block], "avg": maps[block].mean((1, 2))}, 1.0, {"name": "none"}))
        store.rows(spec.id)
        wanted = [key for key in keys if key is not None]
        shards = [store.features / spec.id / name for name in store.on_disk(spec.id)]
    np.save(folder / "same.npy", maps.reshape(rows, -1))
    size = sum(path.stat().st_size for path in shards)
    content = b"".join(path.read_bytes() for path in shards)
    tiny_files(folder / "many", files)
    many = open_dataset(folder / "many").paths
    small = FeatureSpec("pixels", "", "none", "", 8, RECIPE, "none", "map", "uint8", "float32")
    with Store(folder / "planned") as store:
        keys, _ = row_keys(store, many)
        flat = np.frombuffer(b"".join(key for key in keys if key), np.uint8).reshape(-1, 32)
        store.commit(small, Rows(flat, {"map": np.zeros((len(flat), 8, 8, 3), np.uint8)}, 1.0, {"name": "none"}))

    def loaded() -> Any:
        return featcache.load("vgg16", data=folder / "images", cache=where, stream=False)

    def verified() -> float:
        with Store(where) as store:
            return maintenance.verify(store).seconds

    def read() -> None:
        with Store(where) as store:
            store.read(spec.id, wanted, "map")

    def planned() -> None:
        with Store(folder / "planned") as store:
            todo = plan(store, small, open_dataset(folder / "many").paths)
        assert not todo.to_compute

    case = Case(
        f"load {rows} x {_FLATTENED} float32 ({size / 1e6:.0f} MB); verify it; plan {files:,} unchanged files",
        [
            Contender("featcache.load", timed(loaded), ours=True),
            Contender("its rows alone, by key", read, ours=True),
            Contender("np.load", timed(lambda: np.load(folder / "same.npy"))),
            Contender("cache verify", verified, items=size / 1e9, ours=True),
            Contender("SHA-256, one thread", timed(lambda: hashlib.sha256(content).digest()), items=size / 1e9),
            Contender(f"plan {files:,} files", planned, ours=True),
        ],
    )
    yield case


def tiny_files(folder: Path, count: int) -> None:
    """``count`` different files that are named like images, left alone for a while as the index wants it."""
    old = time.time() - 60
    for number in range(count):
        path = folder / ("covid", "normal")[number % 2] / f"{number // 1000:03d}" / f"{number:07d}.png"
        if number % 1000 < 2:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
        os.utime(path, (old, old))
