"""t-SNE by openTSNE beside sklearn's: time, and how far neighbours on the map are neighbours among the rows.

    FEATCACHE_ROWS=20000 pytest tests/benchmarks/test_tsne_speed.py -s
    FEATCACHE_ROWS=100000 FEATCACHE_SKLEARN=0 pytest tests/benchmarks/test_tsne_speed.py -s

The rows are a mixture of 30 Gaussians in 512 columns, each spread over six directions of its own. sklearn's gets the
same principal components as ours. Trustworthiness (Venna & Kaski 2001) is sklearn's measure at 15 neighbours; beyond
10,000 rows of 5,000 drawn ones, each ranked among all.
"""

from __future__ import annotations

import os
import resource
import time

import numpy as np
from sklearn.manifold import TSNE, trustworthiness
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from heads.inference.neighbour_embedding import embed, place

ROWS = int(os.environ.get("FEATCACHE_ROWS", "5000"))
BESIDE = os.environ.get("FEATCACHE_SKLEARN", "1") != "0"
NEW = 500


def mixture(count: int, columns: int = 512, clusters: int = 30, spread: int = 6) -> np.ndarray:
    rng = np.random.default_rng(0)
    y = rng.integers(0, clusters, count)
    X = (0.7 * rng.normal(size=(clusters, columns)))[y]
    directions = rng.normal(size=(clusters, spread, columns)) / np.sqrt(spread)
    inner = 1.5 * rng.normal(size=(count, spread))
    for cluster in range(clusters):
        X[y == cluster] += inner[y == cluster] @ directions[cluster]
    return (X + 0.1 * rng.normal(size=X.shape)).astype(np.float32)


def trust(X: np.ndarray, points: np.ndarray, k: int = 15, drawn: int = 5000, block: int = 100) -> float:
    """sklearn's ``trustworthiness``, the mean over some rows in place of all."""
    count = len(X)
    rows = np.sort(np.random.default_rng(1).choice(count, min(drawn, count), replace=False))
    near = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points[rows], return_distance=False)
    penalty = 0
    for start in range(0, len(rows), block):
        some, theirs = rows[start : start + block], near[start : start + block]
        away = pairwise_distances(X[some], X)
        away[np.arange(len(some)), some] = np.inf
        for row, line, found in zip(some, away, theirs, strict=True):
            others = found[found != row][:k]
            ranks = (line < line[others, None]).sum(axis=1) + 1
            penalty += int(np.maximum(ranks - k, 0).sum())
    return 1 - penalty * 2 / (len(rows) * k * (2 * count - 3 * k - 1))


def _peak() -> float:
    """Memory that this process took at most so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def test_the_measure_is_sklearns():
    X, points = mixture(300), np.random.default_rng(0).normal(size=(300, 2))
    np.testing.assert_allclose(trust(X, points), trustworthiness(X, points, n_neighbors=15), atol=1e-3)


def test_beside_sklearns():
    X = mixture(ROWS + NEW)
    old, new = X[:ROWS], X[ROWS:]
    started, worked = time.perf_counter(), time.process_time()
    ours = embed(old)
    seconds, work = time.perf_counter() - started, time.process_time() - worked
    print(f"\n{ROWS} rows: ours {seconds:.0f} s, of both cores {work:.0f} s", flush=True)  # noqa: T201
    print(f"{_peak():.1f} GB at most; trustworthiness {trust(old, ours.points):.4f}", flush=True)  # noqa: T201
    rows = old if ours.projection is None else ours.projection(old)
    started = time.perf_counter()
    placed = place(new if ours.projection is None else ours.projection(new), rows, ours.points)
    seconds_placing = time.perf_counter() - started
    together = trust(X, np.r_[ours.points, placed])
    print(f"{NEW} new rows placed in {seconds_placing:.1f} s; of all {together:.4f}", flush=True)  # noqa: T201
    if BESIDE:
        started, worked = time.perf_counter(), time.process_time()
        theirs = TSNE(init="pca", random_state=0).fit_transform(rows)
        took, theirs_work = time.perf_counter() - started, time.process_time() - worked
        print(f"sklearn {took:.0f} s, of both cores {theirs_work:.0f} s, {trust(old, theirs):.4f}")  # noqa: T201
        print(f"sklearn: {took / seconds:.1f} times as long, {theirs_work / work:.1f} times the work")  # noqa: T201
        assert trust(old, ours.points) >= trust(old, theirs) - 0.01
