"""The HTML report: right numbers, warnings first, hostile names harmless, and explored in a real browser."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from page_runs import AUDIT, BASE, CLEAN, FIT, HOSTILE, TEST, write_runs
from pictures import age
from PIL import Image

import featcache
from featcache.errors import DataError, UsageError
from featcache.system.spreadsheet_cells import plain
from heads.auditing.audit_record import AuditRecord, write_record
from heads.auditing.messages import NOT_AUDITED
from heads.bundles.bundle import open_bundle
from heads.evaluation.run_folder import data_title
from heads.experiments.head_fit import fit_head
from heads.experiments.hyperparameter_search import grid
from heads.inference.bundle_evaluation import evaluate_bundle
from heads.inference.neighbour_embedding import embed
from heads.reporting.html_report import report

CLASSES = sorted(["covid", HOSTILE, "normal_lung"])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs on 60 images, one class of which is called something nasty: a head, a search, an evaluation."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    lines = []
    for i in range(60):
        label = i % 3
        pixels = rng.normal(90, 30, (48, 40))
        pixels[8 + 10 * label : 22 + 10 * label] += 22 + 40 * (i % 5 == 0)  # some of them hard to tell
        path = folder / "images" / f"=image, {i:02d} 'x' & <b>.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
        lines.append((f"images/{path.name}", CLASSES[label], "test" if i >= 42 else "train"))
    for name, chosen in (("data.csv", lines), ("elsewhere.csv", lines[:30])):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([("path", "label", "split"), *chosen])
    age(folder)
    cache, runs = folder / "cache", folder / "runs"
    featcache.extract(folder / "data.csv", "pixels", size=16, cache=cache)
    fitted = fit_head(
        backbone="pixels",
        cache=cache,
        epochs=8,
        units=16,
        activation="linear",
        learning_rate=0.001,
        out=runs / "fit-head-1",
    )
    grid(
        backbone="pixels",
        cache=cache,
        model="knn",
        params={"n_neighbors": [1, 3], "weights": ["uniform", "distance"]},
        out=runs / "grid-1",
    )
    evaluate_bundle(fitted.result["bundle"], folder / "elsewhere.csv", cache=cache, out=runs / "evaluate-1")
    return folder, fitted, report(runs, cache=cache)


@pytest.fixture(scope="module")
def html(made) -> str:
    return Path(made[2]["html"]).read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.parts: list[str] = []
        self.hidden = False
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.parts))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.hidden = tag in ("script", "style")

    def handle_endtag(self, tag):
        self.hidden = False

    def handle_data(self, data):
        if not self.hidden:
            self.parts.append(data)


def points_of(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="points">(.*?)</script>', html, re.DOTALL)[1])


def test_it_holds_all_it_shows(html):
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "action", "poster", "srcset"):
            assert re.match(r"#|data:image/jpeg;base64,|$", attributes.get(name) or ""), (tag, name, attributes[name])
    assert not re.search(r"url\(|@import", html.split("</style>")[0])
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in re.search(r"script-src ([^;]*);", policy)[1]


def test_hostile_names_stay_text(made, html):
    assert HOSTILE in Page(html).text
    assert "<img src=x" not in html
    assert not [a for _, a in Page(html).tags if any(name.startswith("on") for name in a)]
    assert points_of(html)["classes"] == CLASSES == list(made[1].features.classes)


def test_every_figure_is_the_runs_own_and_has_its_interval(made, html):
    text = Page(html).text
    for run in ("fit-head-1", "grid-1", "evaluate-1"):
        test = json.loads((made[0] / "runs" / run / "run.json").read_text())["test"]
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc"):
            low, high = test[f"{name}_ci"]
            assert f"{test[name]:.3f} {low:.2f} to {high:.2f}" in text
    for name, count in made[1].result["per_split"]["train"].items():
        assert count > 0
        assert name in text
    history = list(csv.DictReader((made[0] / "runs" / "fit-head-1" / "history.csv").open()))
    assert f"{float(history[-1]['val_loss']):.4f}" in text
    scores = [row["score"] for row in json.loads((made[0] / "runs" / "grid-1" / "run.json").read_text())["top"]]
    assert all(f"{score:.4f}" in text for score in scores)


def test_the_map_is_the_first_dense_layer(made, html):
    folder, fitted, result = made
    points, features = points_of(html), fitted.features
    opened = open_bundle(fitted.result["bundle"])
    wanted = embed(opened.estimator.hidden(features.X)).points
    found = np.column_stack([points["x"], points["y"]])
    for axis in range(2):  # as embedded, but for where the middle is and how wide all is
        assert np.corrcoef(found[:, axis], wanted[:, axis])[0, 1] > 0.9999
    rows = {Path(row["path"]).name: row for row in csv.DictReader((folder / "runs/fit-head-1/predictions.csv").open())}
    for i, path in enumerate(points["path"]):
        row = rows[Path(path).name]
        assert not os.path.isabs(path)
        assert row["label"] == points["classes"][points["label"][i]]
        assert row["predicted"] == points["classes"][points["predicted"][i]]
        assert row["part"] == points["splits"][points["split"][i]]
        own = np.array(points["probabilities"][3 * i : 3 * i + 3])
        np.testing.assert_allclose(own, [float(row[name]) for name in CLASSES], atol=1e-4)
    assert result["points"] == result["pictures"] == len(points["path"]) == 60
    assert points["splits"] == ["train", "val", "test"]
    for i in (0, 31, 59):
        picture = Image.open(io.BytesIO(base64.b64decode(points["pictures"][points["picture"][i]].split(",")[1])))
        source = Image.open(features.paths[i]).convert("L").resize(picture.size)
        assert np.abs(np.asarray(picture.convert("L"), float) - np.asarray(source, float)).mean() < 12


def test_a_named_bundle_and_no_images(made, tmp_path):
    folder = made[0]
    result = report(
        folder / "runs" / "fit-head-1",
        bundle=folder / "runs/fit-head-1/bundle",
        cache=folder / "cache",
        images=False,
        out=tmp_path / "page.html",
    )
    assert (result["points"], result["pictures"], len(result["runs"])) == (60, 0, 1)
    assert "data:image" not in (tmp_path / "page.html").read_text()
    empty = report(folder / "runs", cache=tmp_path / "empty", out=tmp_path / "empty.html")
    assert empty["points"] == 0
    assert "could not be drawn" in Page((tmp_path / "empty.html").read_text()).text
    with pytest.raises(UsageError, match="no dense layer"):
        report(folder / "runs", bundle=folder / "runs/grid-1/bundle", cache=folder / "cache")


def test_saliency_lies_over_the_pictures(made, tmp_path, monkeypatch):
    asked = []

    def contributions(estimator, maps, pooling, target=None):
        asked.append((maps.shape, pooling))
        return maps.mean(axis=3)

    monkeypatch.setattr("heads.reporting.embedding_map.contributions", contributions)
    monkeypatch.setattr(
        "heads.reporting.embedding_map.overlay",
        lambda image, evidence, size: Image.new("RGB", image.size, (255, 0, 0)),
    )
    report(made[0] / "runs", cache=made[0] / "cache", out=tmp_path / "page.html")
    points = points_of((tmp_path / "page.html").read_text())
    assert len(points["overlays"]) == len(points["pictures"]) == 60
    red = Image.open(io.BytesIO(base64.b64decode(points["overlays"][7].split(",")[1])))
    assert np.asarray(red)[..., 0].min() > 200
    assert sum(shape[0] for shape, _ in asked) == 60
    assert asked[0][0][1:] == made[1].features.map_shape
    assert asked[0][1] == "flatten"


def test_what_is_too_much_is_cut_and_said(made, tmp_path, monkeypatch):
    whole = points_of(Path(made[2]["html"]).read_text())
    wrong = {p for p, a, b in zip(whole["path"], whole["label"], whole["predicted"], strict=True) if a != b}
    assert 0 < len(wrong) < 40
    monkeypatch.setattr("heads.reporting.embedding_map._POINTS", 40)
    monkeypatch.setattr("heads.reporting.embedding_map._BUDGET", 20_000)
    report(made[0] / "runs", cache=made[0] / "cache", out=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    points = points_of(page)
    assert len(points["path"]) == 40
    assert wrong <= set(points["path"])
    assert 0 < sum(map(len, points["pictures"])) <= 20_000
    shown = {path for path, picture in zip(points["path"], points["picture"], strict=True) if picture >= 0}
    assert shown <= wrong or wrong <= shown
    assert f"40 of 60 images, {len(wrong)} misclassified" in Page(page).text
    assert f"{len(points['pictures'])} have a picture" in Page(page).text


# -- the verdict, on runs written by hand ------------------------------------------------------------


@pytest.mark.parametrize(
    ("runs", "answer", "reasons"),
    [
        ({"fit_1": FIT}, "Nobody has checked.", ["No audit of this data"]),
        ({"fit_1": {**FIT, "warnings": [NOT_AUDITED]}}, "Nobody has checked.", ["No audit of this data"]),
        (
            {"fit_1": {**FIT, "warnings": ["shortcut: an old finding", NOT_AUDITED]}, "audit_1": CLEAN},
            "Nothing was found against them.",
            ["no warning"],
        ),
        (
            {"fit_1": {**FIT, "warnings": ["shortcut: kept with the images"]}},
            "Not as they stand.",
            ["kept with", "No audit"],
        ),
        ({"fit_1": FIT, "audit_1": CLEAN}, "Nothing was found against them.", ["no warning"]),
        ({"fit_1": FIT, "audit_1": AUDIT}, "Not as they stand.", ["The size of the file gives"]),
        ({"fit_1": {**FIT, "synthetic": True}}, "No: nothing here is real.", ["SYNTHETIC", "No audit"]),
        ({"fit_1": {**FIT, "weights": "random0"}, "audit_1": CLEAN}, "Not as they stand.", ["RANDOM weights"]),
        ({"fit_1": {**FIT, "warnings": ["torn groups"]}, "audit_1": CLEAN}, "Not as they stand.", ["torn groups"]),
        (
            {
                "fit_1": FIT,
                "audit_1": CLEAN,
                "evaluate_1": {
                    **BASE,
                    "verb": "evaluate",
                    "data": "/other",
                    "bundle": "of fit-1",
                    "internal": TEST,
                    "test": {**TEST, "accuracy": 0.5, "accuracy_ci": [0.4, 0.6]},
                },
            },
            "Not as they stand.",
            ["On 40 images from elsewhere (other) the same model's accuracy is 0.500"],
        ),
        (
            {
                "fit_1": FIT,
                "audit_1": CLEAN,
                "evaluate_1": {
                    **BASE,
                    "verb": "evaluate",
                    "data": "/other",
                    "bundle": "of fit-1",
                    "internal": TEST,
                    "test": {**TEST, "accuracy": 0.8, "accuracy_ci": [0.7, 0.9]},
                },
            },
            "Nothing was found against them.",
            ["no warning"],
        ),
    ],
    ids=[
        "unaudited",
        "says so",
        "old news",
        "kept",
        "clean",
        "warned",
        "synthetic",
        "random",
        "run warns",
        "falls elsewhere",
        "holds elsewhere",
    ],
)
def test_the_answer(runs, answer, reasons, tmp_path):
    result = report(write_runs(tmp_path / "runs", **runs))
    html = (tmp_path / "runs" / "report.html").read_text()
    page = Page(html)
    assert result["verdict"] == answer
    assert len(result["reasons"]) == len(reasons)
    for told, begins in zip(result["reasons"], reasons, strict=True):
        assert begins in told
        assert told in page.text
    order = [html.index(f'id="{section}"') for section in ("verdict", "audit", "data", "results", "map")]
    assert order == sorted(order)
    assert ("python cli.py audit --data /data/xrays" in page.text) == ("audit_1" not in runs)
    assert ("SYNTHETIC IMAGES" in page.text) == (answer == "No: nothing here is real.")
    assert ("On images from elsewhere" in page.text) == ("evaluate_1" in runs)


def test_what_is_left_where_nothing_can_be_told(tmp_path):
    unsaid = {"net": None, "net_ci": None, "difference": None, "difference_ci": None, "said": "nothing can be told"}
    report(
        write_runs(
            tmp_path / "runs", fit_1=FIT, audit_1={**AUDIT, "without_shortcuts": AUDIT["without_shortcuts"] | unsaid}
        )
    )
    text = Page((tmp_path / "runs" / "report.html").read_text()).text
    assert "What is left without the shortcut? nothing can be told." in text
    assert "weighed so that" not in text


def test_all_that_the_audit_found_is_there(tmp_path):
    report(write_runs(tmp_path / "runs", fit_1=FIT, audit_1=AUDIT))
    html = (tmp_path / "runs" / "report.html").read_text()
    text = Page(html).text
    for told in (
        "0.951 0.91 to 0.98",
        "the size gives it away " + HOSTILE,
        "a/1.png = a/2.png",
        "label conflict",
        f"{HOSTILE}: 3 images in test and train",
        "a/3.png: cut short",
        "a/4.png",
        "+0.020",
        "+0.010 to +0.030",
        f"some 0.15 (0.08 to 0.22) comes from what {HOSTILE} alone gives away.",
        "0.940 0.90 to 0.97",
        "weighed so that the classes are alike in that 0.790 0.68 to 0.87",
    ):
        assert told in text, told
    assert "<img src=x" not in html


def test_what_the_metadata_tell_is_there(tmp_path):
    """Beside the other probes, by label where there are several; what goes together, what two sets differ in."""
    probe = {**AUDIT["shortcuts"][0], "of": "metadata", "measure": "ROC area", "verdict": "told", "names_label": False}
    probes = [
        {**probe, "probe": "view", "label": "Edema", "score": 0.842},
        {**probe, "probe": "sex missing", "label": HOSTILE, "score": -0.1, "score_ci": [-0.4, 0.2], "flag": False},
        {**probe, "probe": "ward", "label": "Edema", "score": 1.0, "flag": False, "names_label": True},
    ]
    many = [{**probe, "probe": f"column {i}", "label": "Edema", "flag": False, "score": 0.5} for i in range(30)]
    told = {
        "shortcuts": [*AUDIT["shortcuts"], *probes, *many],
        "confounding": [
            {"column": HOSTILE, "label": "Edema", "strength": 0.64, "p": 1.5e-6, "groups": 1071},
            {"column": "quiet", "label": "Edema", "strength": 0.1, "p": 0.6, "groups": 1071},
        ],
        "absent": [{"label": "label", "class": "icu", "column": "view", "value": "pa", "expected": 30.2}],
        "unbalanced": [{"column": "sex", "value": "f", "part": "val", "share": 0.49, "overall": 0.26}],
        "against": {
            "data": "/elsewhere",
            "metadata": {
                "columns": [{"column": "age", "value": None, "own": 51.2, "other": 4.5, "strength": 0.9, "p": 1e-9}],
                "alone": {"own": [], "other": ["scanner"]},
            },
        },
    }
    report(write_runs(tmp_path / "runs", fit_1=FIT, audit_1={**AUDIT, **told}))
    html = (tmp_path / "runs" / "report.html").read_text()
    text = Page(html).text
    for words in (
        "Can it be told from the metadata?",
        "The score is the ROC area.",
        "0.842 0.91 to 0.98",
        "-0.100 -0.40 to 0.20",
        "0.64 1.5e-06 1,071",
        "No image of label icu has view pa, where 30 would be expected",
        "sex f is 49% of the val part, 26% of all",
        "age, mean 51.2 4.5 1e-09",
        "Columns of those images alone: scanner",
        "The other probes: 17",
    ):
        assert words in text, words
    assert "quiet" not in text
    assert "<img src=x" not in html
    place = tmp_path / "runs" / "audit-1" / "run.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "confounding": [{"column": 1}]}))
    with pytest.raises(DataError):
        report(tmp_path / "runs")


def test_an_audit_elsewhere_is_found_by_the_record_in_the_cache(tmp_path):
    """Of a run named alone, and of runs whose audit went to another folder."""
    folder, cache = tmp_path / "runs", tmp_path / "cache"
    runs = write_runs(folder, fit_1=FIT)
    elsewhere = write_runs(
        tmp_path / "audits",
        old={**AUDIT, "finished": "2025-01-01T00:00:00"},
        new=CLEAN,
        other={**AUDIT, "data": "/data/other"},
    )
    for number, name in enumerate(("old", "other", "new", "gone")):
        write_record(cache, [bytes([number]) * 32], AuditRecord([], [], str(elsewhere / name)))
    (cache / "audits" / "torn.json").write_text("{")
    for chosen in (runs, [runs / "fit-1"]):
        result = report(chosen, cache=cache)
        assert result["audit"] == str(elsewhere / "new")
        assert result["verdict"] == "Nothing was found against them."
    assert report([runs / "fit-1"], cache=tmp_path / "empty")["audit"] is None
    (elsewhere / "new" / "run.json").write_text("[]")
    assert report(runs, cache=cache)["audit"] == str(elsewhere / "old")


def test_the_sample_has_a_name(tmp_path):
    about = {**FIT, "synthetic": True, "data": "/cache/sample/v1"}
    report(write_runs(tmp_path / "runs", fit_1=about))
    assert "<h1>The built-in sample</h1>" in (tmp_path / "runs" / "report.html").read_text()
    assert data_title("/data/xrays/") == "xrays"
    assert data_title("/data/nih/manifest.csv") == "nih/manifest.csv"


def test_models_that_fall_elsewhere_are_one_reason(tmp_path):
    """The one that falls furthest, and how many others do."""
    fallen = {**BASE, "verb": "evaluate", "data": "/other", "bundle": "of fit-1", "internal": TEST}
    tests = [{**TEST, "accuracy": value, "accuracy_ci": [value - 0.1, value + 0.1]} for value in (0.5, 0.3, 0.8)]
    runs = {f"evaluate_{number}": {**fallen, "test": test} for number, test in enumerate(tests)}
    result = report(write_runs(tmp_path / "runs", fit_1=FIT, audit_1=CLEAN, **runs))
    assert len(result["reasons"]) == 1
    assert "accuracy is 0.300" in result["reasons"][0]
    assert result["reasons"][0].endswith("Of the other models, 1 falls too.")


def test_which_runs_belong_together(tmp_path, cli):
    other = {**FIT, "data": "/data/other"}
    runs = write_runs(tmp_path / "runs", old=other, tsne_1={"verb": "tsne"}, fit_1=FIT, audit_1={**CLEAN, "data": "/x"})
    result = report(runs)
    assert [Path(run).name for run in result["runs"]] == ["fit-1"]
    assert [Path(run).name for run in result["left_out"]] == ["old"]
    assert result["audit"] is None
    assert report([runs / "old"], out=tmp_path / "old.html")["runs"] == [str(runs / "old")]
    with pytest.raises(UsageError, match="do not belong in one table"):
        report([runs / "old", runs / "fit-1"])
    with pytest.raises(UsageError, match="audits /x"):
        report(runs, audit=runs / "audit-1")
    with pytest.raises(DataError, match=r"run\.json is missing"):
        report([tmp_path])
    done = cli("report", "--json")
    assert (done.code, done.json["bytes"]) == (0, (tmp_path / "runs" / "report.html").stat().st_size)
    (runs / "fit-1" / "run.json").write_text("{")
    with pytest.raises(DataError, match="not a run's description"):
        report(runs)
    shutil.rmtree(runs)
    done = cli("report")
    assert (done.code, "fit-head" in done.err) == (3, True)


# -- in a browser ------------------------------------------------------------------------------------


@pytest.fixture
def opened(browser, made):
    """Opens the page from disk, the network off; whatever it complains of or asks for fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_page(width: int = 1400, height: int = 900, **options):
        context = browser.new_context(
            viewport={"width": width, "height": height}, offline=True, accept_downloads=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on(
            "request", lambda r: complaints.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else 0
        )
        page.goto(Path(made[2]["html"]).as_uri())
        return page

    yield open_page
    for context in contexts:
        assert context.pages[0].evaluate("window.hacked") is None
        context.close()
    assert complaints == []


@pytest.mark.parametrize("width", [1400, 390])
def test_the_banner_spans_the_page(width, browser, tmp_path):
    report(write_runs(tmp_path / "runs", fit_1={**FIT, "synthetic": True, "weights": "random0"}))
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((tmp_path / "runs" / "report.html").as_uri())
    assert page.locator(".banner").bounding_box()["width"] == width
    assert page.locator(".banner").inner_text() == (
        "SYNTHETIC IMAGES · RANDOM WEIGHTS: nothing on this page is a medical result"
    )
    page.close()


def spots(page) -> np.ndarray:
    """Where each image is drawn, in pixels of the canvas."""
    return np.array(
        page.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {"
            "const map = document.getElementById('map-canvas');"
            "const count = JSON.parse(document.getElementById('points').textContent).x.length;"
            "done([...Array(count).keys()].map(i => map.positionOf(i)))})))"
        )
    )


def focus(page) -> dict[str, float]:
    page.locator(".stage").evaluate("stage => stage.scrollIntoView({block: 'center', behavior: 'instant'})")
    return page.locator("#map-canvas").bounding_box()


def drag(page, box, corners) -> None:
    page.mouse.move(box["x"] + corners[0][0], box["y"] + corners[0][1])
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(box["x"] + x, box["y"] + y)
    page.mouse.up()


def downloaded(page) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.click("#export")
    assert download.value.suggested_filename == "images.csv"
    table = csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8")))
    return [{name: plain(cell) for name, cell in row.items()} for row in table]


def test_hover_shows_the_image(made, html, opened):
    points, page = points_of(html), opened()
    box, where = focus(page), spots(page)
    apart = np.linalg.norm(where[:, None] - where, axis=2) + 1e9 * np.eye(len(where))
    i = int(apart.min(axis=1).argmax())  # the one that stands most alone
    page.mouse.move(box["x"] + where[i, 0] + 2, box["y"] + where[i, 1])
    card = page.inner_text("#card")
    label, predicted = (points["classes"][points[name][i]] for name in ("label", "predicted"))
    assert points["path"][i] in card
    assert (f"{label}, taken for {predicted}" if label != predicted else f"{label}, recognised") in card
    assert f"{points['probabilities'][3 * i + points['predicted'][i]]:.3f}" in card
    picture = page.locator("#card img").first
    picture.evaluate("image => image.decode()")
    assert picture.evaluate("image => image.naturalHeight") > 40
    assert picture.get_attribute("src") == points["pictures"][points["picture"][i]]


def test_filter_select_and_export(html, opened):
    points, page = points_of(html), opened()
    label, predicted, split = (np.array(points[name]) for name in ("label", "predicted", "split"))
    box, where = focus(page), spots(page)
    page.click("[data-mode=box]")
    middle = np.median(where, axis=0)
    drag(page, box, [(2, 2), tuple(middle / 2), tuple(middle)])
    inside = ((where > 2) & (where < middle)).all(axis=1)
    assert 3 < inside.sum() < 40
    rows = downloaded(page)
    assert [row["path"] for row in rows] == [points["path"][i] for i in np.flatnonzero(inside)]
    first = int(np.flatnonzero(inside)[0])
    assert rows[0]["label"] == points["classes"][label[first]]
    assert rows[0]["part"] == points["splits"][split[first]]
    assert float(rows[0][f"p_{CLASSES[1]}"]) == points["probabilities"][3 * first + 1]
    # A lasso over the rest of one class, with Shift: added to the box.
    page.uncheck("[name=class][value='0']")
    page.click("[data-mode=lasso]")
    corners = [
        (3, 3),
        (box["width"] - 3, 3),
        (box["width"] - 3, box["height"] - 3),
        (box["width"] / 2, box["height"] / 2),
        (3, 3),
    ]
    page.keyboard.down("Shift")
    drag(page, box, corners)
    page.keyboard.up("Shift")
    lasso = Outline(corners).contains_points(where)
    assert 3 < lasso.sum() < 57
    wanted = (inside | lasso) & (label != 0)
    assert [row["path"] for row in downloaded(page)] == [points["path"][i] for i in np.flatnonzero(wanted)]
    page.click("#clear")
    page.check("[name=error][value=wrong]")
    page.uncheck("[name=split][value='0']")
    wanted = (label != 0) & (label != predicted) & (split != 0)
    assert wanted.any()
    assert {row["path"] for row in downloaded(page)} == {points["path"][i] for i in np.flatnonzero(wanted)}


def test_by_keyboard_and_for_screen_readers(html, opened):
    points, page = points_of(html), opened()
    wrong = [i for i, (a, b) in enumerate(zip(points["label"], points["predicted"], strict=True)) if a != b]
    page.focus("#map-canvas")
    page.keyboard.press("e")
    assert points["path"][wrong[0]] in page.inner_text("#card")
    page.keyboard.press("Enter")
    page.keyboard.press("e")
    page.keyboard.press("Enter")
    assert [row["path"] for row in downloaded(page)] == [points["path"][i] for i in wrong[:2]]
    page.focus("#map-canvas")
    seen = set()
    for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
        seen.add(page.inner_text("#card .name"))
    assert len(seen) > 2
    page.keyboard.press("Escape")
    assert "Nothing selected" in page.inner_text("#selected-count")
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, [role=region], canvas:not([aria-hidden])')].filter(e =>"
        "!(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label'))).map(e => e.outerHTML)"
    )
    assert nameless == []
    page.click("#errors summary")
    page.click("#errors [data-point] >> nth=0")
    assert page.inner_text("#errors [data-point] >> nth=0") in page.inner_text("#card")


