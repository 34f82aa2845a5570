"""Stage one in int8: calibrated on training images alone, once, and never heard of outside."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

import networks
import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

import featcache
import heads
from featcache.backbones import quantisation
from featcache.errors import UsageError, WeightsError
from featcache.extraction.request import ExtractionRequest
from featcache.extraction.resolution import resolve
from featcache.store.store import Store
from heads.bundles.saving import save_bundle

pytest.importorskip("nncf")
TINY = {**networks.SCALED, "keep": "avg"}


@pytest.fixture(scope="module", autouse=True)
def tiny(tmp_path_factory):
    """One convolution, which takes no time to quantise."""
    TINY["backbone"] = networks.write(tmp_path_factory.mktemp("network"), networks.convolution())


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (6, 6), dtype=np.uint8)
    Image.fromarray(small).resize((64, 64)).save(path)


def pictures(folder: Path, tested: int = 500) -> Path:
    """20 to train on and 6 to test; ``tested`` is the seed of those."""
    for number in range(26):
        part, seed = ("train", number) if number < 20 else ("test", number + tested)
        picture(folder / part / ("covid", "normal")[number % 2] / f"{number}.png", seed)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Images, a cache that holds them in int8, and what extracting them said."""
    folder = tmp_path_factory.mktemp("int8")
    pictures(folder / "d")
    return folder, featcache.extract(folder / "d", precision="int8", cache=folder / "c", **TINY)


def not_again(monkeypatch):
    monkeypatch.setattr(quantisation, "quantise", lambda *_: pytest.fail("calibrated again"))


def rows(feature_set, folder, cache):
    return featcache.load(feature_set, pooling="avg", data=folder, cache=cache).X


def test_int8_is_near_float32_and_its_error_is_said(made, tmp_path):
    folder, done = made
    full = featcache.extract(folder / "d", cache=tmp_path / "c", **TINY)
    wanted, found = (
        rows(full.feature_set, folder / "d", tmp_path / "c"),
        rows(done.feature_set, folder / "d", folder / "c"),
    )
    apart = np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    assert (apart > 1e-4).all()
    assert apart.max() < 0.25
    assert done.runtime == "openvino"
    assert done.precision_error["images"] == 20
    assert done.precision_error["largest"] == pytest.approx(
        apart[[i for i, p in enumerate(full_paths(folder)) if "train" in p]].max(), rel=0.02
    )


def full_paths(folder):
    return featcache.load(pooling="avg", data=folder / "d", cache=folder / "c").paths


def test_only_training_images_decide_the_ranges(made, tmp_path, monkeypatch):
    """Other test images, in another folder and cache: the same set. Another training image: another one."""
    folder, done = made
    other = featcache.extract(pictures(tmp_path / "d", 900), precision="int8", cache=tmp_path / "c", **TINY)
    assert other.feature_set == done.feature_set
    picture(tmp_path / "d" / "train" / "covid" / "more.png", 77)
    fresh = featcache.extract(tmp_path / "d", precision="int8", cache=tmp_path / "fresh", **TINY)
    assert fresh.feature_set != done.feature_set
    with Store(folder / "c") as store:
        spec = store.spec(done.feature_set)
        (memo,) = [value for name, value in store.index._select("SELECT name, value FROM memos", ()) if "int8" in name]
    of = {
        part: {hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob(f"d/{part}/*/*")}
        for part in ("train", "test")
    }
    assert set(json.loads(memo)["keys"]) == of["train"]
    assert not any(key[:8] in spec.to_json() for key in of["train"] | of["test"])


def test_new_images_of_the_same_data_go_on_with_the_network_that_is_there(made, tmp_path, monkeypatch):
    folder, done = made
    shutil.copytree(folder / "c", tmp_path / "c")
    not_again(monkeypatch)
    again = featcache.extract(folder / "d", precision="int8", cache=tmp_path / "c", **TINY)
    assert (again.feature_set, again.computed) == (done.feature_set, 0)
    picture(folder / "d" / "train" / "covid" / "new.png", 1000)
    try:
        more = featcache.extract(folder / "d", precision="int8", cache=tmp_path / "c", **TINY)
    finally:
        (folder / "d" / "train" / "covid" / "new.png").unlink()
    assert (more.feature_set, more.computed) == (done.feature_set, 1)


def test_other_data_takes_it_where_it_is_named(made, tmp_path, monkeypatch, cli):
    folder, done = made
    shutil.copytree(folder / "c", tmp_path / "c")
    for number in range(4):
        picture(tmp_path / "other" / ("covid", "normal")[number % 2] / f"{number}.png", 2000 + number)
    not_again(monkeypatch)
    named = featcache.extract(
        tmp_path / "other", precision="int8", calibration=done.feature_set, cache=tmp_path / "c", **TINY
    )
    assert (named.feature_set, named.computed) == (done.feature_set, 4)
    reference = done.precision_error["reference"]
    for calibration, said in ((reference, "not a set of int8 of what is asked for"), ("nosuch", "no such feature set")):
        with pytest.raises(UsageError, match=said):
            featcache.extract(
                tmp_path / "other", precision="int8", calibration=calibration, cache=tmp_path / "c", **TINY
            )
    with pytest.raises(UsageError, match="is of --precision int8, not of float32"):
        featcache.extract(tmp_path / "other", calibration=done.feature_set, cache=tmp_path / "c", **TINY)


