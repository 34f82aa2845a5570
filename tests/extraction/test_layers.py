"""Several layers of a network from one pass: the same rows as one by one, each set on its own, nothing twice."""

from __future__ import annotations

import networks
import numpy as np
import openvino
import pytest
from openvino import opset13 as ops
from pictures import write_images

import featcache
from featcache.backbones import openvino_runtime, shared_trunk, tensorflow_runtime
from featcache.backbones.precisions import on_processor
from featcache.data.decoding import RECIPE
from featcache.errors import DataError, UsageError
from featcache.spec import FeatureSpec
from featcache.store.store import Store

LAYERS = ["conv_pw_3_relu", "conv_pw_11_relu", ""]
SMALL = {"backbone": "mobilenet", "weights": "random", "size": 32}


def same(one, two):
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5 * np.abs(two).max())


def rows(cache, results, data):
    return [featcache.load(result.feature_set, data=data, cache=cache).X for result in results]


def count(monkeypatch, runtime):
    """The images that each call of a runtime is given."""
    given, real = [], runtime.__call__

    def counted(self, images):
        given.append(len(images))
        return real(self, images)

    monkeypatch.setattr(runtime, "__call__", counted)
    return given


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Images, and each layer's rows extracted by itself."""
    folder = tmp_path_factory.mktemp("alone")
    write_images(folder / "d", 12)
    results = [
        featcache.extract(folder / "d", layer=layer, cache=folder / "c", runtime="tensorflow", **SMALL)
        for layer in LAYERS
    ]
    return folder / "d", results, rows(folder / "c", results, folder / "d")


@pytest.mark.parametrize(
    ("name", "runtime"),
    [("openvino", openvino_runtime.OpenVINORuntime), ("tensorflow", tensorflow_runtime.TensorFlowRuntime)],
)
def test_one_pass_gives_what_each_layer_gives(tmp_path, monkeypatch, alone, name, runtime):
    data, wanted, features = alone
    given = count(monkeypatch, runtime)
    results = featcache.extract_layers(LAYERS, data, cache=tmp_path, runtime=name, **SMALL)
    assert sum(given) == 12
    assert [result.feature_set for result in results] == [result.feature_set for result in wanted]
    assert [result.shape for result in results] == [result.shape for result in wanted]
    assert [(result.computed, result.reused, result.runtime) for result in results] == [(12, 0, name)] * 3
    for found, expected in zip(rows(tmp_path, results, data), features, strict=True):
        same(found, expected)
    again = featcache.extract_layers(LAYERS, data, cache=tmp_path, **SMALL)
    assert [(result.computed, result.reused) for result in again] == [(0, 12)] * 3


def test_each_set_gets_what_it_lacks_and_nothing_twice(tmp_path, alone):
    data, _, features = alone
    few = sorted(data.glob("*/*"))[:5]
    (tmp_path / "few" / "x").mkdir(parents=True)
    for path in few:
        (tmp_path / "few" / "x" / path.name).write_bytes(path.read_bytes())
    featcache.extract(tmp_path / "few", layer=LAYERS[1], cache=tmp_path / "c", **SMALL)
    results = featcache.extract_layers(LAYERS, data, cache=tmp_path / "c", **SMALL)
    assert [(result.computed, result.reused) for result in results] == [(12, 0), (7, 5), (12, 0)]
    with Store(tmp_path / "c") as store:
        held = [sum(shard[1] for shard in store.shards(result.feature_set).values()) for result in results]
    assert held == [12, 12, 12]
    for found, expected in zip(rows(tmp_path / "c", results, data), features, strict=True):
        same(found, expected)


