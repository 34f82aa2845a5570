"""t-SNE: seeded, on the right rows, with what is wrong marked."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

import featcache
from featcache.errors import DataError
from heads.experiments.head_fit import fit_head
from heads.inference.embedding import embed, tsne


def blobs(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    return (rng.normal(size=(n, d)) + 4 * rng.normal(size=(3, d))[y]).astype(np.float32), y


def test_neighbours_stay_neighbours_and_a_seed_is_a_map():
    X, _ = blobs(90, 600)
    points, before = embed(X, seed=3)
    assert points.shape == (90, 2)
    assert before == "all distances kept"
    assert trustworthiness(X, points, n_neighbors=10) > 0.85
    np.testing.assert_array_equal(embed(X, seed=3)[0], points)


def test_many_rows_say_what_was_done_first(monkeypatch):
    monkeypatch.setattr("heads.inference.embedding._EXACT", 50)
    X, y = blobs(120, 200)
    points, before = embed(X)
    assert before == "first 50 principal components"
    centres = np.array([points[y == label].mean(axis=0) for label in range(3)])
    nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == y).mean() > 0.95


@pytest.mark.parametrize("n", [4, 7])
def test_few_rows(n):
    assert np.isfinite(embed(blobs(n, 10)[0])[0]).all()


def test_too_few_rows_and_equal_rows():
    with pytest.raises(DataError, match="at least 4"):
        embed(np.ones((3, 5)))
    assert np.isfinite(embed(np.ones((10, 5)))[0]).all()


def test_of_a_bundle_and_of_raw_features(tmp_path, cli):
    cache = tmp_path / "cache"
    featcache.extract(None, "mobilenet", weights="random", size=64, cache=cache)
    fitted = fit_head("binary", pooling="avg", cache=cache, epochs=3, units=16, out=tmp_path / "run")
    result = tsne(fitted.result["bundle"], cache=cache, out=tmp_path / "t")
    rows = list(csv.DictReader((tmp_path / "t" / "tsne.csv").open()))
    assert result["rows"] == len(rows) == 64
    wrong = sum(row["label"] != row["predicted"] for row in rows)
    assert result["misclassified"] == wrong == (fitted.probabilities.argmax(axis=1) != fitted.features.y).sum()
    wanted, _ = embed(fitted.estimator.hidden(fitted.features.X))
    np.testing.assert_allclose([[float(row["x"]), float(row["y"])] for row in rows], wanted, atol=1e-3)
    done = cli("tsne", "--cache", cache, "--pooling", "avg", "--split", "test", "--out", "raw", "--json")
    assert done.code == 0, done.err
    assert (done.json["rows"], done.json["misclassified"]) == (32, None)
    assert (tmp_path / "raw" / "tsne.png").stat().st_size > 10_000
