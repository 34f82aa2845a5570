"""The page's section on sets in place of single answers: right figures, in words, whatever a run's file holds."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from page_runs import BASE, FIT, HOSTILE, TEST, write_runs

from featcache.errors import DataError
from heads.reporting.html_report import report


def row(coverage, low, high, size=1.4, one=0.65, **keys):
    about = {"coverage": coverage, "coverage_ci": [low, high], "size": size, "size_ci": [1.2, 1.6], "one": one}
    return {**keys, "images": 40, "patients": 33, **about, "below": high < 0.9}


FOUND = {
    "coverage": 0.9,
    "needed": 9,
    "patients": 31,
    "kept": True,
    "each": False,
    "few": [{"class": "b", "patients": 7}],
    "between": [0.78, 0.98],
    "rows": [
        row(0.914, 0.84, 0.961),
        row(0.97, 0.86, 1, **{"class": "a"}),
        row(0.7, 0.5, 0.85, **{"class": "b"}),
        {**row(0.9, 0.8, 0.95), "column": "sex", "subgroup": HOSTILE},
        {
            **row(None, 0, 0),
            "coverage_ci": None,
            "size": None,
            "one": None,
            "below": False,
            "column": "sex",
            "subgroup": "f",
        },
    ],
}


def shown(tmp_path: Path, **runs: dict) -> str:
    report(write_runs(tmp_path / "runs", **runs), images=False, out=tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert HOSTILE not in html
    section = re.search(r'<section id="sets".*?</section>', html, re.DOTALL)
    return "" if section is None else re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", section[0])).replace(" :", ":")


def test_how_often_and_how_large_overall_by_class_and_by_subgroup(tmp_path):
    text = shown(tmp_path, fit_1={**FIT, "conformal": FOUND})
    assert "The true label is in the set for 91% (0.84 to 0.96) of test images, 90% being asked for" in text
    assert "sets hold 1.4 labels on average, 65% hold one" in text
    assert "all images 40 33 0.914 0.84 to 0.96" in text
    assert "truly b 40 33 0.700 0.50 to 0.85" in text
    assert "Less often for truly b: it is promised for all together" in text
    assert "Too few patients, of 9 needed, to promise it of each: truly b (7)" in text
    assert "between 0.78 and 0.98" in text
    assert "sex f 40 33 too few to say" in text


def test_other_hospitals_stand_below_and_say_where_it_fails(tmp_path):
    fails = {**FOUND, "rows": [row(0.57, 0.45, 0.67, size=1.1, one=0.87)]}
    there = {"verb": "evaluate", "data": "/data/elsewhere", "bundle": "of fit-1", "internal": TEST, "test": TEST}
    text = shown(tmp_path, fit_1={**FIT, "conformal": FOUND}, evaluate_1={**BASE, **there, "conformal": fails})
    assert "dense head, a / b, on elsewhere: below what was asked for" in text
    assert "Less than was asked for. The true label is in the set for 57%" in text


@pytest.mark.parametrize(("kind", "names"), [("labels", ["a"]), ("number", ["age"])])
def test_labels_and_numbers(kind, names, tmp_path):
    of_label = {"n": 40, "positives": 20, "roc_auc": 0.9, "roc_auc_ci": [0.8, 0.95]}
    tests = {
        "labels": {"n": 40, "labels": {"a": of_label}, "mean_roc_auc": 0.9, "mean_roc_auc_ci": [0.8, 0.95]},
        "number": {"n": 40, "mae": 5.0, "mae_ci": [4.0, 6.0]},
    }
    rows = {
        "labels": [row(0.93, 0.88, 0.96, size=1.3, one=0.7), row(0.8, 0.6, 0.92, label="a", truth="yes")],
        "number": [row(0.93, 0.88, 0.96, size=23.4, one=None)],
    }
    few = [{"label": "a", "truth": "no", "patients": 4}] if kind == "labels" else []
    found = {**FOUND, "each": kind == "labels", "between": None, "few": few, "rows": rows[kind]}
    fit = {**FIT, "learns": {"kind": kind}, "classes": names, "test": tests[kind], "conformal": found}
    text = shown(tmp_path, fit_1=fit)
    if kind == "labels":
        assert "The truth is not ruled out for 93%" in text
        assert "70% of answers are a plain yes or no" in text
        assert "a: has it 40 33 0.800" in text
        assert "to rule out: a: has it not (4)" in text
    else:
        assert "The truth is in the interval for 93%" in text
        assert "intervals are 23.4 wide" in text


def test_runs_without_sets_and_with_too_few_patients(tmp_path):
    assert shown(tmp_path / "none", fit_1=FIT) == ""
    odd = {**FOUND, "rows": [{**FOUND["rows"][0], "coverage_ci": None}]}
    assert "too few images to say how often" in shown(tmp_path / "odd", fit_1={**FIT, "conformal": odd})
    few = {**FOUND, "kept": False, "patients": 5, "between": None, "rows": []}
    assert "5 patients or other groups to calibrate by, and it takes 9" in shown(
        tmp_path / "few", fit_1={**FIT, "conformal": few}
    )


@pytest.mark.parametrize(
    ("place", "bad"),
    [
        (("coverage",), "much"),
        (("rows", 0, "coverage"), 1.5),
        (("rows", 0, "coverage_ci"), [0.5]),
        (("rows", 1, "class"), "x" * 10_000),
        (("rows",), {}),
        (("few", 0, "patients"), -1),
    ],
)
def test_what_is_no_such_result_is_a_sentence(place, bad, tmp_path):
    found = copy.deepcopy(FOUND)
    inner = found
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = bad
    with pytest.raises(DataError, match="not a run's description"):
        shown(tmp_path, fit_1={**FIT, "conformal": found})
