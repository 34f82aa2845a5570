"""What a page answers of TRIPOD+AI and CLAIM: nothing that the runs do not say, and as a list to be copied."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from page_runs import AUDIT, CLEAN, FIT, HOSTILE, TEST, write_runs

from heads.reporting.checklist_answers import FACTS
from heads.reporting.checklists import CLAIM, TRIPOD_AI
from heads.reporting.html_report import report

OPEN = "to be answered by the authors"
SUBGROUPS = {
    "metric": "roc_auc",
    "columns": {"sex": {"subgroups": {"F": {"images": 22, "patients": 20}, "M": {"images": 18, "patients": 17}}}},
}


def answers(page: Path) -> dict[str, dict[str, str]]:
    """By checklist and number, what the list to be copied says."""
    found = {}
    for name, text in re.findall(r'data-copied="([^"]*)">(.*?)</pre>', page.read_text(encoding="utf-8"), re.DOTALL):
        rows = [line.split("\t") for line in html.unescape(text).splitlines() if "\t" in line]
        found[name] = {number: said for number, _, said in rows}
    return found


def told(folder: Path, **runs) -> dict[str, dict[str, str]]:
    return answers(Path(report(write_runs(folder, **runs))["html"]))


def test_the_items_are_the_checklists_own_and_every_fact_is_asked_for():
    assert [item.number for item in CLAIM.items] == [str(number) for number in range(1, 43)]
    assert sorted({int(item.number.rstrip("abcdefg")) for item in TRIPOD_AI.items}) == list(range(1, 28))
    assert len(TRIPOD_AI.items) == 52
    assert {fact for checklist in (CLAIM, TRIPOD_AI) for item in checklist.items for fact in item.facts} == set(FACTS)


DOUBTED = {
    **FIT,
    "verb": "label-errors",
    "labels": 80,
    "estimated_wrong": 3,
    "suspects": [],
}
POINTS = [{"patients": n, "images": n, "score": 0.8, "low": 0.7, "high": 0.9} for n in (20, 40)]
CURVE = {
    **FIT,
    "verb": "learning-curve",
    "metric": "balanced_accuracy",
    "of_each": "recall",
    "lower_is_better": False,
    "said": "200 more patients: +0.02 (0.00 to 0.04)",
    "patients": 40,
    "level": 0.9,
    "curve": POINTS,
    "forecast": [{"more": 200, "patients": 240, "said": "+0.02"}],
    "classes": {name: {"patients": 20, "cannot_say": "too few"} for name in "ab"},
}
SAID = "Of a balanced accuracy of 0.90, some 0.20 comes from the border"
SPREAD = {
    "metric": "accuracy",
    "repeats": 2,
    "seeds": 1,
    "has_seed": None,
    "mean": 0.85,
    "parts": {"test_images": 0.04, "split": 0.0, "seed": None},
    "total": 0.04,
    "values": [[0.8], [0.9]],
    "divisions": "d",
}


def test_what_the_runs_say_is_said(tmp_path):
    values = {"ppv": 0.31, "ppv_ci": [0.1, 0.6], "npv": None, "npv_ci": None}
    test = {**TEST, "subgroups": SUBGROUPS, "predictive_values": {"prevalence": 0.02, "of": {"b": values}}}
    fit = {
        **FIT,
        "test": test,
        "images": 80,
        "groups": 70,
        "per_split": {"train": {"a": 21, "b": 19}, "test": {"a": 20, "b": 20}},
        "threshold": {"value": 0.37},
        "calibration": {"method": "temperature"},
        "cross_validated": {"folds": 5, "test": {**TEST, "accuracy": 0.5}},
        "leave_out": {"column": "site", "sites": []},
        "spread": SPREAD,
    }
    audit = {**AUDIT, "without_shortcuts": {**AUDIT["without_shortcuts"], "said": SAID}}
    here, there = {"internal": TEST, "trained_on": 40, "bundle": "of fit-1"}, {**TEST, "accuracy": 0.7}
    evaluation = {**FIT, "verb": "evaluate", **here, "test": there, "data": "/data/other"}
    said = told(
        tmp_path / "runs",
        fit_1=fit,
        evaluate_1=evaluation,
        audit_1=audit,
        label_errors_1=DOUBTED,
        learning_curve_1=CURVE,
    )
    tripod, claim = said["TRIPOD+AI"], said["CLAIM"]
    assert "train 40, test 40" in tripod["12a"]
    assert "80 images are of 70 patients or other groups; 1 of them stand" in claim["21"]
    assert "a 21 / 20; b 19 / 20" in tripod["21"]
    assert "accuracy 0.900 (0.80 to 0.95)" in tripod["23a"]
    assert "On 40 images of other: accuracy 0.700" in claim["32"]
    assert "by sex; no difference is shown" in tripod["14"]
    assert "F 22, M 18" in claim["34"]
    assert "at a prevalence of 0.02: b: positive 0.310 (0.100 to 0.600), negative not to be told" in claim["36"]
    assert "from 0.37 on" in tripod["15"]
    assert "were recalibrated" in tripod["12f"]
    assert "5 folds" in tripod["12c"]
    assert "Each site was judged" in tripod["12d"]
    assert "4 of 40 test images are classified wrongly" in claim["37"]
    assert "1 file could not be read" in claim["13"]
    assert "told by file properties" in claim["30"]
    assert "2 divisions of the patients and 1 seed on each the mean accuracy is 0.850" in claim["29"]
    assert "test images 0.040, split 0.000." in claim["29"]
    assert "some 0.20 comes from the border." in tripod["26"]
    assert "200 more patients: +0.02 (0.00 to 0.04)." in tripod["10"]
    assert "Of 80 labels, 3 are estimated to be wrong" in claim["18"]
    assert "Not as they stand" in claim["38"]
    for number in ("2", "3a", "17", "18a", "25"):
        assert tripod[number] == OPEN


def test_what_they_do_not_say_is_left_open(tmp_path):
    said = told(tmp_path / "runs", fit_1=FIT)
    for number in ("7", "12d", "14", "16", "20c", "21", "23b"):
        assert said["TRIPOD+AI"][number] == OPEN or "resized" in said["TRIPOD+AI"][number]
    for number in ("13", "20", "21", "30", "31", "32", "34"):
        assert said["CLAIM"][number] == OPEN
    assert "not recalibrated" in said["TRIPOD+AI"]["12f"]


@pytest.mark.parametrize("wrong", [{"threshold": {"value": 3}}, {"threshold": {"x": 1}}, {"calibration": "yes"}])
def test_what_no_run_says_is_refused(wrong, tmp_path):
    from featcache.errors import DataError

    with pytest.raises(DataError, match="not a run's description"):
        report(write_runs(tmp_path / "runs", fit_1={**FIT, **wrong}))


def test_the_list_is_copied_by_a_click(browser, tmp_path):
    classes = {"classes": ["a", HOSTILE]}
    recalls = {name: {"a": TEST[name]["a"], HOSTILE: TEST[name]["b"]} for name in ("recall", "recall_ci")}
    runs = write_runs(
        tmp_path / "runs", fit_1={**FIT, **classes, "test": {**TEST, **recalls}}, audit_1={**CLEAN, **classes}
    )
    report(runs)
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto((runs / "report.html").as_uri())
    page.locator(".checklist > summary").first.click()
    page.locator("[data-copies]").first.click()
    page.wait_for_function("document.querySelector('[data-copies]').textContent === 'Copied'")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("[data-copied]").first.text_content()
    assert HOSTILE in copied
    assert page.evaluate("window.hacked") is None
    context.close()
