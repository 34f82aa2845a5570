"""What features in less than float32 do to answers: measured, counted, and computed again where it matters."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

import featcache
import heads
from featcache.errors import BundleError, UsageError
from featcache.store.store import Store
from heads.bundles.answer_error import answer_error
from heads.bundles.bundle import open_bundle
from heads.bundles.integrity import digest, written
from heads.bundles.saving import save_bundle
from heads.evaluation.answer_margins import margins

SMALL = {"backbone": "mobilenet", "weights": "random", "size": 64}
IMAGES = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Images of two classes that nothing tells apart, in both precisions, and a bundle on each: many close calls."""
    folder, rng = tmp_path_factory.mktemp("answers"), np.random.default_rng(8)
    for number in range(IMAGES):
        place = folder / "d" / ("train" if number < 40 else "test") / ("normal", "covid")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (6, 6), dtype=np.uint8)
        Image.fromarray(small).resize((64, 64)).save(place / f"{number}.png")
    for precision in ("float32", "bfloat16"):
        done = featcache.extract(folder / "d", precision=precision, cache=folder / "c", **SMALL)
        f = featcache.load(done.feature_set, task="binary", pooling="avg", data=folder / "d", cache=folder / "c")
        train = np.flatnonzero(f.splits == "train")
        model = LogisticRegression(C=1e-3, max_iter=1000).fit(f.X[train], f.y[train])
        save_bundle(folder / precision, model, f, train, task="binary", scores={}, cache=folder / "c")
    return folder


def features(made, precision, backbone=None):
    spec = open_bundle(made / precision).spec
    with Store(made / "c") as store:
        return featcache.load(store.find(spec), task="binary", pooling="avg", data=made / "d", cache=made / "c")


def test_the_error_of_answers_is_the_change_of_the_decision(made):
    """Against sklearn's own decision function, which is the log-odds."""
    bundle = open_bundle(made / "bfloat16")
    half, full = features(made, "bfloat16"), features(made, "float32")
    train = sorted(np.flatnonzero(half.splits == "train"), key=lambda i: half.keys[i])[:32]
    change = np.abs(
        bundle.estimator.decision_function(half.X[train]) - bundle.estimator.decision_function(full.X[train])
    )
    assert bundle.about["precision"]["images"] == 32
    assert bundle.about["precision"]["answers"] == pytest.approx(change.max(), rel=1e-3)
    assert change.max() > 0


def test_margins_are_those_of_the_label_that_is_given():
    three = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    np.testing.assert_allclose(margins(three, np.array([1, 0]), None), np.log([0.5 / 0.3, 0.6 / 0.3]))
    np.testing.assert_allclose(margins(three, np.array([2, 0]), None), np.log([0.3 / 0.5, 0.6 / 0.3]))
    two = np.array([[0.7, 0.3], [0.9, 0.1]])
    even = np.log(0.2 / 0.8)
    wanted = [np.log(0.3 / 0.7) - even, even - np.log(0.1 / 0.9)]
    np.testing.assert_allclose(margins(two, np.array([1, 0]), 0.2), wanted)


def test_answers_that_are_all_certain_tell_no_error(made):
    class Certain:
        def predict_proba(self, rows):
            return np.tile([[1.0, 0.0]], (len(rows), 1))

    measured = answer_error(Certain(), features(made, "bfloat16"), None, None, made / "c")
    assert measured["answers"] is None


def test_float32_says_nothing_of_precision(made):
    assert "precision" not in json.loads((made / "float32" / "bundle.json").read_text())
    assert heads.predict(made / "float32", [made / "d" / "test"], cache=made / "c")["precision"] is None
    with pytest.raises(UsageError, match="float32 already"):
        heads.predict(made / "float32", [made / "d"], recheck=True, cache=made / "c")


def test_evaluate_counts_the_answers_that_are_close(made, tmp_path, cli):
    half, bundle = features(made, "bfloat16"), open_bundle(made / "bfloat16")
    test = half.split("test")
    close = np.abs(bundle.estimator.decision_function(test.X)) < bundle.about["precision"]["answers"]
    assert 0 < close.sum() < 20  # or the test would show nothing
    done = heads.evaluate_bundle(
        made / "bfloat16", made / "d", split="test", cache=made / "c", out=tmp_path / "evaluated"
    )
    assert (done["precision"]["close"], done["precision"]["of"]) == (close.sum(), 20)
    said = cli("evaluate", made / "bfloat16", "--data", made / "d", "--split", "test", "--cache", made / "c")
    assert f"bfloat16: {close.sum()} of 20 answers stand closer to another one than its error" in said.out


