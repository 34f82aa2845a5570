"""The nearest kept images, those that a model learnt from, and who taught it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import write_images
from PIL import Image
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

import featcache
from featcache.errors import DataError, UsageError
from heads.experiments.head_fit import fit_head
from heads.inference import nearest_images
from heads.inference.prediction import predict
from heads.inference.similar import similar
from heads.inference.taught_by import taught_by


def lit(folder: Path, count: int, seed: int) -> Path:
    """Images of two classes that differ in their upper rows, of patients with three images each."""
    for number, path in enumerate(write_images(folder, count, size=16, seed=seed)):
        pixels = np.array(Image.open(path)) // 2
        pixels[:6] += np.uint8(100 * (path.parent.name == "covid"))
        Image.fromarray(pixels).save(path.with_name(f"p{number // 3:02d}_{number}{path.suffix}"))
        path.unlink()
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Images, others that are new, a cache and a bundle."""
    folder = tmp_path_factory.mktemp("similar")
    lit(folder / "old", 60, 1)
    lit(folder / "new", 6, 2)
    featcache.extract(folder / "old", "pixels", size=16, cache=folder / "cache")
    given = {"backbone": "pixels", "cache": folder / "cache", "group_regex": r"(p\d+)_"}
    fit_head("binary", epochs=20, units=32, learning_rate=0.0001, out=folder / "fit", audit=False, **given)
    return folder


