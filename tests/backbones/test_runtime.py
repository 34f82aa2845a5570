"""Which runtime computes, that all give the same, and what a run says of its time."""

from __future__ import annotations

import json
import logging
import time

import numpy as np
import pytest
import shards
from pictures import write_images

import featcache
from featcache.backbones import openvino_runtime, registry, runtime, tensorflow_runtime, weights
from featcache.backbones.tensorflow_setup import gpu_likely
from featcache.errors import UsageError
from featcache.extraction import pipeline, planning
from featcache.extraction.batch_tuning import BatchSize
from featcache.spec import FeatureSpec
from featcache.store.shard import Shard
from featcache.store.store import Store
from featcache.system.throughput_log import ThroughputLog, machine, slowdown

SMALL = {"backbone": "mobilenet", "weights": "random", "size": 64}
IMAGES = np.random.default_rng(3).integers(0, 256, (7, 64, 64, 3), dtype=np.uint8)


def spec(**changes) -> FeatureSpec:
    values = {
        "backbone": "mobilenet",
        "layer": "",
        "weights": "random0",
        "weights_digest": "0" * 64,
        "size": 64,
        "recipe": "decode-1",
        "preprocess": "tf",
        "keep": "map",
        "dtype": "float32",
        "precision": "float32",
    }
    return FeatureSpec(**{**values, **changes})


@pytest.fixture(scope="module")
def mobilenet():
    return weights.build(registry.get("mobilenet"), 64, weights.WeightsSource("random"))


