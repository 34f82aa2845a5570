"""``--seeds`` and ``--repeats`` through the verbs: what is drawn anew, and that it is what single fits would give."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sklearn.base import clone
from threadpoolctl import threadpool_limits

import featcache
from featcache.errors import DataError, UsageError
from heads import DenseHeadClassifier, baselines, fit_head, grid
from heads.evaluation.splits import partition
from heads.experiments import repeated_fits
from heads.experiments.baseline_models import TABLES
from heads.experiments.divisions import derived_seed, division_digest, divisions

PATIENTS, SEEDS, REPEATS = 60, 2, 3
HEAD = {"epochs": 6, "units": 8, "learning_rate": 0.01, "batch_size": 16, "batch_norm": True}


def write(folder, copies=1):
    """Two images a patient, of classes that the lower half tells apart, not always; each as often as asked for."""
    folder.mkdir()
    rng = np.random.default_rng(4)
    with (folder / "data.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "split", "group", "left", "age"])
        for number in range(2 * PATIENTS):
            patient = number // 2
            pixels = rng.normal(100, 40, (8, 8))
            pixels[4:] += 22 * (patient % 2)
            pixels[:, :4] += 25 * (patient // 2 % 2)
            split = ("train", "train", "train", "val", "test")[patient // 2 % 5]
            for copy in range(copies):
                path = folder / f"{number:03d}-{copy}.png"
                words = PngInfo()  # by which files of the same pixels differ
                words.add_text("copy", str(copy))
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, pnginfo=words)
                of_label = patient // 2 % 2
                table.writerow(
                    [path.name, ("a", "b")[patient % 2], split, f"p{patient:02d}", of_label, round(pixels[4:].mean())]
                )
    featcache.extract(folder / "data.csv", "pixels", size=8, cache=folder / "cache")
    return folder / "cache"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return write(tmp_path_factory.mktemp("spread") / "data")


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of so small fits only wait for one another, where other processes hold the cores."""
    with threadpool_limits(1):
        yield


def options(cache, out, **besides):
    return {"backbone": "pixels", "pooling": "flatten", "cache": cache, "out": out} | besides


def test_all_values_are_those_of_single_fits(kept, tmp_path, monkeypatch):
    """In one stack, yet each head is what it would be by itself: on its division, from its seed."""
    stacked = []
    train = repeated_fits.engine.train

    def counted(X, y, shape, jobs, *rest, **besides):
        stacked.append(len(jobs))
        return train(X, y, shape, jobs, *rest, **besides)

    monkeypatch.setattr(repeated_fits.engine, "train", counted)
    spread = fit_head(**options(kept, tmp_path / "o"), **HEAD, seed=3, seeds=SEEDS, repeats=REPEATS).result["spread"]
    assert stacked == [1, SEEDS * REPEATS]  # the run's own, and all others at once
    features = featcache.load("pixels", pooling="flatten", cache=kept)
    for repeat, parts in enumerate(divisions(features, partition(features, 0.2, 3), REPEATS, 3)):
        for number in range(SEEDS):
            head = DenseHeadClassifier(**HEAD, random_state=derived_seed(3, repeat, 2 + number))
            val = features.X[parts.val], features.y[parts.val]
            head.fit(features.X[parts.train], features.y[parts.train], validation_data=val)
            hits = head.predict(features.X[parts.test]) == features.y[parts.test]
            assert spread["values"][repeat][number] == pytest.approx(hits.mean(), abs=1e-12)
    rows = list(csv.DictReader((tmp_path / "o" / "spread.csv").open()))
    assert [float(row["value"]) for row in rows] == [value for values in spread["values"] for value in values]
    assert {(row["model"], row["metric"]) for row in rows} == {("dense", "accuracy")}
    assert len({row["seed"] for row in rows}) == SEEDS * REPEATS
    assert (tmp_path / "o" / "spread.png").stat().st_size > 10_000


