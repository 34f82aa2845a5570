"""Images unlike those a model learnt from: distances as in sklearn and SciPy, false alarms counted, planted shifts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import write_images
from PIL import Image, ImageOps
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

import featcache
from featcache import Store
from featcache.data.synthetic import write_sample
from featcache.spec import FeatureSpec
from featcache.store.shard import Rows
from heads.bundles import out_of_distribution
from heads.bundles.bundle import open_bundle
from heads.bundles.out_of_distribution import fit_novelty, image_vectors
from heads.bundles.saving import save_bundle
from heads.experiments.head_fit import fit_head
from heads.inference.bundle_evaluation import evaluate_bundle
from heads.inference.prediction import predict


def vectors(n: int, seed: int, width: int = 64) -> np.ndarray:
    """Like the features of images of one kind: positive, near a common direction, of unit length."""
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(7).gamma(1, 1, width)
    return normalize(np.maximum(0, common + rng.normal(0, 0.4, (n, width)))).astype(np.float32)


# -- the measure -----------------------------------------------------------------------------------


def test_distances_and_threshold_are_the_plain_ones():
    X, new, groups = vectors(300, 0), vectors(50, 1), np.arange(300) // 2
    found = fit_novelty(X, groups)
    apart = cdist(X, X)
    apart[groups[:, None] == groups] = np.inf
    fifth = np.sort(np.sort(apart, axis=1)[:, 4])
    assert found.threshold == pytest.approx(fifth[297], rel=1e-3)  # 298 = 0.99 x 301, rounded up
    assert found.false_alarm == pytest.approx(3 / 301)
    # The vectors are kept as float16: their last digits are some 1e-3 of the distances between them.
    exact = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(X.astype(float)).kneighbors(new)[0][:, 4]
    assert found.reference.dtype == np.float16
    np.testing.assert_allclose(found.distances(new), exact, rtol=1e-3)


@pytest.mark.parametrize("n", [40, 400])
def test_images_of_the_same_kind_are_flagged_as_often_as_it_says(n):
    shares, said = [], set()
    for seed in range(25):
        found = fit_novelty(vectors(n, seed), np.arange(n))
        shares.append((found.distances(vectors(250, 1000 + seed)) > found.threshold).mean())
        said.add(found.false_alarm)
    (nominal,) = said
    assert nominal == pytest.approx({40: 1 / 41, 400: 4 / 401}[n])
    assert 0.6 * nominal < np.mean(shares) < 1.5 * nominal


def test_another_image_of_the_same_patient_does_not_make_the_next_patient_strange():
    rng = np.random.default_rng(0)
    patients = np.repeat(vectors(60, 0), 6, axis=0)  # six near-copies of each
    X = normalize(patients + rng.normal(0, 0.001, patients.shape)).astype(np.float32)
    new = vectors(300, 1)
    whole, torn = fit_novelty(X, np.repeat(np.arange(60), 6)), fit_novelty(X, np.arange(360))
    assert (torn.distances(new) > torn.threshold).mean() > 0.9
    assert (whole.distances(new) > whole.threshold).mean() < 0.1


def test_what_is_kept_of_many_rows_is_a_sample(monkeypatch):
    monkeypatch.setattr(out_of_distribution, "_MOST_ROWS", 100)
    X = vectors(250, 0)
    found, again = (fit_novelty(X, np.arange(250)) for _ in range(2))
    assert found.reference.shape == (100, 64)
    np.testing.assert_array_equal(found.reference, again.reference)
    assert {row.tobytes() for row in found.reference} <= {row.tobytes() for row in X.astype(np.float16)}


@pytest.mark.parametrize(("n", "groups"), [(0, 0), (4, 4), (5, 5), (30, 1)])
def test_too_few_to_tell(n, groups):
    assert fit_novelty(vectors(60, 0)[:n], np.arange(n) % max(1, groups)) is None


def test_the_vector_is_the_average_whatever_the_pooling(tmp_path):
    spec = FeatureSpec("vgg16", "", "file", "ab" * 32, 32, "decode-1", "caffe", "map", "float32", "float32")
    maps = np.random.default_rng(0).random((6, 2, 2, 512), dtype=np.float32)
    maps[5] = 0  # an image without any feature
    keys = [bytes([i]) * 32 for i in range(6)]
    rows = Rows(
        np.frombuffer(b"".join(keys), np.uint8).reshape(6, 32),
        {"map": maps, "avg": maps.mean(axis=(1, 2))},
        1.0,
        {"name": "test"},
    )
    with Store(tmp_path / "c") as store:
        store.commit(spec, rows)
        found = image_vectors(store, spec.id, keys[::-1])
    np.testing.assert_allclose(found, normalize(maps.mean(axis=(1, 2)))[::-1], rtol=1e-5)
    assert not found[0].any()


# -- kept models -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A model on the pixels of 60 synthetic radiographs."""
    folder = tmp_path_factory.mktemp("fitted")
    write_sample(folder / "d", train=30, test=10, seed=3)
    featcache.extract(folder / "d", "pixels", size=48, cache=folder / "c")
    f = featcache.load("pixels", task="binary", cache=folder / "c")
    train = np.flatnonzero(f.splits == "train")
    fit = LogisticRegression(C=0.001, max_iter=500).fit(f.X[train] / 255.0, f.y[train])
    return folder, save_bundle(folder / "b", fit, f, train, task="binary", scores={}, cache=folder / "c")


