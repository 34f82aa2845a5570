"""A scouting of real networks: what is ranked, what is computed, what is kept, and what is refused."""

from __future__ import annotations

import json
import shlex
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from command_line import run_within
from PIL import Image
from surroundings import REFERENCE

import featcache
from featcache.errors import DataError, FeatcacheError
from featcache.store.store import Store
from heads import scout

SIZE = 32
ONE, OTHER = "mobilenet@random:0", "pixels"


def write(folder: Path, per_class: int, splits=("train",), visible: bool = False) -> Path:
    """Pictures of which one class is bright (to all), or differs in where it is bright (to networks alone)."""
    rng = np.random.default_rng(0)
    for split in splits:
        for label, name in enumerate(("normal", "covid")):
            for number in range(per_class):
                pixels = rng.normal(128, 40, (SIZE, SIZE))
                pixels[:, ::2] += 60 * (label if visible else 0)
                place = folder / split / name / f"person{number}_{label}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place)
    return folder


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    """A folder with images, the cache of one scouting, and its result."""
    folder = tmp_path_factory.mktemp("scout")
    data = write(folder / "images", 30, ("train", "test"), visible=True)
    result = scout([ONE, "mobilenet@random:1"], data, task="binary", size=SIZE, cache=folder / "cache")
    return folder, data, result


def test_rows_say_all_that_is_known(ranked):
    _, _, result = ranked
    for row in result["rows"]:
        assert 0 <= row["score_ci"][0] <= row["score"] <= row["score_ci"][1] <= 1
        assert row["computed"] == row["images"]
        assert row["random_weights"]
        assert row["images_per_second"] > 0
    assert result["images"] == 60
    assert result["images_computed"] == sum(row["images"] for row in result["rows"])
    assert any("RANDOM weights" in text for text in result["said"])
    assert any("shortcuts" in text for text in result["said"])
    assert result["rounds"][0]["images"] == 20


def test_test_images_are_never_computed(ranked):
    folder, _, result = ranked
    with Store(folder / "cache") as store:
        for row in result["rows"]:
            assert len(store.rows(row["feature_set"])) == row["images"] <= 60


def test_a_second_run_computes_nothing_and_says_the_same(ranked):
    folder, data, result = ranked
    again = scout([ONE, "mobilenet@random:1"], data, task="binary", size=SIZE, cache=folder / "cache")
    assert again["images_computed"] == 0
    assert again["seconds"] == 0
    for then, now in zip(result["rows"], again["rows"], strict=True):
        same = ("backbone", "score", "score_ci", "images", "status", "p", "difference", "feature_set")
        assert {name: then[name] for name in same} == {name: now[name] for name in same}
        assert now["reused"] == now["images"]
    assert again["said"][0] == result["said"][0]


def test_extract_goes_on_from_it_by_the_command_that_is_named(ranked):
    folder, _, result = ranked
    command = shlex.split(result["next"][0])
    assert command[0] == "featcache"
    done = run_within(folder, *command[1:], "--json")
    assert done.code == 0, done.err
    extracted = json.loads(done.out)
    assert extracted["feature_set"] == result["rows"][0]["feature_set"]
    assert extracted["reused"] == result["rows"][0]["images"]


def test_the_id_of_a_feature_set_is_an_entry_and_its_network_goes_on(ranked):
    folder, _, result = ranked
    sets = [row["feature_set"] for row in result["rows"]]
    more = write(folder / "more", 32, visible=True)
    found = scout(sets, more, task="binary", cache=folder / "cache")
    assert {row["backbone"] for row in found["rows"]} == set(sets)
    assert found["next"] == []


def test_a_network_that_tells_is_told_from_one_that_does_not(tmp_path):
    """Averaged pixels see which class is bright; a network of one grey level sees nothing."""
    data = write(tmp_path / "images", 40, visible=True)
    model = blind(tmp_path / "blind.onnx")
    told = {"mean": 0, "std": 1, "resize": "squash"}
    result = scout(["pixels", model], data, task="binary", size=SIZE, cache=tmp_path / "cache", **told)
    best, loser = result["rows"]
    assert (best["backbone"], best["status"], best["score"]) == ("pixels", "best", 1.0)
    assert loser["status"] == f"stopped after {loser['images']} images"
    assert loser["images"] < result["images"]
    assert loser["difference"] > 0.2
    assert loser["p"] < 0.05
    assert result["said"][0].startswith("pixels is the best of these 2")
    assert result["seconds_saved"] >= 0
    assert result["images"] == 64, "a fifth is what the verbs that train set aside to judge by"


