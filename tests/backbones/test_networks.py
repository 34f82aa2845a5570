"""Networks that are not of the table, in files: what they compute, what names them, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import networks
import numpy as np
import onnxruntime
import pytest
from networks import SCALED, SIDE
from onnx import TensorProto, helper, numpy_helper
from pictures import write_images
from PIL import Image
from surroundings import REFERENCE, ROOT

import featcache
from featcache.backbones import network_proof, network_sources, openvino_runtime
from featcache.data.decoding import decode
from featcache.data.framing import Framing, frame
from featcache.errors import DataError, UsageError, WeightsError
from featcache.spec import FeatureSpec, Scaling
from featcache.store.store import Store

LITE0 = REFERENCE / "weights" / "efficientnet_lite0.onnx"
LITE0_INPUT = {"mean": 127 / 255, "std": 128 / 255, "resize": "crop", "crop": 0.875, "interpolation": "bicubic"}


@pytest.fixture
def pictures(tmp_path) -> Path:
    write_images(tmp_path / "images", 8)
    return tmp_path / "images"


def extract(pictures: Path, network: object, **options):
    return featcache.extract(pictures, network, cache=pictures.parent / "cache", **(SCALED | options))


def load(pictures: Path, backbone: str, pooling: str = "map", **options):
    return featcache.load(
        backbone, pooling=pooling, classes=["covid", "normal"], cache=pictures.parent / "cache", **options
    )


def theirs(path: Path, files: list[str], output: str, mean: float = 0.5, std: float = 0.25) -> np.ndarray:
    """What ONNX Runtime gives for the same files."""
    pixels = np.stack([decode(Path(file).read_bytes(), SIDE) for file in files])
    images = ((pixels / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    return onnxruntime.InferenceSession(str(path)).run([output], {"image": images})[0]


# -- what is computed ---------------------------------------------------------------------------------


def test_a_map_equals_onnx_runtimes(pictures, tmp_path):
    path = networks.write(tmp_path, networks.convolution())
    result = extract(pictures, path)
    assert (result.computed, result.shape, result.runtime) == (8, [4, 4, 8], "openvino")
    assert result.backbone == "small"
    f = load(pictures, result.feature_set)
    wanted = theirs(path, f.paths, "features").transpose(0, 2, 3, 1)
    np.testing.assert_allclose(f.X, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(load(pictures, "small", "avg").X, wanted.mean((1, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_tokens_become_a_map_and_a_class_token(pictures, tmp_path, prefix):
    path = networks.write(tmp_path, networks.tokens(prefix=prefix))
    result = extract(pictures, path)
    f = load(pictures, result.feature_set)
    wanted = theirs(path, f.paths, "tokens")
    np.testing.assert_allclose(f.X, wanted[:, prefix:].reshape(-1, 4, 4, 8), rtol=1e-4, atol=1e-5)
    if prefix:
        token = load(pictures, result.feature_set, "cls")
        np.testing.assert_allclose(token.X, wanted[:, 0], rtol=1e-4, atol=1e-5)
    else:
        with pytest.raises(DataError, match="no class token"):
            load(pictures, result.feature_set, "cls")


def test_a_vector_is_kept_as_it_is(pictures, tmp_path):
    path = networks.write(tmp_path, networks.convolution())
    result = extract(pictures, path, layer="pooled")
    assert result.shape == [8]
    for pooling in ("avg", "flatten"):
        f = load(pictures, result.feature_set, pooling)
        np.testing.assert_allclose(f.X, theirs(path, f.paths, "pooled"), rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="ask for --keep avg"):
        extract(pictures, path, layer="pooled", keep="map")


@pytest.mark.parametrize(
    "options",
    [
        {"resize": "crop", "crop": 0.8, "interpolation": "bicubic"},
        {"resize": "pad", "interpolation": "lanczos"},
        {"resize": "squash", "crop": 0.5},
        {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7), "order": "bgr"},
    ],
)
def test_the_input_is_what_is_said(pictures, tmp_path, options):
    rng = np.random.default_rng(1)
    for number, size in enumerate([(33, 21), (20, 41), (16, 16), (64, 48)]):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(pictures / "covid" / f"colour{number}.png")
    path = networks.write(tmp_path, networks.convolution())
    result = extract(pictures, path, **options)
    f = load(pictures, result.feature_set)
    given = SCALED | options
    framing = Framing(**{name: given[name] for name in ("resize", "crop", "interpolation") if name in given})
    pixels = np.stack([np.asarray(frame(Image.open(file).convert("RGB"), SIDE, framing)) for file in f.paths])
    images = (pixels / 255 - np.array(given["mean"])) / np.array(given["std"])
    images = images[..., ::-1] if options.get("order") == "bgr" else images
    session = onnxruntime.InferenceSession(str(path))
    wanted = session.run(["features"], {"image": images.astype(np.float32).transpose(0, 3, 1, 2)})[0]
    np.testing.assert_allclose(f.X, wanted.transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)


def test_crop_and_pad_keep_the_aspect():
    picture = Image.new("L", (40, 20), 200)
    assert np.asarray(frame(picture, 10, Framing("crop"))).min() == 200
    padded = np.asarray(frame(picture, 10, Framing("pad")))
    assert padded.shape == (10, 10)
    assert (padded[3:7] == 200).all()
    assert (padded[:2] == 0).all()
    assert (padded[8:] == 0).all()
    assert Framing(crop=0.875).scaled_side(224) == 256
    assert Framing(crop=0.7).scaled_side(224) == 320


def test_one_channel_takes_the_luminance(pictures, tmp_path):
    path = networks.write(tmp_path, networks.convolution(channels=1))
    f = load(pictures, extract(pictures, path).feature_set)
    grey = np.stack([decode(Path(file).read_bytes(), SIDE)[:, :, :1] for file in f.paths])
    images = ((grey / 255 - 0.5) / 0.25).astype(np.float32).transpose(0, 3, 1, 2)
    wanted = onnxruntime.InferenceSession(str(path)).run(["features"], {"image": images})[0]
    np.testing.assert_allclose(f.X, wanted.transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="takes 1"):
        extract(pictures, path, channels=3)


def test_a_network_of_any_size_takes_the_one_that_is_asked(pictures, tmp_path):
    path = networks.write(tmp_path, networks.convolution(side="side"))
    with pytest.raises(UsageError, match="give --size"):
        extract(pictures, path)
    assert extract(pictures, path, size=24).shape == [6, 6, 8]
    assert extract(pictures, path, size=32).shape == [8, 8, 8]
    fixed = networks.write(tmp_path / "b", networks.tokens())
    with pytest.raises(UsageError, match="takes images of 16 pixels, not 24"):
        extract(pictures, fixed, size=24)
    # One that says any size, and holds a constant that was made for 16.
    baked = networks.write(tmp_path / "c", networks.tokens(side="side"))
    assert extract(pictures, baked, size=16).shape == [4, 4, 8]
    with pytest.raises(UsageError, match="was made for another shape"):
        extract(pictures, baked, size=24)


def test_openvinos_own_form_and_savedmodels_and_tflite(pictures, tmp_path):
    import openvino
    import tensorflow as tf

    path = networks.write(tmp_path, networks.convolution())
    wanted = load(pictures, extract(pictures, path).feature_set)
    openvino.save_model(openvino.Core().read_model(path), tmp_path / "ir" / "small.xml", compress_to_fp16=False)
    again = load(pictures, extract(pictures, tmp_path / "ir" / "small.xml").feature_set)
    np.testing.assert_allclose(again.X, wanted.X, rtol=1e-4, atol=1e-5)

    kernel = tf.constant(np.random.default_rng(0).normal(0, 0.3, (4, 4, 3, 8)).astype(np.float32))

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32)])
        def __call__(self, x):
            return tf.nn.relu(tf.nn.conv2d(x, kernel, 4, "VALID"))

    module = Module()
    tf.saved_model.save(module, str(tmp_path / "saved"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.__call__.get_concrete_function()], module)
    (tmp_path / "small.tflite").write_bytes(converter.convert())
    pixels = np.stack([decode(Path(file).read_bytes(), SIDE) for file in wanted.paths])
    theirs = np.concatenate([module((one[None] / np.float32(255) - 0.5) / 0.25).numpy() for one in pixels])
    for source in (tmp_path / "saved", tmp_path / "small.tflite"):
        mine = load(pictures, extract(pictures, source).feature_set)
        np.testing.assert_allclose(mine.X, theirs, rtol=1e-4, atol=1e-5)
    # A damaged one, of which OpenVINO would end the process.
    graph = tmp_path / "saved" / "saved_model.pb"
    graph.write_bytes(graph.read_bytes().replace(b"\x08identity\x12\x11I", b"\x08_identit\x12\x11I"))
    with pytest.raises(WeightsError, match="crashes on it"):
        extract(pictures, tmp_path / "saved")


# -- what names it ------------------------------------------------------------------------------------


def test_the_same_network_under_two_names_shares_rows(pictures, tmp_path):
    first = networks.write(tmp_path, networks.convolution(), "one.onnx")
    other = networks.convolution(name="quite_other")  # every node and constant called otherwise
    other.graph.name, other.producer_name, other.doc_string = "x", "y", "z"
    second = networks.write(tmp_path, other, "two.onnx")
    a, b = extract(pictures, first), extract(pictures, second)
    assert a.feature_set == b.feature_set
    assert (b.computed, b.reused) == (0, 8)
    for asked in ("one", str(first), str(second), a.feature_set):
        assert load(pictures, asked).feature_set == a.feature_set


def test_what_changes_the_network_or_its_input_changes_the_set(pictures, tmp_path):
    model = networks.convolution()
    path = networks.write(tmp_path, model)
    sets = {
        "as it is": extract(pictures, path).feature_set,
        "another activation": extract(
            pictures, networks.write(tmp_path / "a", networks.convolution(act="Abs"))
        ).feature_set,
        "other weights": extract(pictures, networks.write(tmp_path / "b", networks.convolution(1))).feature_set,
        "mean and deviation swapped": extract(pictures, path, mean=0.25, std=0.5).feature_set,
        "another order": extract(pictures, path, order="bgr").feature_set,
        "another framing": extract(pictures, path, resize="crop").feature_set,
        "another interpolation": extract(pictures, path, interpolation="bicubic").feature_set,
        "another layer": extract(pictures, path, layer="c.y").feature_set,
    }
    assert len(set(sets.values())) == len(sets)
    # One number or three times the same is the same.
    assert extract(pictures, path, mean=(0.5, 0.5, 0.5), std=[0.25]).feature_set == sets["as it is"]


def test_one_name_for_two_layers_of_equal_networks(pictures, tmp_path):
    """The same network with its layers called by each other's names: one digest, and two feature sets of a layer."""
    first, second = networks.convolution(), networks.convolution()
    for node in second.graph.node:  # what was y is called features, and the other way round
        for names in (node.input, node.output):
            names[:] = [{"c.y": "features", "features": "c.y"}.get(name, name) for name in names]
    second.graph.output[0].name = "c.y"
    sets = []
    for number, model in enumerate((first, second)):
        path = networks.write(tmp_path / str(number), model)
        result = extract(pictures, path, layer="features")
        f = load(pictures, result.feature_set)
        model.graph.output.append(
            helper.make_tensor_value_info("features", TensorProto.FLOAT, None)
        ) if number else None
        wanted = theirs(networks.write(tmp_path / "all", model), f.paths, "features")
        np.testing.assert_allclose(f.X, wanted.transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)
        sets.append(result)
    assert sets[0].feature_set.split("-")[1] == sets[1].feature_set.split("-")[1]  # the network is one
    assert sets[0].feature_set != sets[1].feature_set