def test_of_one_division_the_first_value_is_the_runs_own(kept, tmp_path, cli):
    call = [
        "fit-head",
        "--cache",
        kept,
        "--backbone",
        "pixels",
        "--pooling",
        "flatten",
        "--no-audit",
        "--epochs",
        "4",
        "--batch-norm",
    ]
    done = cli(*call, "--seed", "5", "--seeds", "3", "--out", "o", "--json")
    assert done.code == 0, done.err
    spread = done.json["spread"]
    assert spread["values"][0][0] == done.json["test"]["accuracy"]
    assert (spread["repeats"], spread["seeds"], spread["one_seed"]) == (1, 3, False)
    assert spread["parts"]["split"] is None
    assert spread["total"] is None
    rows = list(csv.DictReader((tmp_path / "o" / "spread.csv").open()))
    again = cli(*call, "--seed", rows[1]["seed"], "--out", "again", "--json").json
    assert again["test"]["accuracy"] == spread["values"][0][1]
    assert "spread" not in again
    assert not (tmp_path / "again" / "spread.csv").exists()
    text = cli(*call, "--seeds", "2", "--out", "shown").out
    assert "which of these patients it learnt from" in text
    assert "not told apart" in text


@pytest.mark.parametrize("seed", [0, 7])
def test_divisions_are_of_whole_groups_in_the_runs_proportions(kept, seed):
    features = featcache.load("pixels", pooling="flatten", cache=kept)
    own = partition(features, 0.2, 0)
    made = divisions(features, own, 12, seed)
    for parts in made:
        groups = [set(features.groups[rows]) for rows in parts.parts().values()]
        assert sum(map(len, groups)) == PATIENTS == len(set.union(*groups))
        for rows, first in zip(parts.parts().values(), own.parts().values(), strict=True):
            assert abs(len(rows) - len(first)) <= 4
            assert abs(features.y[rows].mean() - 0.5) < 0.1
    assert len({tuple(parts.test) for parts in made}) == 12
    assert all(division_digest(features, [one]) != division_digest(features, [two]) for one, two in pairwise(made))
    other = featcache.load("pixels", pooling="avg", cache=kept)
    assert division_digest(other, divisions(other, own, 12, seed)) == division_digest(features, made)


def test_a_board_says_which_order_survives_and_what_has_no_seed(kept, tmp_path, cli, monkeypatch):
    call = ["baselines", "--cache", kept, "--backbone", "pixels", "--no-audit", "--cv", "3", "--repeats", "4"]
    call += ["--seeds", "2", "--models", "logistic,lda,random-forest,dummy"]
    monkeypatch.setattr("heads.experiments.baseline_search.os.cpu_count", lambda: 1)
    forest = TABLES["classes"]["random-forest"]
    trees = {name: 10 for name in forest.model.get_params() if name.split("__")[-1] == "n_estimators"}
    monkeypatch.setitem(
        TABLES["classes"], "random-forest", replace(forest, model=clone(forest.model).set_params(**trees))
    )
    done = cli(*call, "--out", "o")
    assert done.code == 0, done.err
    board = json.loads((tmp_path / "o" / "run.json").read_text())
    rows = {row["name"]: row["spread"] for row in board["rows"]}
    for name in ("logistic", "lda", "dummy"):
        assert rows[name]["has_seed"] is False
        assert rows[name]["parts"]["seed"] == 0.0
        assert all(len(set(values)) == 1 for values in rows[name]["values"])
    assert rows["random-forest"]["has_seed"] is True
    assert rows["dummy"]["parts"]["test_images"] == 0.0
    first, *others = board["rows"]
    assert "against_first" not in first["spread"]
    for row in others:
        one, two = (np.array(found["spread"]["values"]) for found in (first, row))
        found = row["spread"]["against_first"]
        seeds = 1 if first["spread"]["has_seed"] is row["spread"]["has_seed"] is False else 2
        assert found["first"] == first["name"]
        assert found["of"] == 4 * seeds
        assert found["better"] == (one > two)[:, :seeds].sum()
        assert found["difference"] == pytest.approx((one - two).mean())
    text = done.out
    assert "logistic, lda, dummy" in text.replace("lda, logistic", "logistic, lda")
    assert "have no seed, the same comes out each time" in text
    assert f"{first['name']} better than dummy in" in text
    assert len(list(csv.DictReader((tmp_path / "o" / "spread.csv").open()))) == 4 * 4 * 2