def test_the_nearest_training_images_lead_to_their_marks(html, opened):
    points, page = points_of(html), opened()
    page.focus("#map-canvas")
    page.keyboard.press("e")
    i = points["path"].index(page.inner_text("#card .name").split(" · ")[0])
    near = points["near"][i]
    assert len(near) == 4
    assert {points["splits"][points["split"][j]] for j in near} == {"train"}
    assert page.locator("#card .near button").count() == 4
    words = [points["classes"][points["label"][j]] for j in near]
    assert page.locator("#card .near button").all_inner_texts() == words
    page.click("#card .near button >> nth=1")
    assert page.inner_text("#card .name").split(" · ")[0] == points["path"][near[1]]
    assert page.evaluate("document.activeElement.id") == "map-canvas"


def test_sorted_by_a_click(opened):
    page = opened()
    read = "[...document.querySelectorAll('.board tbody tr')].map(row => Number(row.cells[1].dataset.value))"
    best_first = page.evaluate(read)
    assert len(best_first) == 2
    assert best_first == sorted(best_first, reverse=True)
    page.click(".board thead button >> text=accuracy >> nth=0")
    assert page.evaluate(read) == sorted(best_first)
    assert page.get_attribute(".board thead th >> nth=1", "aria-sort") == "ascending"


@pytest.mark.parametrize("width", [390, 1400])
def test_light_dark_narrow_and_printed(width, opened):
    page = opened(width, color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(colour)
    assert sum(map(int, re.findall(r"\d+", dark)[:3])) < 120
    page.click("#theme")
    assert sum(map(int, re.findall(r"\d+", page.evaluate(colour))[:3])) > 700
    page.reload()
    assert page.evaluate(colour) != dark  # remembered
    page.focus("#map-canvas")
    page.keyboard.press("e")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert len(printed) > 30_000
    assert page.evaluate("document.getElementById('map-print').src.length") > 5_000