def test_weights_in_a_file_of_their_own_are_part_of_it(pictures, tmp_path):
    model = networks.convolution()
    plain = extract(pictures, networks.write(tmp_path, model))
    path = outside(tmp_path / "x", "weights.bin")
    same = extract(pictures, path)
    assert same.feature_set == plain.feature_set
    assert same.reused == 8
    data = bytearray((tmp_path / "x" / "weights.bin").read_bytes())
    data[5] ^= 64
    (tmp_path / "x" / "weights.bin").write_bytes(data)
    assert extract(pictures, path).feature_set != plain.feature_set


def outside(folder: Path, location: str, **more: str) -> Path:
    """The small network, its weights in another file."""
    model = networks.convolution()
    tensor = model.graph.initializer[0]
    (folder / "weights.bin").parent.mkdir(parents=True, exist_ok=True)
    (folder / "weights.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return networks.write(folder, model)


def test_specs_of_the_table_say_what_they_always_said():
    spec = FeatureSpec("vgg16", "", "imagenet", "ab" * 32, 224, "decode-1", "caffe", "map", "float32", "float32")
    assert set(json.loads(spec.to_json())) == {
        "backbone", "layer", "weights", "weights_digest", "size", "recipe", "preprocess", "keep", "dtype", "precision"
    }  # fmt: skip
    assert spec.id == "vgg16-imagenet-224-a05486b9"
    assert not spec.extended


def test_networks_of_the_table_can_be_framed_too(pictures):
    plain = featcache.extract(pictures, "pixels", size=8, cache=pictures.parent / "cache")
    cropped = featcache.extract(pictures, "pixels", size=8, resize="crop", crop=0.5, cache=pictures.parent / "cache")
    assert plain.feature_set != cropped.feature_set
    f = load(pictures, cropped.feature_set)
    wanted = [np.asarray(Image.open(path).resize((16, 16), Image.Resampling.BILINEAR))[4:12, 4:12] for path in f.paths]
    np.testing.assert_array_equal(f.X[..., 0], wanted)
    same = featcache.extract(pictures, "pixels", size=8, resize="squash", cache=pictures.parent / "cache")
    assert same.feature_set == plain.feature_set
    with pytest.raises(UsageError, match="is of the table"):
        featcache.extract(pictures, "vgg16", mean=0.5, cache=pictures.parent / "cache")


def test_a_spec_is_read_back_as_it_was():
    spec = FeatureSpec(
        "net-0123456789ab", "", "dino", "ab" * 32, 224, "decode-1", "scaled", "map", "float32", "float32",
        Framing("crop", 0.875, "bicubic", "floor"), Scaling((0.5, 0.4, 0.3), (0.2,), 3, "bgr"), True,
    )  # fmt: skip
    assert FeatureSpec.from_json(spec.to_json()) == spec
    assert spec.arrays == ("map", "avg", "cls")


# -- what is remembered -------------------------------------------------------------------------------


def test_the_second_time_nothing_is_loaded(pictures, tmp_path):
    path = networks.write(tmp_path, networks.convolution())
    extract(pictures, path)
    write_images(pictures, 10)  # two more
    code = (
        "import sys, featcache\n"
        f"r = featcache.extract({str(pictures)!r}, {str(path)!r}, cache={str(tmp_path / 'cache')!r}, "
        "mean=0.5, std=0.25, resize='squash')\n"
        "assert (r.computed, r.reused) == (2, 8), r\n"
        "assert not {'tensorflow', 'torch', 'onnx'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_kept_network_serves_without_its_file(pictures, tmp_path):
    path = networks.write(tmp_path, networks.convolution())
    result = extract(pictures, path)
    with Store(tmp_path / "cache") as store:
        spec = store.spec(result.feature_set)
        kept = store.converted(spec)
    model = openvino_runtime.read(kept)
    assert [list(port.get_shape()) for port in model.inputs] == [[1, SIDE, SIDE, 3]]


@pytest.mark.parametrize("how", ["flipped", "cut", "another network's", "nothing"])
def test_a_tampered_network_in_the_cache_is_not_run(pictures, tmp_path, caplog, how):
    path = networks.write(tmp_path, networks.convolution())
    result = extract(pictures, path)
    with Store(tmp_path / "cache") as store:
        kept = store.converted(store.spec(result.feature_set))
    data = kept.read_bytes()
    if how == "flipped":
        kept.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
    elif how == "cut":
        kept.write_bytes(data[: len(data) // 2])
    elif how == "nothing":
        kept.write_bytes(b"")
    else:
        other = networks.write(tmp_path / "o", networks.convolution(side=32))
        named = extract(pictures, other)
        with Store(tmp_path / "cache") as store:
            kept.write_bytes(store.converted(store.spec(named.feature_set)).read_bytes())
    write_images(pictures, 10)
    again = extract(pictures, path)
    assert (again.computed, again.feature_set) == (2, result.feature_set)
    assert "converting the network again" in caplog.text
    f = load(pictures, again.feature_set)
    np.testing.assert_allclose(f.X, theirs(path, f.paths, "features").transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)


def test_a_changed_file_under_the_same_name_is_another_network(pictures, tmp_path):
    path = networks.write(tmp_path, networks.convolution())
    first = extract(pictures, path)
    networks.write(tmp_path, networks.convolution(1))
    second = extract(pictures, path)
    assert first.feature_set != second.feature_set
    assert load(pictures, str(path)).feature_set == second.feature_set


# -- what is refused ----------------------------------------------------------------------------------


def test_nothing_is_guessed(cli, pictures, tmp_path):
    path = networks.write(tmp_path, networks.convolution())
    told = cli("extract", "--data", pictures, "--backbone", path, "--cache", tmp_path / "cache")
    assert told.code == 2
    assert "--mean and --std and --resize" in told.err
    assert "3 x 16 x 16" in told.err
    told = cli("extract", "--data", pictures, "--backbone", path, "--mean", "0.5", "--std", "1/4",
                        "--cache", tmp_path / "cache")  # fmt: skip
    assert told.code == 2
    assert "Give --resize:" in told.err
    assert not (tmp_path / "cache" / "features").exists()
    told = cli("extract", "--data", pictures, "--backbone", path, "--mean", "0.5", "--std", "1/4",
                          "--resize", "squash", "--json", "--cache", tmp_path / "cache")  # fmt: skip
    assert told.code == 0, told.err
    assert told.json["feature_set"] == extract(pictures, path).feature_set


@pytest.mark.parametrize(
    ("location", "more"),
    [
        ("../secret.bin", {}),
        ("/etc/passwd", {}),
        ("link.bin", {}),
        ("nowhere.bin", {}),
        ("", {}),
        (".", {}),
        ("a\0b", {}),
        ("weights.bin", {"offset": "1" * 50}),
        ("weights.bin", {"offset": "-8"}),
        ("weights.bin", {"length": "9" * 50}),
        ("weights.bin", {"length": "many"}),
    ],
)
def test_weights_outside_the_folder_are_not_opened(pictures, tmp_path, location, more):
    folder = tmp_path / "net"
    path = outside(folder, location, **more)
    (tmp_path / "secret.bin").write_bytes((folder / "weights.bin").read_bytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(WeightsError) as told:
        extract(pictures, path)
    assert len(str(told.value)) < 500
    assert not (tmp_path / "cache" / "networks").exists()


def test_constants_within_functions_are_seen_too(pictures, tmp_path):
    """A node's own constant, one of a function, and one of a sparse tensor name files as initializers do."""
    tensor = numpy_helper.from_array(np.zeros((2,), np.float32), "t")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    (tmp_path / "secret.bin").write_bytes(b"\0" * 8)
    node, function = networks.convolution(), networks.convolution()
    constant = helper.make_node("Constant", [], ["t"])
    constant.attribute.append(helper.make_attribute("value", tensor))
    node.graph.node.append(constant)
    function.functions.append(helper.make_function("own", "F", [], ["t"], [constant], [helper.make_opsetid("", 17)]))
    sparse = networks.convolution()
    sparse.graph.sparse_initializer.add(dims=[4]).values.CopyFrom(tensor)
    for number, model in enumerate((node, function, sparse)):
        with pytest.raises(WeightsError, match=r"secret\.bin"):
            extract(pictures, networks.write(tmp_path / str(number) / "below", model))
        (tmp_path / str(number) / "secret.bin").write_bytes(b"\0" * 8)
        with pytest.raises(WeightsError, match=r"secret\.bin"):
            extract(pictures, tmp_path / str(number) / "below" / "small.onnx")


def test_unknown_operations_are_named(pictures, tmp_path):
    for domain in ("", "com.evil"):
        model = networks.convolution()
        model.graph.node[1].op_type, model.graph.node[1].domain = "Frobnicate", domain
        model.opset_import.add(domain="com.evil", version=1)
        with pytest.raises(WeightsError, match="Frobnicate"):
            extract(pictures, networks.write(tmp_path, model))


@pytest.mark.parametrize("content", [b"", b"no network", b"\0" * 4000, b"\x08\x08" + b"\xff" * 60, b"cut"])
@pytest.mark.parametrize("ending", [".onnx", ".xml", ".tflite"])
def test_what_is_no_network_is_a_sentence(pictures, tmp_path, content, ending):
    if content == b"cut":
        content = networks.convolution().SerializeToString()[:-200]
    path = tmp_path / f"broken{ending}"
    path.write_bytes(content)
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(WeightsError):
        extract(pictures, path)


def test_odd_inputs_are_refused(pictures, tmp_path):
    model = networks.convolution()
    two = networks.convolution()
    two.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1, 3]))
    two.graph.node.append(helper.make_node("ReduceMax", ["second"], ["more"]))
    two.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, None))
    wide = networks.convolution()
    wide.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 2 * SIDE
    huge = networks.convolution()
    for axis in (2, 3):
        huge.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 10**12
    many = networks.convolution(channels=7)
    flat = networks.convolution()
    del flat.graph.input[0].type.tensor_type.shape.dim[2:]
    for network, said in (
        (two, "inputs"),
        (wide, "squares"),
        (huge, "squares of 1 to"),
        (many, "7 channels"),
        (flat, "network|four axes"),
    ):
        with pytest.raises(WeightsError, match=said):
            extract(pictures, networks.write(tmp_path, network))
    with pytest.raises(UsageError, match=r"no layer 'featurse'; did you mean features"):
        extract(pictures, networks.write(tmp_path, model), layer="featurse")