def test_seeds_alone_of_a_convex_model_give_no_spread(kept, cli):
    call = [
        "grid",
        "--cache",
        kept,
        "--backbone",
        "pixels",
        "--pooling",
        "flatten",
        "--no-audit",
        "--model",
        "logistic",
    ]
    text = cli(*call, "--param", "C=0.01,1", "--seeds", "4", "--out", "o").out
    assert "this model has no seed: it gives the same each time" in text


def test_five_copies_of_every_patient_leave_the_parts_as_they_are(tmp_path):
    """Of a model that copies do not change: 10 images a patient say no more than 2."""
    found = []
    for copies in (1, 5):
        cache = write(tmp_path / f"{copies}", copies)
        settings = {"model": "lda", "params": {"n_components": [0.7]}, "cv": 2}
        found.append(grid(**options(cache, tmp_path / f"o{copies}", **settings), repeats=8)["spread"])
    alone, copied = found
    assert alone["parts"]["test_images"] > 0.02
    for part in ("test_images", "split"):
        assert copied["parts"][part] == pytest.approx(alone["parts"][part], abs=1e-9)
    assert np.allclose(copied["values"], alone["values"])
    assert copied["n"] == [5 * count for count in alone["n"]]


@pytest.mark.parametrize("model", ["dense", "lda"])
def test_how_often_the_winner_of_a_search_stays_first(model, kept, tmp_path):
    params = {"dense": {"learning_rate": [0.0001, 0.01]}, "lda": {"shrinkage": ["auto", 0.9]}}[model]
    fixed = {"epochs": [4], "units": [8]} if model == "dense" else {}
    result = grid(
        **options(kept, tmp_path / "o", model=model, params={**params, **fixed}), cv=2, seeds=2, repeats=REPEATS
    )
    spread, winner = result["spread"], result["spread"]["winner"]
    assert winner["of"] == REPEATS
    assert winner["first"] + winner["tied"] <= REPEATS
    assert [set(one["params"]) >= set(params) for one in winner["candidates"]] == [True, True]
    assert winner["candidates"][0]["params"][next(iter(params))] == result["best_params"][next(iter(params))]
    assert winner["candidates"][0]["mean"] == pytest.approx(np.mean([values[0] for values in spread["values"]]))
    assert (tmp_path / "o" / "spread.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("task", "metric"),
    [(featcache.Multilabel(("left",)), "mean_roc_auc"), (featcache.Regression("age"), "mae")],
    ids=["labels", "number"],
)
def test_labels_and_numbers(task, metric, kept, tmp_path):
    head = {**HEAD, "epochs": 30}  # trained well enough that two seeds agree on something
    spread = fit_head(task, **options(kept, tmp_path / "o"), **head, seeds=2, repeats=3).result["spread"]
    assert spread["metric"] == metric
    assert all(0 < value < 60 for values in spread["values"] for value in values)
    assert spread["parts"]["test_images"] > 0
    assert spread["parts"]["seed"] > 0
    name = {"labels": "logistic", "number": "ridge"}[task.kind]
    board = baselines(task, **options(kept, tmp_path / "b"), models=[name], cv=2, repeats=3)
    assert board["rows"][0]["spread"]["metric"] == metric
    assert board["rows"][0]["spread"]["one_seed"]


def test_too_few_patients_and_too_many_draws_end_in_a_sentence(kept, tmp_path):
    with pytest.raises(UsageError, match="--seeds 0: expected 1 to 1,000"):
        fit_head(**options(kept, tmp_path / "o"), seeds=0)
    with pytest.raises(UsageError, match="--repeats 1001: expected 1 to 1,000"):
        baselines(**options(kept, tmp_path / "o"), repeats=1001)
    rare = tmp_path / "rare"
    rare.mkdir()
    rows = []
    for number in range(24):
        Image.new("L", (8, 8), 3 * number).save(rare / f"{number}.png")
        split = "train" if number < 16 else "test"
        group = "one" if number in (0, 16) else str(number)
        rows.append((f"{number}.png", "b" if number in (0, 16) else "a", split, group))
    with (rare / "data.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "group"), *rows])
    featcache.extract(rare / "data.csv", "pixels", size=8, cache=rare / "cache")
    with pytest.raises(DataError, match=r"leave --repeats out|leave the class out"):
        baselines(**options(rare / "cache", tmp_path / "o"), models=["dummy"], cv=2, repeats=3)