def test_one_set_is_filled_by_several_runtimes(tmp_path, images, monkeypatch):
    """Interrupted on TensorFlow, gone on with on OpenVINO: the same set and features, and who made what is said."""
    featcache.extract(images, cache=tmp_path / "one", runtime="tensorflow", **SMALL)
    real = tensorflow_runtime.TensorFlowRuntime.__call__
    calls = []

    def interrupted(self, batch):
        calls.append(len(batch))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, batch)

    monkeypatch.setattr(tensorflow_runtime.TensorFlowRuntime, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        featcache.extract(images, cache=tmp_path / "two", runtime="tensorflow", batch_size=5, **SMALL)
    monkeypatch.undo()
    resumed = featcache.extract(images, cache=tmp_path / "two", runtime="openvino", **SMALL)
    assert (resumed.computed, resumed.reused, resumed.runtime) == (14, 10, "openvino")
    one, two = (featcache.load("mobilenet", data=images, cache=tmp_path / c) for c in ("one", "two"))
    assert one.feature_set == two.feature_set
    np.testing.assert_allclose(one.X, two.X, rtol=1e-4, atol=1e-5 * np.abs(one.X).max())
    with Store(tmp_path / "two") as store:
        names = store.on_disk(resumed.feature_set)
        made = [Shard(store.features / resumed.feature_set / name) for name in names]
        assert sorted(shard.runtime["name"] for shard in made) == ["openvino", "tensorflow"]


def test_a_converted_network_needs_no_tensorflow(tmp_path, images, monkeypatch, caplog):
    cache = tmp_path / "cache"
    first = featcache.extract(images, cache=cache, runtime="openvino", **SMALL)
    (converted,) = cache.glob("networks/*.openvino")
    with Store(cache) as store:
        store.remove(first.feature_set)
    monkeypatch.setattr(weights, "build", lambda *a, **k: pytest.fail("the network was built"))
    again = featcache.extract(images, cache=cache, **SMALL)  # 24 images alone would not repay a conversion
    assert (again.computed, again.runtime) == (24, "openvino")
    monkeypatch.undo()

    # A flipped bit in what is kept must not become a feature.
    wanted = featcache.load("mobilenet", data=images, cache=cache).X
    content = bytearray(converted.read_bytes())
    content[len(content) // 2] ^= 1
    converted.write_bytes(content)
    with Store(cache) as store:
        store.remove(first.feature_set)
    with caplog.at_level(logging.WARNING):
        featcache.extract(images, cache=cache, **SMALL)
    assert "converting the network again" in caplog.text
    np.testing.assert_array_equal(featcache.load("mobilenet", data=images, cache=cache).X, wanted)


def test_what_cannot_be_converted_goes_on_with_tensorflow(tmp_path, images, monkeypatch, caplog):
    def missing(*_):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(openvino_runtime, "convert", missing)
    monkeypatch.setattr(runtime, "_REPAYS", 1)
    with caplog.at_level(logging.WARNING):
        done = featcache.extract(images, cache=tmp_path / "cache", **SMALL)
    assert done.runtime == "tensorflow"
    assert "no such operation" in caplog.text
    with pytest.raises(RuntimeError, match="no such operation"):
        featcache.extract(images, cache=tmp_path / "other", runtime="openvino", **SMALL)


def test_rows_on_openvino_do_not_depend_on_their_batch(mobilenet):
    computing = openvino_runtime.OpenVINORuntime(openvino_runtime.convert(mobilenet, spec()), spec())
    whole = computing(IMAGES)
    for position in range(len(IMAGES)):
        alone = computing(IMAGES[position : position + 1])
        for name, rows in whole.items():
            np.testing.assert_array_equal(alone[name][0], rows[position])


@pytest.mark.parametrize(
    "changes", [{"layer": "conv_pw_5_relu"}, {"dtype": "float16"}, {"keep": "avg"}, {"preprocess": "rescale"}], ids=str
)
def test_whatever_is_kept_the_runtimes_agree(mobilenet, tmp_path, changes):
    kept = spec(**changes)
    wanted = tensorflow_runtime.TensorFlowRuntime(mobilenet, kept)(IMAGES)
    openvino_runtime.keep(openvino_runtime.convert(mobilenet, kept), tmp_path / "kept.openvino")
    found = openvino_runtime.OpenVINORuntime(openvino_runtime.load(tmp_path / "kept.openvino"), kept)(IMAGES)
    assert found.keys() == wanted.keys()
    for name, rows in wanted.items():
        assert found[name].dtype == rows.dtype
        tolerance = 1e-3 if rows.dtype == np.float16 else 1e-5
        np.testing.assert_allclose(found[name], rows, rtol=10 * tolerance, atol=tolerance * np.abs(rows).max())


def test_which_runtime_is_taken(monkeypatch):
    monkeypatch.setattr(runtime, "gpu_likely", lambda: False)
    many, few = 10_000, 10
    assert runtime.choose("auto", spec(), many, converted=False) == "openvino"
    assert runtime.choose("auto", spec(), few, converted=False) == "tensorflow"
    assert runtime.choose("auto", spec(), few, converted=True) == "openvino"
    assert runtime.choose("tensorflow", spec(), many, converted=True) == "tensorflow"
    assert runtime.choose("openvino", spec(), few, converted=False) == "openvino"
    assert runtime.choose("auto", spec(precision="mixed_float16"), many, converted=False) == "tensorflow"
    monkeypatch.setattr(runtime, "gpu_likely", lambda: True)
    assert runtime.choose("auto", spec(), many, converted=True) == "tensorflow"
    monkeypatch.setattr(runtime, "gpu_likely", lambda: False)
    monkeypatch.setattr(runtime, "openvino_installed", lambda: False)
    assert runtime.choose("auto", spec(), many, converted=True) == "tensorflow"
    with pytest.raises(UsageError, match="pip install openvino"):
        runtime.check("openvino", "float32")


def test_a_hidden_gpu_is_none(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert not gpu_likely()


def test_xla_pads_the_last_batch_and_gives_the_same(mobilenet):
    plain = tensorflow_runtime.TensorFlowRuntime(mobilenet, spec(), xla=False)
    compiled = tensorflow_runtime.TensorFlowRuntime(mobilenet, spec(), xla=True)
    seen = []
    forward = compiled._forward
    compiled._forward = lambda images: seen.append(len(images)) or forward(images)
    for rows in (IMAGES[:4], IMAGES[4:]):
        wanted, found = plain(rows), compiled(rows)
        np.testing.assert_allclose(found["map"], wanted["map"], rtol=1e-4, atol=1e-5 * np.abs(wanted["map"]).max())
        assert len(found["avg"]) == len(rows)
    assert seen == [4, 4]
    assert compiled.info["xla"]


def test_the_faster_way_is_taken_only_where_it_gives_the_same():
    def way(pause, error=0.0):
        def run(images):
            time.sleep(pause)
            return {"map": images + 1.0 + error}

        return run

    images = np.ones((2, 3), np.float32)
    assert tensorflow_runtime.faster_and_equal(way(0.02), way(0.001), images)
    assert not tensorflow_runtime.faster_and_equal(way(0.001), way(0.02), images)
    assert not tensorflow_runtime.faster_and_equal(way(0.02), way(0.001, error=1e-3), images)


def test_the_size_of_a_batch_is_found_by_trying():
    sizes = BatchSize((16, 32, 8), 10_000)
    costs = {16: 0.5, 32: 1.1, 8: 0.2}  # seconds an batch: 32, 29 and 40 images a second
    tried = []
    while not sizes.settled:
        tried.append(sizes.current)
        sizes.took(sizes.current, costs[sizes.current])
    assert tried == [16, 16, 32, 32, 8, 8]
    assert sizes.current == 8
    assert BatchSize((16, 32, 8), 100).current == 16  # too few to try


def test_out_of_memory_while_trying_falls_back_to_what_worked():
    sizes = BatchSize((32, 64, 128), 10_000)
    for _ in range(4):
        sizes.took(sizes.current, 1.0)
    assert sizes.current == 128
    assert sizes.shrink()
    assert (sizes.current, sizes.settled) == (64, True)
    for expected in (32, 16, 8, 4, 2, 1):
        assert sizes.shrink()
        assert sizes.current == expected
    assert not sizes.shrink()


class Sleeping:
    """A network whose pace is known."""

    info = {"name": "sleeping"}  # noqa: RUF012
    batches = (4,)

    def __init__(self, seconds_an_image):
        self.seconds = seconds_an_image

    def __call__(self, images):
        time.sleep(self.seconds * len(images))
        return {"map": images}


def test_a_run_tells_its_pace_and_its_phases(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "_WARM_SECONDS", 0.2)
    paths = write_images(tmp_path / "images", 60, size=8)
    with Store(tmp_path / "cache") as store:
        keys, _ = planning.row_keys(store, [str(path) for path in paths])
    jobs = [planning.PlannedImage(str(path), key) for path, key in zip(paths, keys, strict=True)]
    told = []
    outcome = pipeline.run(
        jobs, shards.pixels(8), Sleeping(0.01), lambda rows: "x", on_pace=lambda *pace: told.append(pace)
    )
    ((pace, left),) = told
    assert 50 < pace < 101
    assert 20 <= left <= 40
    assert outcome.batch_size == 4
    assert outcome.phases["network"] == pytest.approx(outcome.seconds, rel=0.3)
    assert set(outcome.phases) == {"decode", "network", "commit", "wait"}


def test_the_log_estimates_and_warns(tmp_path, images, caplog):
    cache = tmp_path / "cache"
    done = featcache.extract(images, cache=cache, runtime="tensorflow", **SMALL)
    (line,) = (cache / "ledger.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert entry["machine"] == machine()
    assert (entry["images"], entry["images_per_second"]) == (24, pytest.approx(done.images_per_second, abs=0.01))
    assert set(entry["phases"]) == {"plan", "ready", "decode", "network", "commit", "wait"} == set(done.phases)
    log = ThroughputLog(cache / "ledger.jsonl")
    assert log.usual_pace(entry["work"]) is None  # too short to count
    for pace in (90.0, 100.0, 110.0):
        log.note(entry["work"], int(pace * 10), 10.0, {})
    with open(cache / "ledger.jsonl", "ab") as file:
        file.write(b'{"torn')
    assert log.usual_pace(entry["work"]) == 100.0
    assert log.usual_pace("extract something else") is None
    assert slowdown(71.0, 100.0, {}, 10.0) == ""
    assert slowdown(5.0, None, {}, 10.0) == ""
    assert "40% below the 100.0" in slowdown(60.0, 100.0, {"wait": 0.0}, 10.0)
    assert "waiting for images or the disk" in slowdown(60.0, 100.0, {"wait": 5.0}, 10.0)

    # The run itself says so.
    from featcache.system import throughput_log as module

    with Store(cache) as store:
        store.remove(done.feature_set)
    for _ in range(10):
        log.note(entry["work"], 10_000_000, 10.0, {})
    with caplog.at_level(logging.WARNING), pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ENOUGH_SECONDS", 0.0)
        featcache.extract(images, cache=cache, runtime="tensorflow", **SMALL)
    assert "below the" in caplog.text