def test_a_fifty_digit_size_is_a_sentence(cli, pictures, tmp_path):
    import openvino

    path = networks.write(tmp_path, networks.convolution())
    for size in ("9" * 50, "0", "-1"):
        told = cli("extract", "--data", pictures, "--backbone", path, "--size", size, "--cache", tmp_path / "cache")
        assert told.code == 2
        assert "Traceback" not in told.err
    openvino.save_model(openvino.Core().read_model(path), tmp_path / "small.xml", compress_to_fp16=False)
    text = (tmp_path / "small.xml").read_text()
    (tmp_path / "small.xml").write_text(text.replace("<dim>16</dim>", f"<dim>{'9' * 50}</dim>"))
    with pytest.raises(WeightsError):
        extract(pictures, tmp_path / "small.xml")


def test_features_that_say_nothing_are_not_kept(pictures, tmp_path):
    for act, said in (("Log", "NaN or infinite"), ("Zero", "the same 'map' for two different pictures")):
        model = networks.convolution(act=act if act == "Log" else "Relu")
        if act == "Zero":
            tensor = model.graph.initializer[0]
            model.graph.initializer[0].CopyFrom(
                numpy_helper.from_array(np.zeros((8, 3, 4, 4), np.float32), tensor.name)
            )
        with pytest.raises(WeightsError, match=said):
            extract(pictures, networks.write(tmp_path, model))
    assert not list((tmp_path / "cache").rglob("*.h5"))
    assert not list((tmp_path / "cache").rglob("*.openvino"))


