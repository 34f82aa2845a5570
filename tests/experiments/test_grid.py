"""The verb ``grid``, from features to a bundle."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pictures import write_images
from PIL import Image
from surroundings import OFFLINE, ROOT

import featcache
from featcache.errors import DataError, UsageError
from heads.evaluation import comparison_plots
from heads.experiments.hyperparameter_search import grid
from heads.experiments.reference import BEST, GRIDS
from heads.search.candidate_checks import Between

CLASSES = ("covid", "normal", "pneumonia_bac", "pneumonia_vir")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Brightness tells the classes apart."""
    folder = tmp_path_factory.mktemp("grid")
    for split, count in (("train", 48), ("test", 16)):
        for path in write_images(folder / "d" / split, count, CLASSES, size=24, seed=count):
            level = CLASSES.index(path.parent.name)
            Image.fromarray(np.asarray(Image.open(path)) // 4 + 60 * level).save(path)
    featcache.extract(folder / "d", "mobilenet", weights="random", size=64, cache=folder / "cache")
    return folder / "cache"


def test_a_grid_is_searched_judged_drawn_and_kept(kept, tmp_path, cli):
    values = ("--param", "learning_rate=0.001,0.01", "--param", "epochs=5,10", "--param", "units=8x4")
    call = ("grid", "--no-audit", "--cache", kept, "--pooling", "avg", *values, "--json")
    done = cli(*call, "--out", "o")
    assert done.code == 0, done.err
    result = done.json
    assert (result["candidates"], result["folds"], result["fits"], result["from_journal"]) == (4, 3, 12, 0)
    assert set(result["best_params"]) == {"learning_rate", "epochs", "units"}
    assert {"load", "audit", "search", "evaluate", "bundle", "draw"} <= set(result["phases"])
    assert {"accuracy", "accuracy_ci", "confusion", "n"} <= set(result["test"])
    out = tmp_path / "o"
    for name in ("heat_maps.png", "confusion.png", "roc.png", "precision_recall.png", "run.json"):
        assert (out / name).stat().st_size > 500, name
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert len(rows) == 4
    assert [int(row["rank"]) for row in rows] == sorted(int(row["rank"]) for row in rows)
    assert float(rows[0]["mean_score"]) == result["best_score"]
    image = next((kept.parent / "d" / "test" / "covid").iterdir())
    answer = cli("predict", out / "bundle", image, "--cache", "fresh", "--json")
    assert answer.code == 0, answer.err

    shown = cli(*call[:-1], "--out", "o2")
    assert "4 candidates x 3 folds, 12 of them from an earlier search" in shown.out
    assert "the best, refitted on all training rows" in shown.out
    again = json.loads((tmp_path / "o2" / "run.json").read_text())
    same = ("best_params", "best_score", "test", "top")
    assert {name: again[name] for name in same} == {name: result[name] for name in same}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("model", ["dense", pytest.param("own-cnn", marks=pytest.mark.slow)])
def test_what_takes_long_is_said_before_it_starts(kept, model, tmp_path, monkeypatch, caplog):
    """Measured on a few epochs, before the first cell; of small heads and short searches nothing is measured."""
    monkeypatch.setattr("heads.search.epoch_sharing._WORTH_TIMING", 20)
    monkeypatch.setattr("heads.training.architectures.LARGE", 1000)  # parameters: heads of 1,024 columns are large then
    caplog.set_level("INFO", logger="heads.experiments")
    told, cache, units = [], kept, 8
    if model == "own-cnn":
        cache, units = tmp_path / "cache", 4
        featcache.extract(kept.parent / "d", "pixels", size=16, cache=cache)
    params = {"learning_rate": [0.001, 0.01], "epochs": [5, 2], "units": [units]}
    options = {"model": model, "pooling": "avg", "cache": cache, "cv": 2, "params": params}
    options["on_cell"] = lambda progress: told.append("measured on a few epochs" in caplog.text)
    result = grid(**options, out=tmp_path / "o")
    assert told
    assert all(told)
    assert "5 trainings of at most 5 epochs" in caplog.text  # two rates, two folds, and the refit
    assert 0 < result["estimated_seconds"] < 100 * result["seconds"]
    assert json.loads((tmp_path / "o" / "run.json").read_text())["estimated_seconds"] == result["estimated_seconds"]
    assert grid(**options, out=tmp_path / "again")["estimated_seconds"] is None  # all of it stands in the journal
    monkeypatch.setattr("heads.search.epoch_sharing._WORTH_TIMING", 21)
    assert grid(**options, restart=True, out=tmp_path / "short")["estimated_seconds"] is None


@pytest.mark.usefixtures("undrawn")
def test_the_sample_is_searched_on_pooled_features(tmp_path, cli):
    where = ("--cache", tmp_path / "cache")
    assert cli("extract", *where, "--backbone", "mobilenet", "--size", 64).code == 0
    call = ("grid", *where, "--no-audit", "--param", "epochs=2", "--json")
    done = cli(*call)
    assert (done.code, done.json["pooling"]) == (0, "avg"), done.err
    assert "1024 columns, in longer trainings; --preset reference --pooling flatten searches all 4,096" in done.err
    assert cli(*call, "--pooling", "flatten").json["pooling"] == "flatten"
    named = cli(*call, "--data", tmp_path / "cache" / "sample" / "v1")
    assert (named.json["pooling"], named.json["synthetic"]) == ("avg", True)


@pytest.mark.usefixtures("undrawn")
def test_the_sample_has_a_grid_of_its_own(tmp_path, monkeypatch):
    """Only where neither features nor values are asked for."""
    monkeypatch.setattr("heads.experiments.hyperparameter_search.SAMPLE_GRID", {"epochs": [1, 2]})
    cache = tmp_path / "cache"
    featcache.extract(None, "mobilenet", weights="random", size=32, cache=cache)
    own = grid(cache=cache, cv=2, out=tmp_path / "own")
    assert (own["pooling"], own["candidates"], own["reference_best"]) == ("avg", 2, None)
    assert grid(cache=cache, cv=2, params={"epochs": [1]}, out=tmp_path / "given")["candidates"] == 1
    knn = grid(cache=cache, cv=2, model="knn", params={"n_neighbors": [1]}, out=tmp_path / "knn")
    assert knn["pooling"] == "flatten"


@pytest.mark.usefixtures("undrawn")
def test_own_data_is_searched_on_flattened_features(kept, tmp_path):
    assert grid(params={"epochs": [1]}, cv=2, cache=kept, out=tmp_path / "o")["pooling"] == "flatten"


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("model", ["svm-rbf", "random-forest", "knn"])
def test_grids_of_the_baselines(kept, model, tmp_path):
    result = grid(model=model, pooling="avg", cache=kept, out=tmp_path / "o")
    assert result["reference_best"] is None
    assert result["fits"] == 3 * result["candidates"] > 3
    assert result["top"][0]["score"] == result["best_score"]
    assert (tmp_path / "o" / "bundle" / "bundle.json").exists()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_random_halving_and_nested(kept, tmp_path):
    space = {"learning_rate": Between(1e-4, 1e-1), "dropout": Between(0.0, 0.5), "batch_size": Between(8, 32)}
    drawn = grid(params=space, method="random", iterations=3, pooling="avg", cache=kept, out=tmp_path / "r")
    assert drawn["candidates"] == 3
    assert 1e-4 <= drawn["best_params"]["learning_rate"] <= 1e-1
    with pytest.raises(UsageError, match="needs values"):
        grid(params=space, pooling="avg", cache=kept)
    few = {"learning_rate": [1e-4, 1e-3, 1e-2], "epochs": [9]}
    with pytest.raises(DataError, match="too few for halving"):
        grid(params=few, method="halving", pooling="avg", cache=kept)
    halved = grid(params=few, method="halving", force=True, pooling="avg", cache=kept, out=tmp_path / "h")
    assert halved["candidates"] == 4  # three at first, then one of them for longer
    assert "n_resources" in (tmp_path / "h" / "results.csv").read_text().splitlines()[0]
    nested = grid(params={"C": [1, 100]}, model="logistic", nested=True, pooling="avg", cache=kept, out=tmp_path / "n")[
        "nested"
    ]
    assert nested["n"] == 48
    assert len(nested["best_params"]) == 3
    assert nested["accuracy_ci"][0] <= nested["accuracy"] <= nested["accuracy_ci"][1]


def test_the_references_grids():
    sizes = {key: int(np.prod([len(v) for v in values.values()])) for key, values in GRIDS.items()}
    assert sizes == {("binary", "dense"): 90, ("multiclass", "dense"): 18, ("multiclass", "own-cnn"): 36}
    for key, best in BEST.items():
        assert all(value in GRIDS[key][name] for name, value in best.items())


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--param", "learning_rat=0.1"), 2, "no parameter 'learning_rat'"),
        (("--param", "learning_rate"), 2, "expected NAME=V,V"),
        (("--param", "dropout=0.5..0.1"), 2, "two numbers"),
        (("--model", "oracle"), 2, "model 'oracle' is unknown"),
        (("--method", "magic"), 2, "'magic' is not one of"),
        (("--preset", "mine"), 2, "'mine' is not 'reference'"),
        (("--preset", "report"), 2, "'report' is not 'reference'"),
        (("--preset", "reference", "--model", "knn"), 2, "--preset reference"),
        (("--memory", "lots"), 2, "such as 500MB"),
        (("--cv", "1"), 2, "1 is not in the range x>=2"),
        (("--cv", "13"), 3, "13 folds"),
    ],
)
def test_bad_calls(kept, cli, options, code, message):
    done = cli("grid", "--no-audit", "--cache", kept, "--pooling", "avg", *options)
    assert done.code == code
    assert message in done.err
    assert "Traceback" not in done.err