def test_they_are_those_that_sklearn_finds(place, tmp_path, monkeypatch):
    monkeypatch.setattr(nearest_images, "_BLOCK", 7)
    cache = place / "cache"
    result = similar([place / "new"], backbone="pixels", neighbours=4, task="binary", cache=cache, out=tmp_path / "out")
    assert result["searched"] == 60
    old = featcache.load("pixels", task="binary", pooling="map", cache=cache)
    new = [np.asarray(Image.open(row["image"]).convert("RGB")) for row in result["rows"][::4]]
    grey = lambda maps: np.asarray(maps, np.float32).mean(axis=-1).reshape(len(maps), -1)  # noqa: E731
    rows = [normalize(part - part.mean(axis=1, keepdims=True)) for part in (grey(old.X), grey(new))]
    distances, found = NearestNeighbors(n_neighbors=4, algorithm="brute").fit(rows[0]).kneighbors(rows[1])
    assert [row["path"] for row in result["rows"]] == [old.paths[i] for i in found.ravel()]
    np.testing.assert_allclose([row["distance"] for row in result["rows"]], distances.ravel(), atol=1e-4)
    assert [row["label"] for row in result["rows"]] == [Path(row["path"]).parent.name for row in result["rows"]]
    assert {row["learnt"] for row in result["rows"]} == {None}
    with (tmp_path / "out" / "neighbours.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [line["path"] for line in table] == [row["path"] for row in result["rows"]]
    assert (tmp_path / "out" / "neighbours.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "out" / "run.json").read_text())["rows"] == result["rows"]


def test_an_image_is_no_neighbour_of_itself_and_its_copy_is(place, tmp_path):
    cache, one = place / "cache", next((place / "old").rglob("*.png"))
    given = {"backbone": "pixels", "task": "binary", "neighbours": 2, "cache": cache}
    itself = similar([one], out=tmp_path / "a", **given)
    assert str(one) not in {row["path"] for row in itself["rows"]}
    copied = shutil.copy(one, tmp_path / "copy.png")
    copy = similar([copied], out=tmp_path / "b", **given)
    assert copy["rows"][0]["path"] == str(one)
    assert copy["rows"][0]["distance"] == pytest.approx(0, abs=1e-3)


def test_with_a_bundle_it_is_said_what_the_model_learnt_from(place, cli):
    given = ("--cache", place / "cache", "--json", "--out", place / "by-bundle")
    done = cli("similar", place / "new" / "covid", "--bundle", place / "fit" / "bundle", "--neighbours", "30", *given)
    assert done.code == 0, done.err
    parts = {row["path"]: row["learnt"] for row in done.json["rows"]}
    train = {row["path"] for row in csv_rows(place / "fit" / "predictions.csv") if row["part"] == "train"}
    assert {path for path, learnt in parts.items() if learnt} == train & set(parts)
    assert len(set(parts.values())) == 2


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict_shows_training_images_alone(place, tmp_path, cli):
    bundle, cache = place / "fit" / "bundle", place / "cache"
    result = predict(bundle, [place / "new"], neighbours=3, cache=cache, out=tmp_path / "out")
    train = {row["path"] for row in csv_rows(place / "fit" / "predictions.csv") if row["part"] == "train"}
    for row in result["rows"]:
        assert {one["path"] for one in row["neighbours"]} <= train
        distances = [one["distance"] for one in row["neighbours"]]
        assert distances == sorted(distances)
        assert len(distances) == 3
        assert row["taught_by"]["agrees"] is True
        assert len(row["taught_by"]["patients"]) == 3
    assert [Path(path).name for path in result["figures"]] == ["neighbours.png"]
    done = cli("predict", bundle, place / "new" / "covid", "--neighbours", "2", "--cache", cache)
    assert done.code == 0, done.err
    assert "near: covid" in done.out
    assert "a ridge on the same features: its score for covid is" in done.out
    with pytest.raises(DataError, match="the bundle learnt from none of these images"):
        predict(bundle, [place / "new"], neighbours=3, among=place / "new", cache=cache)


def test_what_does_not_go_together_is_told(place, cli):
    cache = ("--cache", place / "cache")
    done = cli("similar", place / "new", "--bundle", place / "fit" / "bundle", "--backbone", "pixels", *cache)
    assert done.code == 2
    assert "give one of them" in done.err
    done = cli("predict", place / "fit" / "bundle", place / "new", "--among", place / "old", *cache)
    assert done.code == 2
    assert "give --neighbours with it" in done.err
    with pytest.raises(UsageError, match="expected 1 or more"):
        similar([place / "new"], neighbours=0, cache=place / "cache")


@pytest.mark.parametrize("kind", ["binary", "multiclass", "number"])
def test_who_taught_an_answer_equals_refits(place, kind):
    """Of each patient, the ridge's score without it is that of a ridge which never saw it."""
    rng = np.random.default_rng(0)
    count = {"binary": 2, "multiclass": 3, "number": 0}[kind]
    features = featcache.load(
        "pixels", task="binary", data=place / "old", cache=place / "cache", group_regex=r"(p\d+)_"
    )
    X = features.X + rng.normal(size=features.X.shape).astype(np.float32)
    if count:
        y, classes, task = rng.integers(0, count, 60), tuple("abc"[:count]), featcache.Classification("multiclass")
        targets, answers = np.where(y[:, None] == np.arange(count), 1.0, -1.0), rng.integers(0, count, 5)
    else:
        y, classes, task = rng.normal(size=60), ("dose",), featcache.Regression("dose")
        targets, answers = y[:, None], rng.normal(size=5)
    learnt = made(features, X, y, classes, task)
    new = rng.normal(size=(5, X.shape[1])) * 100
    found = taught_by(learnt, new, answers, 100)
    smoother_penalty = penalty_of(learnt.X, targets, learnt.groups)
    unit, new_unit = normalize(X.astype(np.float64)), normalize(new)
    for row, (one, answer) in enumerate(zip(found, answers, strict=True)):
        column = int(answer) if count else 0
        whole = Ridge(smoother_penalty).fit(unit, targets)
        assert one["score"] == pytest.approx(whole.predict(new_unit[row : row + 1]).reshape(-1)[column], abs=1e-6)
        for patient in one["patients"]:
            kept = learnt.groups != patient["group"]
            without = Ridge(smoother_penalty).fit(unit[kept], targets[kept]).predict(new_unit[row : row + 1])
            assert one["score"] + patient["change"] == pytest.approx(without.reshape(-1)[column], abs=1e-6)
            assert patient["images"] == (~kept).sum()
        changes = [abs(patient["change"]) for patient in one["patients"]]
        assert changes == sorted(changes, reverse=True)
        assert len(changes) == len(set(learnt.groups))


def made(features, X, y, classes, task):
    from dataclasses import replace

    return replace(features, X=X, y=y, classes=classes, task=task)


def penalty_of(X, targets, groups) -> float:
    from heads.evaluation.clusters import group_codes, rows_of_groups
    from heads.evaluation.ridge_smoother import RidgeSmoother

    return RidgeSmoother(normalize(X)).best_penalty(targets, rows_of_groups(group_codes(groups, len(X))))


def test_pixels_alone_are_named(place):
    with pytest.raises(DataError, match="pixels alone have been extracted here; take them with --backbone pixels"):
        similar([place / "new"], task="binary", cache=place / "cache")
