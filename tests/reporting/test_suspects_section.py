"""The page's section on labels that may be wrong: what the run found, with pictures or without, in a browser."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from page_runs import BASE, FIT, HOSTILE, TEST, write_runs
from PIL import Image

from featcache.errors import DataError
from heads.reporting.html_report import report


def searched(folder: Path) -> dict:
    """A run that suspects three images of ``folder``, the first since a copy is labelled otherwise."""
    folder.mkdir(parents=True)
    suspects = []
    for number, name in enumerate((f"{HOSTILE.replace('/', '|')}.png", "two.png", "gone.png")):
        if name != "gone.png":
            Image.fromarray(np.full((20, 30), 90 * number + 20, np.uint8)).save(folder / name)
        suspects.append(
            {
                "path": str(folder / name),
                "label": "a",
                "suggested": "b",
                "score": 0.9 - 0.1 * number,
                "reason": f"{4 - number} of 4 models say b {HOSTILE}",
                "part": "train",
                "copy": None if number else str(folder / "copy.png"),
            }
        )
    return {
        **BASE,
        "verb": "label-errors",
        "data": str(folder),
        "suspects": suspects,
        "estimated_wrong": 5,
        "labels": 1240,
        "pairs": [
            {"label": "a", "likely": "b", "images": 620, "wrong": 4.4},
            {"label": "b", "likely": "a", "images": 620, "wrong": 0.3},
        ],
        "models": [{"name": "knn", "test": TEST}],
    }


def shown(page) -> str:
    return " ".join(page.inner_text("#labels").split())


@pytest.mark.parametrize("width", [380, 1200])
def test_suspects_are_shown_with_pictures_and_sorted_by_a_click(width, browser, tmp_path):
    found = searched(tmp_path / "images")
    older = {**found, "estimated_wrong": 77}
    fit = {**FIT, "data": found["data"]}
    elsewhere = {**older, "data": "/data/others"}
    report(write_runs(tmp_path / "runs", fit_1=fit, label_1=older, label_2=found, label_3=elsewhere))
    page, complaints = browser.new_page(viewport={"width": width, "height": 900}), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((tmp_path / "runs" / "report.html").as_uri())
    told = shown(page)
    assert "5 of 1,240 labels (0.4%) are estimated to be wrong" in told
    assert "3 are suspect, 1 of them since a copy of the image is labelled otherwise" in told
    assert "Asked: knn (accuracy 0.900, 0.80 to 0.95)" in told
    assert "Likely b among a: 4 of 620." in told
    assert "77" not in told
    assert page.locator("#labels .suspects li").count() == 3
    assert page.locator("#labels .suspects li.bad").count() == 1
    assert page.locator("#labels .suspects img").count() == 2
    assert "no picture" in told
    page.evaluate("document.querySelector('#labels details').open = true")
    page.click("#labels thead button >> text=Doubt")
    page.click("#labels thead button >> text=Doubt")
    doubts = page.locator("#labels tbody td[data-value]").all_inner_texts()
    assert doubts == ["0.70", "0.80", "0.90"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.hacked") is None
    assert complaints == []
    page.close()


def test_without_pictures_and_without_a_search(tmp_path):
    found = searched(tmp_path / "images")
    fit = {**FIT, "data": found["data"]}
    told = report(write_runs(tmp_path / "runs", fit_1=fit, label_1=found), images=False)
    html = (tmp_path / "runs" / "report.html").read_text()
    assert 'id="labels"' in html
    assert "data:image" not in html
    assert "two.png" in html
    alone = report(tmp_path / "runs" / "fit-1", out=tmp_path / "alone.html")
    assert 'id="labels"' not in (tmp_path / "alone.html").read_text()
    assert told["verdict"] == alone["verdict"]


def test_a_run_that_is_not_what_it_says_is_refused(tmp_path):
    found = searched(tmp_path / "images")
    runs = write_runs(tmp_path / "runs", fit_1={**FIT, "data": found["data"]}, label_1=found)
    place = runs / "label-1" / "run.json"
    for wrong in ({"suspects": [{"path": 1}]}, {"estimated_wrong": "many"}, {"models": [{"name": "x", "test": {}}]}):
        place.write_text(json.dumps({**json.loads(place.read_text()), **wrong}))
        with pytest.raises(DataError, match="label-1"):
            report(runs)