def test_what_is_computed_beside_an_image_does_not_move_it(pictures, tmp_path, caplog):
    model = networks.convolution()
    model.graph.node.insert(1, helper.make_node("ReduceMean", ["c.y"], ["all"], axes=[0], keepdims=1))
    model.graph.node.insert(2, helper.make_node("Sub", ["c.y", "all"], ["centred"]))
    model.graph.node.insert(3, helper.make_node("Add", ["centred", "half"], ["batched"]))
    model.graph.node.insert(3, helper.make_node("Mul", ["c.y", "c05"], ["half"]))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "c05"))
    model.graph.node[5].input[0] = "batched"
    path = networks.write(tmp_path, model)
    caplog.set_level("INFO")
    f = load(pictures, extract(pictures, path).feature_set)
    assert "one image is computed at a time" in caplog.text
    session = onnxruntime.InferenceSession(str(path))
    for file, row in zip(f.paths, f.X, strict=True):
        image = ((decode(Path(file).read_bytes(), SIDE)[None] / 255 - 0.5) / 0.25).astype(np.float32)
        wanted = session.run(["features"], {"image": image.transpose(0, 3, 1, 2)})[0]
        np.testing.assert_allclose(row, wanted[0].transpose(1, 2, 0), rtol=1e-4, atol=1e-5)


