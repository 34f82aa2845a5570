"""``study``: from images to the page, each step once, and the same again from the file it writes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import age, write_images
from PIL import Image
from shortened import few_trees, undrawn
from surroundings import OFFLINE, ROOT

import featcache
import heads
from featcache.errors import DataError, FeatcacheError, UsageError
from heads import study
from heads.experiments.reference import GRIDS
from heads.studies.steps import study_folder
from heads.studies.study_file import Images, Made, Network, Settings, StudyFile, differences, read_study, write_study

# What an audit finds, and what figures show, is proven where they are made.
pytestmark = pytest.mark.usefixtures("few_trees", "undrawn")
CLASSES = ("cat", "dog")
QUICK = {"backbone": "pixels", "size": 8, "baselines": ["logistic", "dummy"]}
OPTIONS = ("--backbone", "pixels", "--size", 8, "--baselines", "logistic,dummy")


def pictures(folder: Path, count: int, seed: int = 0, split: str = "") -> Path:
    """Pictures of cats and dogs, told apart by their brightness, more or less."""
    for number, path in enumerate(write_images(folder / split, count, CLASSES, size=24, seed=seed)):
        level = 40 * CLASSES.index(path.parent.name) + 17 * (number % 5)
        Image.fromarray((np.asarray(Image.open(path)) // 3 + level).astype(np.uint8)).save(path)
    age(folder)
    return folder


@pytest.fixture
def animals(tmp_path):
    pictures(tmp_path / "animals", 40, 1, "train")
    return pictures(tmp_path / "animals", 20, 2, "test")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A study, and what a second one with the same settings gave."""
    place = tmp_path_factory.mktemp("study")
    pictures(place / "animals", 40, 1, "train")
    pictures(place / "animals", 20, 2, "test")
    pictures(place / "zoo", 20, 3)
    asked = {**QUICK, "data": place / "animals", "against": place / "zoo", "cache": place / "cache", "out": place / "s"}
    with few_trees(), undrawn():
        return place, asked, study(**asked), study(**asked)


def by_name(result: dict) -> dict[str, dict]:
    return {step["name"]: step for step in result["steps"]}


def told_by(folder: str) -> dict:
    """What a run says, without its times and places."""
    about = json.loads((Path(folder) / "run.json").read_text())
    return {name: about[name] for name in about if name in ("test", "rows", "best_params", "classes", "per_split")}


def without_seconds(value):
    if isinstance(value, dict):
        return {name: without_seconds(v) for name, v in value.items() if name != "seconds"}
    return [without_seconds(v) for v in value] if isinstance(value, list) else value


def test_every_step_is_done_once(done):
    _, _, first, second = done
    fits = ["baselines pixels", "fit-head pixels"]
    judged = ["evaluate baselines-pixels", "evaluate fit-head-pixels"]
    names = ["extract pixels", "audit", *fits, *judged, "report"]
    assert [step["name"] for step in first["steps"]] == names
    assert [step["name"] for step in second["steps"]] == names
    assert not any(step["skipped"] for step in first["steps"])
    assert all(step["skipped"] for step in second["steps"])
    assert [step.get("run") for step in second["steps"]] == [step.get("run") for step in first["steps"]]
    assert second["failed"] == second["differences"] == first["failed"] == first["differences"] == []
    assert second["verdict"] == first["verdict"]
    assert by_name(second)["fit-head pixels"]["test"]["n"] == 20


def test_all_of_it_lies_in_one_folder_and_the_page_is_of_it_alone(done):
    place, _, first, _ = done
    folder = place / "s"
    assert first["html"] == str(folder / "report.html")
    page = json.loads((folder / "report.json").read_text())
    assert {Path(run).parent for run in page["runs"]} == {folder}
    assert Path(page["audit"]).parent == folder
    assert page["left_out"] == []
    html = (folder / "report.html").read_text()
    assert "On images from elsewhere" in html
    assert "No audit" not in html
    assert not (Path.cwd() / "runs").exists() or not list((Path.cwd() / "runs").glob("study-animals*"))


