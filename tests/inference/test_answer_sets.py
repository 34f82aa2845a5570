"""Sets of answers from the table to the command line: which patients calibrate, what bundles carry, what is refused."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from findings import LABELS, write_findings
from sklearn.base import clone
from surroundings import GOLDEN

import featcache
from featcache import Multilabel, Regression
from featcache.errors import BundleError, UsageError
from featcache.system import atomic_files, tensor_files
from heads import baselines, evaluate_bundle, fit_head, grid, open_bundle, predict
from heads.bundles.integrity import ABOUT, HELD_OUT, digest, written
from heads.commands.set_lines import promise_lines, set_lines
from heads.evaluation.held_out_scores import HeldOutScores
from heads.evaluation.splits import partition, training_folds
from heads.experiments.calibration_patients import scores_of_validation

SETTINGS = {"backbone": "pixels", "units": 16, "batch_norm": True, "learning_rate": 0.01, "epochs": 15}


def write_set(folder, patients, seed=0):
    """The images of :func:`write_findings`, of two classes besides."""
    table = write_findings(folder, patients, seed)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "label"])
        writer.writeheader()
        for row in rows:  # of one patient in five the label is the other one, so that no model is always right
            ill = ("Edema" in row["findings"]) != (int(row["group"][1:]) % 5 == 1)
            writer.writerow({**row, "label": "ill" if ill else "well"})
    return table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    featcache.extract(write_set(folder / "here", 120), "pixels", size=16, cache=folder / "c")
    return folder


@pytest.fixture(scope="module")
def fitted(made):
    return fit_head(
        "binary",
        classes=("well", "ill"),
        **SETTINGS,
        calibration="sigmoid",
        by="sex,view",
        cache=made / "c",
        out=made / "run",
    )


@pytest.fixture(scope="module")
def labels(made):
    return fit_head(Multilabel(LABELS), **SETTINGS, cache=made / "c", out=made / "labels")


@pytest.fixture(scope="module")
def ages(made):
    return fit_head(Regression("age"), **{**SETTINGS, "epochs": 60}, cache=made / "c", out=made / "ages")


# -- who calibrates ------------------------------------------------------------------------------------


def test_a_head_is_calibrated_by_its_validation_patients_and_judged_on_test(fitted):
    f, parts, result = fitted.features, fitted.parts, fitted.result
    opened = open_bundle(result["bundle"])
    scores = opened.held_out
    assert len(scores.scores) == len(parts.val)
    assert len(np.unique(scores.patients)) == len(set(f.groups[parts.val])) == result["conformal"]["patients"]
    # One that learnt the sigmoid from his own images would have another score.
    mended = fitted.probabilities[parts.val]
    own = np.where(mended.argmax(axis=1) == f.y[parts.val], 0, 1 - mended[np.arange(len(mended)), f.y[parts.val]])
    assert np.abs(own - scores.scores).max() > 1e-4
    np.testing.assert_allclose(scores.scores, own, atol=0.2)
    given = fitted.probabilities[parts.test]
    held = opened.sets(given)[np.arange(len(given)), f.y[parts.test]]
    of = f.groups[parts.test]
    whole, *rows = result["conformal"]["rows"]
    assert whole["coverage"] == pytest.approx(np.mean([held[of == one].mean() for one in set(of)]))
    assert [row["class"] for row in rows if "class" in row] == ["well", "ill"]
    assert {row["column"] for row in rows if "column" in row} == {"sex", "view"}
    assert result["conformal"]["coverage"] == 0.9


@pytest.mark.parametrize("task", ["labels", "ages"])
def test_labels_and_numbers_are_too(task, request):
    done = request.getfixturevalue(task)
    f, parts = done.features, done.parts
    opened = open_bundle(done.result["bundle"])
    known = np.isfinite(f.y[parts.val]).sum()
    assert len(opened.held_out.scores) == known
    given = done.probabilities[parts.test]
    sets = opened.sets(given, 0.9)
    whole = done.result["conformal"]["rows"][0]
    if task == "ages":
        np.testing.assert_allclose(sets.mean(axis=1), given)
        assert np.ptp(sets[:, 1] - sets[:, 0]) < 1e-9
        assert whole["size"] == pytest.approx(sets[0, 1] - sets[0, 0])
        wider = opened.sets(given, 0.95)
        assert (wider[:, 0] <= sets[:, 0]).all()
        assert whole["one"] is None
    else:
        assert sets.shape == (len(given), 3, 2)
        assert sets.any(axis=2).all()
        assert [(row["label"], row["truth"]) for row in done.result["conformal"]["rows"][1:3]] == [
            ("Edema", "no"),
            ("Edema", "yes"),
        ]
    assert 0.6 < whole["coverage"] <= 1


def test_classical_models_and_searches_are_calibrated_by_folds(made):
    common = {"backbone": "pixels", "classes": ("well", "ill"), "cache": made / "c", "cv": 3}
    board = baselines("binary", models=["logistic", "dummy"], out=made / "board", **common)
    found = grid("binary", model="logistic", params={"C": [1, 10]}, out=made / "grid", **common)
    f = featcache.load("pixels", task="binary", classes=("well", "ill"), cache=made / "c")
    learnt, folds = training_folds(f, partition(f), 3, 0)
    y = f.y[learnt]
    for result in (board, found):
        opened = open_bundle(result["bundle"])
        assert result["conformal"]["patients"] == len(set(f.groups[learnt]))
        assert 0.7 < result["conformal"]["rows"][0]["coverage"] <= 1
        given = np.empty((len(y), 2))
        for rest, held in folds:
            model = clone(opened.estimator).fit(f.X[learnt[rest]], y[rest])
            given[held] = model.predict_proba(f.X[learnt[held]])
        expected = np.where(given.argmax(axis=1) == y, 0, 1 - given[np.arange(len(y)), y])
        np.testing.assert_allclose(opened.held_out.scores, expected, atol=1e-3)
        own = opened.predict_proba(f.take(learnt))
        seen = np.where(own.argmax(axis=1) == y, 0, 1 - own[np.arange(len(y)), y])
        assert np.abs(seen - expected).max() > 0.01  # what it learnt from it scores otherwise


def test_the_threshold_of_a_sensitivity_says_what_is_always_in_the_set(made):
    done = fit_head(
        "binary", classes=("well", "ill"), **SETTINGS, sensitivity=0.98, cache=made / "c", out=made / "sensitive"
    )
    opened = open_bundle(done.result["bundle"])
    sets, said = opened.sets(done.probabilities, 0.5), opened.labels(done.probabilities)
    assert (said != done.probabilities.argmax(axis=1)).any()
    assert sets[np.arange(len(said)), said].all()
    again = scores_of_validation(done.features, done.parts.val, done.probabilities, settled_of(opened))
    np.testing.assert_array_equal(again.scores, opened.held_out.scores)


def settled_of(opened):
    class Settled:
        calibration, value = opened.about["calibration"], opened.threshold

    return Settled


# -- predict and evaluate ------------------------------------------------------------------------------


def test_predict_gives_sets(fitted, labels, ages, made, cli):
    paths = fitted.features.paths[:6]
    for done, key in ((fitted, "set"), (labels, "answers"), (ages, "interval")):
        call = ("predict", done.result["bundle"], *paths, "--cache", made / "c")
        told = cli(*call, "--coverage", "0.9", "--json")
        assert told.code == 0, told.err
        assert told.json["conformal"]["coverage"] == 0.9
        opened = open_bundle(done.result["bundle"])
        sets = opened.sets(done.probabilities[:6], 0.9)
        for row, own in zip(told.json["rows"], sets, strict=True):
            if key == "set":
                assert row["set"] == [name for name, within in zip(opened.classes, own, strict=True) if within]
                assert row["label"] in row["set"]
            elif key == "interval":
                np.testing.assert_allclose(row["interval"], own, rtol=1e-4)
                assert row["interval"][0] < row["value"] < row["interval"][1]
            else:
                words = {(True, True): "cannot say", (True, False): "no", (False, True): "yes"}
                assert list(row["answers"].values()) == [words[tuple(pair)] for pair in own.tolist()]
        plain = cli(*call, "--json").json
        assert plain["conformal"] is None
        assert key not in plain["rows"][0]
    people = cli("predict", fitted.result["bundle"], *paths, "--cache", made / "c", "--coverage", "0.99")
    assert people.code == 2  # as many patients as 0.99 takes there are not
    assert "it takes 99 patients" in people.err
    people = cli("predict", fitted.result["bundle"], *paths, "--cache", made / "c", "--coverage", "0.8").out
    assert "  80%: " in people
    assert "so often these hold the truth" in people


def test_sets_in_words():
    promise = {"coverage": 0.9, "patients": 30, "needed": 9, "each": False, "between": [0.78, 0.98], "few": []}
    near = {"unlike_training": False}
    assert set_lines({"set": ["a"], **near}, promise) == ["  90%: a"]
    assert set_lines({"set": ["a", "b", "c"], **near}, promise) == ["  90%: a, b or c"]
    assert set_lines({"interval": [31.25, 45.5], **near}, promise) == ["  90%: 31.25 to 45.5"]
    answers = {"a": "no", "b": "cannot say", "c": "no"}
    assert set_lines({"answers": answers, **near}, promise) == ["  90%: no: a, c; cannot say: b"]
    assert "not promised" in set_lines({"set": ["a"], "unlike_training": True}, promise)[0]
    assert set_lines({"set": ["a"], **near}, None) == promise_lines(None) == []
    assert "of all together, on patients like the 30 that calibrated" in promise_lines(promise)[0]
    few = [{"class": "b", "patients": 8}]
    (_, second) = promise_lines({**promise, "few": few})
    assert second == "too few of b (8) to promise it of each: it takes 9 patients"
    few = [{"label": "b", "truth": "yes", "patients": 4}]
    (first, second) = promise_lines({**promise, "each": True, "between": None, "few": few})
    assert "whatever the truth is" in first
    assert second == 'b: 4 patients who have it calibrate it, of 9 needed; "yes" is never ruled out'


def test_evaluate_says_where_the_sets_hold_less(ages, made, tmp_path, cli):
    table = write_set(tmp_path / "there", 60, seed=5)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "age": int(row["age"]) + 100} for row in rows)
    call = ("evaluate", ages.result["bundle"], "--data", table, "--cache", made / "c")
    done = cli(*call, "--by", "sex", "--out", "run")
    assert done.code == 0, done.err
    assert "BELOW what was asked for" in done.out
    found = json.loads((tmp_path / "run" / "run.json").read_text())["conformal"]
    assert found["rows"][0]["below"]
    assert {row["column"] for row in found["rows"] if "column" in row} == {"sex"}


# -- what is refused -----------------------------------------------------------------------------------


def test_a_bundle_of_an_earlier_version_gives_no_sets(tmp_path):
    opened = open_bundle(GOLDEN / "bundle-v3")
    assert opened.held_out is None
    with pytest.raises(UsageError, match="holds no scores of patients"):
        opened.sets(np.ones((1, len(opened.classes))))
    with pytest.raises(UsageError, match=r"--coverage 0\.9: this bundle holds no scores"):
        predict(GOLDEN / "bundle-v3", ["x.png"], coverage=0.9, cache=tmp_path)


def test_too_few_validation_patients_are_told_and_refused(made, tmp_path):
    featcache.extract(write_set(tmp_path / "few", 30, seed=3), "pixels", size=16, cache=tmp_path / "c")
    done = fit_head("binary", classes=("well", "ill"), **SETTINGS, cache=tmp_path / "c", out=tmp_path / "run")
    patients = len(set(done.features.groups[done.parts.val]))
    assert patients < 9
    assert (done.result["conformal"]["kept"], done.result["conformal"]["rows"]) == (False, [])
    with pytest.raises(UsageError, match=f"it takes 9 patients or other groups .* there are {patients}"):
        predict(done.result["bundle"], done.features.paths[:1], coverage=0.9, cache=tmp_path / "c")
    assert predict(done.result["bundle"], done.features.paths[:1], coverage=0.5, cache=tmp_path / "c")["rows"][0]["set"]


@pytest.mark.parametrize("kind", ["fitted", "labels", "ages"])
def test_scores_that_someone_else_wrote_are_looked_at(kind, request, tmp_path):
    done = request.getfixturevalue(kind)
    good = open_bundle(done.result["bundle"]).held_out
    for number, bad in enumerate(
        (
            HeldOutScores(good.scores - 1e9, good.patients, good.questions),
            HeldOutScores(np.full_like(good.scores, np.inf), good.patients, good.questions),
            HeldOutScores(good.scores, good.patients, good.questions + 6),
            HeldOutScores(good.scores, good.patients[:-1], good.questions),
        )
    ):
        folder = tmp_path / str(number)
        shutil.copytree(done.result["bundle"], folder)
        (folder / HELD_OUT).unlink()
        tensor_files.write_tensors(folder / HELD_OUT, bad.tensors())
        about = json.loads((folder / ABOUT).read_text())
        about["files"][HELD_OUT] = atomic_files.sha256_file(folder / HELD_OUT)
        del about["digest"]
        (folder / ABOUT).write_bytes(written({**about, "digest": digest(about)}))
        with pytest.raises(BundleError, match="held-out scores"):
            open_bundle(folder)


def test_evaluate_of_a_bundle_without_scores_says_nothing_of_sets(fitted, made, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(fitted.result["bundle"], folder)
    (folder / HELD_OUT).unlink()
    about = json.loads((folder / ABOUT).read_text())
    del about["digest"], about["files"][HELD_OUT]
    (folder / ABOUT).write_bytes(written({**about, "digest": digest(about)}))
    result = evaluate_bundle(folder, made / "here" / "table.csv", split="test", cache=made / "c", out=tmp_path / "run")
    assert result["conformal"] is None
