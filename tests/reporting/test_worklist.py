"""The worklist: what each row has at stake, against counts by hand, and what decisions make of the data's table."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_runs import BASE, FIT, TEST, write_runs
from PIL import Image

import heads
from featcache.data.dataset import open_dataset
from featcache.errors import DataError, UsageError
from heads.reporting.html_report import report
from heads.reporting.run_reader import collect
from heads.reporting.worklist_decisions import read_decisions
from heads.reporting.worklist_facts import facts_of
from heads.reporting.worklist_manifest import manifest_of
from heads.reporting.worklist_rows import Choice, Stake, WorklistRow, ranked
from heads.reporting.worklist_sources import SOURCES, worklist_of

SECRET = "Miller, Anna"


def table(folder: Path, name: str, header: list[str], rows: list[list[object]]) -> Path:
    path = folder / name
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """20 test and 20 training images of 20 patients, of which runs say all that there is to say.

    Of the test images the first four are answered wrongly; 10 to 13 (right) have a copy in training.
    """
    folder = tmp_path_factory.mktemp("worklist")
    (folder / "images").mkdir()
    rows, paths = [], []
    for number in range(40):
        name = f"images/{number:02d}.png"
        Image.fromarray(np.full((70, 80), 5 * number, np.uint8)).save(folder / name)
        paths.append(str(folder / name))
        part = "test" if number < 20 else "train"
        rows.append([name, "ab"[number % 2], part, f"p{number // 2}", SECRET + str(number), "M" if number % 4 else "F"])
    data = table(folder, "data.csv", ["path", "label", "split", "group", "patient_name", "sex"], rows)
    told = [[paths[n], "test", "ab"[n % 2], "ba"[n % 2] if n < 4 else "ab"[n % 2], 0.5, 0.5] for n in range(20)]
    told += [[paths[n], "train", "ab"[n % 2], "ab"[n % 2], 0.5, 0.5] for n in range(20, 40)]
    subgroups = {
        "metric": "roc_auc",
        "columns": {
            "sex": {
                "subgroups": {
                    "F": {"images": 5, "patients": 5, "value": 0.7},
                    "M": {"images": 15, "patients": 8, "value": 0.9},
                },
                "gap": {"best": "M", "worst": "F", "difference": 0.2, "p": 0.01, "p_corrected": 0.01, "shown": True},
            }
        },
    }
    test = {**TEST, "n": 20, "accuracy": 0.8, "roc_auc": 0.86, "roc_auc_ci": [0.8, 0.9], "subgroups": subgroups}
    pairs = [
        {"a": paths[n], "b": paths[n + 12], "similarity": 0.99, "labels": ["a", "a"], "splits": ["test", "train"]}
        | {"kind": "across splits"}
        for n in range(10, 14)
    ]
    pairs.append({**pairs[0], "a": paths[5], "b": paths[30], "labels": ["b", "a"], "kind": "label conflict"})
    pairs.append({**pairs[0], "a": paths[16], "b": paths[18], "splits": ["test", "test"], "kind": "same class"})
    audit = {
        **BASE,
        "verb": "audit",
        "images": 40,
        "near_duplicates": pairs,
        "duplicates": [{"paths": [paths[7], paths[35]], "labels": ["b", "b"], "splits": ["test", "train"]}],
        "group_leaks": [{"group": "p0", "splits": ["test", "train"], "images": 2}],
        "quality": {"blank": [paths[0], paths[21]]},
        "unfit": [{"path": paths[1], "fault": "blur", "value": 0.1, "limit": 0.2, "said": "it is blurred"}],
        "unreadable": [{"path": str(folder / "images" / "x.png"), "reason": "cut short"}],
        "shortcuts": [
            {"probe": "border", "score": 0.9, "score_ci": [0.8, 0.95], "chance": 0.5, "flag": True, "verdict": ""}
        ],
        "without_shortcuts": {
            "plain": 0.94,
            "plain_ci": [0.9, 0.97],
            "net": 0.79,
            "net_ci": [0.68, 0.87],
            "difference": 0.15,
            "difference_ci": [0.08, 0.22],
            "matched": {"effective_patients": 41.2, "fewest_patients": 20.1},
            "probes": ["border"],
            "said": "Of a balanced accuracy of 0.94, some 0.15 comes from what border alone gives away",
        },
    }

    def suspect(number: int, score: float, copy: str | None = None) -> dict:
        label = "ab"[number % 2]
        about = {"path": paths[number], "label": label, "suggested": "ba"[number % 2], "score": score, "copy": copy}
        return {**about, "reason": "4 of 4 models say so", "part": "", "group": f"p{number // 2}"}

    search = {
        **BASE,
        "verb": "label-errors",
        "suspects": [suspect(5, 0.9, paths[30]), suspect(2, 0.8), suspect(36, 0.5)],
        "estimated_wrong": 3,
        "labels": 40,
    }
    board = {
        **BASE,
        "verb": "baselines",
        "rows": [{"name": "ridge", "best_params": {}, "test": TEST}],
        "influence": {
            "metric": "accuracy",
            "value": 0.8,
            "groups": 10,
            "most": {"group": "p11", "images": 2, "change": -0.05},
        },
    }
    fit = {**FIT, "test": test, "images": 40}
    about = {"fit_1": fit, "audit_1": audit, "label_1": search, "board_1": board}
    runs = write_runs(folder / "runs", **{name: {**run, "data": str(data)} for name, run in about.items()})
    table(runs / "fit-1", "predictions.csv", ["path", "part", "label", "predicted", "a", "b"], told)
    table(runs / "board-1", "influence.csv", ["group", "images", "change"], [["p18", 2, 0.1], ["p11", 2, -0.05]])
    return folder, runs, paths


@pytest.fixture(scope="module")
def facts(made):
    return facts_of(collect(made[1]), made[0] / "none")


@pytest.fixture(scope="module")
def rows(facts):
    return {row.key.replace(str(facts.collected.data.rpartition("/")[0]), ""): row for row in worklist_of(facts).rows}


def test_what_is_at_stake_is_what_counting_gives(rows):
    """Accuracy 0.8 of 20: each test image is 5 points."""
    stakes = {key: (row.stake.how, row.stake.points) for key, row in rows.items()}
    expected = {
        "label  /images/05.png": ("estimate", 5 * 0.9),
        "label  /images/02.png": ("estimate", 5 * 0.8),
        "label  /images/36.png": ("estimate", 0.5 * 10 / 2),  # the patient's change, for each of two images
        # 5, 7 and 10 to 13 have a copy in training, and are right; of the 14 others 4 are wrong
        "copies across parts": ("estimate", 100 * 6 / 20 * 4 / 14),
        "copies within a part": ("estimate", 100 * abs(4 / 19 - 4 / 20)),
        "torn groups": ("estimate", 0.0),  # both of the patient's are wrong, so nothing is too good
        "unfit blank": ("estimate", 100 * abs(3 / 19 - 4 / 20)),
        "unfit blur": ("estimate", 100 * abs(3 / 19 - 4 / 20)),
        "unfit unreadable": ("at most", 100 / 40),
        "shortcuts": ("estimate", 15.0),
        "subgroup sex F": ("estimate", 100 * 0.16 * 5 / 20),
        "influence p11": ("estimate", 5.0),
    }
    assert set(stakes) == set(expected)
    for key, (how, points) in expected.items():
        assert stakes[key] == (how, pytest.approx(points)), key
    order = [row.stake.points for row in rows.values()]
    assert order == sorted(order, reverse=True)
    assert next(iter(rows)) == "shortcuts"


def test_a_suspect_whose_copy_is_labelled_otherwise_is_one_row(rows, made):
    row = rows["label  /images/05.png"]
    assert row.kind == "Copies with different labels"
    assert row.images == (made[2][5], made[2][30])
    assert [choice.decision for choice in row.choices] == ["relabel as a", "leave out", "leave out"]
    assert not [key for key in rows if key.startswith("conflict")]


def test_rows_about_the_same_images_are_one():
    about = {"source": "", "to_do": "", "images": ("a.png",)}
    doubted = WorklistRow("1", kind="Label", stake=Stake(2.0, "estimate"), reason="Doubted.", doubt=0.5, **about)
    doubted = replace(doubted, choices=(Choice("", "leave out", ("a.png",)), Choice("", "relabel as b", ("a.png",))))
    blank = WorklistRow("2", kind="Unfit", stake=Stake(3.0, "at most"), reason="Blank.", **about)
    blank = replace(blank, choices=doubted.choices[:1])
    alone = WorklistRow("3", kind="Shortcut", stake=Stake(None, "not known"), reason="", source="", to_do="", doubt=0.9)
    first, second = ranked([doubted, alone, blank])
    assert (first.key, first.stake.text, first.kind, first.reason) == (
        "2",
        "at most 3.0",
        "Unfit; label",
        "Blank. Doubted.",
    )
    assert first.choices == doubted.choices
    assert second == alone


def test_members_of_a_subgroup_and_of_a_patient_are_named(rows, made):
    assert rows["subgroup sex F"].images == tuple(made[2][n] for n in range(0, 20, 4))
    assert rows["influence p11"].images == (made[2][22], made[2][23])
    assert rows["copies across parts"].choices[0].images == tuple(made[2][n] for n in (35, 22, 23, 24, 25, 30))


def test_without_answers_and_without_runs_there_are_bounds_and_names_of_what_is_missing(made, tmp_path):
    folder, runs, _ = made
    alone = json.loads((runs / "fit-1" / "run.json").read_text())
    del alone["test"]["subgroups"]
    write_runs(tmp_path / "runs", fit_1=alone)
    found = worklist_of(facts_of(collect(tmp_path / "runs"), folder / "none"))
    assert found.rows == []
    told = {name for names in found.not_looked_for.values() for name in names}
    assert told == {source.name for source in SOURCES}
    assert "copies, torn patients, shortcuts, unfit images (audit)" in found.unsaid
    audited = json.loads((runs / "audit-1" / "run.json").read_text())
    audited["without_shortcuts"] = None
    write_runs(tmp_path / "more", fit_1=alone, audit_1=audited)
    bounds = {row.key: row.stake for row in worklist_of(facts_of(collect(tmp_path / "more"), folder / "none")).rows}
    assert bounds["copies across parts"].how == "at most"
    assert bounds["copies across parts"].points == pytest.approx(100 * 0.3 * 0.2 / 0.7)
    assert (bounds["unfit blank"].how, bounds["unfit blank"].points) == ("at most", pytest.approx(5.0))
    assert (bounds["shortcuts"].how, bounds["shortcuts"].points) == ("at most", pytest.approx(40.0))
    conflict = next(stake for key, stake in bounds.items() if key.startswith("conflict"))
    assert conflict.points == pytest.approx(2.5)  # one of two labels is wrong, and one of the two is tested


def test_images_that_are_gone_leave_the_list_and_take_the_manifest(made, tmp_path):
    about = json.loads((made[1] / "audit-1" / "run.json").read_text())
    fit = {**FIT, "data": str(tmp_path / "gone")}
    runs = write_runs(tmp_path / "runs", fit_1=fit, audit_1={**about, "data": str(tmp_path / "gone")})
    result = report(runs, cache=tmp_path / "none")
    html = Path(result["html"]).read_text()
    assert result["to_do"] > 3
    assert "no such file or folder" in html
    assert 'id="save-manifest"' not in html
    with pytest.raises(DataError, match="cannot be read any more"):
        heads.worklist(runs, decisions=made[0] / "data.csv", cache=tmp_path / "none", out=tmp_path / "m.csv")


def decided(made, tmp_path, lines, header=("path", "decision")):
    path = table(tmp_path, "decisions.csv", list(header), lines)
    return heads.worklist(made[1], decisions=path, cache=made[0] / "none", out=tmp_path / "manifest.csv")


DECISIONS = st.dictionaries(
    st.integers(0, 39), st.sampled_from(["", "keep", "leave out", " Leave  OUT", "relabel as a", "RELABEL as b"])
)


@given(chosen=DECISIONS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_decisions_leave_every_other_row_and_all_columns(chosen, made, facts, tmp_path):
    manifest = manifest_of(facts)
    path = table(tmp_path, "d.csv", ["path", "decision"], [[made[2][n], said] for n, said in chosen.items()])
    after = manifest.decided(read_decisions(path, manifest, facts))
    gone = {n for n, said in chosen.items() if "leave" in said.lower()}
    assert list(after.columns) == ["path", "label", "split", "group", "patient_name", "sex"]
    assert after.columns["path"] == [p for n, p in enumerate(made[2]) if n not in gone]
    kept = [n for n in range(40) if n not in gone]
    for name, cells in after.columns.items():
        before = [manifest.columns[name][n] for n in kept]
        if name == "label":
            before = [
                chosen[n][-1] if "as" in chosen.get(n, "") else label for n, label in zip(kept, before, strict=True)
            ]
        assert cells == before


def test_the_manifest_is_read_as_the_data_was(made, tmp_path):
    result = decided(made, tmp_path, [[made[2][3], "leave out"], ["images/04.png", "relabel as b"]])
    assert (result["left_out"], result["relabelled"], result["kept"]) == (1, 1, 39)
    before, after = open_dataset(made[0] / "data.csv"), open_dataset(result["manifest"])
    at = [before.paths.index(path) for path in after.paths]
    assert after.groups == [before.groups[i] for i in at]
    assert after.splits == [before.splits[i] for i in at]
    assert after.table == {name: [cells[i] for i in at] for name, cells in before.table.items()}
    assert [label for label, i in zip(after.labels, at, strict=True) if label != before.labels[i]] == ["b"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([["nowhere.png", "leave out"]], "row 1 decides on nowhere.png, which is not among the"),
        ([["", "leave out"]], "decides on no image"),
        ([["images/00.png", "relabel as c"]], "the label 'c', which the data does not have; expected a, b"),
        ([["images/00.png", "=HYPERLINK(1)"]], "has the decision '=HYPERLINK(1)'; expected nothing, keep, leave out"),
        ([["images/00.png", "drop"]], "has the decision 'drop'; expected"),
        ([["images/01.png", "relabel as a"], ["images/01.png", "relabel as b"]], "is to be given two labels"),
        ([[f"images/{n:02d}.png", "leave out"] for n in range(40)], "leaves out every image"),
    ],
)
def test_what_nobody_can_mean_is_refused(lines, said, made, tmp_path):
    with pytest.raises(DataError, match=r".*") as told:
        decided(made, tmp_path, lines)
    assert said in str(told.value)
    assert not (tmp_path / "manifest.csv").exists()


def test_a_table_of_another_kind_and_a_file_that_is_there_are_refused(made, tmp_path):
    with pytest.raises(DataError, match=r"no column decision; found path, choice"):
        decided(made, tmp_path, [], ("path", "choice"))
    (tmp_path / "manifest.csv").write_text("mine")
    with pytest.raises(UsageError, match="is there already, and nothing is overwritten"):
        decided(made, tmp_path, [[made[2][3], "leave out"]])
    assert (tmp_path / "manifest.csv").read_text() == "mine"


def test_the_list_is_filled_in_and_given_back(made, cli, tmp_path):
    folder, runs, paths = made
    done = cli("worklist", "--runs", runs, "--cache", folder / "none", "--out", "list.csv")
    assert done.code == 0, done.err
    assert "1. Shortcut: Border alone tells the answer." in done.out
    with (tmp_path / "list.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["decision"] for line in lines} == {""}
    chosen = next(line for line in lines if line["path"] == paths[2])
    assert chosen["possible"] == "keep; relabel as b; leave out"
    chosen["decision"] = "relabel as b"
    next(line for line in lines if line["kind"] == "Unfit images: blank")["decision"] = "leave out"
    table(tmp_path, "filled.csv", list(lines[0]), [list(line.values()) for line in lines])
    made_ = cli(
        "worklist", "--runs", runs, "--cache", folder / "none", "--decisions", "filled.csv", "--out", "m.csv", "--json"
    )
    assert made_.code == 0, made_.err
    assert (made_.json["left_out"], made_.json["relabelled"], made_.json["kept"]) == (1, 1, 39)


def test_data_without_splits_is_given_those_of_the_run(made, tmp_path):
    """Else other images would be tested the next time, and nothing could be compared."""
    folder, runs, paths = made
    rows = [[path, "ab"[n % 2]] for n, path in enumerate(paths)]
    data = table(tmp_path, "plain.csv", ["path", "label"], rows)
    fit = json.loads((runs / "fit-1" / "run.json").read_text())
    write_runs(tmp_path / "runs", fit_1={**fit, "data": str(data)})
    told = (runs / "fit-1" / "predictions.csv").read_text().replace(f"{paths[39]},train", f"{paths[39]},val")
    (tmp_path / "runs" / "fit-1" / "predictions.csv").write_text(told)
    decisions = table(tmp_path, "d.csv", ["path", "decision"], [[paths[0], "leave out"]])
    result = heads.worklist(tmp_path / "runs", decisions=decisions, cache=folder / "none", out=tmp_path / "m.csv")
    assert "these are those of fit-1" in result["note"]
    after = open_dataset(result["manifest"])
    assert [after.splits.count(part) for part in ("test", "train", "val")] == [19, 20, 0]


def test_the_page_carries_no_column_that_may_tell_of_people(made, tmp_path):
    result = report(made[1], cache=made[0] / "none", out=tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert result["to_do"] == 12
    assert "It goes without the column patient_name" in html
    assert SECRET not in html
    data = json.loads(html.partition('id="worklist-data">')[2].partition("</script>")[0])
    assert data["table"]["names"] == ["path", "label", "split", "group", "sex"]


def test_a_million_images_are_decided_on_by_the_verb(made, tmp_path, monkeypatch):
    monkeypatch.setattr("heads.reporting.worklist_view._ROWS", 39)
    report(made[1], cache=made[0] / "none", out=tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "40 images are more than the 39 that a page carries a table of" in html
    assert 'id="save-manifest"' not in html
    assert 'id="save-decisions"' in html


def kind_of_run(tmp_path: Path, kind: str, test: dict, header: list[str], told: list[list[object]]):
    """Ten test images without a dataset, of which the first two are blank."""
    learns = {"kind": kind}
    about = {**FIT, "learns": learns, "classes": header[2:3] if kind == "number" else ["x", "y"], "test": test}
    paths = [f"/data/xrays/{number}.png" for number in range(10)]
    audit = {**BASE, "verb": "audit", "learns": learns, "quality": {"blank": paths[:2]}}
    runs = write_runs(tmp_path / "runs", fit_1=about, audit_1=audit)
    table(
        runs / "fit-1",
        "predictions.csv",
        header,
        [[path, "test", *cells] for path, cells in zip(paths, told, strict=True)],
    )
    return facts_of(collect(runs), tmp_path / "none")


def test_of_several_labels_a_point_is_of_known_labels_that_are_right(tmp_path):
    label = {"n": 10, "positives": 5, "roc_auc": 0.8, "roc_auc_ci": [0.7, 0.9]}
    test = {"mean_roc_auc": 0.8, "mean_roc_auc_ci": [0.7, 0.9], "n": 10, "labels": {"x": label, "y": {**label, "n": 8}}}
    test |= {"mean_average_precision": 0.7, "mean_average_precision_ci": [0.6, 0.8], "loss": 0.5}
    header = ["path", "part", "x", "x predicted", "x probability", "y", "y predicted", "y probability"]
    told = [[1, 0, 0.4, "", 1, 0.9], [1, 0, 0.4, 0, 0, 0.1], *[[0, 0, 0.1, 1, 1, 0.9]] * 8]
    facts = kind_of_run(tmp_path, "labels", test, header, told)
    assert facts.answers == 18
    (row,) = worklist_of(facts).rows
    assert row.stake.points == pytest.approx(100 * (1 + 0.5) / 10)  # of the first only x is known
    assert worklist_of(facts).unit == "percentage points of the test's labels that are right"


def test_of_a_number_a_point_is_a_percent_of_the_error(tmp_path):
    test = {
        "mae": 2.0,
        "mae_ci": [1.0, 3.0],
        "rmse": 3.0,
        "rmse_ci": [2.0, 4.0],
        "n": 10,
        "r2": 0.5,
        "r2_ci": [0.2, 0.7],
    }
    test |= {"spearman": 0.5, "spearman_ci": [0.1, 0.8], "mean_error": 0.1, "mean_error_ci": [-1.0, 1.0], "loss": 0.5}
    told = [[50, 56], [50, 56], *[[40, 41]] * 8]
    facts = kind_of_run(tmp_path, "number", test, ["path", "part", "age", "age predicted"], told)
    (row,) = worklist_of(facts).rows
    assert row.stake.points == pytest.approx(100 * (2.0 - 1.0) / 2.0)
    assert "wrong labels" not in worklist_of(facts).unsaid


def test_the_page_gives_no_image_two_labels(made, browser, tmp_path):
    """Leaving it out counts before a label, as the verb has it."""
    folder, runs, _ = made
    fit, audit, search = (
        json.loads((runs / name / "run.json").read_text()) for name in ("fit-1", "audit-1", "label-1")
    )
    one = {**search["suspects"][0], "suggested": "c", "copy": None}
    search |= {"suspects": [one], "classes": ["a", "b", "c"]}
    write_runs(tmp_path / "runs", fit_1=fit, audit_1=audit, label_1=search)
    page = browser.new_page()
    page.goto(Path(report(tmp_path / "runs", cache=folder / "none")["html"]).as_uri())
    page.evaluate("document.querySelectorAll('#worklist details').forEach((one) => { one.open = true; })")
    doubted = page.locator(".todo > li", has_text="Label that may be wrong").locator("select")
    copies = page.locator(".todo > li", has_text="Copies with different labels").locator("select")
    button, status = page.locator("#save-manifest"), page.locator("#decided")
    doubted.select_option(label="Relabel as c (suggested)")
    copies.select_option(label="Relabel as a, all of them")
    assert "1 image would get two labels: 05.png; change one of the decisions" in status.inner_text()
    assert button.is_disabled()
    doubted.select_option(label="Leave it out")
    assert status.inner_text() == "2 decisions: 1 image left out, 0 images relabelled"
    assert button.is_enabled()
    page.close()
