"""Looks at test images: counted by their bytes, chained, and missed where their notes were taken away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import run_within
from pictures import age, renamed, write_images
from surroundings import ROOT

from featcache.errors import StoreError
from heads.vault import looks as looks_module
from heads.vault.image_sets import keep_set
from heads.vault.looks import Shown, look
from heads.vault.notes import folder_of, read_notes

GRID = ("grid", "--backbone", "pixels", "--model", "knn", "--cv", "2", "--no-audit")
BOARD = ("baselines", "--backbone", "pixels", "--cv", "2", "--no-audit")


def write_parts(folder: Path) -> None:
    """``folder/{train,test}/<class>/NNN.png``."""
    write_images(folder / "train", 32, size=16, seed=1)
    write_images(folder / "test", 16, size=16, seed=2)
    age(folder)


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> Path:
    """A folder with images, a cache, and two looks at its test images: ``runs/first`` and ``runs/second``."""
    folder = tmp_path_factory.mktemp("seen")
    write_parts(folder / "xrays")
    run_within(folder, "extract", "--data", "xrays", "--backbone", "pixels", "--size", "8")
    for name, values in (("first", "1"), ("second", "5")):
        done = run_within(folder, *GRID, "--param", f"n_neighbors={values}", "--out", f"runs/{name}", "--json")
        assert done.code == 0, done.err
    return folder


@pytest.fixture
def place(seen, tmp_path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(seen, tmp_path / "copy"))


def about(folder: Path, run: str) -> dict:
    return json.loads((folder / "runs" / run / "run.json").read_text())


def notes_of(folder: Path) -> Path:
    return folder / "cache" / "looks" / "notes.jsonl"


def test_each_look_is_counted_and_chained(seen):
    first, second = about(seen, "first")["look"], about(seen, "second")["look"]
    assert (first["number"], second["number"], first["images"]) == (1, 2, 16)
    assert (first["note"], second["note"]) == (1, 2)
    assert first["previous"] == first["chain"] == second["chain"]
    assert second["previous"] == first["digest"]
    assert json.loads((seen / "runs" / "second" / "bundle" / "bundle.json").read_text())["look"] == second


def test_the_look_stands_beside_the_metrics(place):
    done = run_within(place, *BOARD, "--models", "dummy,lda", "--out", "runs/board")
    assert "look 3 at these 16 images (4 models so far)" in done.out


def test_other_names_and_folders_are_the_same_images(place):
    renamed(place / "xrays", place / "elsewhere")
    run_within(place, "extract", "--data", "elsewhere", "--backbone", "pixels", "--size", "8")
    done = run_within(place, *BOARD, "--models", "lda", "--out", "runs/third", "--json")
    assert done.json["data"].endswith("elsewhere")
    assert done.json["look"]["number"] == 3
    assert done.json["look"]["set"] == about(place, "first")["look"]["set"]


def test_answers_that_were_shown_before_are_no_new_look(place):
    again = run_within(place, *GRID, "--param", "n_neighbors=1", "--out", "runs/again", "--json").json["look"]
    assert (again["number"], again["repeat"], again["note"]) == (1, True, 1)
    judged = run_within(place, "evaluate", "runs/second/bundle", "--split", "test", "--out", "runs/judged", "--json")
    assert (judged.json["look"]["number"], judged.json["look"]["repeat"]) == (2, True)
    assert len(read_notes(place / "cache").every) == 2
    told = run_within(place, "evaluate", "runs/second/bundle", "--split", "test", "--out", "runs/told").out
    assert "again: answers that were shown before" in told


def test_a_comparison_is_a_look(place):
    renamed(place / "xrays", place / "elsewhere")
    write_images(place / "elsewhere" / "test", 6, size=16, seed=9)
    done = run_within(
        *(place, "compare", "runs/first/bundle", "runs/second/bundle", "--data", "elsewhere", "--split", "test"),
        *("--out", "runs/compared"),
    )
    assert "look 3 at these 22 images" in done.out, done.err  # 16 of them were looked at before


def test_the_notes_name_no_file_and_no_class(seen):
    text = notes_of(seen).read_text()
    for word in ("covid", "normal", "xrays", str(seen), ".png"):
        assert word not in text, word


def removed(notes: Path) -> None:
    notes.unlink()


def cut_off(notes: Path) -> None:
    notes.write_text("".join(notes.read_text().splitlines(keepends=True)[:-1]))


def edited(notes: Path) -> None:
    first, *rest = notes.read_text().splitlines(keepends=True)
    notes.write_text(first.replace('"look":1', '"look":9') + "".join(rest))


def restarted(notes: Path) -> None:
    """Removed, and filled by other looks."""
    notes.unlink()
    keys = [bytes([i]) * 32 for i in range(4)]
    look(notes.parents[1], keys, Shown("grid", "x", "binary", {"knn": np.arange(4)}))


@pytest.mark.parametrize("change", [removed, cut_off, edited, restarted])
def test_notes_that_were_changed_are_missed(place, change):
    sound = run_within(place, "vault", "verify")
    assert sound.code == 0, sound.out
    assert "2 notes: the chain is whole" in sound.out
    change(notes_of(place))
    missed = {"cut_off": "second", "edited": "first"}.get(change.__name__, "second")
    said = {
        "removed": "there are no notes: it was made with another cache, or its notes were removed",
        "restarted": "the notes are others: it was made with another cache, or its notes were removed",
        "cut_off": "do not have it: notes were removed or changed, or it was made with a copy of this cache",
        "edited": "says otherwise (look)",
    }[change.__name__]
    done = run_within(place, "vault", "verify", f"runs/{missed}")
    assert done.code == 5
    assert said in done.out
    of_bundle = run_within(place, "vault", "verify", f"runs/{missed}/bundle")
    assert of_bundle.code == 5
    assert said in of_bundle.out
    judged = run_within(place, "evaluate", f"runs/{missed}/bundle", "--out", "runs/judged", "--json")
    assert judged.code == 0
    assert said in judged.json["looks_of_model"]
    page = run_within(place, "report", "--json")
    states = {row["run"]: row["state"] for row in page.json["looks"]}
    assert states[missed] == ("elsewhere" if change in (removed, restarted) else "changed")
    assert "Not in the notes." in Path(page.json["html"]).read_text()


def test_an_edited_middle_line_breaks_the_chain_and_is_kept(place):
    run_within(place, *BOARD, "--models", "lda", "--out", "runs/third")
    lines = notes_of(place).read_text().splitlines(keepends=True)
    changed = lines[1].replace('"models":["knn"]', '"models":["svm"]')
    assert changed != lines[1]
    notes_of(place).write_text(lines[0] + changed + lines[2])
    done = run_within(place, "vault", "verify")
    assert done.code == 5
    assert "line 2 (note 2) was changed since it was written" in done.out
    goes_on = run_within(place, *BOARD, "--models", "dummy", "--out", "runs/fourth", "--json")
    assert (goes_on.code, goes_on.json["look"]["number"]) == (0, 4)
    assert "was changed since it was written" in goes_on.err
    assert changed in notes_of(place).read_text()
    notes_of(place).write_text(lines[0] + lines[2])
    assert "notes are missing there" in run_within(place, "vault", "verify").out


@pytest.mark.parametrize("content", [b"\x00\xff garbage\n", b'{"version": 7}\n', b"[[[[\n" * 9, b""])
def test_a_damaged_file_is_said_and_kept_and_stops_nothing(place, content):
    notes_of(place).write_bytes(content)
    done = run_within(place, *BOARD, "--models", "lda", "--out", "runs/third", "--json")
    assert (done.code, done.json["look"]["number"], done.json["look"]["note"]) == (0, 1, 1), done.err
    assert ("is no note: it was damaged" in done.err) == bool(content)
    assert notes_of(place).read_bytes().startswith(content)
    assert run_within(place, "vault", "verify", "runs/third").code == (5 if content else 0)


def test_a_cache_that_cannot_be_written_is_said_once_and_stops_nothing(place):
    shutil.rmtree(place / "cache" / "looks")
    (place / "cache" / "looks").write_text("")  # a folder cannot be made here, whoever asks
    done = run_within(place, *BOARD, "--models", "lda", "--out", "runs/third")
    assert done.code == 0
    assert done.err.count("this one could not be noted") == 1
    assert "look 1 at these 16 images; it could not be noted" in done.out
    assert about(place, "third")["look"]["digest"] is None
    assert "could not be noted when it was made" in run_within(place, "vault", "verify", "runs/third").out


# -- which looks count, and faults -----------------------------------------------------------------


def keys_of(*numbers: int) -> list[bytes]:
    return [number.to_bytes(32, "big")[::-1] for number in numbers]


def shown(*values: float, name: str = "knn", run: str = "run") -> Shown:
    return Shown("grid", run, "binary", {name: np.array(values)})


def test_half_of_the_images_looked_at_before_is_a_look_at_them(tmp_path):
    cache = tmp_path / "cache"
    assert look(cache, keys_of(*range(10)), shown(*range(10)))["number"] == 1
    assert look(cache, keys_of(*range(5, 15)), shown(*range(10)))["number"] == 2  # five of ten
    assert look(cache, keys_of(9, *range(20, 29)), shown(*range(10)))["number"] == 1  # one of ten
    assert look(cache, keys_of(0, 1), shown(1, 2))["number"] == 2  # both were among the first ten
    assert look(cache, keys_of(*range(200)), shown(*range(200)))["number"] == 1


def test_the_order_of_images_and_the_last_bits_of_answers_mean_nothing(tmp_path):
    cache, keys = tmp_path / "cache", keys_of(*range(6))
    values = np.array([0.12, 0.9, 0.5, 0.001, 0.77, 0.31])
    look(cache, keys, shown(*values))
    assert look(cache, keys[::-1], shown(*(values[::-1] + 1e-7)))["repeat"]
    assert not look(cache, keys, shown(*(values + 0.1 * (values == 0.12))))["repeat"]


def test_a_look_after_the_final_one_is_called_so(tmp_path):
    cache, keys = tmp_path / "cache", keys_of(1, 2, 3)
    first = look(cache, keys, shown(1, 2, 3), final=True)
    assert looks_module.look_words(first) == "look 1 at these 3 images, the final one"
    second = look(cache, keys, shown(1, 2, 2))
    assert looks_module.look_words(second) == "look 2 at these 3 images (2 models so far), after the final one"
    third = look(cache, keys, shown(1, 2, 2), final=True)
    assert (third["number"], third["final"], third["after_final"], third["repeat"]) == (3, True, True, False)


def test_sets_whose_keys_are_gone_count_by_their_digest(tmp_path, caplog):
    cache, keys = tmp_path / "cache", keys_of(*range(8))
    digest = look(cache, keys, shown(*range(8)))["set"]
    (folder_of(cache) / f"{digest}.keys").write_bytes(b"x" * 32 * 8)
    assert look(cache, keys_of(*range(7)), shown(*range(7)))["number"] == 1
    assert "gone or damaged" in caplog.text
    assert look(cache, keys, shown(*range(1, 9)))["number"] == 3
    assert look(cache, keys_of(*range(6)), shown(*range(6)))["number"] == 4  # the keys are there again


def test_notes_do_not_grow_without_end(tmp_path, monkeypatch, caplog):
    cache, keys = tmp_path / "cache", keys_of(1, 2)
    look(cache, keys, shown(1, 2))
    monkeypatch.setattr("heads.vault.notes._MOST", 400)  # a note takes more
    more = look(cache, keys, shown(2, 1))
    assert (more["number"], more["digest"]) == (2, None)
    assert "could not be noted" in caplog.text
    monkeypatch.setattr("heads.vault.image_sets._MOST", 100)
    monkeypatch.setattr("heads.vault.notes._MOST", 20)
    assert "it is not read" in read_notes(cache).faults[0]
    with pytest.raises(StoreError, match="sets of images"):
        keep_set(folder_of(cache), keys_of(*range(9)))


_MANY = """
import sys
import numpy as np
from heads.vault.looks import Shown, look
rng = np.random.default_rng(int(sys.argv[2]))
for number in range(30):
    keys = [bytes([i]) * 32 for i in range(5)]
    look(sys.argv[1], keys, Shown("grid", sys.argv[2], "binary", {"knn": rng.random(5)}))