def test_the_page_of_a_study_on_the_manifest_of_another_says_what_changed(done):
    place, asked, _, _ = done
    assert json.loads((place / "s" / "report.json").read_text())["to_do"] > 0
    html = (place / "s" / "report.html").read_text()
    assert "What to do first" in html
    assert "Not looked for: wrong labels (label-errors)" in html
    (image, *_), path = sorted((place / "animals" / "test" / "cat").iterdir()), place / "decisions.csv"
    path.write_text(f"path,decision\n{image},leave out\n")
    made = heads.worklist(place / "s", decisions=path, cache=place / "cache", out=place / "manifest.csv")
    with few_trees(), undrawn():
        again = study(**{**asked, "data": made["manifest"], "against": None, "out": place / "t"})
    told = " ".join(re.sub("<[^>]+>", " ", Path(again["html"]).read_text()).split())
    assert "Since animals : images 1 left out." in told
    assert "On the 19 test images that both have" in told


def test_the_audit_heeds_the_other_images_with_their_features(done):
    _, _, first, _ = done
    about = json.loads((Path(by_name(first)["audit"]["run"]) / "run.json").read_text())
    assert about["against"]["images"] == 20


def test_the_file_says_every_setting_and_digest(done):
    place, _, first, _ = done
    file = read_study(first["config"])
    text = tomllib.loads(Path(first["config"]).read_text())
    absent = {"classes", "group_regex", "pooling", "memory", "images_below"}
    assert set(text["study"]) == set(Settings.__struct_fields__) - absent
    assert (file.study.data, file.study.backbones, file.study.size) == (str(place / "animals"), ("pixels",), 8)
    assert file.made.featcache == featcache.__version__
    assert (file.made.data.images, file.made.against.images) == (60, 20)
    assert len(file.made.data.digest) == 64
    assert [network.feature_set for network in file.made.networks] == [by_set(place)]
    assert set(file.made.steps.values()) == {step["name"] for step in first["steps"]} - {"extract pixels"}


def by_set(place: Path) -> str:
    with featcache.Store(place / "cache") as store:
        return next(name for name in store.feature_sets() if name.startswith("pixels"))


def test_the_same_again_from_its_file(done, tmp_path):
    place, _, first, _ = done
    again = study(config=first["config"], cache=place / "cache")
    assert all(step["skipped"] for step in again["steps"])
    assert again["folder"] == str(place / "s")
    copy = shutil.copy(first["config"], tmp_path / "mine.toml")
    anew = study(config=copy, cache=place / "cache", out=tmp_path / "again")
    assert [step["name"] for step in anew["steps"] if step["skipped"]] == ["extract pixels"]
    assert anew["differences"] == []
    for name in ("baselines pixels", "fit-head pixels", "evaluate fit-head-pixels"):
        one, other = (told_by(by_name(result)[name]["run"]) for result in (first, anew))
        assert without_seconds(one) == without_seconds(other), name


def test_other_images_than_then_are_said_and_only_the_page_of_them_is_made(done, tmp_path):
    place, asked, _, _ = done
    shutil.copytree(place, tmp_path / "p", dirs_exist_ok=True)
    data, out = tmp_path / "p" / "animals", tmp_path / "new"
    asked = {**asked, "data": data, "against": None, "cache": tmp_path / "p" / "cache", "out": out}
    first = study(**asked)
    write_images(tmp_path / "late", 1, CLASSES, size=24, seed=9)[0].rename(data / "train" / "cat" / "late.png")
    second = study(config=first["config"], cache=asked["cache"])
    assert second["differences"] == ["there are 61 images, there were 60"]
    assert not any(step["skipped"] for step in second["steps"])
    assert len(list(out.glob("fit-head-pixels-*"))) == 2  # what was there is left alone
    kept = list(out.glob("study-*.toml"))
    assert [read_study(path).made.data.images for path in kept] == [60]
    assert read_study(second["config"]).made.data.images == 61
    next((data / "test" / "dog").iterdir()).rename(data / "test" / "cat" / "now-a-cat.png")
    third = study(config=second["config"], cache=asked["cache"])
    assert third["differences"] == ["the 61 images are others, or have other labels, splits or groups"]