def test_an_interrupt_leaves_a_table_and_goes_on(kept, tmp_path):
    grid(params={"epochs": [1]}, cache=kept, out=tmp_path / "first")  # makes the journal
    # A shape of its own each: heads of one shape are trained side by side, and would all end in the same moment.
    values = ",".join(str(units) for units in range(8, 48))
    params = ("--param", f"units={values}", "--param", "epochs=40")
    call = [sys.executable, ROOT / "cli.py", "grid", "--no-audit", "--cache", kept, *params]
    env = {**os.environ, **OFFLINE}
    process = subprocess.Popen([*call, "--out", "a"], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    journal = next((kept / "searches").glob("multiclass-dense-*.journal"))
    deadline, before = time.monotonic() + 120, journal.read_bytes().count(b"\n")
    while time.monotonic() < deadline and journal.read_bytes().count(b"\n") < before + 3:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == 130, messages
    assert "cells are kept" in messages
    table = list(csv.DictReader((tmp_path / "a" / "partial_results.csv").open()))
    assert table
    assert {"mean_score", "folds_done", "units"} <= set(table[0])
    done = [int(row["units"]) for row in table if int(row["folds_done"])]
    again = grid(params={"units": done[:2], "epochs": [40]}, cache=kept, out=tmp_path / "b", audit=False)
    assert again["from_journal"] >= 3


def test_heat_maps_of_one_parameter_and_of_failures():
    one = comparison_plots.heat_maps(["C"], [[0.1], [1], [10]], [0.5, np.nan, 0.7], "one")
    assert [text.get_text() for text in one.axes[0].texts] == ["0.500", "0.700"]
    rows = [[a, b, c] for a in (1, 2) for b in ("relu", "sigmoid") for c in (None, 3)]
    three = comparison_plots.heat_maps(["a", "b", "c"], rows, np.linspace(0, 1, 8), "three")
    assert sum(axis.get_visible() for axis in three.axes) == 3


def test_a_bar_on_a_terminal_shows_the_best_so_far(kept, tmp_path):
    master, slave = pty.openpty()
    arguments = ("grid", "--model", "knn", "--pooling", "avg", "--cache", kept, "--out", tmp_path / "o", "--no-audit")
    command = [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]
    with subprocess.Popen(
        command, stderr=slave, stdout=subprocess.PIPE, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    ) as run:
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is gone with the process
            while part := os.read(master, 4096):
                shown += part
        out = run.stdout.read().decode()
    os.close(master)
    assert run.returncode == 0
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode()
    best = json.loads((tmp_path / "o" / "run.json").read_text())["best_score"]
    assert re.search(r"(\d+)/\1 fits; best", text)
    assert f"best {best:.4f}" in text
    assert "fits; best" not in out
