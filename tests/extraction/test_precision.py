"""Stage one in less than float32: what computes it, what it is called, and how far it is from float32."""

from __future__ import annotations

import hashlib
import logging
import shutil

import networks
import numpy as np
import pytest
from PIL import Image

import featcache
from featcache.backbones import precisions, runtime
from featcache.errors import UsageError
from featcache.extraction import precision_advice, precision_error
from featcache.extraction.precision_error import recorded
from featcache.extraction.request import ExtractionRequest
from featcache.extraction.resolution import resolve
from featcache.spec import FORMER_PRECISIONS, PRECISIONS, FeatureSpec
from featcache.store.store import Store

SMALL = {"backbone": "mobilenet", "weights": "random", "size": 64}
bfloat16 = pytest.mark.skipif("bfloat16" not in precisions.on_processor(), reason="this processor has no bfloat16")


@pytest.fixture(scope="module")
def smooth(tmp_path_factory):
    """Images of two classes in splits, 12 to train on and 6 to test, smoother than noise."""
    folder, rng = tmp_path_factory.mktemp("smooth"), np.random.default_rng(5)
    for number in range(18):
        place = folder / ("test" if number % 3 == 2 else "train") / ("covid", "normal")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (6, 6), dtype=np.uint8)
        Image.fromarray(small).resize((64, 64)).save(place / f"{number}.png")
    return folder


def rows(feature_set, data, cache, pooling="avg"):
    return featcache.load(feature_set, pooling=pooling, data=data, cache=cache).X


