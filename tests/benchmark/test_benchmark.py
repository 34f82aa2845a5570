"""The verb benchmark, small: what it times, how, and what it says of what it could not."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image

from featcache.backbones import precisions, registry, runtime
from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.backbones.weights import WeightsSource, build
from featcache.errors import UsageError
from heads.benchmark import extraction_case
from heads.benchmark.extraction_case import flops
from heads.benchmark.run import benchmark
from heads.benchmark.timing import Contender, interleaved, ratios, rows


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    monkeypatch.setattr(extraction_case, "_SIDES", (64,))


def test_rounds_are_interleaved_and_the_first_does_not_count():
    order: list[str] = []
    rounds: list[int] = []

    def runner(name, taken):
        def run():
            order.append(name)
            return taken * (100 if len(order) <= 3 else 1)

        return run

    contenders = [
        Contender("a", runner("a", 1.0), items=10, ours=True),
        Contender("b", runner("b", 2.0), items=10),
        Contender("c", runner("c", 1.0), items=5),
    ]
    seconds = interleaved(contenders, 3, rounds.append)
    assert rounds == [0, 1, 2, 3]
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert seconds == {"a": [1.0] * 3, "b": [2.0] * 3, "c": [1.0] * 3}
    assert [row["pace"] for row in rows(contenders, seconds)] == [10, 5, 5]
    compared = {(r["of"], r["to"]): (r["times"], r["times_min"], r["times_max"]) for r in ratios(contenders, seconds)}
    assert compared == {("a", "b"): (2, 2, 2), ("a", "c"): (2, 2, 2)}


def test_a_contenders_own_clock_or_the_walls():
    contenders = [Contender("own", lambda: 7.0), Contender("wall", lambda: None)]
    seconds = interleaved(contenders, 1)
    assert seconds["own"] == [7.0]
    assert 0 <= seconds["wall"][0] < 1


def test_operations_of_vgg16():
    """From the layer table by hand: sum of 2 x h x w x 9 x inputs x outputs."""
    network = build(registry.get("vgg16"), 224, WeightsSource("random"))
    blocks = [(224, 3, 64), (224, 64, 64), (112, 64, 128), (112, 128, 128), (56, 128, 256), *[(56, 256, 256)] * 2]
    blocks += [(28, 256, 512), *[(28, 512, 512)] * 2, *[(14, 512, 512)] * 3]
    assert flops(network) == sum(2 * side**2 * 9 * a * b for side, a, b in blocks)


def test_operations_of_other_layers():
    _, keras = load_tensorflow()
    layers = keras.layers
    made = [
        layers.Conv2D(8, 3, groups=2, padding="same"),
        layers.DepthwiseConv2D(3, padding="same"),
        layers.SeparableConv2D(16, 3, padding="same"),
        layers.Flatten(),
        layers.Dense(5),
    ]
    network = keras.Sequential([keras.Input((10, 10, 4)), *made])
    wanted = 100 * 9 * 2 * 8 + 100 * 9 * 8 + 100 * (9 * 8 + 8 * 16) + 1600 * 5
    assert flops(network) == 2 * wanted


KINDS = {
    "conv": {"runs": 1},
    "extract": {"backbone": "mobilenet", "images": 8},
    "cache": {"backbone": "mobilenet", "images": 8},
    "load": {"rows": 20, "files": 30},
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind(tmp_path, kind):
    result = benchmark(kind, rounds=1, out=tmp_path / "out", **KINDS[kind])
    assert json.loads((tmp_path / "out" / "run.json").read_text()) == json.loads(json.dumps(result))
    assert {"processor", "cores", "memory", "gpus", "versions"} <= set(result["machine"])
    for row in result["rows"]:
        assert 0 < row["seconds_min"] <= row["seconds"] <= row["seconds_max"]
    with Image.open(tmp_path / "out" / "chart.png") as chart:
        assert chart.format == "PNG"
        assert np.asarray(chart.convert("L")).std() > 5
    table = list(csv.reader((tmp_path / "out" / "times.csv").open()))
    assert [line[0] for line in table[1:]] == [row["name"] for row in result["rows"]]
    names = {row["name"] for row in result["rows"]}
    missing = {entry["name"]: entry["reason"] for entry in result["not_run"]}
    if kind == "conv":
        assert "there is no GPU here" in missing.values() or "TensorFlow, GPU" in names
    if kind == "extract":
        assert {"featcache, tensorflow", "featcache, openvino", "Keras predict", "roof: sgemm"} <= names
        assert "no network of timm's" in missing["torch/timm, forward pass alone"]
        pairs = {(ratio["of"], ratio["to"]) for ratio in result["ratios"]}
        assert {to for of, to in pairs if of == "featcache, openvino"} == {"Keras predict", "roof: sgemm"}
        half = "featcache, openvino, bfloat16"
        if "bfloat16" in precisions.on_processor():
            assert {to for of, to in pairs if of == half} == {"featcache, openvino", "Keras predict", "roof: sgemm"}
            assert 0 < result["precision_error"][half]["median"] < 0.03
            assert any(note.startswith(f"{half}: features differ") for note in result["notes"])
        else:
            assert "take float32" in missing[half]
    if kind == "cache":
        assert result["ratios"][0]["times"] > 1
    if kind == "load":
        assert [(r["of"], r["to"]) for r in result["ratios"]] == [
            ("featcache.load", "np.load"),
            ("its rows alone, by key", "np.load"),
            ("cache verify", "SHA-256, one thread"),
        ]


def test_what_is_not_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scikeras", None)
    monkeypatch.setitem(sys.modules, "scikeras.wrappers", None)
    result = benchmark("grid", rounds=1, out=tmp_path / "grid")
    assert [row["name"] for row in result["rows"]] == ["FastGridSearchCV"]
    assert "pip install scikeras" in result["not_run"][0]["reason"]
    assert result["ratios"] == []


@pytest.mark.slow
def test_a_runtime_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "openvino_installed", lambda: False)
    monkeypatch.setitem(sys.modules, "timm", None)
    result = benchmark("extract", backbone="vgg16", images=2, rounds=1, out=tmp_path / "out")
    missing = {entry["name"]: entry["reason"] for entry in result["not_run"]}
    assert "not installed" in missing["featcache, openvino"]
    assert "not to be imported" in missing["torch/timm, forward pass alone"]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("speed", {}, "expected one of conv, extract, cache, grid, load"),
        ("conv", {"rounds": 0}, "--rounds 0"),
        ("extract", {"backbone": "pixels"}, "name a backbone"),
        ("cache", {"backbone": "vgg61"}, "did you mean vgg19 or vgg16"),
    ],
)
def test_what_cannot_be_timed(tmp_path, kind, options, message):
    with pytest.raises(UsageError, match=message):
        benchmark(kind, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_verb(cli):
    done = cli("benchmark", "load", "--rows", 20, "--files", 10, "--rounds", 1)
    assert done.code == 0, done.err
    assert "np.load" in done.out
    assert "round 1 of 1" in done.err
    assert cli("benchmark", "conv", "--runs", 1, "--rounds", 1, "--json").json["kind"] == "conv"
    assert cli("benchmark", "conv", "--rounds", 0).code == 2
    assert cli("benchmark", "nothing").code == 2
