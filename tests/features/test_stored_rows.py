"""Features that stay in the store: read as they are used, and trained on as if they were in memory."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
from pictures import write_images
from sklearn.base import clone

import featcache
from featcache import Store
from featcache.errors import DataError, StoreError, UsageError
from featcache.features import stored_rows
from featcache.store.shard import Rows
from featcache.system import memory
from heads import DenseHeadClassifier, DenseHeadMultilabelClassifier, DenseHeadRegressor, OwnCNNClassifier

CLASSES = ("covid", "normal", "pneumonia_bac", "pneumonia_vir")


def some(folder, pattern, to):
    """A folder with a copy of the images whose names fit."""
    for path in folder.rglob(pattern):
        (to / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to / path.parent.name)
    return to


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """90 images in shards of odd sizes, out of order."""
    folder = tmp_path_factory.mktemp("stored")
    write_images(folder / "d", 90, CLASSES)
    for part in ("3", "7", ""):
        data = some(folder / "d", f"*{part}.png", folder / f"part{part}")
        featcache.extract(data, "mobilenet", weights="random", size=64, cache=folder / "cache")
    featcache.extract(folder / "d", "pixels", size=64, cache=folder / "cache")
    return folder / "cache"


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of two batches, so that an epoch takes several."""
    monkeypatch.setattr(stored_rows, "_BLOCK_BYTES", 2 * 8 * 4096 * 4)


@pytest.mark.parametrize("pooling", ["flatten", "avg", "max", "map"])
def test_reads_what_load_reads(cache, pooling):
    whole = featcache.load("mobilenet", pooling=pooling, cache=cache, stream=False)
    rows = featcache.load("mobilenet", pooling=pooling, cache=cache, stream=True).X
    assert isinstance(rows, featcache.StoredRows)
    assert (rows.shape, rows.dtype, rows.ndim, len(rows)) == (whole.X.shape, whole.X.dtype, whole.X.ndim, 90)
    assert rows.nbytes == whole.X.nbytes
    np.testing.assert_array_equal(np.asarray(rows), whole.X)
    order = np.random.default_rng(0).integers(-90, 90, 200)  # repeated, backwards, from the end
    for index in (order, slice(3, 70, 5), whole.y == 2, [], 5):
        np.testing.assert_array_equal(rows[index], np.atleast_2d(whole.X[index]).reshape(-1, *whole.X.shape[1:]))
    some = rows.take(order % 90).take(np.arange(7, 107))
    np.testing.assert_array_equal(np.concatenate(list(some.blocks(9))), whole.X[order[7:107]])
    np.testing.assert_array_equal(np.asarray(some.concatenate(rows)), whole.X[np.r_[order[7:107], 0:90]])


def test_a_split_stays_in_the_store_and_a_copy_crosses_processes(cache):
    features = featcache.load("mobilenet", cache=cache, stream=True)
    part = features.take(features.y == 1)
    assert isinstance(part.X, featcache.StoredRows)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(part)).X[:], features.X[features.y == 1])
    assert len(part.to_frame()) == len(part)


def test_compressed_and_compacted_while_in_use(tmp_path):
    write_images(tmp_path / "d", 20)
    for pattern, compression in (("*[1-4].png", "none"), ("*.png", "gzip")):
        data = some(tmp_path / "d", pattern, tmp_path / compression)
        featcache.extract(data, "pixels", size=32, cache=tmp_path / "cache", compression=compression)
    rows = featcache.load("pixels", pooling="map", cache=tmp_path / "cache", stream=True).X
    before = rows[:]
    with Store(tmp_path / "cache") as store:
        (name,) = store.feature_sets()
        old = set(store.on_disk(name))
        # As a reader meets it after another process compacted: every row in one new shard, the old ones gone.
        spec, keys = store.spec(name), list(store.rows(name))
        pixels = store.read(name, keys, "map")
        store.commit(
            spec,
            Rows(
                keys=np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32),
                arrays={"map": pixels},
                runtime={},
                seconds=0.0,
            ),
        )
        for shard in old:
            store.discard(name, shard)
    np.testing.assert_array_equal(rows[:], before)
    with Store(tmp_path / "cache") as store:
        for shard in store.on_disk(name):
            path = store.features / name / shard
            path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(StoreError, match=r"cache (verify|repair)"):
        rows[:]


