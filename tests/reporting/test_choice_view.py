"""What a page says of the choice among models, from runs that kept their answers on test images."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from page_runs import FIT, TEST

from heads.evaluation.intervals import share_interval
from heads.evaluation.simultaneous_intervals import simultaneous_intervals
from heads.reporting.html_report import report

CHAIN, SET = "a" * 64, "b" * 64


def write_run(folder: Path, name: str, right: np.ndarray, number: int, answers: bool = True, **more: object) -> None:
    """A head's run on 40 images of 20 patients, as right as it is said, which was look ``number``."""
    y = np.arange(40) % 2
    said = np.where(right, y, 1 - y)
    accuracy, ends = float(right.mean()), list(share_interval(right, np.arange(40) // 2))
    table = [[int(((y == a) & (said == b)).sum()) for b in (0, 1)] for a in (0, 1)]
    look = {
        "number": number, "models": number, "images": 40, "set": SET, "chain": CHAIN, "note": number,
        "digest": f"{number:064x}", "previous": CHAIN, "final": False, "after_final": False, "repeat": False,
    }  # fmt: skip
    test = {**TEST, "accuracy": accuracy, "accuracy_ci": ends, "confusion": table}
    (folder / name).mkdir(parents=True)
    about = {**FIT, "finished": f"2026-01-{number:02}T00:00:00", "test": test, "look": look, **more}
    (folder / name / "run.json").write_text(json.dumps(about))
    if answers:
        with (folder / name / "test_answers.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "group", "true 0", "0 0"])
            order = np.random.default_rng(number).permutation(40)
            writer.writerows([f"{i:016x}", i // 2, y[i], said[i]] for i in order)


@pytest.fixture
def rights() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random(40) < share for share in (0.75, 0.8, 0.9)]


def page_of(folder: Path) -> str:
    done = report(folder, cache=folder / "cache", images=False)
    return Path(done["html"]).read_text("utf-8")


def test_runs_on_the_same_images_are_corrected_for_the_choice(tmp_path, rights):
    for number, right in enumerate(rights, 1):
        write_run(tmp_path, f"run{number}", right, number)
    y = np.arange(40) % 2
    outputs = {str(i): np.eye(2)[np.where(right, y, 1 - y)] for i, right in enumerate(rights)}
    found = simultaneous_intervals("classes", y, outputs, np.arange(40) // 2)
    best = max(range(3), key=lambda i: rights[i].mean())
    low, high = found.intervals[str(best)]
    page = page_of(tmp_path)
    value = f"{rights[best].mean():.3f}"
    said = f"The best of 3, dense head: accuracy {value}, allowing for the choice {low:.2f} to {high:.2f}."
    assert said in page
    assert page.count("for the choice ") >= 4
    assert "its 40 test images were looked at 3 times, 3 models in all." in page


def test_looks_without_answers_are_said_not_to_be_allowed_for(tmp_path, rights):
    write_run(tmp_path, "run5", rights[0], 5)
    write_run(tmp_path, "run7", rights[1], 7)
    page = page_of(tmp_path)
    assert "The best of 2" in page
    assert "looked at 7 times, 7 models in all; of 5 looks the answers are not at hand, and no interval" in page


def test_one_run_alone_says_how_often_its_images_were_looked_at(tmp_path, rights):
    write_run(tmp_path, "run7", rights[0], 7, answers=False)
    page = page_of(tmp_path)
    assert "for the choice" not in page
    assert "looked at 7 times" in page
    assert "Not in the notes." in page
    assert "made with another cache, or its notes were removed since" in page


def test_runs_of_earlier_versions_are_shown_as_before(tmp_path, rights):
    write_run(tmp_path, "old", rights[0], 1, answers=False)
    about = json.loads((tmp_path / "old" / "run.json").read_text())
    del about["look"]
    (tmp_path / "old" / "run.json").write_text(json.dumps(about))
    write_run(tmp_path, "new", rights[1], 2)
    page = page_of(tmp_path)
    assert page.count("dense head</b>") == 2
    assert "for the choice" not in page


def test_models_that_disagree_on_what_is_true_are_not_put_together(tmp_path, rights):
    write_run(tmp_path, "run1", rights[0], 1)
    write_run(tmp_path, "run2", rights[1], 2)
    path = tmp_path / "run2" / "test_answers.csv"
    first, second, *rest = path.read_text().splitlines()
    image, group, true, said = second.split(",")
    path.write_text("\n".join([first, f"{image},{group},{1 - int(true)},{said}", *rest]) + "\n")
    assert "for the choice" not in page_of(tmp_path)


def test_models_judged_on_the_same_other_images_are_corrected_too(tmp_path, rights):
    for number, right in enumerate(rights[:2], 1):
        write_run(tmp_path, f"fit{number}", right, number)
        (tmp_path / f"fit{number}" / "test_answers.csv").unlink()
        bundle = str(tmp_path / f"fit{number}" / "bundle")
        judged = {"verb": "evaluate", "data": "/of/another/place", "bundle": bundle, "internal": TEST}
        write_run(tmp_path, f"judged{number}", right, number + 2, **judged)
    page = page_of(tmp_path)
    best = max(right.mean() for right in rights[:2])
    assert f"On place, the best of 2, dense head, a / b: accuracy {best:.3f}, allowing for the choice " in page