def test_an_interrupted_pass_goes_on(tmp_path, monkeypatch, alone):
    data, _, features = alone
    real = tensorflow_runtime.TensorFlowRuntime.__call__
    calls = []

    def interrupted(self, images):
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, images)

    monkeypatch.setattr(tensorflow_runtime.TensorFlowRuntime, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        featcache.extract_layers(LAYERS, data, cache=tmp_path, batch_size=4, runtime="tensorflow", **SMALL)
    monkeypatch.undo()
    results = featcache.extract_layers(LAYERS, data, cache=tmp_path, runtime="tensorflow", **SMALL)
    assert [(result.computed, result.reused) for result in results] == [(4, 8)] * 3
    for found, expected in zip(rows(tmp_path, results, data), features, strict=True):
        same(found, expected)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_layers_in_a_lower_precision(tmp_path, alone, precision):
    if precision not in on_processor():
        pytest.skip("the processor does not have it")
    if precision == "int8":
        pytest.importorskip("nncf")
    data, _, features = alone
    results = featcache.extract_layers(LAYERS[1:], data, cache=tmp_path, precision=precision, **SMALL)
    for found, expected, result in zip(rows(tmp_path, results, data), features[1:], results, strict=True):
        apart = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
        assert 0 < np.median(apart) < 0.3
        assert result.precision_error["images"] == 12
    again = featcache.extract_layers(LAYERS[1:], data, cache=tmp_path, precision=precision, **SMALL)
    assert [(result.feature_set, result.reused) for result in again] == [(each.feature_set, 12) for each in results]


def test_layers_of_a_network_in_a_file(tmp_path, images, monkeypatch):
    path = networks.write(tmp_path, networks.convolution())
    layers = ["c.y", "features", "pooled"]
    one = [featcache.extract(images, path, layer=layer, cache=tmp_path / "one", **networks.SCALED) for layer in layers]
    given = count(monkeypatch, openvino_runtime.OpenVINORuntime)
    two = featcache.extract_layers(layers, images, path, cache=tmp_path / "two", **networks.SCALED)
    proof = 3 * 4  # images on which each layer is proven before it is kept, at most
    assert sum(given) <= 24 + proof
    assert [result.feature_set for result in two] == [result.feature_set for result in one]
    assert [result.shape for result in two] == [[4, 4, 8], [4, 4, 8], [8]]
    for found, expected in zip(rows(tmp_path / "two", two, images), rows(tmp_path / "one", one, images), strict=True):
        same(found, expected)


@pytest.mark.parametrize("elsewhere", [{"devices": "cpu:2"}, {"scheduler": "local:1", "send_back": True}])
def test_layers_by_other_processes(tmp_path, alone, elsewhere):
    if "scheduler" in elsewhere:
        pytest.importorskip("distributed")
    data, wanted, features = alone
    results = featcache.extract_layers(LAYERS[1:], data, cache=tmp_path, runtime="openvino", **SMALL, **elsewhere)
    assert [result.feature_set for result in results] == [result.feature_set for result in wanted[1:]]
    assert [result.computed for result in results] == [12, 12]
    for found, expected in zip(rows(tmp_path, results, data), features[1:], strict=True):
        same(found, expected)


def test_the_command(tmp_path, alone, cli):
    data, wanted, _ = alone
    flags = ("--backbone", "mobilenet", "--weights", "random", "--size", 32, "--cache", tmp_path / "c")
    done = cli("extract", "--data", data, *flags, "--layer", ",".join(LAYERS), "--json")
    assert done.code == 0, done.err
    assert [row["feature_set"] for row in done.json["feature_sets"]] == [result.feature_set for result in wanted]
    done = cli("extract", "--data", data, *flags, "--layer", "conv_pw_3_relu,conv_pw_99")
    assert done.code == 2
    assert "no layer 'conv_pw_99'" in done.err


def test_layers_of_what_has_none_are_refused(tmp_path, images):
    with pytest.raises(UsageError, match="they take no layer"):
        featcache.extract_layers(["a", "b"], images, "pixels", size=8, cache=tmp_path / "c")
    with pytest.raises(UsageError, match="no layer is named"):
        featcache.extract_layers([], images, "pixels", size=8, cache=tmp_path / "c")
    with pytest.raises(TypeError, match="pooling"):
        featcache.extract_layers([""], images, "pixels", size=8, cache=tmp_path / "c", pooling="avg")


def network(*kernels, act=ops.relu):
    """A convolution after another, from uint8 images, its average as ``avg``."""
    pixels = ops.parameter([1, 8, 8, 3], openvino.Type.u8)
    values = ops.transpose(ops.convert(pixels, "f32"), np.array([0, 3, 1, 2]))
    for kernel in kernels:
        values = act(ops.convolution(values, kernel, [1, 1], [0, 0], [0, 0], [1, 1]))
    average = ops.convert(ops.reduce_mean(values, np.array([2, 3]), False), "f32")
    average.output(0).set_names({"avg:0"})
    return openvino.Model([ops.result(average)], [pixels], "n")


def test_only_what_computes_the_same_is_computed_once():
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(0, 1, shape).astype(np.float32) for shape in ((4, 3, 3, 3), (4, 4, 3, 3), (4, 4, 3, 3)))
    made = [lambda: network(a), lambda: network(a, b), lambda: network(a, c), lambda: network(a, act=ops.sigmoid)]
    spec = FeatureSpec("x", "", "random0", "0" * 64, 8, RECIPE, "rescale", "avg", "float32", "float32")
    specs = [spec] * len(made)
    joined = shared_trunk.joined([make() for make in made], specs)
    kinds = [op.get_type_name() for op in joined.get_ops()]
    assert (kinds.count("Convolution"), kinds.count("Relu"), kinds.count("Sigmoid")) == (3, 3, 1)
    images = rng.integers(0, 256, (5, 8, 8, 3), np.uint8)
    together = shared_trunk.on_openvino([make() for make in made], specs)(images)
    for place, make in enumerate(made):
        same(together[f"{place}/avg"], openvino_runtime.OpenVINORuntime(make(), spec)(images)["avg"])


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    write_images(folder / "d", 8)
    layers = featcache.extract_layers(["conv_pw_1_relu", ""], folder / "d", cache=folder / "c", **SMALL)
    pixels = featcache.extract(folder / "d", "pixels", size=8, cache=folder / "c")
    return folder / "c", [*(result.feature_set for result in layers), pixels.feature_set]