@pytest.mark.parametrize(
    "settings",
    # Adam turns the rounding of gradients near zero, which batch normalisation makes, into whole steps: SGD does not.
    [
        {},
        {"batch_norm": True, "optimizer": "sgd", "learning_rate": 0.01},
        {"patience": 2},
        pytest.param({"l2": 1e-3, "units": (16, 8)}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_trains_as_from_memory(cache, settings, small_blocks):
    whole = featcache.load("mobilenet", cache=cache, stream=False)
    lazy = featcache.load("mobilenet", cache=cache, stream=True)
    head = DenseHeadClassifier(**{"units": 16, "epochs": 4, "batch_size": 8, "random_state": 3, **settings})
    weight = np.random.default_rng(0).uniform(0.5, 2, 60)
    order = np.random.default_rng(1).permutation(90)
    fitted = []
    for features in (whole, lazy):
        train, val = features.take(order[:60]), features.take(order[60:])
        fitted.append(clone(head).fit(train.X, train.y, weight, validation_data=(val.X, val.y)))
    for theirs, ours in zip(fitted[0].weights_, fitted[1].weights_, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())
    for name, curve in fitted[0].history_.items():
        np.testing.assert_allclose(fitted[1].history_[name], curve, rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(fitted[1].predict_proba(lazy.X), fitted[0].predict_proba(whole.X), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(fitted[1].hidden(lazy.X), fitted[0].hidden(whole.X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", [DenseHeadMultilabelClassifier(16), DenseHeadRegressor(16)], ids=["labels", "number"])
def test_labels_and_numbers_are_learnt_as_from_memory(cache, head, small_blocks):
    whole, lazy = (featcache.load("mobilenet", cache=cache, stream=stream) for stream in (False, True))
    rng = np.random.default_rng(0)
    y = 40 + 9.0 * whole.y + rng.normal(size=90)
    if isinstance(head, DenseHeadMultilabelClassifier):
        y = np.stack([whole.y == 1, whole.y > 1, whole.y == 0], axis=1).astype(float)
        y[rng.random(y.shape) < 0.5] = np.nan  # blocks know of unequal numbers of labels
        y[np.isnan(y).all(axis=1), 0] = 0
    head.set_params(epochs=3, batch_size=8, patience=3, random_state=3)
    theirs, ours = (clone(head).fit(features.X, y) for features in (whole, lazy))
    for name, curve in theirs.history_.items():
        np.testing.assert_allclose(ours.history_[name], curve, rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(ours.predict(lazy.X), theirs.predict(whole.X), rtol=1e-5)


def test_own_cnn_trains_from_the_store(cache):
    parts = [featcache.load("pixels", task="binary", pooling="map", cache=cache, stream=s) for s in (False, True)]
    model = OwnCNNClassifier(epochs=1, batch_size=16, random_state=0)
    whole, lazy = (clone(model).fit(f.X, f.y).predict_proba(f.X) for f in parts)
    np.testing.assert_allclose(lazy, whole, rtol=1e-4, atol=1e-5)


def test_streams_by_itself_where_memory_is_short(cache, monkeypatch, caplog):
    assert isinstance(featcache.load("mobilenet", cache=cache).X, np.ndarray)
    need = 90 * 4096 * 4
    monkeypatch.setattr(memory, "available", lambda: need * 4 - 1)
    features = featcache.load("mobilenet", cache=cache)
    assert isinstance(features.X, featcache.StoredRows)
    assert "read from the store as they are used" in caplog.text
    assert isinstance(featcache.load("mobilenet", pooling="avg", cache=cache).X, np.ndarray)
    monkeypatch.setattr(memory, "available", lambda: need - 1)
    with pytest.raises(DataError, match="take fewer rows or pooling avg"):
        np.asarray(features.X)


def test_what_does_not_fit_together_is_refused(cache):
    lazy = featcache.load("mobilenet", cache=cache, stream=True)
    other = featcache.load("mobilenet", pooling="avg", cache=cache, stream=True)
    with pytest.raises(DataError, match="rows of one set"):
        lazy.X.concatenate(other.X)
    with pytest.raises(UsageError, match="both"):
        DenseHeadClassifier(epochs=1).fit(lazy.X, lazy.y, validation_data=(lazy.X[:], lazy.y))
    with pytest.raises(ValueError, match=r"expected \(n_samples, n_features\)"):
        DenseHeadClassifier(epochs=1).fit(
            featcache.load("mobilenet", pooling="map", cache=cache, stream=True).X, lazy.y
        )
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        DenseHeadClassifier(epochs=1).fit(lazy.X, lazy.y[:-1])
    with pytest.raises(ValueError, match="1024 features"):
        DenseHeadClassifier(epochs=1).fit(other.X, other.y).predict(lazy.X)


def test_memory_of_a_container_counts(tmp_path):
    free = memory.available(tmp_path)  # no container
    assert free > 0
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("4000\n")
    (tmp_path / "memory.stat").write_text("anon 3000\ninactive_file 500\n")
    assert memory.available(tmp_path) == 1500
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available(tmp_path) > 5000
