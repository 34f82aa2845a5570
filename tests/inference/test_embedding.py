"""t-SNE: seeded, as good as sklearn's, on the right rows, with what is wrong marked."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.manifold import TSNE, trustworthiness
from surroundings import ROOT
from threadpoolctl import threadpool_limits

import featcache
from featcache.errors import DataError, UsageError
from featcache.features import stored_rows
from heads.experiments.head_fit import fit_head
from heads.inference import neighbour_embedding
from heads.inference.embedding import tsne
from heads.inference.neighbour_embedding import embed, place


def blobs(n: int, d: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Classes apart, and in each a curved sheet of three dimensions, so that neighbours mean something."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    inner = rng.uniform(-1, 1, (n, 3))
    waves = np.sin(2 * inner @ rng.normal(size=(3, d)) + rng.uniform(0, 6, d))
    return (2 * rng.normal(size=(classes, d))[y] + waves + 0.1 * rng.normal(size=(n, d))).astype(np.float32), y


@pytest.mark.parametrize("n", [500, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_less_trustworthy_than_sklearns(n):
    X, _ = blobs(n, 64, 10)
    ours = embed(X, seed=1)
    assert ours.before == "all distances kept"
    with threadpool_limits(1):  # its threads wait long for a core that another process holds
        theirs = TSNE(init="pca", random_state=1).fit_transform(X)
    measured = [trustworthiness(X, points, n_neighbors=15) for points in (ours.points, theirs)]
    assert measured[1] > 0.95
    assert measured[0] >= measured[1] - 0.01


@pytest.mark.parametrize("n", [90, 1200])
def test_one_seed_is_one_map_in_every_process_and_with_any_number_of_threads(n, monkeypatch):
    """Beyond 1,000 rows, as set here, through components, by the grid, with as many threads as there are cores."""
    for name, value in (("EXACT", 1000), ("_FEW", 1000), ("_GRID", 1000), ("_EARLY", 20), ("_STEPS", 30)):
        monkeypatch.setattr(neighbour_embedding, name, value)
    X, _ = blobs(n, 100)
    here = embed(X, seed=3).points
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests' / 'inference')!r}, "
        f"{str(ROOT / 'tests' / 'support')!r}]\n"
        "import hashlib; from heads.inference import neighbour_embedding as module; from test_embedding import blobs\n"
        "module.EXACT = module._FEW = module._GRID = 1000; module._EARLY, module._STEPS = 20, 30\n"
        f"print(hashlib.sha256(module.embed(blobs({n}, 100)[0], seed=3).points.tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(here.tobytes()).hexdigest()
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    np.testing.assert_array_equal(embed(X, seed=3).points, here)


def test_many_rows_say_what_was_done_first(monkeypatch):
    monkeypatch.setattr(neighbour_embedding, "EXACT", 50)
    X, y = blobs(120, 200)
    embedding = embed(X)
    assert embedding.before == "first 50 principal components"
    centres = np.array([embedding.points[y == label].mean(axis=0) for label in range(3)])
    nearest = np.linalg.norm(embedding.points[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == y).mean() > 0.95


@pytest.mark.parametrize("n", [4, 7])
def test_few_rows(n):
    assert np.isfinite(embed(blobs(n, 10)[0]).points).all()


@pytest.mark.parametrize("X", [np.ones((10, 5)), np.r_[np.zeros((8, 5)), np.ones((8, 5))], np.arange(30.0)[:, None]])
def test_rows_that_are_equal_or_have_one_column(X):
    points = embed(X).points
    assert np.isfinite(points).all()
    assert np.isfinite(place(X[:2], X, points)).all()


def test_too_few_rows():
    with pytest.raises(DataError, match="at least 4"):
        embed(np.ones((3, 5)))


def test_without_the_library_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(UsageError, match="pip install opentsne"):
        embed(blobs(10, 5)[0])


@pytest.mark.parametrize("grid", [False, True])
def test_new_rows_come_to_stand_among_their_neighbours(grid, monkeypatch):
    """By trustworthiness of the whole, beside a map of all rows together; and each wherever the others are."""
    X, _ = blobs(400, 64, 5)
    old, new = X[:330], X[330:]
    points = embed(old).points + np.array([3.0, -70.0])  # wherever the map lies
    together = trustworthiness(X, embed(X).points, n_neighbors=15)
    monkeypatch.setattr(neighbour_embedding, "_GRID", 0 if grid else 10**9)
    placed = place(new, old, points)
    assert trustworthiness(X, np.r_[points, placed], n_neighbors=15) > together - 0.02
    np.testing.assert_allclose(place(new[:7], old, points), placed[:7], atol=1e-6)
    assert np.linalg.norm(place(old[:20], old, points) - points[:20], axis=1).max() < 0.1 * np.ptp(points)


def test_new_rows_stand_where_openTSNE_puts_them():  # noqa: N802 - its name
    from openTSNE import TSNE as Reference  # noqa: N811

    X, _ = blobs(300, 20)
    fitted = Reference(random_state=0, neighbors="exact").fit(X[:250].astype(np.float64))
    points = np.array(fitted)
    wanted = np.array(fitted.transform(X[250:].astype(np.float64)))
    moved = np.array(fitted)[0] - points[0]  # it centres the map
    np.testing.assert_allclose(place(X[250:], X[:250], points), wanted - moved, atol=1e-3)


def test_rows_in_the_store_give_the_same_neighbours(tmp_path, images, monkeypatch):
    monkeypatch.setattr(stored_rows, "_BLOCK_BYTES", 10_000)
    featcache.extract(images, "pixels", size=16, cache=tmp_path / "c")
    rows = featcache.load("pixels", data=images, cache=tmp_path / "c", stream=True).X
    embedding = embed(rows)
    X = rows[:].astype(np.float32)
    assert embedding.before == "first 23 principal components"  # of 24 rows, which keep every distance
    distances = [np.linalg.norm(each[:, None] - each, axis=2) for each in (X, embedding.projection(rows))]
    np.testing.assert_allclose(*distances, rtol=1e-3, atol=1)


def test_of_a_bundle_and_of_raw_features(tmp_path, cli):
    cache = tmp_path / "cache"
    featcache.extract(None, "mobilenet", weights="random", size=64, cache=cache)
    fitted = fit_head("binary", pooling="avg", cache=cache, epochs=3, units=16, out=tmp_path / "run")
    result = tsne(fitted.result["bundle"], cache=cache, out=tmp_path / "t")
    rows = list(csv.DictReader((tmp_path / "t" / "tsne.csv").open()))
    assert result["rows"] == len(rows) == 64
    wrong = sum(row["label"] != row["predicted"] for row in rows)
    assert result["misclassified"] == wrong == (fitted.probabilities.argmax(axis=1) != fitted.features.y).sum()
    wanted = embed(fitted.estimator.hidden(fitted.features.X)).points
    np.testing.assert_allclose([[float(row["x"]), float(row["y"])] for row in rows], wanted, atol=1e-3)
    done = cli("tsne", "--cache", cache, "--pooling", "avg", "--split", "test", "--out", "raw", "--json")
    assert done.code == 0, done.err
    assert (done.json["rows"], done.json["misclassified"]) == (32, None)
    assert (tmp_path / "raw" / "tsne.png").stat().st_size > 10_000
