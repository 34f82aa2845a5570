"""Stage one through the public door: what is computed, what is reused, what is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shards
from pictures import age, write_images
from PIL import Image

import featcache
from featcache.backbones import registry, tensorflow_runtime, weights
from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.data.dataset import open_dataset
from featcache.data.decoding import decode
from featcache.errors import DataError, StoreError, UsageError, WeightsError
from featcache.extraction import pipeline, planning
from featcache.extraction.planning import PlannedImage, row_keys
from featcache.store.store import Store

# A small real network on small images: quick, and everything of the real path.
SMALL = {"backbone": "mobilenet", "weights": "random", "size": 64, "batch_size": 8}


def test_second_time_nothing_is_computed(tmp_path, images):
    first = featcache.extract(images, cache=tmp_path / "cache", **SMALL)
    assert (first.images, first.computed, first.reused, first.skipped) == (24, 24, 0, 0)
    assert first.shape == [2, 2, 1024]
    assert first.runtime == "tensorflow"
    second = featcache.extract(images, cache=tmp_path / "cache", **SMALL)
    assert (second.computed, second.reused) == (0, 24)
    assert second.feature_set == first.feature_set
    assert second.saved_seconds > 0


def test_second_time_tensorflow_is_not_loaded(tmp_path, images, cli):
    featcache.extract(images, cache=tmp_path / "cache", **SMALL)
    script = (
        "import sys, featcache; "
        f"r = featcache.extract({str(images)!r}, 'mobilenet', weights='random', size=64, cache='cache'); "
        "sys.exit(3 if 'tensorflow' in sys.modules or 'keras' in sys.modules else r.computed)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False).returncode == 0


def test_rename_change_and_add(tmp_path, images):
    cache = tmp_path / "cache"
    featcache.extract(images, cache=cache, **SMALL)
    moved = tmp_path / "moved"
    images.rename(moved)
    assert featcache.extract(moved, cache=cache, **SMALL).computed == 0
    Image.fromarray(np.full((32, 32), 77, np.uint8)).save(moved / "covid" / "0000.png")
    assert featcache.extract(moved, cache=cache, **SMALL).computed == 1
    shutil.copy(moved / "covid" / "0002.png", moved / "covid" / "copy.png")
    again = featcache.extract(moved, cache=cache, **SMALL)
    assert (again.images, again.computed, again.reused) == (25, 0, 25)


def test_a_change_of_the_same_size_and_time_is_noticed_when_fresh(tmp_path):
    """A key is not remembered for a file that was written a moment ago."""
    path = write_images(tmp_path / "images", 2)[0]
    before = path.stat()
    first = featcache.extract(tmp_path / "images", "pixels", size=8, cache=tmp_path / "cache")
    data = bytearray(path.read_bytes())
    Image.fromarray(np.asarray(Image.open(path))[::-1].copy()).save(path)
    changed = path.read_bytes()
    if len(changed) < len(data):
        path.write_bytes(changed + b"\0" * (len(data) - len(changed)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = featcache.extract(tmp_path / "images", "pixels", size=8, cache=tmp_path / "cache")
    assert (first.computed, second.computed) == (2, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "random:1"},
        {"size": 96},
        {"preprocess": "rescale"},
        {"layer": "conv_pw_5_relu"},
        {"keep": "avg"},
        {"dtype": "float16"},
        {"precision": "bfloat16"},
    ],
    ids=str,
)
def test_another_spec_is_another_set_and_the_old_one_stays(tmp_path, images, change):
    cache = tmp_path / "cache"
    first = featcache.extract(images, cache=cache, **SMALL)
    other = featcache.extract(images, cache=cache, **{**SMALL, **change})
    assert other.computed == 24
    assert other.feature_set != first.feature_set
    assert featcache.extract(images, cache=cache, **SMALL).computed == 0


def test_exact_copies_are_computed_once_and_counted(tmp_path, images):
    for n in range(3):
        shutil.copy(images / "covid" / "0000.png", images / "normal" / f"copy{n}.png")
    result = featcache.extract(images, cache=tmp_path / "cache", **SMALL)
    assert (result.images, result.computed, result.copies, result.skipped) == (27, 24, 3, 0)
    loaded = featcache.load("mobilenet", pooling="avg", data=images, cache=tmp_path / "cache")
    rows = [i for i, path in enumerate(loaded.paths) if "copy" in path or path.endswith("covid/0000.png")]
    assert len(rows) == 4
    assert len(np.unique(loaded.X[rows], axis=0)) == 1


def test_bad_images_are_all_listed_and_the_good_ones_kept(tmp_path, images, cli):
    (images / "covid" / "broken.png").write_bytes((images / "covid" / "0000.png").read_bytes()[:60])
    (images / "normal" / "empty.jpg").write_bytes(b"")
    (images / "normal" / "again.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="3 of 27 images") as caught:
        featcache.extract(images, "pixels", cache=tmp_path / "cache")
    assert sorted(image.path.split("/")[-1] for image in caught.value.bad) == ["again.jpg", "broken.png", "empty.jpg"]
    done = cli("extract", "--data", images, "--backbone", "pixels", "--json")
    assert done.code == 3
    assert len(done.json["bad"]) == 3
    assert {"path", "reason"} == set(done.json["bad"][0])
    assert "empty.jpg: the file is empty" in done.err
    skipping = cli("extract", "--data", images, "--backbone", "pixels", "--skip-bad", "--json")
    assert skipping.code == 0
    assert (skipping.json["skipped"], skipping.json["reused"], len(skipping.json["bad"])) == (3, 24, 3)
    assert skipping.err.count("skipped") == 0  # they are in the JSON
    loaded = featcache.load("pixels", cache=tmp_path / "cache")
    assert len(loaded) == 24


def test_features_do_not_depend_on_batches_or_on_being_interrupted(tmp_path, images, monkeypatch):
    featcache.extract(images, cache=tmp_path / "one", **{**SMALL, "batch_size": 24})
    real = tensorflow_runtime.TensorFlowRuntime.__call__
    calls = 0

    def interrupted(self, batch):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return real(self, batch)

    monkeypatch.setattr(tensorflow_runtime.TensorFlowRuntime, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        featcache.extract(images, cache=tmp_path / "two", **{**SMALL, "batch_size": 5})
    monkeypatch.undo()
    resumed = featcache.extract(images, cache=tmp_path / "two", **{**SMALL, "batch_size": 7})
    assert (resumed.computed, resumed.reused) == (14, 10)
    one, two = (featcache.load("mobilenet", data=images, cache=tmp_path / c).X for c in ("one", "two"))
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6 * np.abs(one).max())


def test_what_is_remembered_is_not_read_again(tmp_path, images, monkeypatch):
    paths = open_dataset(images).paths
    with Store(tmp_path / "cache") as store:
        first, _ = row_keys(store, paths)
        twice = [*paths, paths[0], str(images / "gone.png")]
        read: list[str] = []
        real = planning._file_key
        monkeypatch.setattr(planning, "_file_key", lambda path: read.append(path) or real(path))
        again, bad = row_keys(store, twice)
        assert (again, [image.path for image in bad]) == ([*first, first[0], None], [twice[-1]])
        assert read == []
        Path(paths[3]).write_bytes(Path(paths[4]).read_bytes() + b"more")
        assert row_keys(store, paths)[0] != first
        assert read == [paths[3]]


def test_out_of_memory_halves_the_batch(tmp_path, images):
    """The network's own allocator error, at a size that depends on the batch alone."""
    tf, _ = load_tensorflow()
    seen = []

    class Limited(tensorflow_runtime.TensorFlowRuntime):
        def __init__(self):
            self.info = {"name": "tensorflow"}
            self.batches = (16,)
            self._fixed_size, self._largest = False, 0
            self._exhausted = tf.errors.ResourceExhaustedError
            self._forward = self._numpy(self.forward)

        def forward(self, batch):
            seen.append(len(batch))
            if len(batch) > 3:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
            return {"map": tf.constant(batch)}

    dataset = open_dataset(images)
    with Store(tmp_path / "cache") as store:
        keys, _ = row_keys(store, dataset.paths)
    jobs = [PlannedImage(p, k) for p, k in zip(dataset.paths, keys, strict=True)]
    got = []
    outcome = pipeline.run(jobs, shards.pixels(8), Limited(), lambda rows: got.append(rows) or "x", batch_size=16)
    assert outcome.computed == 24
    assert seen[:4] == [16, 8, 4, 2]
    assert [k.tobytes() for rows in got for k in rows.keys] == keys
    wanted = np.stack([decode(Path(job.path).read_bytes(), 8) for job in jobs])
    np.testing.assert_array_equal(np.concatenate([rows.arrays["map"] for rows in got]), wanted)