def test_other_settings_in_the_same_folder_leave_what_is_there(done, tmp_path):
    place, asked, first, _ = done
    shutil.copytree(place / "s", tmp_path / "s")
    more = study(**{**asked, "against": None, "cache": place / "cache", "out": tmp_path / "s", "seed": 1})
    assert [step["name"] for step in more["steps"] if step["skipped"]] == ["extract pixels"]
    assert {path.name for path in (place / "s").iterdir()} <= {path.name for path in (tmp_path / "s").iterdir()}
    asked = read_study(more["config"]).study
    assert (asked.seed, asked.against) == (1, None)
    assert len(list((tmp_path / "s").glob("study-*.toml"))) == 1
    assert first["config"] == str(place / "s" / "study.toml")


def test_on_the_command_line(animals, tmp_path, cli):
    done = cli("study", "--data", animals, *OPTIONS, "--json")
    assert done.code == 0, done.err
    assert {"html", "verdict", "steps", "config"} <= set(done.json)
    assert all({"name", "skipped", "seconds"} <= set(step) for step in done.json["steps"])
    assert Path(done.json["folder"]).parent == tmp_path / "runs"
    assert "lung" not in Path(done.json["html"]).read_text().lower()
    again = cli("study", "--data", animals, *OPTIONS)
    assert again.code == 0, again.err
    assert again.out.count("there already") == len(done.json["steps"])
    assert f"Can these numbers be trusted? {done.json['verdict']}" in again.out
    assert done.json["html"] in again.out
    from_file = cli("study", done.json["config"], "--json")
    assert from_file.json["folder"] == done.json["folder"]
    assert all(step["skipped"] for step in from_file.json["steps"])


def test_two_backbones_with_a_search(animals, tmp_path, cli, monkeypatch):
    monkeypatch.setitem(GRIDS, ("multiclass", "dense"), {"epochs": [1, 2]})  # in place of the reference's
    networks = ("--backbone", "pixels,mobilenet", "--weights", "random", "--size", 32)
    steps = ("--grid", "--pooling", "avg", "--baselines", "none")
    done = cli("study", "--data", animals, *networks, *steps, "--json")
    assert done.code == 0, done.err
    fits = [f"{verb} {backbone}" for backbone in ("pixels", "mobilenet") for verb in ("fit-head", "grid")]
    names = ["extract pixels", "extract mobilenet", "audit", *fits, "report"]
    assert [step["name"] for step in done.json["steps"]] == names
    searches = [
        json.loads((Path(s["run"]) / "run.json").read_text()) for s in done.json["steps"] if "grid" in s["name"]
    ]
    assert [search["candidates"] for search in searches] == [2, 2]
    networks = read_study(done.json["config"]).made.networks
    assert [network.backbone for network in networks] == ["pixels", "mobilenet"]
    assert len(networks[1].weights_digest) == 64


def test_a_backbone_that_cannot_be_computed_does_not_take_the_other_with_it(animals, cli):
    done = cli(
        "study", "--data", animals, "--backbone", "mobilenet,pixels", "--size", 8, "--baselines", "none", "--json"
    )
    assert done.code == 2  # mobilenet takes at least 32 pixels
    assert done.json["failed"] == ["extract mobilenet"]
    assert [step["name"] for step in done.json["steps"]][2:] == ["audit", "fit-head pixels", "report"]
    assert "extract mobilenet failed, the other steps go on: --size 8 is too small" in done.err
    assert Path(done.json["html"]).is_file()


def test_the_sample_where_there_is_no_data(tmp_path, cli):
    done = cli("study", *OPTIONS, "--json")
    assert done.code == 0, done.err
    assert done.json["synthetic"] is True
    assert "SYNTHETIC" in done.err
    html = Path(done.json["html"]).read_text()
    assert "SYNTHETIC IMAGES" in html
    assert "<h1>The built-in sample</h1>" in html
    assert "data" not in tomllib.loads(Path(done.json["config"]).read_text())["study"]
    # By its folder's name it is the same, and as synthetic.
    named = cli("study", "--data", tmp_path / "cache" / "sample" / "v1", *OPTIONS, "--json")
    assert (named.json["folder"], named.json["synthetic"]) == (done.json["folder"], True)
    assert featcache.load("pixels", data=tmp_path / "cache" / "sample" / "v1", cache=tmp_path / "cache").synthetic


