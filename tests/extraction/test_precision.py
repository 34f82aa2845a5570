"""Stage one in less than float32: what computes it, what it is called, and how far it is from float32."""

from __future__ import annotations

import logging

import networks
import numpy as np
import pytest
from PIL import Image

import featcache
from featcache.backbones import precisions, runtime
from featcache.errors import UsageError
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