@bfloat16
def test_bfloat16_runs_the_network_of_float32_and_is_near_it(smooth, tmp_path):
    full = featcache.extract(smooth, cache=tmp_path, runtime="openvino", **SMALL)
    half = featcache.extract(smooth, cache=tmp_path, precision="bfloat16", **SMALL)
    assert (half.runtime, half.computed) == ("openvino", 18)
    assert half.feature_set != full.feature_set
    assert len(list(tmp_path.glob("networks/*.openvino"))) == 1
    wanted, found = (rows(done.feature_set, smooth, tmp_path) for done in (full, half))
    apart = np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    assert (apart > 1e-4).all()  # or it would be float32 by another name
    assert apart.max() < 0.03
    on_tensorflow = featcache.extract(
        smooth, cache=tmp_path / "other", precision="bfloat16", runtime="tensorflow", **SMALL
    )
    assert on_tensorflow.feature_set == half.feature_set
    theirs = rows(half.feature_set, smooth, tmp_path / "other")
    assert (np.linalg.norm(theirs - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max() < 0.03


@bfloat16
def test_networks_of_files_run_in_bfloat16_too(smooth, tmp_path):
    network = networks.write(tmp_path, networks.convolution())
    full, half = (
        featcache.extract(smooth, network, cache=tmp_path / "cache", precision=precision, **networks.SCALED)
        for precision in ("float32", "bfloat16")
    )
    wanted, found = (rows(done.feature_set, smooth, tmp_path / "cache") for done in (full, half))
    assert 1e-5 < np.abs(found - wanted).max() / np.abs(wanted).max() < 0.03


def test_a_processor_without_it_is_told_and_never_computes_something_else(smooth, tmp_path, monkeypatch, caplog):
    def without():
        return frozenset({"float32", "int8"})

    for module in (precisions, runtime):
        monkeypatch.setattr(module, "on_processor", without)
    for precision in ("bfloat16", "float16"):
        with pytest.raises(UsageError, match=rf"{precision}: .* this one has float32, int8; take float32"):
            featcache.extract(smooth, cache=tmp_path, precision=precision, runtime="openvino", **SMALL)
    network = networks.write(tmp_path, networks.convolution())
    with pytest.raises(UsageError, match="take float32"):
        featcache.extract(smooth, network, cache=tmp_path, precision="bfloat16", **networks.SCALED)
    with caplog.at_level(logging.WARNING):
        done = featcache.extract(smooth, cache=tmp_path, precision="bfloat16", **SMALL)
    assert done.runtime == "tensorflow"
    assert "takes longer than --precision float32" in caplog.text


@pytest.mark.parametrize(("former", "now"), FORMER_PRECISIONS.items())
def test_former_names_are_read_and_not_asked_for(former, now, tmp_path, cli):
    with pytest.raises(UsageError, match=f"is called {now!r} now"):
        resolve(ExtractionRequest("mobilenet", "random", precision=former), None)
    asked = cli("extract", "--precision", former)
    assert asked.code == 2
    assert f"is called '{now}' now" in asked.err
    with Store(tmp_path) as store:  # a set of that name is computed as it was, on TensorFlow
        spec = resolve(ExtractionRequest("mobilenet", "random", size=64), store).spec
        old = FeatureSpec.from_json(spec.to_json().replace('"float32","preprocess', f'"{former}","preprocess'))
        assert old.precision == former
        assert runtime.choose("auto", old, 10_000, converted=True) == "tensorflow"


def test_specs_of_former_names_keep_their_ids():
    spec = FeatureSpec("vgg16", "", "imagenet", "ab" * 32, 224, "decode-1", "caffe", "map", "float32", "mixed_bfloat16")
    assert spec.id == "vgg16-imagenet-224-4a9e0166"
    assert not spec.extended
    assert FeatureSpec.from_json(spec.to_json()) == spec


def test_an_unknown_precision_is_told():
    with pytest.raises(UsageError, match=", ".join(PRECISIONS)):
        resolve(ExtractionRequest("mobilenet", "random", precision="float8"), None)


@pytest.fixture(scope="module")
def halved(smooth, tmp_path_factory):
    """A cache with the images in bfloat16, and what extracting them said."""
    cache = tmp_path_factory.mktemp("halved")
    return cache, featcache.extract(smooth, cache=cache, precision="bfloat16", **SMALL)


def test_the_error_is_measured_on_training_images_and_kept(smooth, halved, tmp_path):
    cache, done = halved
    said = done.precision_error
    assert said["images"] == 12  # those to train on
    with Store(cache) as store:
        error = recorded(store, done.feature_set)
        assert store.spec(said["reference"]) == store.spec(done.feature_set).in_float32
        assert store.rows(said["reference"]).keys() == set(error.keys)
        trained = {hashlib.sha256(path.read_bytes()).digest() for path in smooth.glob("train/*/*")}
        assert set(error.keys) == trained
    full = featcache.extract(smooth, cache=tmp_path, **SMALL)
    wanted, found = (
        featcache.load(name, pooling="avg", data=smooth, cache=place).split("train").X
        for name, place in ((full.feature_set, tmp_path), (done.feature_set, cache))
    )
    apart = np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    np.testing.assert_allclose([said["median"], said["largest"]], [np.median(apart), apart.max()], rtol=2e-2)
    assert full.precision_error is None


def test_what_was_measured_is_not_measured_again(smooth, halved, monkeypatch):
    cache, done = halved
    monkeypatch.setattr(precision_error, "extract_paths", lambda *_: pytest.fail("measured again"))
    again = featcache.extract(smooth, cache=cache, precision="bfloat16", **SMALL)
    assert (again.computed, again.precision_error) == (0, done.precision_error)


def test_rows_to_measure_by_are_no_set_to_choose(smooth, halved, tmp_path):
    shutil.copytree(halved[0], tmp_path / "cache")
    (tmp_path / "cache" / "last-extract.json").unlink()
    f = featcache.load("mobilenet", pooling="avg", data=smooth, cache=tmp_path / "cache")
    assert f.feature_set == halved[1].feature_set


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"reference": "../x", "keys": [], "median": 0, "largest": 0}'])
def test_a_damaged_record_costs_the_statement_alone(smooth, halved, tmp_path, caplog, text):
    shutil.copytree(halved[0], tmp_path / "cache")
    record = tmp_path / "cache" / "features" / halved[1].feature_set / "precision.json"
    record.write_text(text)
    with caplog.at_level(logging.WARNING), Store(tmp_path / "cache") as store:
        assert recorded(store, halved[1].feature_set) is None
    assert "measures it anew" in caplog.text
    again = featcache.extract(smooth, cache=tmp_path / "cache", precision="bfloat16", **SMALL)
    assert (again.computed, again.precision_error) == (0, halved[1].precision_error)


def test_extract_says_the_error_and_that_it_could_be_faster(smooth, tmp_path, cli, monkeypatch):
    monkeypatch.setattr(runtime, "gpu_likely", lambda: False)
    monkeypatch.setattr(precision_advice, "_ENOUGH", 10)
    monkeypatch.setattr(runtime, "_REPAYS", 10)
    asked = ("extract", "--data", smooth, "--backbone", "mobilenet", "--weights", "random", "--size", "64")
    for has, said in ((frozenset({"float32", "bfloat16"}), True), (frozenset({"float32"}), False)):
        for module in (precisions, runtime, precision_advice):
            monkeypatch.setattr(module, "on_processor", lambda has=has: has)
        done = cli(*asked, "--cache", tmp_path / f"cache-{said}")
        assert done.code == 0, done.err
        assert ("--precision bfloat16 would take 0.5 to 0.6 of the time" in done.err) == said
        assert "differ" not in done.out
    for module in (precisions, runtime, precision_advice):
        monkeypatch.setattr(module, "on_processor", lambda: frozenset({"float32"}))
    half = cli(*asked, "--precision", "bfloat16", "--cache", tmp_path / "cache-True")
    assert "bfloat16: of 12 of these images, features differ from float32's by 0." in half.out
    assert "of the time" not in half.err
    as_json = cli(*asked, "--precision", "bfloat16", "--cache", tmp_path / "cache-True", "--json").json
    assert as_json["precision_error"]["images"] == 12