def test_a_step_that_fails_does_not_take_the_others_with_it(tmp_path):
    pictures(tmp_path / "few", 8, 1, "train")
    pictures(tmp_path / "few", 8, 2, "test")
    asked = {**QUICK, "data": tmp_path / "few", "cache": tmp_path / "cache", "out": tmp_path / "s"}
    result = study(**asked)
    assert result["failed"] == ["baselines pixels"]  # four images of a class, five folds
    assert "at least 5" in by_name(result)["baselines pixels"]["error"]
    assert result["exit_code"] == 3
    assert Path(result["html"]).is_file()
    again = by_name(study(**asked))
    assert "error" in again["baselines pixels"]
    assert again["fit-head pixels"]["skipped"]


def test_nothing_to_show_is_the_first_error(animals, tmp_path):
    (animals / "train" / "cat" / "broken.png").write_bytes(b"no image")
    asked = {**QUICK, "data": animals, "cache": tmp_path / "cache", "out": tmp_path / "s"}
    with pytest.raises(DataError, match="--skip-bad"):
        study(**asked)
    result = study(**asked, skip_bad=True)
    assert result["failed"] == []
    again = study(**asked, skip_bad=True)
    assert [step["name"] for step in again["steps"] if not step["skipped"]] == []


def start(tmp_path: Path, animals: Path) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "cli.py"), "study", "--data", animals, *OPTIONS, "--out", tmp_path / "s"]
    return subprocess.Popen(
        list(map(str, command)),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **OFFLINE},
    )


def wait_for(pattern: str, folder: Path, process: subprocess.Popen) -> None:
    until = time.monotonic() + 300
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("moment", ["audit-*", "audit-*/step.json", "fit-head-*/bundle"])
def test_a_kill_costs_no_finished_step(moment, animals, tmp_path, done):
    process = start(tmp_path, animals)
    wait_for(moment, tmp_path / "s", process)
    process.kill()
    process.wait()  # its own workers may outlive it for a while, and hold its stderr open
    process.stderr.close()
    finished = {path.parent.name for path in (tmp_path / "s").glob("*/step.json")}
    result = study(**QUICK, data=animals, cache=tmp_path / "cache", out=tmp_path / "s")
    assert result["failed"] == []
    assert {Path(s["run"]).name for s in result["steps"] if s["skipped"] and "run" in s} >= finished
    for name in ("baselines pixels", "fit-head pixels"):  # as of the same images when nothing was killed
        one, other = (told_by(by_name(run)[name]["run"]) for run in (result, done[2]))
        assert without_seconds(one) == without_seconds(other), name