def test_the_proof_hears_of_each_fault():
    spec = FeatureSpec("net-0123456789ab", "", "x", "ab" * 32, 8, "decode-1", "scaled", "vector", "float32", "float32",
                       scaling=Scaling((0.0,), (1.0,)))  # fmt: skip

    def means(images):
        return {"avg": images.mean((1, 2)).astype(np.float32)}

    assert network_proof.prove(means, spec, means)
    assert not network_proof.prove(means, spec, lambda images: {"avg": means(images)["avg"][::-1]})
    assert not network_proof.prove(means, spec, None)
    turn = iter(range(100))
    with pytest.raises(WeightsError, match="from one call to the next"):
        network_proof.prove(lambda images: {"avg": means(images)["avg"] + next(turn)}, spec)
    with pytest.raises(WeightsError, match="gives no 'avg'"):
        network_proof.prove(lambda images: {}, spec)


def test_names_of_networks():
    assert network_sources.label("a b/c:d") == "a_b_c_d"
    assert network_sources.label("random_walk").startswith(
        "file_"
    )  # else it would be taken for weights that know nothing
    assert network_sources.label("...") == "network"
    assert network_sources.label("é" * 300)
    assert not network_sources.is_of_table("x.onnx")
    assert network_sources.is_of_table("vgg16")
    with pytest.raises(WeightsError, match="no such file"):
        network_sources.find("nowhere.onnx")


