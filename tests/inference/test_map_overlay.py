"""New images on a map that was drawn before: where they stand, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import write_images
from PIL import Image

import featcache
from featcache.errors import DataError, UsageError
from featcache.system import tensor_files
from heads.experiments.head_fit import fit_head
from heads.inference import neighbour_embedding
from heads.inference.bundle_evaluation import evaluate_bundle
from heads.inference.embedding import tsne
from heads.inference.feature_map import read_map
from heads.inference.prediction import predict


def lit(folder: Path, count: int, seed: int) -> Path:
    """Images of two classes that differ in their upper rows."""
    for path in write_images(folder, count, size=16, seed=seed):
        pixels = np.array(Image.open(path)) // 2
        pixels[:6] += np.uint8(100 * (path.parent.name == "covid"))
        Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Images, others that are new, a cache, a bundle, and two maps: of its first dense layer, and of the features."""
    folder = tmp_path_factory.mktemp("maps")
    lit(folder / "old", 60, 1)
    lit(folder / "new", 12, 2)
    cache = folder / "cache"
    featcache.extract(folder / "old", "pixels", size=16, cache=cache)
    given = {"backbone": "pixels", "cache": cache}
    fit_head("binary", epochs=20, units=32, learning_rate=0.0001, out=folder / "fit", audit=False, **given)
    tsne(folder / "fit" / "bundle", cache=cache, out=folder / "hidden")
    tsne(task="binary", out=folder / "raw", **given)
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def nearest_label(old: list[dict[str, str]], row: dict[str, str]) -> str:
    """Of the map's images, that of the one which stands nearest."""
    return min(old, key=lambda o: sum((float(o[axis]) - float(row[axis])) ** 2 for axis in "xy"))["label"]


@pytest.mark.parametrize("which", ["hidden", "raw"])
@pytest.mark.parametrize("exact", [True, False], ids=["all distances", "components"])
def test_new_images_stand_among_those_of_their_class(place, tmp_path, which, exact, monkeypatch):
    run = place / which
    if not exact:
        monkeypatch.setattr(neighbour_embedding, "EXACT", 10)
        bundle = place / "fit" / "bundle" if which == "hidden" else None
        run = tmp_path / "map"
        tsne(bundle, task="binary", backbone="pixels", cache=place / "cache", out=run)
        assert read_map(run).embedding.projection is not None
    result = predict(place / "fit" / "bundle", [place / "new"], cache=place / "cache", on_map=run, out=tmp_path / "out")
    rows = table(Path(result["csv"]))
    assert [row["path"] for row in rows] == [row["path"] for row in result["rows"]]
    assert [row["predicted"] for row in rows] == [row["label"] for row in result["rows"]]
    assert {row["on_the_map_before"] for row in rows} == {"no"}
    old = table(run / "tsne.csv")
    right = sum(nearest_label(old, row) == Path(row["path"]).parent.name for row in rows)
    assert right >= len(rows) - 1  # one may stand where the classes meet
    assert [Path(path).name for path in result["figures"]] == ["map.png"]
    assert Path(result["figures"][0]).stat().st_size > 10_000


def test_the_maps_own_images_stay_where_they_are_and_new_ones_stand_for_themselves(place, tmp_path):
    bundle, cache = place / "fit" / "bundle", place / "cache"
    old = {row["path"]: row for row in table(place / "hidden" / "tsne.csv")}
    judged = evaluate_bundle(bundle, place / "old", cache=cache, on_map=place / "hidden", out=tmp_path / "a")
    rows = table(tmp_path / "a" / "map.csv")
    assert len(rows) == 60
    for row in rows:
        assert row["on_the_map_before"] == "yes"
        assert (row["x"], row["y"]) == (old[row["path"]]["x"], old[row["path"]]["y"])
        assert (row["label"], row["predicted"]) == (old[row["path"]]["label"], old[row["path"]]["predicted"])
    assert judged["figures"] == [str(tmp_path / "a" / "map.png")]
    assert json.loads((tmp_path / "a" / "run.json").read_text())["figures"] == judged["figures"]
    alone = predict(bundle, [place / "new" / "covid"], cache=cache, on_map=place / "hidden", out=tmp_path / "b")
    together = predict(bundle, [place / "new"], cache=cache, on_map=place / "hidden", out=tmp_path / "c")
    where = {row["path"]: (float(row["x"]), float(row["y"])) for row in table(Path(together["csv"]))}
    for row in table(Path(alone["csv"])):
        np.testing.assert_allclose((float(row["x"]), float(row["y"])), where[row["path"]], atol=1e-6)


