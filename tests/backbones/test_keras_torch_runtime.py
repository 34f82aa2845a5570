"""Keras' networks on PyTorch, in a process of their own: the same rows, and clear words where it ends."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import write_images

import featcache
from featcache.backbones import (
    keras_torch_runtime,
    keras_torch_worker,
    registry,
    torch_runtime,
    torch_setup,
    weights,
)
from featcache.backbones.keras_torch_runtime import KerasTorchRuntime
from featcache.backbones.runtime import OutOfMemoryError
from featcache.spec import FeatureSpec
from featcache.store.shard import Shard
from featcache.store.store import Store
from featcache.system import tensor_files

SMALL = {"backbone": "mobilenet", "weights": "random", "size": 64}


@pytest.fixture
def data(tmp_path):
    write_images(tmp_path / "images", 6)
    return tmp_path / "images"


@pytest.mark.slow
def test_rows_are_those_of_tensorflow(data, tmp_path):
    pytest.importorskip("torch")
    there = featcache.extract(data, cache=tmp_path / "there", runtime="tensorflow", **SMALL)
    here = featcache.extract(data, cache=tmp_path / "here", runtime="torch", **SMALL)
    half = featcache.extract(data, cache=tmp_path / "here", runtime="torch", precision="bfloat16", **SMALL)
    assert here.feature_set == there.feature_set != half.feature_set
    assert (here.runtime, half.runtime, half.computed) == ("torch", "torch", 6)

    def rows(done, cache):
        return featcache.load(done.feature_set, pooling="map", data=data, cache=tmp_path / cache).X

    wanted = rows(there, "there")
    largest = np.abs(wanted).max()
    assert np.abs(rows(here, "here") - wanted).max() <= torch_runtime.TOLERANCES["float32"] * largest
    assert 0 < np.abs(rows(half, "here") - wanted).max() <= torch_runtime.TOLERANCES["bfloat16"] * largest
    with Store(tmp_path / "here") as store:
        (name,) = store.on_disk(here.feature_set)
        made = Shard(store.features / here.feature_set / name).runtime
    assert (made["name"], made["keras"], made["device"]) == ("torch", True, "cpu")


def spec(digest="0" * 64) -> FeatureSpec:
    return FeatureSpec("mobilenet", "", "random0", digest, 64, "decode-1", "tf", "map", "float32", "float32")


@pytest.fixture
def answering(tmp_path, monkeypatch):
    """A runtime whose other process is of the tests."""
    monkeypatch.setattr(keras_torch_runtime, "_WORKER", "answering")
    return KerasTorchRuntime((spec(),), tmp_path / "none")


def test_out_of_memory_there_is_out_of_memory_here(answering):
    images = np.arange(6 * 8 * 8 * 3, dtype=np.uint8).reshape(6, 8, 8, 3) % 200
    with pytest.raises(OutOfMemoryError):
        answering(images)
    given = answering(images[:3])
    np.testing.assert_array_equal(given["map"], images[:3])
    np.testing.assert_allclose(given["avg"], images[:3].mean((1, 2)), rtol=1e-6)


def test_a_process_that_ends_says_why(answering):
    for _ in range(2):  # and goes on to
        with pytest.raises(featcache.WeightsError, match=r"has ended .Killed by a test.; what was done is kept"):
            answering(np.full((1, 8, 8, 3), 255, np.uint8))


def test_it_ends_with_the_runtime(answering):
    process = answering._process
    answering._end()
    assert process.returncode == 0


def test_other_weights_are_refused(tmp_path):
    model, kept = weights.build(registry.get("mobilenet"), 64, weights.WeightsSource("random")), tmp_path / "kept"
    tensor_files.keep(model, kept)
    assert keras_torch_worker.network(kept, spec(weights.digest(model))).output_shape == (None, 2, 2, 1024)
    with pytest.raises(featcache.WeightsError, match="other weights"):
        keras_torch_worker.network(kept, spec())


@pytest.mark.parametrize(
    ("precision", "there", "words"),
    [("mixed_float16", True, "called 'float16' now"), ("float32", False, "pip install torch")],
)
def test_refusals_are_sentences(precision, there, words, data, tmp_path, monkeypatch):
    monkeypatch.setattr(torch_setup, "installed", lambda: there)
    with pytest.raises(featcache.UsageError, match=words):
        featcache.extract(data, cache=tmp_path / "cache", runtime="torch", precision=precision, **SMALL)