def test_pixels_are_the_decoded_images(tmp_path, images):
    featcache.extract(images, "pixels", size=16, cache=tmp_path / "cache")
    loaded = featcache.load("pixels", pooling="map", data=images, cache=tmp_path / "cache")
    wanted = np.stack([decode(Path(path).read_bytes(), 16) for path in loaded.paths])
    np.testing.assert_array_equal(loaded.X, wanted)
    assert loaded.X.dtype == np.uint8


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backbone": "vgg61"}, UsageError, "did you mean vgg19 or vgg16"),
        ({"batch_size": 0}, UsageError, "--batch-size 0"),
        ({"size": 0}, UsageError, "--size 0"),
        ({"dtype": "bfloat16"}, UsageError, "opaque"),
        ({"keep": "max"}, UsageError, "expected one of map, avg"),
        ({"preprocess": "caffe"}, UsageError, "expected model or rescale"),
        ({"runtime": "jax"}, UsageError, "expected one of auto, tensorflow, openvino, torch"),
        ({"compression": "lzma"}, UsageError, "expected one of none, gzip, zstd"),
        ({"weights": "nowhere.h5"}, WeightsError, "no such file"),
        ({"backbone": "pixels", "keep": "avg"}, UsageError, "pixels are kept as decoded"),
        ({"backbone": "efficientnetb0", "preprocess": "rescale"}, UsageError, "scale it twice"),
    ],
    ids=str,
)
def test_a_bad_request_says_what_was_expected(tmp_path, images, options, error, message):
    with pytest.raises(error, match=message):
        featcache.extract(images, cache=tmp_path / "cache", **{**SMALL, **options})
    assert not list((tmp_path / "cache").glob("features/*"))