def altered(folder: Path, to: Path, change) -> list[str]:
    to.mkdir()
    paths = sorted((folder / "d" / "test" / "normal").iterdir())
    for path in paths:
        change(Image.open(path).convert("L")).save(to / path.name)
    return sorted(map(str, to.iterdir()))


def test_altered_images_are_flagged_and_images_of_the_kind_are_not(fitted, tmp_path):
    folder, bundle = fitted
    rng = np.random.default_rng(0)
    noise = lambda image: Image.fromarray(rng.integers(0, 256, image.size[::-1], dtype=np.uint8))  # noqa: E731
    changes = {
        "turned": (lambda im: im.rotate(180), 0.5),  # a chest is nearly as dark below as above
        "negative": (ImageOps.invert, 1),
        "noise": (noise, 1),
        "other": (lambda im: Image.radial_gradient("L"), 1),
    }
    for name, (change, least) in changes.items():
        answer = predict(bundle, altered(folder, tmp_path / name, change), cache=tmp_path / "c")
        assert np.mean([row["unlike_training"] for row in answer["rows"]]) >= least, name
        assert all(row["distance"] > answer["novelty"]["threshold"] for row in answer["rows"] if row["unlike_training"])
    same = predict(bundle, altered(folder, tmp_path / "same", lambda im: im), cache=tmp_path / "c")
    assert sum(row["unlike_training"] for row in same["rows"]) <= 2
    assert same["novelty"]["rows"] == 60


def test_the_verbs_say_it(fitted, cli, tmp_path):
    folder, bundle = fitted
    image = altered(folder, tmp_path / "n", ImageOps.invert)[0]
    done = cli("predict", bundle, image, folder / "d" / "test" / "normal", "--cache", "fresh")
    assert done.code == 0, done.err
    assert 1 <= done.out.count("UNLIKE TRAINING") <= 3
    rows = cli("predict", bundle, image, "--cache", "fresh", "--json").json["rows"]
    assert rows[0]["unlike_training"] is True


