"""``baselines`` and ``grid`` where there are several labels, some not known, or a number."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import mean_absolute_error, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from threadpoolctl import threadpool_limits

import featcache
from featcache.errors import UsageError
from heads import LabelWiseClassifier, baselines, grid, open_bundle
from heads.bundles.saving import save_bundle
from heads.evaluation.label_scorer import label_scorer
from heads.evaluation.splits import partition, training_folds
from heads.experiments.baseline_models import TABLES, with_seed

LABELS = featcache.Multilabel(("left", "top", "rare"))
AGE = featcache.Regression("age")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Images whose left half, top and corner are bright where they have a label, and a stripe as they are old; of a
    fifth of them some label is not known."""
    folder = tmp_path_factory.mktemp("targets")
    rng = np.random.default_rng(0)
    with open(folder / "data.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "split", "group", "left", "top", "rare", "age"])
        for number in range(144):
            has = rng.random(3) < (0.5, 0.4, 0.15)
            age = float(rng.uniform(20, 90))
            pixels = rng.normal(60, 60, size=(16, 16))
            pixels[8:, 8:12] += age
            pixels[:, :8] += 45 * has[0]
            pixels[:8] += 45 * has[1]
            pixels[12:, 12:] += 80 * has[2]
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number:03d}.png")
            cells = ["" if rng.random() < 0.1 else int(one) for one in has]
            split = "test" if number // 2 % 3 == 0 else "train"
            table.writerow([f"{number:03d}.png", split, f"p{number // 2}", *cells, f"{age:.1f}"])
    featcache.extract(folder / "data.csv", "pixels", size=8, cache=folder / "cache")
    return folder / "cache"


def features(cache, task):
    return featcache.load("pixels", task=task, pooling="flatten", cache=cache)


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of so small fits only wait for one another, where other processes hold the cores."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def few(monkeypatch):
    """Forests and boostings of 10 trees."""
    for table in TABLES.values():
        for name, row in table.items():
            sizes = [p for p in row.model.get_params() if p.split("__")[-1] in ("n_estimators", "max_iter")]
            trees = {p: 10 for p in sizes if any(kind in str(row.model) for kind in ("Forest", "Hist", "XGB"))}
            monkeypatch.setitem(table, name, replace(row, model=clone(row.model).set_params(**trees)))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(("task", "metric"), [(LABELS, "mean_roc_auc"), (AGE, "mae")], ids=["labels", "number"])
