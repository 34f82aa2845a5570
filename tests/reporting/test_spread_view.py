"""Spreads on the page: the runs' own values, an order that is counted between runs, and files that are none."""

from __future__ import annotations

import re
from html import unescape

import pytest
from page_runs import BASE, FIT, HOSTILE, TEST, write_runs

from featcache.errors import DataError
from heads.reporting.html_report import report


def spread(values, divisions="d1", **besides):
    return {
        "metric": "accuracy",
        "repeats": len(values),
        "seeds": len(values[0]),
        "has_seed": True,
        "mean": 0.8125,
        "parts": {"test_images": 0.04321, "split": 0.0, "seed": 0.0123},
        "split_ci": [0.0, 0.0456],
        "total": 0.0449,
        "values": values,
        "divisions": divisions,
        **besides,
    }


def page(folder, **runs):
    report(write_runs(folder / "runs", **runs), cache=folder / "none", out=folder / "page.html")
    html = (folder / "page.html").read_text(encoding="utf-8")
    return html, re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html.split("<body>")[1].split("<script")[0])))


def test_parts_and_what_survives_between_runs(tmp_path):
    better = {**FIT, "feature_set": "vgg16-imagenet", "test": {**TEST, "accuracy": 0.95}}
    rows = [
        {
            "name": "logistic",
            "best_params": {},
            "test": TEST,
            "spread": spread(
                [[0.8, 0.8], [0.9, 0.9]],
                has_seed=False,
                parts=dict.fromkeys(("split",), 0.02) | {"test_images": 0.0, "seed": 0.0},
            ),
        }
    ]
    html, text = page(
        tmp_path,
        fit_1={**better, "spread": spread([[0.9, 0.8], [0.8, None]])},
        fit_2={**FIT, "spread": spread([[0.9, 0.9], [0.9, 0.9]], "elsewhere")},
        board={**BASE, "verb": "baselines", "rows": rows},
    )
    assert "± 0.043 ± 0.000 95%: 0.000 to 0.046 ± 0.012 ± 0.045" in text
    assert "has no seed" in text
    assert "no two test patients differed" in text
    assert "dense head, vgg16-imagenet, the first above" in text
    # 0.9 against 0.8, 0.8 against 0.8, 0.8 against 0.9: what is not known is not counted.
    assert "logistic vgg16-imagenet-224-0 1 of 3 1 +0" in text
    assert "1 model was divided otherwise" in text
    assert "One seed and one split" not in text
    assert len(re.findall(r"M[\d.]+ [\d.]+h0", html)) == 3 + 4 + 4
    assert "A count, and no p-value" in text


def test_where_no_run_has_one_that_is_said(tmp_path):
    _, text = page(tmp_path, fit_1=FIT)
    assert "One seed and one split: another of either gives other values. Rerun with --seeds 5 --repeats 10" in text
    assert "Does the order survive?" not in text


def test_the_winner_of_a_search(tmp_path):
    winner = {"first": 3, "tied": 2, "of": 10, "candidates": [{"params": {HOSTILE: 1}, "mean": None}] * 4}
    searched = {
        **{name: value for name, value in FIT.items() if name != "hyperparameters"},
        "verb": "grid",
        "candidates": 4,
        "folds": 2,
        "best_params": {},
        "best_score": 0.8,
        "top": [],
    }
    (tmp_path / "runs" / "grid-1").mkdir(parents=True)
    (tmp_path / "runs" / "grid-1" / "results.csv").write_text("rank,mean_score,std_score,C\n1,0.8,0.1,1\n")
    write_runs(tmp_path / "other", grid_1={**searched, "spread": spread([[0.9], [0.8]], winner=winner)})
    (tmp_path / "other" / "grid-1" / "run.json").rename(tmp_path / "runs" / "grid-1" / "run.json")
    report(tmp_path / "runs", cache=tmp_path / "none", out=tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "first of the best 4 of its search in 3 of 10 divisions, tied for it in 2" in html
    assert HOSTILE not in html


@pytest.mark.parametrize(
    ("about", "says"),
    [
        (spread([[0.9, 0.8]], seeds=3), "its spread has not 1 x 3 values"),
        (spread([[0.9, 0.8], [0.9]]), "its spread has not 2 x 2 values"),
        (spread([[0.9]], metric="mae"), "its spread is of mae, and its test of accuracy"),
        (spread([[0.9]], metric="<b>"), "metric"),
        (spread([[0.9]], repeats=10**9), "repeats"),
        (spread([["much"]]), "values"),
        (spread([[0.9]], parts={"test_images": -1.0, "split": None, "seed": None}), "test_images"),
        (spread([[0.9]], divisions="a\x1b[2J"), "divisions"),
    ],
)
def test_a_spread_that_is_none_ends_in_a_sentence(about, says, tmp_path):
    with pytest.raises(DataError, match=says):
        page(tmp_path, fit_1={**FIT, "spread": about})