# -- a real network -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite0(tmp_path_factory):
    if not LITE0.exists():
        pytest.skip("the reference weights are not at hand")
    cache = tmp_path_factory.mktemp("lite0")
    featcache.extract(REFERENCE / "data" / "xray4", LITE0, cache=cache, **LITE0_INPUT)
    return cache


@pytest.mark.real
def test_lite0_equals_onnx_runtime_on_radiographs(lite0):
    f = featcache.load("efficientnet_lite0", pooling="map", cache=lite0)
    rows = np.linspace(0, len(f) - 1, 20).astype(int)
    framing = Framing("crop", 0.875, "bicubic")
    pixels = np.stack([decode(Path(f.paths[i]).read_bytes(), 224, framing) for i in rows])
    images = ((pixels.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(str(LITE0))
    features, pooled = session.run(["features", "pooled"], {"image": np.ascontiguousarray(images)})
    np.testing.assert_allclose(f.X[rows], features.transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-4 * np.abs(features).max())
    averages = featcache.load("efficientnet_lite0", pooling="avg", cache=lite0).X[rows]
    np.testing.assert_allclose(averages, pooled, rtol=1e-4, atol=1e-4 * np.abs(pooled).max())


@pytest.mark.real
@pytest.mark.parametrize(("task", "least"), [("binary", 0.97), ("multiclass", 0.78)])
def test_lite0_tells_radiographs_apart(lite0, task, least):
    from sklearn.linear_model import LogisticRegression

    f = featcache.load("efficientnet_lite0", task=task, pooling="avg", cache=lite0)
    train, test = f.split("train"), f.split("test")
    assert LogisticRegression(max_iter=3000).fit(train.X, train.y).score(test.X, test.y) >= least