def test_evaluate_says_which_share_is_unlike(fitted, tmp_path, caplog):
    folder, bundle = fitted
    sound = evaluate_bundle(bundle, folder / "d", split="test", cache=folder / "c", out=tmp_path / "o")[
        "unlike_training"
    ]
    low, high = sound["share_ci"]
    assert low <= sound["by_chance"] <= high
    assert sound["count"] == sound["share"] * 20 <= 3
    assert "unlike the model's training images" not in caplog.text
    for name in ("normal", "covid"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for path in sorted((folder / "d" / "test" / name).iterdir())[:8]:
            ImageOps.invert(Image.open(path).convert("L")).save(tmp_path / "d" / name / path.name)
    shifted = evaluate_bundle(bundle, tmp_path / "d", cache=tmp_path / "c", out=tmp_path / "p")["unlike_training"]
    assert shifted["share"] >= 0.9
    assert "of these 16 images are unlike the model's training images" in caplog.text


def test_a_bundle_with_too_few_images_tells_nothing(tmp_path, fitted, caplog):
    folder, _ = fitted
    f = featcache.load("pixels", task="binary", cache=folder / "c")
    few = [int(np.flatnonzero(f.y == label)[i]) for label in (0, 1) for i in range(2)]
    fit = LogisticRegression(C=0.001, max_iter=500).fit(f.X[few] / 255.0, f.y[few])
    save_bundle(tmp_path / "b", fit, f, np.array(few), task="binary", scores={}, cache=folder / "c")
    assert "4 training images are too few" in caplog.text
    assert open_bundle(tmp_path / "b").novelty is None
    assert not (tmp_path / "b" / "novelty.safetensors").exists()
    row = predict(tmp_path / "b", [f.paths[0]], cache=folder / "c")["rows"][0]
    assert (row["unlike_training"], row["distance"]) == (None, None)
    judged = evaluate_bundle(tmp_path / "b", folder / "d", split="test", cache=folder / "c", out=tmp_path / "o")
    assert judged["unlike_training"] is None


def test_features_that_are_not_in_the_cache(tmp_path, fitted, caplog):
    folder, _ = fitted
    f = featcache.load("pixels", task="binary", cache=folder / "c")
    fit = LogisticRegression(C=0.001, max_iter=500).fit(f.X / 255.0, f.y)
    save_bundle(tmp_path / "b", fit, f, np.arange(len(f)), task="binary", scores={}, cache=tmp_path / "other")
    assert "cannot tell images unlike them" in caplog.text
    assert json.loads((tmp_path / "b" / "bundle.json").read_text())["novelty"] is None


# -- real radiographs ------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.slow
def test_radiographs_photos_and_noise(reference, tmp_path):
    """On VGG16's averages, though the head is on the flattened map."""
    weights = reference / "weights" / "vgg16_imagenet_notop.weights.h5"
    if not weights.is_file():
        pytest.skip("no VGG16 weights")
    data = reference / "data"
    for split, step in (("train", 1), ("test", 3)):
        for name in ("covid", "normal"):
            for path in sorted((data / "xray4" / split / name).iterdir())[::step]:
                (tmp_path / "d" / split / name).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, tmp_path / "d" / split / name)
    featcache.extract(tmp_path / "d", "vgg16", weights=str(weights), preprocess="rescale", cache=tmp_path / "c")
    fit_head("binary", backbone="vgg16", cache=tmp_path / "c", out=tmp_path / "run", epochs=5)
    bundle = open_bundle(tmp_path / "run" / "bundle")
    assert bundle.novelty.reference.shape[1] == 512
    write_images(tmp_path / "noise", 4, ("a",), size=224)
    x, y = np.meshgrid(np.linspace(0, 1, 320), np.linspace(0, 1, 240))
    for i in range(4):  # a sky, a ground, a few coloured discs
        photo = np.stack([120 + 80 * y, 160 - 40 * y + 30 * np.sin(9 * x), 230 - 150 * y], axis=-1)
        rng = np.random.default_rng(i)
        for _ in range(25):
            photo[(x - rng.random()) ** 2 + (y - rng.random()) ** 2 < 0.01 * rng.random()] = rng.integers(0, 256, 3)
        Image.fromarray(photo.astype(np.uint8)).save(tmp_path / "noise" / f"photo{i}.png")
    strange = predict(bundle.folder, [tmp_path / "noise"], cache=tmp_path / "c")["rows"]
    assert len(strange) == 8
    assert all(row["unlike_training"] for row in strange)
    same = evaluate_bundle(bundle.folder, tmp_path / "d", split="test", cache=tmp_path / "c", out=tmp_path / "e")
    assert same["unlike_training"]["share"] <= 0.1