def test_a_lost_index_costs_the_calibration_and_nothing_else(made, tmp_path):
    folder, done = made
    shutil.copytree(folder / "c", tmp_path / "c")
    for file in (tmp_path / "c").glob("index.sqlite*"):
        file.unlink()
    again = featcache.extract(folder / "d", precision="int8", cache=tmp_path / "c", **TINY)
    assert (again.feature_set, again.computed) == (done.feature_set, 0)


def test_images_that_became_test_images_are_not_calibrated_on(made, tmp_path, caplog):
    folder, done = made
    data = tmp_path / "d"
    shutil.copytree(folder / "d", data)
    first = featcache.extract(data, precision="int8", cache=tmp_path / "c", **TINY)
    os.rename(data / "train" / "covid" / "0.png", data / "test" / "covid" / "0.png")
    with caplog.at_level(logging.WARNING):
        again = featcache.extract(data, precision="int8", cache=tmp_path / "c", **TINY)
    assert first.feature_set == done.feature_set != again.feature_set
    assert "calibrating anew" in caplog.text


def test_data_without_parts_gives_a_share_and_says_so(tmp_path, caplog):
    for number in range(20):
        picture(tmp_path / "d" / ("covid", "normal")[number % 2] / f"{number}.png", number)
    with caplog.at_level(logging.INFO):
        featcache.extract(tmp_path / "d", precision="int8", cache=tmp_path / "c", **TINY)
    assert "no training part, so that up to 16 of its images" in caplog.text
    assert "on 16 images" in caplog.text


def test_a_bundle_carries_its_quantised_network(made, tmp_path):
    folder, done = made
    f = featcache.load(done.feature_set, pooling="avg", data=folder / "d", cache=folder / "c")
    model = LogisticRegression(max_iter=500).fit(f.X, f.y)
    bundle = save_bundle(tmp_path / "b", model, f, np.arange(20), task="multiclass", scores={}, cache=folder / "c")
    given = heads.predict(bundle, [folder / "d"], cache=tmp_path / "empty")
    place = {path: i for i, path in enumerate(f.paths)}
    for row in given["rows"]:
        i = place[row["path"]]
        np.testing.assert_allclose(
            list(row["probabilities"].values()), model.predict_proba(f.X[i : i + 1])[0], atol=1e-5
        )
    assert any(row["close"] for row in given["rows"])
    with pytest.raises(WeightsError, match="name the cache that it was made in"):
        heads.predict(bundle, [folder / "d"], recheck=True, cache=tmp_path / "empty-too")
    checked = heads.predict(bundle, [folder / "d"], recheck=True, cache=folder / "c")
    assert [row["rechecked"] for row in checked["rows"]] == [row["close"] for row in given["rows"]]


def test_an_exchanged_network_is_refused(made, tmp_path):
    folder, done = made
    shutil.copytree(folder / "c", tmp_path / "c")
    with Store(tmp_path / "c") as store:
        spec = store.spec(done.feature_set)
        shutil.copy(store.converted(spec.in_float32), store.converted(spec))
        store.remove(done.feature_set)
    with pytest.raises(WeightsError, match="not the quantised network of this spec"):
        featcache.extract(folder / "d", precision="int8", cache=tmp_path / "c", **TINY)


def test_networks_of_the_table_are_quantised_too(made, tmp_path):
    small = {"backbone": "mobilenet", "weights": "random", "size": 64, "cache": tmp_path / "c"}
    full, done = (featcache.extract(made[0] / "d", precision=precision, **small) for precision in ("float32", "int8"))
    wanted, found = (rows(one.feature_set, made[0] / "d", tmp_path / "c") for one in (full, done))
    apart = np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    assert apart.min() > 1e-4
    assert apart.max() < 0.25
    f = featcache.load(done.feature_set, pooling="flatten", data=made[0] / "d", cache=tmp_path / "c")
    model = LogisticRegression(max_iter=50).fit(f.X, f.y)
    bundle = save_bundle(tmp_path / "b", model, f, np.arange(20), task="multiclass", scores={}, cache=tmp_path / "c")
    given = heads.predict(bundle, f.paths[:3], cache=tmp_path / "empty")["rows"]
    np.testing.assert_allclose(
        [list(row["probabilities"].values()) for row in given], model.predict_proba(f.X[:3]), atol=1e-5
    )


def test_what_cannot_be_had_is_told(made, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="which only extract knows"):
        resolve(ExtractionRequest("mobilenet", "random", precision="int8"), None)
    with pytest.raises(UsageError, match="computed by openvino alone"):
        featcache.extract(made[0] / "d", precision="int8", runtime="tensorflow", cache=tmp_path, **TINY)
    with pytest.raises(UsageError, match="no network that can be quantised"):
        featcache.extract(made[0] / "d", "pixels", precision="int8", size=8, cache=tmp_path)
    monkeypatch.setattr(quantisation.importlib.util, "find_spec", lambda name: None if name == "nncf" else True)
    with pytest.raises(UsageError, match=r"featcache\[int8\]"):
        featcache.extract(made[0] / "d", precision="int8", cache=tmp_path, **TINY)