def test_ctrl_c_is_130_and_says_how_to_go_on(animals, tmp_path):
    process = start(tmp_path, animals)
    wait_for("audit-*/step.json", tmp_path / "s", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command to go on" in err
    assert "Traceback" not in err
    assert read_study(tmp_path / "s" / "study.toml").made is None


BAD_FILES = {
    "no toml": ("[study", "not TOML"),
    "bytes": ("\x00\x01", "not TOML"),
    "no study": ("", "missing required field `study`"),
    "unknown table": ("[study]\n[extra]\n", "unknown field `extra`"),
    "unknown setting": ("[study]\nbackbone = 'vgg16'\n", "unknown field `backbone`"),
    "wrong type": ("[study]\nseed = 'one'\n", "Expected `int`, got `str`"),
    "out of range": ("[study]\nseed = -1\n", ">= 0"),
    "no backbone": ("[study]\nbackbones = []\n", "length >= 1"),
    "unknown choice": ("[study]\npreprocess = 'odd'\n", "Invalid enum value 'odd'"),
    "made of what": ("[study]\n[made]\nfeatcache = 1\n", "Expected `str`"),
}


@pytest.mark.parametrize(("text", "told"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_not_right_is_refused_in_a_sentence(text, told, tmp_path):
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        study(config=tmp_path / "x.toml", cache=tmp_path / "cache")
    assert str(tmp_path / "x.toml") in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_wrong_calls(animals, tmp_path, cli):
    (tmp_path / "s.toml").write_text(f"[study]\ndata = '{animals}'\nbackbones = ['pixels']\n")
    both = cli("study", "s.toml", "--seed", 3, "--grid")
    assert both.code == 2
    assert "--seed" in both.err
    assert "--grid" in both.err
    assert cli("study", "nowhere.toml").code == 3
    assert cli("study", "--data", animals, "--backbone", "vgg61").code == 2
    assert cli("study", "--data", animals, "--baselines", "oracle").code == 2
    assert cli("study", "--data", animals, "--seed", -1).code == 2
    assert cli("study", "--data", "nowhere", *OPTIONS).code == 3
    assert cli("study", "--data", animals, *OPTIONS, "--against", "nowhere").code == 3
    assert cli("study", "--data", animals, *OPTIONS, "--task", "binry").code == 2
    assert cli("study", "--data", animals, *OPTIONS, "--classes", "cat,cow").code == 3
    assert not list((tmp_path / "runs").glob("*"))
    assert cli("study", "--data", animals, "--memory", "lots").code == 2
    for wrong in ({"backbones": ["vgg16"]}, {"colour": "red"}, {"task": 3}):
        with pytest.raises(UsageError):
            study(animals, cache=tmp_path / "cache", **wrong)
    with pytest.raises(UsageError, match="all the settings"):
        study(animals, config=tmp_path / "s.toml")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="holds no study"):
        study(animals, **QUICK, cache=tmp_path / "cache", out=tmp_path / "full")
    with study_folder(tmp_path / "busy"), pytest.raises(UsageError, match="another study is at work"):
        study(animals, **QUICK, cache=tmp_path / "cache", out=tmp_path / "busy")


def test_places_in_a_file_count_from_its_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "s.toml").write_text(
        "[study]\ndata = '../xrays'\nagainst = 's3://bucket/x'\nweights = 'w.weights.h5'\n"
    )
    read = read_study(tmp_path / "a" / "s.toml").study
    assert (read.data, read.against) == (str(tmp_path / "xrays"), "s3://bucket/x")
    assert read.weights == str(tmp_path / "a" / "w.weights.h5")


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)


@settings(max_examples=30, deadline=None)  # each is written durably
@given(text=TEXT, names=st.lists(TEXT, min_size=1, max_size=3), seed=st.integers(0, 2**60), flag=st.booleans())
def test_a_file_read_back_says_the_same(tmp_path_factory, text, names, seed, flag):
    place = tmp_path_factory.getbasetemp() / "back.toml"
    asked = Settings(
        data="/data/x" + text.replace("/", ""),
        classes=tuple(names),
        group_regex=text,
        seed=seed,
        grid=flag,
        backbones=tuple(names),
        memory=text,
    )
    made = Made(
        featcache=text,
        finished=text,
        folder=text,
        html=text,
        verdict=text,
        data=Images(seed, text),
        networks=(Network(text, text, text, text),),
        steps={text: text},
    )
    write_study(place, StudyFile(asked, made))
    assert read_study(place) == StudyFile(asked, made)


def test_what_is_no_longer_the_same():
    def made(**changes):
        values = {
            "data": Images(4, "a"),
            "against": Images(2, "b"),
            "networks": (Network("vgg16", "v-1", "imagenet", "1" * 64),),
        }
        return Made(featcache="1", finished="", folder="", html="", verdict="", **{**values, **changes})

    assert differences(made(), made()) == []
    assert "images to judge by" in differences(made(), made(against=Images(3, "c")))[0]
    other = made(networks=(Network("vgg16", "v-2", "file", "2" * 64), Network("resnet50", "r", "file", "3")))
    assert differences(made(), other) == ["vgg16 has file weights of digest 22222222, they were imagenet of 11111111"]
    rescaled = made(networks=(Network("vgg16", "v-3", "imagenet", "1" * 64),))
    assert differences(made(), rescaled) == ["the features of vgg16 are v-3, they were v-1"]


def test_the_function_is_no_module():
    import heads
    import heads.studies.study

    assert callable(heads.study)
    assert heads.study is heads.studies.study.study
    assert issubclass(UsageError, FeatcacheError)
