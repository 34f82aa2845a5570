"""The HTML report of several labels and of numbers: right figures, worst first, and explored in a real browser."""

from __future__ import annotations

import copy
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from findings import LABELS, write_findings
from page_runs import BASE, CLEAN, HOSTILE, write_runs

import featcache
from featcache import Multilabel, Regression
from featcache.errors import DataError
from heads import evaluate_bundle, fit_head
from heads.reporting.html_report import report

SETTINGS = {"backbone": "pixels", "units": 16, "batch_norm": True, "learning_rate": 0.01, "epochs": 30}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs on one set of images: a head of three labels and one of an age, both judged elsewhere."""
    folder = tmp_path_factory.mktemp("tasks")
    cache, runs = folder / "c", folder / "runs"
    featcache.extract(write_findings(folder / "here", patients=120), "pixels", size=16, cache=cache)
    there = write_findings(folder / "there", patients=40, seed=1)
    options = {**SETTINGS, "by": "sex,view", "cache": cache}
    labels = fit_head(Multilabel(LABELS), **options, per_patient="max", prevalence=0.05, out=runs / "labels")
    besides = {"per_patient": "mean", "cv": 3, "leave_out": "view"}
    ages = fit_head(Regression("age"), **options, **besides, out=runs / "ages")
    for name, fitted in (("labels", labels), ("ages", ages)):
        evaluate_bundle(fitted.result["bundle"], there, cache=cache, out=runs / f"evaluate-{name}")
    return folder, labels, ages


@pytest.fixture(scope="module")
def pages(made):
    """The page with the map of each head."""
    folder = made[0]
    for name in ("labels", "ages"):
        report(
            folder / "runs", bundle=folder / "runs" / name / "bundle", cache=folder / "c", out=folder / f"{name}.html"
        )
    return {name: (folder / f"{name}.html").read_text(encoding="utf-8") for name in ("labels", "ages")}


def test_what_folds_and_other_sites_say_stands_on_the_page(made, pages):
    result, text = made[2].result, text_of(pages["ages"])
    test = result["cross_validated"]["test"]
    assert "by 3 folds of all images" in text
    assert f"{test['mae']:.3g}" in text
    assert "each view, left out" in text
    for site in result["leave_out"]["sites"]:
        assert f"{site['site']} {site['n']} {site['patients']}" in text


def test_subgroups_of_runs_that_were_made_without(made, tmp_path):
    """The same as a run that was asked for them has; a column that is not there is a sentence."""
    folder = made[0]
    for name in ("labels", "ages"):
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        for file in ("run.json", "predictions.csv", "history.csv"):
            (run / file).write_bytes((folder / "runs" / name / file).read_bytes())
    about = json.loads((tmp_path / "runs/labels/run.json").read_text())
    wanted = about["test"].pop("subgroups")["columns"]["view"]["subgroups"]
    (tmp_path / "runs/labels/run.json").write_text(json.dumps(about))
    done = report(tmp_path / "runs" / "labels", by="view", cache=folder / "c", out=tmp_path / "p.html")
    text = text_of(Path(done["html"]).read_text())
    for name, part in wanted.items():
        assert f"{name} {part['images']} {part['patients']}" in text
    assert any(f"{part['value']:.3f}" in text for part in wanted.values() if part["value"] is not None)
    with pytest.raises(DataError, match="no such column"):
        report(tmp_path / "runs", by="ward", cache=folder / "c", out=tmp_path / "q.html")


def text_of(html: str) -> str:
    told = re.sub(r"<(script|style).*?</\1>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", told))


def points_of(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="points">(.*?)</script>', html, re.DOTALL)[1])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_figures_of_labels_are_the_runs_own(made, pages):
    text = text_of(pages["labels"])
    for run in ("labels", "evaluate-labels"):
        test = json.loads((made[0] / "runs" / run / "run.json").read_text())["test"]
        told = [test] if run != "labels" else [test, test["per_patient"]]
        shares = [(one, name) for one in told for name in ("mean_roc_auc", "mean_average_precision")]
        shares += [(test["labels"][label], "roc_auc") for label in LABELS]
        for one, name in shares:
            low, high = one[f"{name}_ci"]
            assert f"{one[name]:.3f} {low:.2f} to {high:.2f}" in text
    test = made[1].result["test"]
    assert f"Images, n = {test['n']}" in text
    assert f"Patients, n = {test['per_patient']['n']}" in text
    order = sorted(LABELS, key=lambda name: -test["labels"][name]["positives"])
    table = text[text.index("Each label by itself") :]
    assert [table.index(name) for name in order] == sorted(table.index(name) for name in order)
    assert f"{order[0]} {test['labels'][order[0]]['positives']} {test['labels'][order[0]]['n']}" in table


def test_what_a_call_means_in_use_stands_by_label(made, pages):
    found, text = made[1].result["test"]["predictive_values"], text_of(pages["labels"])
    assert "Of 1,000 people, 50 have it" in text
    for name, of in found["of"].items():
        assert f"{name} images {of['ppv']:.3f} {of['ppv_ci'][0]:.3f} to {of['ppv_ci'][1]:.3f}" in text


def test_figures_of_a_number_are_in_its_unit_with_the_sign_of_the_bias(made, pages):
    text, test = text_of(pages["ages"]), made[2].result["test"]
    for name, sign in (("mae", ""), ("rmse", ""), ("mean_error", "+")):
        low, high = test[f"{name}_ci"]
        size = max(abs(test[name]), (high - low) / 2)
        digits = 2 if size < 10 else 1
        if 1 <= size < 100:
            assert f"{test[name]:{sign}.{digits}f} {low:{sign}.{digits}f} to {high:{sign}.{digits}f}" in text
    assert f"{test['r2']:.3f} {test['r2_ci'][0]:.2f} to {test['r2_ci'][1]:.2f}" in text
    assert "images with a known age" in text
    assert "Confusion" not in text
    assert 'href="#mistakes"' not in pages["ages"]


def test_every_image_is_a_dot_where_its_numbers_are(made, pages):
    drawing = re.search(r'<figure class="dots">.*?</svg>', pages["ages"], re.DOTALL)[0]
    dots = np.array(re.findall(r'<circle cx="([\d.-]+)" cy="([\d.-]+)"', drawing), float)
    rows = rows_of(made[0] / "runs/ages/cross_validated/predictions.csv")  # of the row that is first
    true, said = (np.array([float(row[name]) for row in rows]) for name in ("age", "age predicted"))
    assert len(dots) == len(rows)
    order = np.argsort(true, kind="stable")
    scale = np.ptp(dots[:, 0]) / np.ptp(true)
    np.testing.assert_allclose(np.diff(dots[:, 0]), np.diff(true[order]) * scale, atol=0.02)
    np.testing.assert_allclose(-np.diff(dots[:, 1]), np.diff(said[order]) * scale, atol=0.02)
    gaps = dots[:, 0] - (100 - dots[:, 1])  # on the line none
    np.testing.assert_allclose(gaps, (true - said)[order] * scale, atol=0.02)


def test_the_map_knows_what_is_true_and_said(made, pages):
    points = points_of(pages["labels"])
    rows = {Path(row["path"]).name: row for row in rows_of(made[0] / "runs/labels/predictions.csv")}
    said = {"": "?", "1": "1", "0": "0"}
    for i, path in enumerate(points["path"]):
        row = rows[Path(path).name]
        assert points["known"][3 * i : 3 * i + 3] == "".join(said[row[name]] for name in LABELS)
        assert points["said"][3 * i : 3 * i + 3] == "".join(row[f"{name} predicted"] for name in LABELS)
        own = [float(row[f"{name} probability"]) for name in LABELS]
        np.testing.assert_allclose(points["probabilities"][3 * i : 3 * i + 3], own, atol=1e-4)
        rarest = points["classes"][points["label"][i]]
        assert (rarest == "none of them") == ("1" not in points["known"][3 * i : 3 * i + 3])
        assert rarest == "none of them" or row[rarest] == "1"
    assert len(points["overlays"]) == len(points["pictures"]) == len(points["path"])
    ages = points_of(pages["ages"])
    rows = {Path(row["path"]).name: row for row in rows_of(made[0] / "runs/ages/predictions.csv")}
    wanted = [float(rows[Path(path).name]["age predicted"]) for path in ages["path"]]
    np.testing.assert_allclose(ages["predicted"], wanted, rtol=1e-4)
    assert ages["wrong"] is None
    assert set(ages["evidence_words"]) == {"what raises age"}
    far = re.findall(r'data-point="(\d+)"', pages["ages"])
    off = np.abs(np.array(ages["predicted"]) - ages["true"])
    assert off[int(far[0])] == off.max()


# -- in a browser ------------------------------------------------------------------------------------


@pytest.fixture
def opened(browser, made, pages):
    """Opens a page from disk, the network off; whatever it complains of fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_page(name: str):
        context = browser.new_context(viewport={"width": 1400, "height": 900}, offline=True, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((made[0] / f"{name}.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def downloaded(page) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.click("#export")
    return list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))


def test_a_map_coloured_by_one_label(made, pages, opened):
    points, page = points_of(pages["labels"]), opened("labels")
    mass = np.array(list(points["known"])).reshape(-1, 3)[:, 1]
    said = np.array(list(points["said"])).reshape(-1, 3)[:, 1]
    page.select_option("#colouring", label="Mass")
    counts = page.locator("fieldset:not([hidden]) [data-class]").all_inner_texts()
    assert counts == [str((mass == known).sum()) for known in ("1", "0", "?")]
    assert page.locator("[data-colouring=all]").is_hidden()
    page.uncheck("[data-colouring=one] [value='1']")
    rows = downloaded(page)
    assert [row["path"] for row in rows] == [p for p, known in zip(points["path"], mass, strict=True) if known != "0"]
    assert [row["Mass"] for row in rows] == ["" if known == "?" else known for known in mass if known != "0"]
    assert list(rows[0]) == [
        "path",
        "part",
        *(f"{before}{name}{after}" for name in LABELS for before, after in (("", ""), ("", " predicted"), ("p_", ""))),
        "x",
        "y",
    ]
    page.check("[data-colouring=one] [value='1']")
    page.check("[name=error][value=wrong]")
    wrong = (mass != "?") & (mass != said)
    shown = page.inner_text("#selected-count")
    assert shown.endswith(f"{wrong.sum()} shown")
    page.select_option("#colouring", value="")
    assert page.locator("[data-colouring=one]").is_hidden()
    page.check("[name=error][value=all]")
    page.focus("#map-canvas")
    page.keyboard.press("ArrowRight")
    card = page.inner_text("#card")
    i = points["path"].index(page.inner_text("#card .name").split(" · ")[0])
    has = [name for name, known in zip(LABELS, points["known"][3 * i : 3 * i + 3], strict=True) if known == "1"]
    assert page.inner_text("#card h3") == (", ".join(has) or "none of them")
    assert all(f"{name}: " in card for name in LABELS)
    assert f"evidence for {LABELS[points['evidence'][i]]}" in card


def test_a_map_of_a_number(pages, opened):
    points, page = points_of(pages["ages"]), opened("ages")
    assert page.locator("[name=error]").count() == 0
    page.click("#errors summary")
    page.click("#errors [data-point] >> nth=0")
    i = int(page.get_attribute("#errors [data-point] >> nth=0", "data-point"))
    assert page.inner_text("#card h3").startswith(f"age {points['true'][i]:g}, predicted ")
    off = points["predicted"][i] - points["true"][i]
    assert page.inner_text("#card .verdict-line").endswith("too high" if off > 0 else "too low")
    assert "what raises age" in page.inner_text("#card")
    page.focus("#map-canvas")
    page.keyboard.press("Enter")
    page.keyboard.press("e")  # nothing is right or wrong here
    row = downloaded(page)[0]
    assert (row["path"], float(row["age"])) == (points["path"][i], points["true"][i])
    assert page.locator("#selected thead th").all_inner_texts() == ["Image", "True age", "Predicted", "Off by", "Part"]
    read = (
        "[...document.querySelectorAll('.board:not(.labels) tbody tr')].map(row => Number(row.cells[1].dataset.value))"
    )
    by_error = [value for value in page.evaluate(read) if value > 1]  # of the table of ages; shares are at most 1
    assert by_error == sorted(by_error)


# -- runs written by hand ----------------------------------------------------------------------------

NUMBER_TEST = {"n": 40, "mae": 6.32, "mae_ci": [5.4, 7.5], "r2": None, "r2_ci": None, "loss": 1.0}
NUMBER = {
    **BASE,
    "task": "regression",
    "learns": {"kind": "number", "target": "age"},
    "classes": ["age"],
    "verb": "fit-head",
    "model": "dense",
    "hyperparameters": {"units": 8},
    "test": NUMBER_TEST,
    "weights": "imagenet",
}
ONE = {"n": 40, "positives": 12, "roc_auc": 0.8, "roc_auc_ci": [0.7, 0.9]}
RARE = {"n": 40, "positives": 2, "roc_auc": None, "roc_auc_ci": None}
LABEL_TEST = {"n": 40, "mean_roc_auc": 0.8, "mean_roc_auc_ci": [0.7, 0.9], "labels": {HOSTILE: ONE, "rare": RARE}}
LABELLED = {
    **NUMBER,
    "task": "multilabel",
    "learns": {"kind": "labels", "labels": [HOSTILE, "rare"], "column": None, "uncertain": "ignore"},
    "classes": [HOSTILE, "rare"],
    "test": LABEL_TEST,
}


def elsewhere(run: dict, **test: object) -> dict:
    return {
        **{name: run[name] for name in ("learns", "classes", "task", "feature_set")},
        "verb": "evaluate",
        "data": "/other",
        "bundle": "of fit-1",
        "internal": run["test"],
        "test": {**run["test"], **test},
    }


@pytest.mark.parametrize(
    ("run", "there", "reason"),
    [
        (
            NUMBER,
            {"mae": 9.1, "mae_ci": [8.0, 10.4]},
            "mean absolute error is 9.10 (95% interval 8.00 to 10.40), where its own test images give 6.32",
        ),
        (NUMBER, {"mae": 4.1, "mae_ci": [3.0, 5.2]}, None),
        (NUMBER, {"mae": 8.1, "mae_ci": [7.0, 9.2]}, None),
        (
            LABELLED,
            {"mean_roc_auc": 0.6, "mean_roc_auc_ci": [0.5, 0.69]},
            "mean ROC area is 0.600 (95% interval 0.50 to 0.69), where its own test images give 0.800",
        ),
        (LABELLED, {"mean_roc_auc": 0.95, "mean_roc_auc_ci": [0.92, 0.97]}, None),
        (LABELLED, {"mean_roc_auc": None, "mean_roc_auc_ci": None}, None),
    ],
    ids=["error grows", "error shrinks", "errors overlap", "area falls", "area grows", "too few there"],
)
def test_what_falls_elsewhere(run, there, reason, tmp_path):
    result = report(write_runs(tmp_path / "runs", fit_1=run, audit_1=CLEAN, evaluate_1=elsewhere(run, **there)))
    text = text_of((tmp_path / "runs" / "report.html").read_text())
    assert any(reason in told for told in result["reasons"]) if reason else len(result["reasons"]) == 1
    assert ("does not hold" in text) == bool(reason)
    assert result["verdict"] == ("Not as they stand." if reason else "Nothing was found against them.")
    assert "give the answer away" in text or "gives the answer away" in text or reason


def test_too_few_is_said_and_names_stay_text(tmp_path):
    none = {**LABEL_TEST, "mean_roc_auc": None, "mean_roc_auc_ci": None, "labels": {HOSTILE: RARE, "rare": RARE}}
    report(write_runs(tmp_path / "runs", fit_1=LABELLED, fit_2={**LABELLED, "test": none}))
    html = (tmp_path / "runs" / "report.html").read_text()
    text = text_of(html)
    assert "<img src=x" not in html
    assert "rare 2 40 too few to say too few to say" in text.replace("–", "")
    rows = re.findall(r"<tr><th scope=\"row\" data-value=\"dense head\">.*?</tr>", html, re.DOTALL)
    assert ["too few to say" in row.split("</td>")[0] for row in rows] == [False, True]  # known ones first


SUBGROUP = {"value": 0.9, "ci": [0.8, 0.95], "images": 20, "patients": 18, "positives": 7}
SUBGROUPS = {
    "metric": "mae",
    "higher_is_better": False,
    "columns": {
        "sex": {
            "subgroups": {
                "F": {**SUBGROUP, "value": 4.0, "ci": [3.5, 4.6], "positives": None},
                HOSTILE: {**SUBGROUP, "value": 9.0, "ci": [7.5, 11.0], "positives": None},
                "not known": {"value": None, "ci": None, "images": 3, "patients": 3, "positives": None},
            },
            "gap": {"best": "F", "worst": HOSTILE, "difference": 5.0, "p": 0.001, "p_corrected": 0.002, "shown": True},
        },
        "view": {
            "subgroups": {"AP": {**SUBGROUP, "value": 6.0, "ci": [5.0, 7.0], "positives": None}},
            "gap": None,
        },
        "age": {
            "subgroups": {},
            "gap": {"best": "a", "worst": "b", "difference": 0.5, "p": 0.4, "p_corrected": 0.4, "shown": False},
        },
    },
    "worst": {"column": "sex", "subgroup": HOSTILE, "value": 9.0, "ci": [7.5, 11.0]},
}


def test_subgroups_the_worst_one_and_gaps(tmp_path):
    report(write_runs(tmp_path / "runs", fit_1={**NUMBER, "test": {**NUMBER_TEST, "subgroups": SUBGROUPS}}))
    html = (tmp_path / "runs" / "report.html").read_text()
    text = text_of(html).replace("&lt;", "<").replace("&gt;", ">")
    assert f"Worst of all: sex {HOSTILE} , mean absolute error 9.00 7.50 to 11.00" in text
    assert "F 20 18 – 4.00 3.50 to 4.60" in text
    assert "not known 3 3 – too few to say" in text
    assert f"A gap beyond chance. From {HOSTILE} to F: 5.00; p = 0.001, 0.002 corrected for 2 columns (Holm)." in text
    assert "0.4 corrected for 2 columns (Holm): no more than chance makes." in text
    assert "Fewer than two subgroups have enough images to compare." in text
    assert "<img src=x" not in html


def test_searches_say_what_they_are_scored_by(tmp_path):
    searched = {
        **{name: NUMBER[name] for name in ("task", "learns", "classes", "feature_set", "test")},
        "verb": "grid",
        "model": "ridge",
        "candidates": 2,
        "folds": 3,
        "best_params": {"alpha": 1},
        "best_score": -6.5,
        "score_name": "neg_mean_absolute_error",
    }
    runs = write_runs(tmp_path / "runs", grid_1=searched)
    (runs / "grid-1" / "results.csv").write_text("alpha,mean_score\n1,-6.5\n10,-80.25\n")
    report(runs)
    text = text_of((runs / "report.html").read_text())
    assert "Cross-validated mean absolute error, with a minus, mean over" in text
    assert "looks better than it is: the test mean absolute error is the one to quote" in text
    assert "Best: alpha 1 , -6.500. On 40 test images: mean absolute error 6.32 5.40 to 7.50" in text
    assert "-80.250" in text


BOARD = {
    **{name: NUMBER[name] for name in ("task", "learns", "classes", "feature_set")},
    "verb": "baselines",
    "rows": [{"name": "ridge", "best_params": {"alpha": 1}, "test": NUMBER_TEST}],
}
OWED = {"metric": "mae", "value": 6.32, "groups": 30, "most": {"group": HOSTILE, "images": 3, "change": 0.4}}


def test_the_patient_that_a_ridge_owes_most_to(tmp_path):
    report(write_runs(tmp_path / "runs", baselines_1={**BOARD, "influence": OWED}, baselines_2=BOARD))
    html = (tmp_path / "runs" / "report.html").read_text()
    text = text_of(html).replace("&lt;", "<").replace("&gt;", ">")
    said = f"ridge: without {HOSTILE} (3 images) in training, its mean absolute error on test would be 6.720 in"
    assert text.count(f"{said} place of 6.320; no other one of 30 patients or groups changes it more") == 1
    assert "<img src=x" not in html
    report(write_runs(tmp_path / "same", b={**BOARD, "influence": {**OWED, "most": {**OWED["most"], "change": 0}}}))
    same = "ridge: without any one of 30 patients or groups in training, its mean absolute error on test is the same"
    assert same in text_of((tmp_path / "same" / "report.html").read_text())


def spoilt(run: dict, **test: object) -> dict:
    return {**copy.deepcopy(run), "test": {**copy.deepcopy(run["test"]), **test}}


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ({**NUMBER, "learns": {"kind": "tea leaves"}}, "tea leaves"),
        ({**NUMBER, "learns": "number"}, "learns"),
        ({**NUMBER, "classes": ["age", "sex"]}, "names 2 numbers"),
        ({**NUMBER, "learns": {"kind": "labels"}}, "labels"),
        ({**LABELLED, "learns": {"kind": "classes"}}, "accuracy"),
        ({**LABELLED, "classes": ["rare"]}, "other labels than its 1"),
        (spoilt(NUMBER, mae="much"), "much"),
        (spoilt(NUMBER, mae_ci=[1.0]), "mae_ci"),
        (spoilt(LABELLED, mean_roc_auc=7), "7"),
        (spoilt(LABELLED, labels={HOSTILE: {**ONE, "sensitivity": "all"}, "rare": RARE}), "sensitivity"),
        (spoilt(LABELLED, labels=[]), "labels"),
        (spoilt(NUMBER, per_patient={**NUMBER_TEST, "n": -1, "how": "mean"}), "n"),
        (spoilt(NUMBER, per_patient={**NUMBER_TEST}), "how"),
        (spoilt(NUMBER, per_patient=[1]), "its test of patients"),
        (spoilt(NUMBER, subgroups={**SUBGROUPS, "metric": "charm"}), "charm"),
        (spoilt(NUMBER, subgroups={**SUBGROUPS, "columns": {"sex": {"subgroups": {"F": 3}}}}), "subgroups"),
        (spoilt(NUMBER, subgroups="none"), "subgroups"),
        ({**BOARD, "influence": {**OWED, "most": None}}, "most"),
    ],
)
def test_runs_that_are_none_end_in_a_sentence(run, says, tmp_path, cli):
    write_runs(tmp_path / "runs", fit_1=run)
    with pytest.raises(DataError, match="not a run's description") as told:
        report(tmp_path / "runs")
    assert says in str(told.value)
    assert "Make" in str(told.value) or "make" in str(told.value)


@pytest.mark.parametrize("cells", [("50", "nan"), ("50", "old"), ("50",)])
def test_predictions_that_are_none_end_in_a_sentence(cells, tmp_path):
    runs = write_runs(tmp_path / "runs", fit_1=NUMBER)
    header = ["path", "part", "age", "age predicted"][: 2 + len(cells)]
    with (runs / "fit-1" / "predictions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, ["a.png", "test", *cells]])
    with pytest.raises(DataError, match="no predicted numbers"):
        report(runs)


def test_of_very_many_images_some_are_drawn_and_that_is_said(tmp_path):
    runs = write_runs(tmp_path / "runs", fit_1=NUMBER)
    rng = np.random.default_rng(0)
    with (runs / "fit-1" / "predictions.csv").open("w", newline="") as file:
        rows = [(f"{i}.png", "test", f"{a:.3f}", f"{b:.3f}") for i, (a, b) in enumerate(rng.normal(50, 9, (5000, 2)))]
        csv.writer(file).writerows([["path", "part", "age", "age predicted"], *rows])
    report(runs)
    html = (runs / "report.html").read_text()
    assert html.count("<circle cx=") == 2000
    assert "2,000 of 5,000 images" in html