"""


def test_two_processes_note_at_once(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-c", _MANY, str(tmp_path), name], cwd=ROOT) for name in ("0", "1000")
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    notes = read_notes(tmp_path)
    assert not notes.faults
    assert [note["look"] for note in notes.every] == list(range(1, 61))
    assert {note["run"] for note in notes.every} == {"0", "1000"}


WATCHED = ("notes.py", "looks.py", "image_sets.py", "atomic_files.py", "maintenance_lock.py")


def killed_at(step: int, cache: Path, answers: Shown) -> bool:
    """Look in a process that kills itself right before its so-manieth call into C; whether it came to that."""
    child = os.fork()
    if not child:
        count = 0

        def watch(frame, event, argument) -> None:
            nonlocal count
            if event == "c_call" and os.path.basename(frame.f_code.co_filename) in WATCHED:
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(watch)
        look(cache, keys_of(*range(7)), answers)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_kill_at_any_step_loses_and_tears_nothing(tmp_path):
    killed = 0
    for step in range(1, 2000, 3):
        cache, before = tmp_path / str(step), step % 2
        told = [look(cache, keys_of(*range(7)), shown(*range(i, 7 + i))) for i in range(before)]
        alive = not killed_at(step, cache, shown(*range(9, 16)))
        notes = read_notes(cache)
        assert not notes.faults, step
        assert [note["digest"] for note in notes.every[:before]] == [one["digest"] for one in told]
        assert len(notes.every) in (before, before + 1)
        after = look(cache, keys_of(*range(7)), shown(*range(20, 27)))
        assert after["number"] == len(notes.every) + 1
        assert not read_notes(cache).faults
        shutil.rmtree(cache)
        if alive:
            break
        killed += 1
    assert alive
    assert killed > 15


def test_a_line_that_a_power_cut_tore_goes_with_the_next_note(tmp_path):
    look(tmp_path, keys_of(1, 2), shown(1, 2))
    path = folder_of(tmp_path) / "notes.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:100])
    assert look(tmp_path, keys_of(1, 2), shown(2, 1))["number"] == 2
    assert path.read_bytes().startswith(whole + b'{"answers"')
    assert not read_notes(tmp_path).faults
    path.write_bytes(path.read_bytes()[:-1])  # by an editor that ends no line
    assert look(tmp_path, keys_of(1, 2), shown(3, 1))["number"] == 3
    assert not read_notes(tmp_path).faults


def test_names_that_no_terminal_should_see_do_not_break_the_chain(tmp_path):
    look(tmp_path, keys_of(1, 2), shown(1, 2, run="a\nb\x1b[2J\udc80", name="m\x00" * 99))
    look(tmp_path, keys_of(1, 2), shown(2, 1))
    notes = read_notes(tmp_path)
    assert not notes.faults
    assert notes.every[0]["run"] == "a?b?[2J?"
    assert len(notes.every[0]["models"][0]) == 100