def test_compression_is_lossless_and_no_part_of_identity(tmp_path, images):
    got = {}
    for compression in ("none", "gzip", "zstd"):
        result = featcache.extract(images, "pixels", size=32, compression=compression, cache=tmp_path / compression)
        got[compression] = featcache.load("pixels", data=images, cache=tmp_path / compression).X
        assert result.feature_set.startswith("pixels-none-32-")
        assert featcache.extract(images, "pixels", size=32, cache=tmp_path / compression).computed == 0
    np.testing.assert_array_equal(got["none"], got["gzip"])
    np.testing.assert_array_equal(got["none"], got["zstd"])


def test_weights_that_change_under_their_name_are_noticed(tmp_path, images):
    """The index remembers another digest: the extract stops, corrects it, and the next one is right."""
    cache = tmp_path / "cache"
    first = featcache.extract(images, cache=cache, **SMALL)
    with Store(cache) as store:
        memo = weights.parse("random").memo(registry.get("mobilenet"))
        right = store.index.memo(memo)
        store.index.remember(memo, "ab" * 32)
    with pytest.raises(WeightsError, match="not the ones seen before"):
        featcache.extract(images, cache=cache, **SMALL)
    with Store(cache) as store:
        assert store.index.memo(memo) == right
    assert featcache.extract(images, cache=cache, **SMALL).feature_set == first.feature_set


def test_a_cache_that_is_a_file(tmp_path, images):
    (tmp_path / "cache").write_text("")
    with pytest.raises(StoreError, match="is a file"):
        featcache.extract(images, "pixels", cache=tmp_path / "cache")


def test_a_folder_moved_with_its_cache_and_without_its_index(tmp_path, images):
    featcache.extract(images, "pixels", size=8, cache=tmp_path / "cache")
    age(images)
    (tmp_path / "cache" / "index.sqlite").unlink()
    shutil.move(tmp_path / "cache", tmp_path / "elsewhere")
    assert featcache.extract(images, "pixels", size=8, cache=tmp_path / "elsewhere").computed == 0


def test_several_backbones_in_one_command(tmp_path, images, cli):
    done = cli("extract", "--data", images, "--backbone", "pixels, pixels", "--size", 8, "--json")
    assert done.code == 0
    assert [row["computed"] for row in done.json["feature_sets"]] == [24, 0]