def test_every_row_of_the_table_is_judged_and_the_best_is_kept(kept, task, metric, tmp_path):
    result = baselines(task, cv=3, cache=kept, backbone="pixels", out=tmp_path / "run")
    rows = result["rows"]
    assert {row["name"] for row in rows} == set(TABLES[task.kind])
    scores = [row["cv_score"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert result["score_name"] == {"mae": "neg_mean_absolute_error"}.get(metric, metric)
    f = features(kept, task)
    test = f.split("test")
    by_name = {row["name"]: row for row in rows}
    for row in rows:
        low, high = row["test"][f"{metric}_ci"]
        assert low <= row["test"][metric] <= high
    bundle = open_bundle(result["bundle"])
    if task is LABELS:
        assert by_name["dummy"]["test"]["mean_roc_auc"] == 0.5 == by_name["dummy"]["cv_score"]
        assert by_name["logistic"]["test"]["mean_roc_auc"] > 0.85
        outputs = bundle.predict_proba(test)
        of_labels = rows[0]["test"]["labels"]
        assert set(of_labels) == {"left", "top", "rare"}
        for one, y, p in zip(of_labels.values(), test.y.T, outputs.T, strict=True):
            if one["roc_auc"] is not None:  # of the rare one there are too few
                assert one["roc_auc"] == pytest.approx(roc_auc_score(y[~np.isnan(y)], p[~np.isnan(y)]), abs=1e-6)
    else:
        learnt = f.split("train").y.mean()
        assert by_name["dummy"]["test"]["mae"] == pytest.approx(np.abs(test.y - learnt).mean())
        assert by_name["ridge"]["test"]["mae"] < 0.75 * by_name["dummy"]["test"]["mae"]
        error = mean_absolute_error(test.y, bundle.predict_proba(test))
        assert error == pytest.approx(rows[0]["test"]["mae"], rel=1e-4)
    influence = result["influence"]
    if task is LABELS:
        assert influence is None
        assert not (tmp_path / "run" / "influence.csv").exists()
    else:
        # One model in two ways: by sklearn's solver, and by the closed form.
        assert influence["value"] == pytest.approx(by_name["ridge"]["test"]["mae"], rel=1e-6)
        every = pd.read_csv(tmp_path / "run" / "influence.csv")
        assert len(every) == influence["groups"] == len(set(f.split("train").groups))
        assert list(every["group"][:10]) == [patient["group"] for patient in influence["patients"]]
    table = pd.read_csv(tmp_path / "run" / "leaderboard.csv")
    assert list(table["name"]) == [row["name"] for row in rows]
    np.testing.assert_allclose(table[f"test_{metric}"], [row["test"][metric] for row in rows])
    assert (tmp_path / "run" / "leaderboard.png").stat().st_size > 10_000


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("task", "name"),
    [(task, name) for task in (LABELS, AGE) for name in TABLES[task.kind]],
    ids=lambda value: getattr(value, "kind", value),
)
def test_every_model_survives_a_bundle(task, name, kept, tmp_path):
    f = features(kept, task)
    if task is LABELS:
        f.y[:, 2] = 0  # a label of one value is kept as that
    model = clone(TABLES[task.kind][name].model).fit(f.X, f.y)
    save_bundle(tmp_path / "b", model, f, np.arange(len(f)), scores={}, cache=kept)
    given = model.predict(f.X) if task is AGE else model.predict_proba(f.X)
    np.testing.assert_allclose(open_bundle(tmp_path / "b").predict_proba(f), given, atol=1e-5)


def test_scores_are_those_of_sklearns_search_by_hand(kept, tmp_path):
    several, number = (
        baselines(task, models=[name], cv=3, cache=kept, backbone="pixels", out=tmp_path / name)["rows"][0]
        for task, name in ((LABELS, "logistic"), (AGE, "ridge"))
    )
    f = features(kept, LABELS)
    rows, folds = training_folds(f, partition(f), 3, 0)
    X, y = f.X[rows].astype(float), f.y[rows]
    of_folds = []
    for train, test in folds:
        areas = []
        for label in range(3):
            known, judged = train[~np.isnan(y[train, label])], test[~np.isnan(y[test, label])]
            model = make_pipeline(Normalizer(), LogisticRegression(C=several["best_params"]["C"], max_iter=5000))
            model.fit(X[known], y[known, label])
            areas.append(roc_auc_score(y[judged, label], model.predict_proba(X[judged])[:, 1]))
        of_folds.append(np.mean(areas))
    assert several["cv_score"] == pytest.approx(np.mean(of_folds), abs=1e-3)

    f = features(kept, AGE)
    rows, folds = training_folds(f, partition(f), 3, 0)
    space = {"ridge__alpha": TABLES["number"]["ridge"].grid["model__alpha"]}
    search = GridSearchCV(make_pipeline(Normalizer(), Ridge()), space, cv=folds, scoring="neg_mean_absolute_error")
    search.fit(f.X[rows].astype(float), f.y[rows])
    assert number["cv_score"] == pytest.approx(search.best_score_, rel=1e-6)
    assert number["best_params"] == {"alpha": search.best_params_["ridge__alpha"]}


SEARCHES = {
    "labels, logistic": (LABELS, "logistic", {"C": [1, 10]}),
    "labels, dense": (LABELS, "dense", {"epochs": [5, 20], "units": [8], "learning_rate": [0.01]}),
    "number, svr": (AGE, "svr", {"C": [1, 10], "gamma": [1]}),
    "number, dense": (AGE, "dense", {"epochs": [5, 20], "units": [8], "learning_rate": [0.01]}),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_grid_is_searched_judged_drawn_and_kept(name, kept, tmp_path):
    task, model, params = SEARCHES[name]
    options = {"cv": 3, "cache": kept, "backbone": "pixels"}
    result = grid(task, model=model, params=params, nested=True, **options, out=tmp_path / "run")
    metric = {"labels": "mean_roc_auc", "number": "mae"}[task.kind]
    assert (result["candidates"], result["fits"], result["from_journal"]) == (2, 6, 0)
    assert result["best_score"] == result["top"][0]["score"] == max(row["score"] for row in result["top"])
    assert (result["best_score"] < 0) is (task is AGE)
    assert result["test"][metric] is not None
    assert result["nested"]["n"] == sum(result["per_split"]["train"].values() if task is AGE else [96])
    again = grid(task, model=model, params=params, **options, out=tmp_path / "again")
    assert again["from_journal"] == 6
    assert again["test"] == result["test"]
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"results.csv", "heat_maps.png", "run.json", "bundle"} <= files
    test = features(kept, task).split("test")
    outputs = open_bundle(result["bundle"]).predict_proba(test)
    assert outputs.shape == test.y.shape


def test_the_sums_of_a_search_are_sklearns(kept, tmp_path):
    """The table of candidates of ``grid``, against stock ``GridSearchCV`` over the same folds."""
    f = features(kept, LABELS)
    rows, folds = training_folds(f, partition(f), 3, 0)
    row = TABLES["labels"]["logistic"]
    grid(LABELS, model="logistic", cv=3, cache=kept, backbone="pixels", out=tmp_path / "run")
    space = {name: list(values) for name, values in row.grid.items()}
    search = GridSearchCV(with_seed(row.model, 0), space, cv=folds, scoring=label_scorer).fit(f.X[rows], f.y[rows])
    table = pd.read_csv(tmp_path / "run" / "results.csv").sort_values("C")
    np.testing.assert_array_equal(table["mean_score"], search.cv_results_["mean_test_score"])
    assert isinstance(search.best_estimator_[-1], LabelWiseClassifier)


def test_the_verbs(kept, cli):
    common = ("--no-audit", "--cache", kept, "--backbone", "pixels", "--cv", 3)
    labels = ("--task", "multilabel", "--labels", "left,top")
    shown = cli("baselines", *common, *labels, "--models", "lda,dummy")
    assert shown.code == 0, shown.err
    assert "by mean ROC area" in shown.out
    number = ("--task", "regression", "--target", "age")
    shown = cli("baselines", *common, *number, "--models", "ridge,dummy")
    assert shown.code == 0, shown.err
    assert "by mean absolute error (less is better)" in shown.out
    assert "ridge: without p" in shown.out
    assert "in training, its mean absolute error on test would be" in shown.out
    shown = cli("grid", *common, *number, "--model", "ridge", "--param", "alpha=0.1,1", "--nested")
    assert shown.code == 0, shown.err
    assert "nested cross-validation: mean absolute error" in shown.out
    shown = cli("grid", *common, *labels, "--model", "lda", "--json")
    assert shown.code == 0, shown.err
    assert shown.json["score_name"] == "mean_roc_auc"
    assert set(shown.json["test"]["labels"]) == {"left", "top"}
    shown = cli("baselines", *common, *number, "--models", "logistic")
    assert shown.code == 2
    assert "of task regression there are ridge, svr" in shown.err


def test_what_does_not_learn_a_task_is_said(kept, tmp_path):
    for task, model in ((LABELS, "svm-rbf"), (AGE, "logistic"), (AGE, "own-cnn")):
        with pytest.raises(UsageError, match=f"model '{model}' does not learn task {task.name}; expected one of dense"):
            grid(task, model=model, cache=kept, backbone="pixels", out=tmp_path / "o")
    with pytest.raises(UsageError, match="which learn classes in it"):
        grid(AGE, preset="reference", cache=kept, backbone="pixels", out=tmp_path / "o")