def blind(path: Path) -> str:
    """A network in a file whose features are the same for every picture, but for a trace."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel = np.zeros((4, 3, 3, 3), np.float32)
    kernel[:, 0, 0, 1], kernel[:, 0, 2, 1] = 1, -1  # stripes run from top to bottom, and differ by nothing there
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, SIZE - 2, SIZE - 2])
    graph = helper.make_graph(nodes, "blind", [x], [y], [numpy_helper.from_array(kernel, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return str(path)


def test_what_an_interrupt_leaves_is_reused(tmp_path):
    data = write(tmp_path / "images", 20)

    @contextmanager
    def watch(name):
        def progress(done):
            if name == OTHER:
                raise KeyboardInterrupt

        yield (lambda plan: None), progress

    with pytest.raises(KeyboardInterrupt):
        scout([ONE, OTHER], data, task="binary", size=SIZE, cache=tmp_path / "cache", watch=watch)
    result = scout([ONE, OTHER], data, task="binary", size=SIZE, cache=tmp_path / "cache")
    first = next(row for row in result["rows"] if row["backbone"] == "mobilenet")
    assert first["reused"] == result["rounds"][0]["images"]


def test_bad_images_are_named_or_skipped(tmp_path):
    data = write(tmp_path / "images", 12, ("train", "test"))
    (data / "train" / "covid" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    options = {"task": "binary", "size": SIZE, "cache": tmp_path / "cache"}
    with pytest.raises(DataError, match="cannot be used") as raised:
        scout(["pixels", ONE], data, **options)
    assert [Path(image.path).name for image in raised.value.bad] == ["broken.png"]
    result = scout(["pixels", ONE], data, skip_bad=True, **options)
    assert result["rows"][0]["images"] == 24


@pytest.mark.parametrize(
    ("backbone", "words"),
    [
        ("vgg16", "two or more"),
        ("vgg16,vgg16", "more than once"),
        ("vgg16,vgg61", "vgg61"),
        ("vgg16@,mobilenet", "behind the @"),
        ("mobilenet,mobilenet@random:x", "random"),
    ],
)
def test_entries_that_nobody_knows_are_refused(backbone, words, tmp_path):
    with pytest.raises(FeatcacheError, match=words):
        scout(backbone, write(tmp_path / "images", 12), weights="random", size=SIZE, cache=tmp_path / "cache")


def test_a_class_of_one_patient_cannot_be_scouted(tmp_path):
    data = write(tmp_path / "images", 12, ("train", "test"))
    for file in sorted((data / "train" / "covid").iterdir())[1:]:
        file.unlink()
    with pytest.raises(DataError, match="covid"):
        scout(["pixels", ONE], data, task="binary", size=SIZE, cache=tmp_path / "cache")


def test_the_verb_prints_a_table_and_sentences(ranked):
    folder, data, result = ranked
    asked = ("--data", data, "--task", "binary", "--size", SIZE, "--backbone", f"{ONE},mobilenet@random:1")
    done = run_within(folder, "scout", *asked)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split()[0] == "network"
    assert all(row["backbone"] in done.out for row in result["rows"])
    assert "[RANDOM weights]" in lines[1]
    assert result["said"][0] in done.out
    assert f"next: {result['next'][0]}" in lines


@pytest.mark.real
@pytest.mark.slow
def test_a_network_in_a_file_beside_one_of_the_table_on_radiographs(tmp_path):
    lite = REFERENCE / "weights" / "efficientnet_lite0.onnx"
    data = REFERENCE / "data" / "xray4"
    if not lite.exists() or not data.exists():
        pytest.skip("no reference data here")
    said = {"mean": 0.498039, "std": 0.501961, "resize": "crop", "crop": 0.875, "interpolation": "bicubic"}
    networks = [str(lite), "mobilenet@random"]
    result = scout(networks, data, task="binary", cache=tmp_path / "cache", **said)
    best, loser = result["rows"]
    assert best["backbone"] == "efficientnet_lite0"
    assert best["status"] == "best"
    assert loser["random_weights"]
    assert featcache.load(best["feature_set"], task="binary", data=data / "train", cache=tmp_path / "cache").X.shape[0]