def test_several_sets_side_by_side(several):
    cache, sets = several
    f = featcache.load(sets, pooling="avg", cache=cache)
    each = [featcache.load(name, pooling="avg", cache=cache) for name in sets]
    np.testing.assert_array_equal(f.X, np.hstack([one.X for one in each]))
    assert (f.paths, f.keys, f.classes) == (each[0].paths, each[0].keys, each[0].classes)
    assert [source.feature_set for source in f.sources] == sets
    assert len(f.columns) == len(set(f.columns)) == f.X.shape[1]
    assert [f.columns[0], f.columns[64], f.columns[-1]] == ["mobilenet/conv_pw_1_relu:f0", "mobilenet:f0", "pixels:f2"]
    np.testing.assert_array_equal(f.take([2, 1]).to_frame()[f.columns].to_numpy(), f.X[[2, 1]])
    assert featcache.load([sets[1]], pooling="avg", cache=cache).columns[:2] == ["f0", "f1"]


def test_what_cannot_stand_side_by_side(several, monkeypatch):
    cache, sets = several
    with pytest.raises(UsageError, match="side by side; what is asked is of one"):
        _ = featcache.load(sets, pooling="avg", cache=cache).spec
    with pytest.raises(UsageError, match="have no columns"):
        featcache.load(sets, pooling="map", cache=cache)
    with pytest.raises(UsageError, match="in memory alone"):
        featcache.load(sets, cache=cache, stream=True)
    with pytest.raises(UsageError, match="named twice"):
        featcache.load([sets[0], sets[0]], cache=cache)
    with pytest.raises(UsageError, match="no backbone is named"):
        featcache.load([], cache=cache)
    monkeypatch.setattr("featcache.system.memory.available", lambda: 1000)
    with pytest.raises(DataError, match="GB are free; take pooling avg"):
        featcache.load(sets, cache=cache)