def test_on_the_command_line(place, cli):
    given = ("--cache", place / "cache", "--on-map", place / "raw", "--json")
    done = cli("predict", place / "fit" / "bundle", place / "new", *given)
    assert done.code == 0, done.err
    assert Path(done.json["figures"][0]).is_file()
    assert Path(done.json["run"]).name.startswith("predict-pixels-")
    done = cli("evaluate", place / "fit" / "bundle", "--data", place / "new", *given)
    assert done.code == 0, done.err
    assert Path(done.json["csv"]).is_file()
    done = cli("predict", place / "fit" / "bundle", place / "new", "--out", "o", "--cache", place / "cache")
    assert done.code == 2
    assert "--on-map" in done.err


def test_maps_of_something_else_are_refused(place, tmp_path):
    cache = place / "cache"
    other = fit_head(
        "binary", backbone="pixels", cache=cache, epochs=1, units=4, learning_rate=0.1, out=tmp_path / "f", audit=False
    ).result["bundle"]
    with pytest.raises(UsageError, match=r"another head's first dense layer; draw this one's with: tsne"):
        predict(other, [place / "new"], cache=cache, on_map=place / "hidden")
    predict(other, [place / "new"], cache=cache, on_map=place / "raw", out=tmp_path / "o")
    featcache.extract(place / "old", "pixels", size=8, cache=cache)
    small = next(path.name for path in (cache / "features").iterdir() if "-8-" in path.name)
    tsne(task="binary", backbone=small, cache=cache, out=tmp_path / "small")
    with pytest.raises(UsageError, match="a map of pixels-none-8-"):
        predict(other, [place / "new"], cache=cache, on_map=tmp_path / "small")
    with pytest.raises(DataError, match="expected the run folder of a 'tsne'"):
        predict(other, [place / "new"], cache=cache, on_map=place / "fit")


def test_a_cache_without_the_maps_images_is_named(place, tmp_path):
    with pytest.raises(DataError, match=r"not in this cache; extract them"):
        predict(place / "fit" / "bundle", [place / "new"], cache=tmp_path / "c", on_map=place / "raw")


def forged(place: Path, folder: Path, change) -> Path:
    """A copy of a map with other tensors, and the digest that belongs to them."""
    shutil.copytree(place / "raw", folder)
    tensors = change([np.array(tensor) for tensor in tensor_files.read_tensors(folder / "map.safetensors")])
    tensor_files.write_tensors(folder / "map.safetensors", tensors)
    about = json.loads((folder / "map.json").read_text())
    about["tensors"] = featcache.system.atomic_files.sha256_file(folder / "map.safetensors")
    (folder / "map.json").write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:2],
        lambda t: [t[0][:-1], *t[1:]],
        lambda t: [t[0] * np.nan, *t[1:]],
        lambda t: [t[0].astype(np.float32), *t[1:]],
        lambda t: [t[0], t[1][:, :8], t[2]],
        lambda t: [t[0], t[1], t[2] + 2],
        lambda t: [t[0], t[1], t[2] - 1],
        lambda t: [*t, np.zeros(768, np.float32), np.zeros((5, 7), np.float32)],
        lambda t: [*t, np.zeros(768, np.float32), np.full((5, 768), np.inf, np.float32)],
        lambda t: [*t, np.float32(1), np.zeros((5, 768), np.float32)],
    ],
)
def test_a_map_that_lies_is_refused(place, tmp_path, change):
    with pytest.raises(DataError, match=r"Draw it again with 'tsne'"):
        read_map(forged(place, tmp_path / "m", change))


def test_a_map_that_is_not_as_it_was_written_is_refused(place, tmp_path):
    for number, change in enumerate(({"version": 2}, {"spec": "../x"}, {"classes": []}, {"more": 1}, {"bundle": "x"})):
        folder = tmp_path / str(number)
        shutil.copytree(place / "raw", folder)
        about = json.loads((folder / "map.json").read_text()) | change
        (folder / "map.json").write_text(json.dumps(about))
        with pytest.raises(DataError, match=r"map.json"):
            read_map(folder)
    shutil.copytree(place / "raw", tmp_path / "m")
    with (tmp_path / "m" / "map.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(DataError, match=r"not the file that map.json was written with"):
        read_map(tmp_path / "m")


def test_a_projection_of_another_width_is_refused(place, tmp_path):
    run = forged(place, tmp_path / "m", lambda t: [*t, np.zeros(10, np.float32), np.ones((5, 10), np.float32)])
    with pytest.raises(DataError, match="rows with 10 columns"):
        predict(place / "fit" / "bundle", [place / "new"], cache=place / "cache", on_map=run, out=tmp_path / "o")
