"""A locked test part: hidden everywhere, learnt from by nothing, shown once when asked for as final."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import run_within
from pictures import age, renamed
from PIL import Image

from heads.vault.locks import locked, require_division
from heads.vault.notes import read_notes

FIT = ("fit-head", "--backbone", "pixels", "--units", "8", "--epochs", "3", "--no-audit", "--calibrate", "temperature")
FIT += ("--sensitivity", "0.6", "--task", "binary", "--by", "site", "--prevalence", "0.1")
BOARD = ("baselines", "--backbone", "pixels", "--models", "knn,ridge", "--cv", "2", "--no-audit")
GRID = ("grid", "--backbone", "pixels", "--model", "knn", "--param", "n_neighbors=1,3", "--cv", "2", "--no-audit")
EVALUATE = ("evaluate", "runs/head/bundle", "--split", "test")
COMMANDS = {"head": FIT, "board": BOARD, "grid": GRID, "judged": EVALUATE}


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Path:
    """A folder in which nothing is locked, with a run of each verb, and their page."""
    folder = tmp_path_factory.mktemp("opened")
    rng = np.random.default_rng(0)
    for number in range(104):
        part, label = ("train", "test")[number >= 80], ("covid", "normal")[number % 2]
        name = f"{'unseen-' if part == 'test' else ''}{number:03}.png"
        place = folder / "xrays" / part / label / name
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.normal(110 + 12 * (number % 2), 60, (16, 16)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(place)
    rows = [
        f"{path.relative_to(folder / 'xrays')},{path.parent.name},{path.parts[-3]},{('here', 'there')[i % 2]}"
        for i, path in enumerate(sorted((folder / "xrays").rglob("*.png")))
    ]
    (folder / "xrays" / "table.csv").write_text("\n".join(["path,label,split,site", *rows]) + "\n")
    age(folder / "xrays")
    run_within(folder, "extract", "--data", "xrays/table.csv", "--backbone", "pixels", "--size", "8")
    return folder


@pytest.fixture(scope="module")
def sealed(opened, tmp_path_factory) -> Path:
    """The same with its test images locked before, and then the same runs and page."""
    folder = Path(shutil.copytree(opened, tmp_path_factory.mktemp("sealed") / "copy"))
    done = run_within(folder, "vault", "lock", "--backbone", "pixels", "--no-audit", "--json")
    assert (done.code, done.json["images"], done.json["again"], done.json["looks"]) == (0, 24, False, 0), done.err
    return folder


@pytest.fixture(scope="module")
def runs(opened, sealed) -> tuple[Path, Path]:
    """Both, each verb run in each, and the page over them."""
    for folder in (opened, sealed):
        for name, command in COMMANDS.items():
            done = run_within(folder, *command, "--out", f"runs/{name}", "--json")
            assert done.code == 0, (name, done.err)
        assert run_within(folder, "report").code == 0
    return opened, sealed


def texts(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text("utf-8")
        for path in folder.rglob("*")
        if path.suffix in (".json", ".csv", ".html")
    }


def numbers(value: object) -> set[str]:
    """Figures of a test as they may be written, long enough to be no others by chance."""
    if isinstance(value, dict):
        return set().union(*map(numbers, value.values()))
    if isinstance(value, list):
        return set().union(*map(numbers, value))
    return {repr(value)[:10]} if isinstance(value, float) and len(repr(value)) > 9 else set()


def test_no_file_tells_what_a_model_gives_locked_images(runs):
    opened, sealed = runs
    figures: set[str] = set()
    for name in ("head", "grid", "judged"):
        figures |= numbers(json.loads((opened / "runs" / name / "run.json").read_text())["test"])
    for row in json.loads((opened / "runs" / "board" / "run.json").read_text())["rows"]:
        figures |= numbers(row["test"])
    head = json.loads((opened / "runs" / "head" / "run.json").read_text())
    figures -= numbers([head["train"], head["val"]])  # which are shown, and may be the same by chance
    assert len(figures) > 40
    there = "".join(texts(opened / "runs").values())
    assert sum(figure in there for figure in figures) == len(figures)
    assert "unseen-" in there
    for name, text in texts(sealed / "runs").items():
        assert not [figure for figure in figures if figure in text], name
        assert "unseen-" not in text, name
    drawn = {path.name for path in (sealed / "runs").rglob("*.png")}
    assert drawn == {"curves.png", "leaderboard.png", "heat_maps.png"}
    assert not list((sealed / "runs").rglob("test_answers.csv"))


def test_a_hidden_test_says_why(runs):
    _, sealed = runs
    for name in ("head", "grid", "judged", "board"):
        about = json.loads((sealed / "runs" / name / "run.json").read_text())
        assert about["look"] is None
        assert about["hidden"]["locked"] == about["hidden"]["images"] == 24
        assert "these 24 test images were locked on" in about["hidden"]["reason"]
        assert about.get("test") is None
    head = json.loads((sealed / "runs" / "head" / "run.json").read_text())
    assert head["train"]["n"] > head["val"]["n"] > 0
    board = json.loads((sealed / "runs" / "board" / "run.json").read_text())
    assert [row["test"] for row in board["rows"]] == [None, None]
    assert board["influence"] is board["corrected"] is None
    assert "test" not in json.loads((sealed / "runs" / "head" / "bundle" / "bundle.json").read_text())["scores"]
    page = (sealed / "runs" / "report.html").read_text()
    assert "Test metrics of 4 runs are not shown." in page
    shown = (runs[0] / "runs" / "report.html").read_text()
    for part in ('class="board sortable"', 'id="mistakes"', "for the choice"):
        assert part in shown
        assert part not in page
    assert [note["kind"] for note in read_notes(sealed / "cache").every] == ["lock"]


def test_the_terminal_says_so_too(sealed):
    done = run_within(sealed, *BOARD, "--out", "elsewhere/board")
    assert "test: not shown, since these 24 test images were locked on" in done.out
    told = run_within(sealed, *FIT, "--out", "elsewhere/head").out
    assert "95% interval (test)" not in told
    assert "labelled normal from" not in told
    assert "calibrated by temperature\n" in told


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ((*FIT, "--cv", "3"), "--cv divides all images anew"),
        ((*FIT, "--leave-out", "site"), "--leave-out divides all images anew"),
        ((*FIT, "--repeats", "2"), "--repeats divides all images anew"),
        ((*FIT, "--seeds", "2"), "--seeds shows metrics of them"),
        ((*BOARD, "--seeds", "2"), "--seeds shows metrics of them"),
        ((*GRID, "--repeats", "2"), "--repeats divides all images anew"),
        (("label-errors", "--backbone", "pixels", "--models", "knn", "--no-audit"), "each would be learnt from"),
        (("learning-curve", "--backbone", "pixels", "--no-audit"), "takes all parts as one to learn from"),
        (("tsne", "runs/head/bundle"), "the map shows which of them the model misjudges"),
        (("compare", "runs/head/bundle", "runs/grid/bundle"), "a comparison shows metrics of them"),
    ],
    ids=lambda value: " ".join(value[:1] + value[-2:]) if isinstance(value, tuple) else "",
)
def test_what_would_show_or_learn_from_locked_images_is_refused(runs, command, why):
    done = run_within(runs[1], *command, "--out", "refused")
    assert done.code == 2
    assert why in done.err
    assert "24 of these 104 images are locked" in done.err or "these 24 images are locked" in done.err
    assert not (runs[1] / "refused").exists()


def test_another_division_is_refused_whatever_images_are_called(sealed, tmp_path):
    place = Path(shutil.copytree(sealed, tmp_path / "copy"))
    renamed(place / "xrays", place / "mine")
    for path in sorted((place / "mine" / "test").rglob("*.png")):  # as if they were one's training images
        target = place / "mine" / "train" / path.parent.name / path.name
        shutil.move(path, target)
    shutil.rmtree(place / "mine" / "test")
    run_within(place, "extract", "--data", "mine", "--backbone", "pixels", "--size", "8")
    done = run_within(place, *BOARD, "--out", "runs/other")
    assert done.code == 2
    assert "this division would put them among those that a model learns from" in done.err
    assert "Divide as the lock did" in done.err


def test_the_final_look_is_noted_once_and_later_ones_are_called_so(sealed, tmp_path):
    place = Path(shutil.copytree(sealed, tmp_path / "copy"))
    renamed(place / "xrays", place / "mine")
    run_within(place, "extract", "--data", "mine", "--backbone", "pixels", "--size", "8")
    hidden = run_within(place, *GRID, "--out", "runs/hidden", "--json")
    assert hidden.json["test"] is None  # another folder, other names, the same images
    final = run_within(place, *GRID, "--final", "--out", "runs/final", "--json")
    assert final.json["test"]["n"] == 24
    assert (final.json["look"]["number"], final.json["look"]["final"]) == (1, True)
    told = run_within(place, *BOARD, "--final", "--out", "runs/again").out
    assert "look 2 at these 24 images (" in told
    assert "models so far), asked for as final once more, after the final one" in told
    judged = run_within(place, "evaluate", "runs/final/bundle", "--split", "test", "--out", "runs/j", "--json")
    assert judged.json["test"] is None
    asked = run_within(
        place, "evaluate", "runs/final/bundle", "--split", "test", "--final", "--out", "runs/k", "--json"
    )
    assert (asked.json["look"]["number"], asked.json["look"]["after_final"]) == (3, True)
    listed = run_within(place, "vault", "ls").out
    assert "locked 2" in listed
    assert "final look 2" in listed


def test_a_lock_that_was_taken_away_is_missed(runs, tmp_path):
    place = Path(shutil.copytree(runs[1], tmp_path / "copy"))
    assert run_within(place, "vault", "verify").code == 0
    (place / "cache" / "looks" / "notes.jsonl").unlink()
    done = run_within(place, "vault", "verify")
    assert done.code == 5
    assert "run head was made while its test images were locked; in this cache there are no notes" in done.out


def test_a_lock_is_set_once_and_says_what_was_seen_before(opened, tmp_path):
    place = Path(shutil.copytree(opened, tmp_path / "copy"))
    shutil.rmtree(place / "cache" / "looks", ignore_errors=True)
    run_within(place, *GRID, "--out", "runs/before")
    first = run_within(place, "vault", "lock", "--backbone", "pixels", "--no-audit")
    assert "24 test images are locked: train" in first.out
    assert "they were looked at before: 1 looks, which a lock does not undo" in first.out
    again = run_within(place, "vault", "lock", "--backbone", "pixels", "--no-audit", "--json")
    assert again.json["again"]
    assert len(read_notes(place / "cache").of_kind("lock")) == 1


def test_locks_hold_for_images_by_their_bytes(sealed):
    kept = next((sealed / "cache" / "looks").glob("*.keys")).read_bytes()
    keys = [kept[i : i + 32] for i in range(0, len(kept), 32)]
    strange = [bytes([i]) * 32 for i in range(3)]
    found = locked(sealed / "cache", [strange[0], *keys[:2], strange[1]])
    assert np.array_equal(found.rows, [False, True, True, False])
    require_division(sealed / "cache", strange)
    assert locked(sealed / "cache", []).count == 0
