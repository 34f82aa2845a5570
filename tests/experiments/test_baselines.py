"""The projection is exact, and the leaderboard is what sklearn gives."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedKFold

import featcache
from heads.bundles.bundle import open_bundle
from heads.experiments.baseline_models import TABLE
from heads.experiments.baselines import baselines
from heads.search.gram_projection import isometric


def features(n: int = 60, d: int = 400, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return np.maximum(rng.normal(size=(n, d)) + 0.35 * rng.normal(size=(classes, d))[y], 0).astype(np.float32), y


@pytest.mark.parametrize("shape", [(20, 500), (50, 50), (80, 30)], ids=str)
def test_every_product_and_distance_is_kept(shape):
    X = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    Z = isometric(X)
    assert Z.shape == (shape[0], min(shape))
    np.testing.assert_allclose(Z @ Z.T, X.astype(float) @ X.T.astype(float), rtol=1e-10, atol=1e-9)


def test_rows_that_depend_on_each_other():
    X = np.random.default_rng(0).normal(size=(20, 100))
    X[10:] = X[:10]
    before = X.copy()
    Z = isometric(X)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_allclose(Z @ Z.T, X @ X.T, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.isometric])
@pytest.mark.parametrize("classes", [2, 4])
def test_a_search_on_the_projection_is_the_search_on_the_features(name, classes):
    X, y = features(72, 300, classes)
    row, cv = TABLE[name], StratifiedKFold(3, shuffle=True, random_state=0)
    grid = {key: list(values)[:3] for key, values in row.grid.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        plain, ours = (GridSearchCV(row.model, grid, cv=cv).fit(rows, y) for rows in (X.astype(float), isometric(X)))
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], atol=1e-6)
    assert ours.best_params_ == plain.best_params_


@pytest.fixture(scope="module")
def leaderboard(tmp_path_factory):
    """The whole table on the synthetic sample, features of a small network."""
    folder = tmp_path_factory.mktemp("leaderboard")
    cache = folder / "cache"
    featcache.extract(None, "mobilenet", weights="random", size=64, cache=cache)
    return baselines("binary", cv=3, cache=cache, out=folder / "run"), folder, cache


def test_every_row_of_the_table_is_judged(leaderboard):
    result, folder, _ = leaderboard
    assert {row["name"] for row in result["rows"]} == set(TABLE)
    scores = [row["cv_score"] for row in result["rows"]]
    assert scores == sorted(scores, reverse=True)
    dummy = next(row for row in result["rows"] if row["name"] == "dummy")
    assert dummy["test"]["accuracy"] == 0.5
    for row in result["rows"]:
        low, high = row["test"]["accuracy_ci"]
        assert low <= row["test"]["accuracy"] <= high
        assert row["seconds"] >= 0
    ridge = next(row for row in result["rows"] if row["name"] == "ridge")
    assert result["influence"]["value"] == ridge["test"]["accuracy"]
    assert result["influence"]["penalty"] == ridge["best_params"]["alpha"]
    table = pd.read_csv(folder / "run" / "leaderboard.csv")
    assert list(table["name"]) == [row["name"] for row in result["rows"]]
    assert (folder / "run" / "leaderboard.png").stat().st_size > 10_000


def test_the_best_is_kept_and_fitted_on_the_features_themselves(leaderboard):
    result, _, cache = leaderboard
    bundle = open_bundle(result["bundle"])
    f = featcache.load("mobilenet", task="binary", cache=cache)
    test = f.split("test")
    accuracy = (bundle.predict_proba(test).argmax(axis=1) == test.y).mean()
    assert accuracy == result["rows"][0]["test"]["accuracy"]


@pytest.mark.parametrize("name", TABLE)
def test_every_model_survives_a_bundle(name, leaderboard, tmp_path):
    from heads.bundles.saving import save_bundle

    _, _, cache = leaderboard
    f = featcache.load("mobilenet", task="multiclass", pooling="avg", cache=cache)
    model = clone(TABLE[name].model)
    trees = [p for p in model.get_params() if p.split("__")[-1] == "n_estimators"]
    model.set_params(**dict.fromkeys(trees, 10)).fit(f.X, f.y)
    save_bundle(tmp_path / "b", model, f, np.arange(len(f)), task="multiclass", scores={}, cache=cache)
    np.testing.assert_allclose(open_bundle(tmp_path / "b").predict_proba(f), model.predict_proba(f.X), atol=1e-6)


def test_bad_calls(cli, leaderboard):
    *_, cache = leaderboard
    done = cli("baselines", "--no-audit", "--cache", cache, "--models", "logistic,magic")
    assert done.code == 2
    assert "magic" in done.err
    done = cli("baselines", "--no-audit", "--cache", cache, "--cv", 100)
    assert done.code == 3
    assert "100 folds" in done.err


def test_the_verb(cli, leaderboard, tmp_path):
    *_, cache = leaderboard
    done = cli(
        "baselines",
        "--no-audit",
        "--cache",
        cache,
        "--task",
        "binary",
        "--models",
        "knn,dummy",
        "--cv",
        3,
        "--out",
        "o",
        "--json",
    )
    assert done.code == 0, done.err
    assert [set(row) >= {"name", "cv_score", "cv_std", "test", "seconds"} for row in done.json["rows"]] == [True, True]
    assert not list(tmp_path.glob("runs/audit-*"))
    assert "SYNTHETIC" in cli("baselines", "--no-audit", "--cache", cache, "--models", "dummy", "--cv", 3).out
    assert cli("baselines", "--no-audit", "--cache", cache, "--models", "dummy", "--out", "o").code == 2
    made = {"bundle", "leaderboard.csv", "leaderboard.png", "run.json", "test_answers.csv"}
    assert {p.name for p in (tmp_path / "o").iterdir()} == made
