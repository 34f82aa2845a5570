"""The verb ``learning-curve`` on every kind of task: what it says, writes, and what a page makes of it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from command_line import run_within
from findings import LABELS, write_findings

import featcache
from featcache import Multilabel, Regression
from featcache.data.synthetic import write_sample
from featcache.errors import DataError, UsageError
from heads import baselines, learning_curve, report


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Features of images of several labels and an age."""
    folder = tmp_path_factory.mktemp("curves")
    table = write_findings(folder / "images", patients=60)
    featcache.extract(table, "pixels", size=16, cache=folder / "c")
    return folder, table


@pytest.fixture(scope="module")
def labels(kept):
    folder, _ = kept
    options = {"backbone": "pixels", "pooling": "flatten", "repeats": 4, "cache": folder / "c"}
    return learning_curve(Multilabel(LABELS), more=[30, 1000], **options, out=folder / "runs" / "curve")


def test_it_says_what_it_measured_and_forecasts(kept, labels):
    assert labels["metric"] == "mean_roc_auc"
    curve = labels["curve"]
    assert len(curve) == 7
    assert [point["patients"] for point in curve] == sorted(point["patients"] for point in curve)
    assert (curve[-1]["patients"], curve[-1]["images"]) == (60, labels["images"])
    assert all(point["low"] <= point["score"] <= point["high"] for point in curve)
    assert list(labels["classes"]) == list(LABELS)
    near, far = labels["forecast"]
    assert (near["more"], near["patients"], far["patients"]) == (30, 90, 1060)
    assert far["score"] is None
    assert far["said"].startswith("Cannot say")
    if labels["cannot_say"] is None:
        assert near["score_ci"][0] <= near["score"] <= near["score_ci"][1]
        assert near["gain_ci"][0] <= near["gain"] <= near["gain_ci"][1]
        assert "30 more patients" in labels["said"]


def test_the_run_folder_holds_what_was_said(kept, labels):
    folder = kept[0] / "runs" / "curve"
    about = json.loads((folder / "run.json").read_text())
    assert {name: about[name] for name in labels} == json.loads(json.dumps(labels))
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    with (folder / "learning_curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    measured = [row for row in rows if (row["metric"], row["what"]) == ("mean_roc_auc", "measured")]
    np.testing.assert_allclose(
        [float(row["score"]) for row in measured], [point["score"] for point in labels["curve"]], rtol=1e-5
    )
    assert {row["metric"] for row in rows} == {"mean_roc_auc", *(f"roc_auc of {name}" for name in LABELS)}


def test_the_page_begins_with_the_sentence(kept, labels):
    folder = kept[0]
    options = {"backbone": "pixels", "models": ["dummy"], "cv": 2, "cache": folder / "c"}
    baselines(Multilabel(LABELS), **options, out=folder / "runs" / "board")
    page = folder / "page.html"
    report(folder / "runs", cache=folder / "c", out=page)
    text = page.read_text()
    assert "What more images would buy" in text
    assert labels["said"] in text
    assert text.count('class="solid"') == 7
    about = json.loads((folder / "runs" / "curve" / "run.json").read_text())
    broken = folder / "broken"
    for name in ("board", "curve"):
        (broken / name).mkdir(parents=True)
    (broken / "board" / "run.json").write_bytes((folder / "runs" / "board" / "run.json").read_bytes())
    (broken / "curve" / "run.json").write_text(json.dumps({**about, "curve": [{"patients": 0}]}))
    with pytest.raises(DataError, match="curve"):
        report(broken, cache=folder / "c")


def test_of_a_number(kept):
    folder, _ = kept
    result = learning_curve(
        Regression("age"), backbone="pixels", pooling="flatten", repeats=3, cache=folder / "c", out=folder / "ages"
    )
    assert result["metric"] == "mae"
    assert result["lower_is_better"]
    assert [one["more"] for one in result["forecast"]] == [30, 60]
    assert list(result["classes"]) == ["age"]
    assert result["curve"][-1]["score"] < result["curve"][0]["score"]


def test_the_command_line(tmp_path):
    cache = tmp_path / "c"
    images = write_sample(tmp_path / "images", train=10, test=2)
    featcache.extract(images, "pixels", size=8, cache=cache)
    options = ["--cache", str(cache), "--repeats", "2", "--no-audit", "--more", "12,20", "--backbone", "pixels"]
    told = run_within(tmp_path, "learning-curve", "--json", *options, "--out", "one")
    assert told.code == 0, told.err
    result = json.loads(told.out)
    assert result["metric"] == "balanced_accuracy"
    assert [one["more"] for one in result["forecast"]] == [12, 20]
    told = run_within(tmp_path, "learning-curve", *options, "--out", "two")
    assert told.code == 0, told.err
    assert result["said"] in told.out
    for name in result["classes"]:
        assert f"recall of {name}" in told.out


@pytest.mark.parametrize(
    ("asked", "words"), [({"more": 0}, "above 0"), ({"more": []}, "above 0"), ({"repeats": 1}, "2 or more")]
)
def test_what_makes_no_curve_is_a_sentence(asked, words):
    with pytest.raises(UsageError, match=words):
        learning_curve(**asked)