def test_recheck_computes_those_again_in_float32(made, cli):
    half, full, bundle = features(made, "bfloat16"), features(made, "float32"), open_bundle(made / "bfloat16")
    plain = heads.predict(made / "bfloat16", [made / "d"], cache=made / "c")
    checked = heads.predict(made / "bfloat16", [made / "d"], recheck=True, cache=made / "c")
    place = {path: i for i, path in enumerate(half.paths)}
    close = [row["close"] for row in plain["rows"]]
    assert 0 < sum(close) < IMAGES
    assert [row["rechecked"] for row in checked["rows"]] == close
    assert not any(row["rechecked"] for row in plain["rows"])
    for before, after in zip(plain["rows"], checked["rows"], strict=True):
        i = place[after["path"]]
        of = full if after["rechecked"] else half
        wanted = bundle.estimator.predict_proba(of.X[i : i + 1])[0]
        np.testing.assert_allclose(list(after["probabilities"].values()), wanted, atol=1e-6)
        if not after["rechecked"]:
            assert before["probabilities"] == after["probabilities"]
    changed = sum(a["label"] != b["label"] for a, b in zip(plain["rows"], checked["rows"], strict=True))
    assert (checked["precision"]["rechecked"], checked["precision"]["changed"]) == (sum(close), changed)
    said = cli("predict", made / "bfloat16", made / "d", "--recheck", "--cache", made / "c")
    assert f"{sum(close)} computed again in float32; {changed} changed" in said.out
    assert "CLOSE" not in said.out
    assert cli("predict", made / "bfloat16", made / "d", "--cache", made / "c").out.count("CLOSE") == sum(close)


def test_a_bundle_alone_rechecks_too(made, tmp_path):
    """Of its own network, which is float32's, in an empty cache."""
    moved = shutil.copytree(made / "bfloat16", tmp_path / "bundle")
    here, there = (
        heads.predict(moved, [made / "d" / "test"], recheck=True, cache=cache) for cache in (made / "c", tmp_path / "c")
    )
    for one, other in zip(here["rows"], there["rows"], strict=True):
        np.testing.assert_allclose(*(list(row["probabilities"].values()) for row in (one, other)), atol=1e-5)
    assert here["precision"] == there["precision"]


def test_where_the_error_is_not_known_all_is_computed_again(made, tmp_path):
    moved = changed(made, tmp_path, lambda about: about.pop("precision"))
    given = heads.predict(moved, [made / "d" / "test"], cache=made / "c")
    assert {row["close"] for row in given["rows"]} == {None}
    assert (given["precision"]["images"], given["precision"]["close"]) == (0, None)
    checked = heads.predict(moved, [made / "d" / "test"], recheck=True, cache=made / "c")
    assert all(row["rechecked"] for row in checked["rows"])


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"images": 0, "median": 0, "largest": 0, "answers": 0},
        {"images": 1, "median": 0, "largest": 0, "answers": -1},
    ],
)
def test_a_bundle_that_says_nonsense_of_it_is_refused(made, tmp_path, value):
    moved = changed(made, tmp_path, lambda about: about.update(precision=value))
    with pytest.raises(BundleError, match="precision"):
        open_bundle(moved)


def changed(made, tmp_path, change):
    moved = shutil.copytree(made / "bfloat16", tmp_path / "bundle")
    about = json.loads((moved / "bundle.json").read_text())
    change(about)
    about["digest"] = digest({key: value for key, value in about.items() if key != "digest"})
    (moved / "bundle.json").write_bytes(written(about))
    return moved


def test_such_a_bundle_is_not_exported(made, tmp_path):
    with pytest.raises(UsageError, match="bfloat16, which such a file does not ask for"):
        heads.export_bundle(made / "bfloat16", tmp_path / "model.onnx", cache=made / "c")


def test_fit_head_says_how_many_of_its_test_answers_are_close(made, tmp_path, cli):
    half = features(made, "bfloat16")
    done = cli(
        "fit-head", "--task", "binary", "--backbone", half.feature_set, "--pooling", "avg", "--data", made / "d",
        "--epochs", 2, "--units", 4, "--no-audit", "--cache", made / "c", "--out", tmp_path / "run", "--json"
    ).json  # fmt: skip
    said, bundle = done["precision"], open_bundle(tmp_path / "run" / "bundle")
    assert {name: said[name] for name in bundle.about["precision"]} == pytest.approx(bundle.about["precision"])
    test = half.split("test")
    assert said["close"] == bundle.close_calls(bundle.predict_proba(test)).sum()
    assert said["of"] == 20
