"""Several labels and numbers from the table to the answer: head, bundle, other images, patients, subgroups, sites."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from findings import LABELS, write_findings
from sklearn.metrics import average_precision_score, roc_auc_score

import featcache
from featcache import Multilabel, Regression
from featcache.errors import UsageError
from heads import compare, evaluate_bundle, fit_head, open_bundle, predict, tsne


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("findings")
    table = write_findings(folder / "here")
    featcache.extract(table, "pixels", size=16, cache=folder / "c")
    return folder


SETTINGS = {"backbone": "pixels", "units": 16, "batch_norm": True, "learning_rate": 0.01, "epochs": 40}


@pytest.fixture(scope="module")
def labels(made):
    options = {"cv": 3, "by": "sex,view,age:0-40-65-", "per_patient": "max", "sensitivity": 0.9, "prevalence": 0.02}
    return fit_head(
        Multilabel(LABELS), **SETTINGS, **options, calibration="sigmoid", cache=made / "c", out=made / "labels"
    )


@pytest.fixture(scope="module")
def ages(made):
    return fit_head(
        Regression("age"), **SETTINGS, leave_out="view", per_patient="mean", cache=made / "c", out=made / "ages"
    )


def columns(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# -- several labels ---------------------------------------------------------------------------------


def test_each_label_is_judged_on_the_rows_that_know_it(labels):
    test, features, rows = labels.result["test"], labels.features, labels.parts.test
    for label, name in enumerate(LABELS):
        y, p = features.y[rows, label], labels.probabilities[rows, label]
        known = ~np.isnan(y)
        of = test["labels"][name]
        assert (of["n"], of["positives"]) == (known.sum(), (y == 1).sum())
        if of["roc_auc"] is not None:
            assert of["roc_auc"] == pytest.approx(roc_auc_score(y[known], p[known]))
            assert of["average_precision"] == pytest.approx(average_precision_score(y[known], p[known]))
            assert of["roc_auc_ci"][0] <= of["roc_auc"] <= of["roc_auc_ci"][1]
    assert test["mean_roc_auc"] > 0.9
    assert labels.result["cross_validated"]["test"]["n"] == len(features)
    assert labels.result["cross_validated"]["test"]["mean_roc_auc"] > 0.9


def test_what_a_call_means_where_few_have_it(labels):
    test = labels.result["test"]
    assert test["predictive_values"]["prevalence"] == 0.02
    for name, of in test["predictive_values"]["of"].items():
        one = test["labels"][name]
        right, wrong = 0.02 * one["sensitivity"], 0.98 * (1 - one["specificity"])
        assert of["ppv"] == pytest.approx(right / (right + wrong))
        assert of["ppv_ci"][0] <= of["ppv"] <= of["ppv_ci"][1]
    assert set(test["per_patient"]["predictive_values"]["of"]) == set(LABELS)


def test_a_prevalence_of_a_number_is_refused(made):
    with pytest.raises(UsageError, match="--prevalence"):
        fit_head(Regression("age"), **SETTINGS, prevalence=0.02, cache=made / "c", out=made / "none")
    assert not (made / "none").exists()


def test_patients_and_subgroups_stand_beside_images(labels):
    test, features = labels.result["test"], labels.features
    assert test["per_patient"]["n"] == len(set(features.groups[labels.parts.test]))
    assert test["per_patient"]["how"] == "max"
    subgroups = test["subgroups"]["columns"]
    assert list(subgroups) == ["sex", "view", "age"]
    assert sum(part["images"] for part in subgroups["view"]["subgroups"].values()) == test["n"]
    assert list(subgroups["age"]["subgroups"]) == ["0 to 40", "40 to 65", "65 and more"]


def test_the_bundle_answers_as_the_head_did(labels, made):
    opened = open_bundle(labels.result["bundle"])
    assert (opened.task.kind, opened.classes) == ("labels", LABELS)
    np.testing.assert_allclose(opened.predict_proba(labels.features), labels.probabilities, atol=1e-6)
    paths = labels.features.paths[:3]
    np.testing.assert_allclose(opened.predict_images(paths), labels.probabilities[:3], atol=1e-5)
    rows = predict(labels.result["bundle"], paths, cache=made / "c")["rows"]
    said = opened.labels(labels.probabilities)
    assert [row["labels"] for row in rows] == [
        [name for name, has in zip(LABELS, answer, strict=True) if has] for answer in said[:3]
    ]
    assert list(rows[0]["probabilities"]) == list(LABELS)


def test_thresholds_find_what_was_wanted_on_validation_images(labels):
    opened, val = open_bundle(labels.result["bundle"]), labels.parts.val
    assert len(opened.threshold) == 3
    for label, chosen in enumerate(opened.about["threshold"]):
        if chosen is not None:
            has = labels.features.y[val, label] == 1
            found = (labels.probabilities[val, label] >= chosen["value"])[has]
            assert found.mean() >= 0.9


def test_other_images_some_labels_of_which_nobody_noted(labels, made, cli):
    there = write_findings(made / "there", patients=60, seed=1)
    lines = there.read_text().replace("Nodule", "Other").splitlines()
    there.write_text("\n".join(lines) + "\n")
    result = evaluate_bundle(
        labels.result["bundle"], there, by="sex", per_patient="mean", prevalence=0.1, cache=made / "c", out=made / "e"
    )
    assert result["test"]["predictive_values"]["of"]["Nodule"]["ppv"] is None
    assert 0.5 < result["test"]["predictive_values"]["of"]["Edema"]["ppv"] <= 1
    assert result["test"]["labels"]["Nodule"]["n"] == 0
    assert result["test"]["labels"]["Edema"]["roc_auc"] > 0.9
    assert result["test"]["per_patient"]["n"] == len(
        {row["path"].split("/")[-1][:3] for row in columns(made / "e" / "predictions.csv")}
    )
    assert {entry.name for entry in (made / "e").iterdir()} >= {"labels.png", "predictions.csv", "run.json"}
    rows = columns(made / "e" / "predictions.csv")
    assert {row["Nodule"] for row in rows} == {""}
    shown = cli("evaluate", labels.result["bundle"], "--data", there, "--cache", made / "c", "--by", "sex")
    assert shown.code == 0
    assert "ROC area" in shown.out
    assert "too few to say" in shown.out


def test_two_models_of_labels(labels, made):
    worse = fit_head(
        Multilabel(tuple(reversed(LABELS))), **{**SETTINGS, "epochs": 1}, cache=made / "c", out=made / "worse"
    )
    result = compare(labels.result["bundle"], worse.result["bundle"], cache=made / "c", out=made / "cmp")
    assert result["shown"]
    assert result["verdict"].startswith("A has the better mean ROC area")
    gap = result["labels"]["Edema"]
    a, b = (result[side]["test"]["labels"]["Edema"]["roc_auc"] for side in "ab")
    assert gap["value"] == pytest.approx(a - b)
    assert gap["ci"][0] <= gap["value"] <= gap["ci"][1]


@pytest.mark.parametrize("how", ["mean", "max", "noisy-or"])
def test_patients_in_predict_and_compare(labels, ages, made, how):
    paths = [path for path in labels.features.paths if "/00" in path]
    result = predict(labels.result["bundle"], paths, per_patient=how, group_regex=r"(\d{3})_\d", cache=made / "c")
    assert [row["patient"] for row in result["patients"]] == list(
        dict.fromkeys(path.split("/")[-1][:3] for path in paths)
    )
    first = [row["probabilities"]["Edema"] for row in result["rows"] if "/000_" in row["path"]]
    wanted = {"mean": np.mean(first), "max": max(first), "noisy-or": 1 - np.prod(1 - np.array(first))}[how]
    assert result["patients"][0]["probabilities"]["Edema"] == pytest.approx(wanted)
    assert result["patients"][0]["images"] == len(first)
    both = [labels.result["bundle"]] * 2
    compared = compare(*both, per_patient=how, cache=made / "c", out=made / f"same-{how}")
    assert compared["per_patient"]["n"] == 40
    assert compared["per_patient"]["differences"]["mean_roc_auc"]["value"] == 0


def test_labels_on_a_map(labels, made):
    result = tsne(labels.result["bundle"], cache=made / "c", split="test", out=made / "map")
    rows = columns(made / "map" / "tsne.csv")
    assert len(rows) == result["rows"] == len(labels.parts.test)
    assert {row["label"] for row in rows} <= {"none of them", *LABELS}
    again = predict(
        labels.result["bundle"], labels.features.paths[:2], on_map=made / "map", cache=made / "c", out=made / "on"
    )
    assert columns(made / "on" / "map.csv")[0]["predicted"] in {"none of them", *LABELS}
    assert again["rows"]


# -- a number ---------------------------------------------------------------------------------------


def test_a_number_is_learnt_and_given_back_in_its_unit(ages, made):
    test = ages.result["test"]
    assert test["mae"] < 12
    assert test["mae_ci"][0] <= test["mae"] <= test["mae_ci"][1]
    assert test["r2"] > 0.7
    y, told = ages.features.y[ages.parts.test], ages.probabilities[ages.parts.test]
    assert test["mae"] == pytest.approx(np.abs(told - y).mean())
    assert test["per_patient"]["n"] == 40
    opened = open_bundle(ages.result["bundle"])
    np.testing.assert_allclose(opened.predict_proba(ages.features), ages.probabilities, rtol=1e-5)
    row = predict(ages.result["bundle"], ages.features.paths[:1], cache=made / "c")["rows"][0]
    assert row["value"] == pytest.approx(ages.probabilities[0], rel=1e-4)
    assert (made / "ages" / "predicted.png").is_file()


def test_each_site_left_out(ages):
    sites = {row["site"]: row for row in ages.result["leave_out"]["sites"]}
    views = ages.features.metadata_columns["view"]
    assert {name: row["n"] for name, row in sites.items()} == {name: (views == name).sum() for name in ("AP", "PA")}
    assert ages.result["leave_out"]["worst"] in sites


def test_two_models_of_a_number(ages, made):
    worse = fit_head(Regression("age"), **{**SETTINGS, "epochs": 1}, cache=made / "c", out=made / "worse-age")
    result = compare(worse.result["bundle"], ages.result["bundle"], cache=made / "c", out=made / "cmp-age")
    assert result["verdict"].startswith("B has the better mean absolute error")
    assert result["differences"]["mae"]["value"] > 0


# -- what is asked wrongly --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--task", "multilabel"], 2, "name the columns of 0 and 1 with --labels"),
        (["--task", "multilabel", "--labels", "sex"], 3, "column 'sex' holds '"),
        (["--task", "regression", "--target", "sex"], 3, "no numbers"),
        (["--task", "regression"], 2, "--target"),
        (["--task", "binary", "--labels", "Edema"], 2, "--labels is of another task than binary"),
        (["--task", "multilabel", "--classes", "a,b"], 2, "--classes is of another task than multilabel"),
        (["--task", "multilabel", "--labels", "Edema", "--model", "own-cnn"], 2, "does not learn task multilabel"),
        (["--task", "regression", "--target", "age", "--sensitivity", "0.9"], 2, "regression gives numbers"),
        (["--task", "regression", "--target", "age", "--per-patient", "max"], 2, "expected mean"),
        (["--task", "regression", "--target", "age", "--by", "ward"], 3, "no such column"),
        (["--task", "regression", "--target", "age", "--leave-out", "age"], 2, "different values"),
        (["--task", "multiclass"], 3, "no column 'label'"),
    ],
)
def test_bad_asking_is_a_sentence(made, cli, tmp_path, options, code, says):
    done = cli("fit-head", *options, "--backbone", "pixels", "--epochs", "1", "--cache", made / "c", "--no-audit")
    assert done.code == code
    assert says in done.err.replace("\n", " ")
    assert "Traceback" not in done.err


def test_the_command_line_in_json(made, cli, tmp_path):
    asked = ["--task", "multilabel", "--label-column", "findings", "--backbone", "pixels", "--epochs", "2"]
    done = cli("fit-head", *asked, "--cache", made / "c", "--out", tmp_path / "r", "--no-audit", "--json")
    result = json.loads(done.out)
    assert result["task"] == "multilabel"
    assert sorted(result["classes"]) == sorted(LABELS)
    assert set(result["test"]["labels"]) == set(LABELS)
    assert result["per_split"]["test"] == {name: of["positives"] for name, of in result["test"]["labels"].items()}
