"""``bundle doctor``: a bundle's own pictures, every step as it was, and each step by itself where it is another."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from findings import LABELS, write_findings
from networks import convolution, write, write_onnx
from pictures import write_images
from PIL import Image
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from surroundings import GOLDEN
from xgboost import XGBClassifier

import featcache
import heads
from featcache import Multilabel, Regression
from featcache.backbones import openvino_runtime
from featcache.backbones.precisions import on_processor
from featcache.data import decoding, framing
from featcache.errors import BundleError
from featcache.system import tensor_files
from heads.bundles import bundle as bundle_module
from heads.bundles import integrity, serialization
from heads.bundles.drawn_pictures import NAMES, drawn_pictures
from heads.bundles.saving import save_bundle
from heads.evaluation.calibration import fit_calibration

STEPS = ["bytes", "decoding", "resizing", "scaling", "network", "head"]


def drawn(f, units: int = 6) -> heads.DenseHeadClassifier:
    """A head as if it had been fitted."""
    rng, head = np.random.default_rng(1), heads.DenseHeadClassifier(units, activation="tanh")
    head.classes_, head.n_features_in_ = np.unique(f.y), f.X.shape[1]
    head.weights_ = [rng.normal(0, 0.5 / np.sqrt(shape[0]), shape).astype(np.float32) for shape in head.weight_shapes()]
    return head


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Bundles of every kind on a small network in a file, and on pixels."""
    folder = tmp_path_factory.mktemp("doctor")
    write_images(folder / "d", 40, size=20)
    table = write_findings(folder / "t", 40)
    network = write_onnx(folder / "small.onnx", size=48)
    stated = {"mean": (0.4, 0.5, 0.3), "std": 0.3, "resize": "squash"}
    for data in (folder / "d", table):
        featcache.extract(data, network, **stated, cache=folder / "c")
        featcache.extract(data, "pixels", size=16, cache=folder / "c")

    def save(name: str, model, f, **settled):
        rows = np.arange(len(f))
        return save_bundle(folder / name, model, f, rows, scores={}, cache=folder / "c", **settled)

    f = featcache.load(backbone=str(network), data=folder / "d", pooling="flatten", cache=folder / "c")
    head = drawn(f)
    calibration = fit_calibration(head.predict_proba(f.X), f.y, "temperature")[0]
    calibration["inverse_temperature"] = 0.6
    save("dense", head, f, calibration=calibration)
    save("sklearn", make_pipeline(StandardScaler(), LogisticRegression()).fit(f.X, f.y), f)
    save("xgboost", XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1).fit(f.X, f.y), f)
    pixels = featcache.load("pixels", data=folder / "d", cache=folder / "c")
    save("pixels", LogisticRegression(max_iter=50).fit(pixels.X, pixels.y), pixels)
    for name, task, model in (
        ("labels", Multilabel(LABELS), heads.LabelWiseClassifier(LogisticRegression())),
        ("number", Regression("age"), Ridge()),
    ):
        f = featcache.load(backbone=str(network), data=table, task=task, pooling="avg", cache=folder / "c")
        save(name, model.fit(f.X, f.y), f)
    return folder


def sign(folder: Path, change=lambda about: None) -> Path:
    """Write ``bundle.json`` anew, with all hashes, as a hostile hand would."""
    about = json.loads((folder / "bundle.json").read_text())
    change(about)
    names = [path.name for path in folder.iterdir() if path.name != "bundle.json"]
    about["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    about["digest"] = integrity.digest({key: value for key, value in about.items() if key != "digest"})
    (folder / "bundle.json").write_bytes(integrity.written(about))
    return folder


@pytest.mark.parametrize("name", ["dense", "sklearn", "xgboost", "labels", "number", "pixels"])
def test_where_it_was_made_all_is_as_it_was(made, cli, name):
    done = cli("bundle", "doctor", made / name, "--json")
    assert done.code == 0, done.err
    result = done.json
    assert result["equal"]
    assert result["first"] is None
    names = [step for step in STEPS if name != "pixels" or step not in ("scaling", "network")]
    assert [step["name"] for step in result["steps"]] == names
    assert all(step["equal"] and step["difference"] <= step["tolerance"] for step in result["steps"])
    assert result["answers"]["difference"] <= 1e-5
    assert result["answers"]["of"] == 3
    assert result["answers"]["changed"] == (None if name == "number" else 0)
    assert result["here"] == result["there"]
    assert {"Pillow", "NumPy", "libjpeg", "processor"} <= set(result["here"])
    assert ("XGBoost" in result["here"]) == (name in ("xgboost", "labels"))
    told = cli("bundle", "doctor", made / name)
    assert "answers as the one that the bundle was made on" in told.out


# -- each step, changed by itself --------------------------------------------------------------------


def brighter(patch):
    """Decoded 4 levels brighter, in one picture of three."""
    real = decoding._open

    def opened(data):
        image = real(data)
        return image.point(lambda level: min(255, level + 4)) if data.startswith(b"\xff\xd8") else image

    patch.setattr(decoding, "_open", opened)


def not_turned(patch):
    patch.setattr(decoding.ImageOps, "exif_transpose", lambda image: image)


def one_byte_of_two(patch):
    patch.setattr(decoding, "_stretch", lambda values: Image.fromarray((values % 256).astype(np.float32)))


def bicubic(patch):
    real = framing._scaled

    def scaled(image, side, how):
        return real(image, side, framing.Framing(how.resize, how.crop, "bicubic", how.centre))

    patch.setattr(framing, "_scaled", scaled)


def without_antialiasing(patch):
    def scaled(image, side, how):
        factors = image.width / side, image.height / side
        where = (factors[0], 0, 0, 0, factors[1], 0)
        return image.transform((side, side), Image.Transform.AFFINE, where, Image.Resampling.BILINEAR)

    patch.setattr(framing, "_scaled", scaled)


def other_network(change):
    """The network's file read as another one: ``change(ops, model)``."""

    def patched(patch):
        from openvino import opset13 as ops

        real = openvino_runtime.read

        def read(path):
            model = real(path)
            change(ops, model)
            model.validate_nodes_and_infer_types()
            return model

        patch.setattr(openvino_runtime, "read", read)

    return patched


def behind_pixels(make):
    """An operation put between the pixels as numbers and all else."""

    def change(ops, model):
        (converted,) = (target.get_node() for target in model.inputs[0].get_target_inputs())
        targets = list(converted.output(0).get_target_inputs())
        added = make(ops, converted.output(0))
        for target in targets:
            target.replace_source_output(added.output(0))

    return other_network(change)


swapped_channels = behind_pixels(lambda ops, x: ops.gather(x, np.array([2, 1, 0]), np.array(3)))
another_mean = behind_pixels(lambda ops, x: ops.subtract(x, np.array([0, 0, 0.5], np.float32)))


def _rounded(ops, model):
    for op in model.get_ops():
        if op.get_type_name() == "Constant" and op.get_output_element_type(0).get_type_name() == "f32":
            values = np.array(op.data)
            if values.size < 100:
                continue
            bits = values.view(np.uint32) & np.uint32(0xFFFF0000)
            new = ops.constant(bits.view(np.float32))
            for target in op.output(0).get_target_inputs():
                target.replace_source_output(new.output(0))


weights_of_bfloat16 = other_network(_rounded)


def computed_in_bfloat16(patch):
    if "bfloat16" not in on_processor():
        pytest.skip("this processor has no bfloat16")
    patch.setitem(openvino_runtime.OPENVINO_HINTS, "float32", "bf16")


def another_model(change):
    def patched(patch):
        real = serialization.read

        def read(*arguments):
            model = real(*arguments)
            change(model)
            return model

        patch.setattr(serialization, "read", read)

    return patched


def _heavier(model):
    model.weights_ = [weights * np.float32(1.001) for weights in model.weights_]


def _other_activation(model):
    model.activation = "elu"


def another_temperature(patch):
    real = bundle_module.proven

    def proven(folder):
        about = real(folder)
        about["calibration"]["inverse_temperature"] *= 1.01
        return about

    patch.setattr(bundle_module, "proven", proven)


CHANGES = {
    "brighter": (brighter, "decoding", "up to 4 grey levels of 255"),
    "not turned": (not_turned, "decoding", "has pixels of shape"),
    "one byte of two": (one_byte_of_two, "decoding", "in self-test-1.picture alone"),
    "bicubic": (bicubic, "resizing", "grey levels of 255"),
    "without antialiasing": (without_antialiasing, "resizing", "grey levels of 255"),
    "swapped channels": (swapped_channels, "scaling", "of the largest number"),
    "another mean": (another_mean, "scaling", "of the largest number"),
    "weights of bfloat16": (weights_of_bfloat16, "network", "of the length of a row"),
    "computed in bfloat16": (computed_in_bfloat16, "network", "of the length of a row"),
    "heavier": (another_model(_heavier), "head", "a probability differs by up to"),
    "another activation": (another_model(_other_activation), "head", "a probability differs by up to"),
    "another temperature": (another_temperature, "head", "a probability differs by up to"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_step_that_is_another_is_named_and_no_other(made, cli, monkeypatch, name):
    change, step, says = CHANGES[name]
    change(monkeypatch)
    done = cli("bundle", "doctor", made / "dense", "--json")
    assert done.code == 5
    result = done.json
    assert not result["equal"]
    assert result["first"] == step
    differing = [one["name"] for one in result["steps"] if not one["equal"]]
    assert differing == [step]
    (found,) = (one for one in result["steps"] if one["name"] == step)
    assert says in found["says"]
    assert found["difference"] is None or found["difference"] > found["tolerance"]
    assert result["answers"]["difference"] > 1e-6  # and so it is, from file to answer
    told = cli("bundle", "doctor", made / "dense")
    assert f"the first step that is another here is {step}" in told.out


def test_two_steps_are_told_apart(made, monkeypatch):
    brighter(monkeypatch)
    another_temperature(monkeypatch)
    steps = heads.bundle_doctor(made / "dense")["steps"]
    assert [step["name"] for step in steps if not step["equal"]] == ["decoding", "head"]


@pytest.mark.parametrize(
    "file", ["self-test-0.picture", "self-test.safetensors", "network.openvino", "head.safetensors"]
)
def test_a_flipped_bit_is_the_first_step(made, tmp_path, cli, file):
    folder = Path(shutil.copytree(made / "dense", tmp_path / "b"))
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / file).write_bytes(data)
    done = cli("bundle", "doctor", folder, "--json")
    assert done.code == 5
    assert done.json["error"].startswith("bytes: ")
    assert file in done.json["error"]


def test_what_cannot_be_done_here_is_said(made, monkeypatch):
    """A network of a precision that this processor does not have, say."""
    monkeypatch.setattr("featcache.backbones.precisions.on_processor", lambda: frozenset(["int8"]))
    result = heads.bundle_doctor(made / "sklearn")
    assert result["first"] == "scaling"
    assert result["answers"] is None
    steps = {step["name"]: step for step in result["steps"]}
    assert steps["network"]["says"].startswith("cannot be done here: precision float32")
    assert steps["head"]["equal"]


def test_what_may_be_left_out_of_the_description_may_be(made, tmp_path):
    folder = Path(shutil.copytree(made / "pixels", tmp_path / "b"))
    assert heads.bundle_doctor(sign(folder, lambda about: about["self_test"].pop("missing")))["equal"]

    def none(about):
        del about["self_test"]
        for path in folder.glob("self-test*"):
            path.unlink()

    with pytest.raises(BundleError, match="carries no pictures"):
        heads.bundle_doctor(sign(folder, none))


def test_versions_stand_beside_where_they_differ(made, tmp_path, cli):
    def older(about):
        about["self_test"]["made_by"] |= {"Pillow": "9.0.1", "XGBoost": "1.0"}

    folder = sign(Path(shutil.copytree(made / "sklearn", tmp_path / "b")), older)
    done = cli("bundle", "doctor", folder)
    assert done.code == 0
    lines = done.out.splitlines()
    below = {line[2:].split()[0]: after for line, after in itertools.pairwise(lines)}
    for step in ("decoding", "resizing"):
        assert below[step].strip() == f"Pillow {Image.__version__} here, 9.0.1 there"
    assert below["head"].strip() == "XGBoost none here, 1.0 there"
    assert "Pillow" not in below["network"]


# -- where there is nothing, or less, to tell by -----------------------------------------------------


def test_a_bundle_of_an_earlier_version_says_so(cli):
    done = cli("bundle", "doctor", GOLDEN / "bundle-v3")
    assert done.code == 5
    assert "carries no pictures" in done.err
    assert "save it anew" in done.err


def test_a_bundle_without_its_network_tells_the_steps_before_it(tmp_path, cli):
    write_images(tmp_path / "d", 20, size=20)

    def average(images):
        return images.astype(np.float32).mean(axis=(1, 2))

    featcache.extract(tmp_path / "d", average, identity="average", size=16, resize="squash", cache=tmp_path / "c")
    f = featcache.load(cache=tmp_path / "c")
    save_bundle(tmp_path / "b", LogisticRegression().fit(f.X, f.y), f, np.arange(20), scores={}, cache=tmp_path / "c")
    done = cli("bundle", "doctor", tmp_path / "b", "--json")
    assert done.code == 0
    equal = {step["name"]: step["equal"] for step in done.json["steps"]}
    assert equal == dict(zip(STEPS, (True, True, True, None, None, None), strict=True))
    assert "holds no network" in done.json["steps"][-1]["says"]
    assert done.json["answers"] is None


def test_large_inputs_go_with_fewer_pictures(tmp_path):
    write_images(tmp_path / "d", 6, size=20)
    network = write_onnx(tmp_path / "large.onnx", size=800)
    featcache.extract(tmp_path / "d", network, mean=0.4, std=0.3, resize="squash", cache=tmp_path / "c")
    f = featcache.load(cache=tmp_path / "c", pooling="avg")
    model = LogisticRegression().fit(f.X, f.y)
    folder = save_bundle(tmp_path / "b", model, f, np.arange(6), scores={}, cache=tmp_path / "c")
    assert json.loads((folder / "bundle.json").read_text())["self_test"]["pictures"] == list(NAMES[:2])
    assert heads.bundle_doctor(folder)["equal"]


def test_a_network_of_one_channel_tests_itself(tmp_path):
    """Its luminance is of all three channels: what it is given is no table of one."""
    write_images(tmp_path / "d", 6, size=20)
    network = write(tmp_path, convolution(channels=1, side=32))
    featcache.extract(tmp_path / "d", network, mean=0.4, std=0.3, channels=1, resize="pad", cache=tmp_path / "c")
    f = featcache.load(cache=tmp_path / "c", pooling="avg")
    model = LogisticRegression().fit(f.X, f.y)
    folder = save_bundle(tmp_path / "b", model, f, np.arange(6), scores={}, cache=tmp_path / "c")
    result = heads.bundle_doctor(folder)
    assert result["equal"]
    assert tensor_files.read_tensors(folder / integrity.SELF_TEST)[5].shape == (3, 1, 32, 32)


def test_the_pictures_differ_in_what_programs_differ_in():
    kinds = [Image.open(io.BytesIO(data)) for data in drawn_pictures()]
    assert [image.mode for image in kinds] == ["RGB", "I;16", "LA"]
    assert kinds[0].getexif()[0x0112] == 6
    assert sum(map(len, drawn_pictures())) < 300_000


# -- what lies ---------------------------------------------------------------------------------------


def retold(position: int, change):
    """A tensor of the self-test changed; counted as they stand there."""

    def spoil(folder: Path):
        path = folder / integrity.SELF_TEST
        tensors = tensor_files.read_tensors(path)
        tensors[position] = change(tensors[position])
        tensor_files.write_tensors(path, tensors)

    return spoil


def with_nan(values):
    values = values.copy()
    values.flat[0] = np.nan
    return values


def exchanged(data: bytes, name: str = "self-test-1.picture"):
    return lambda folder: (folder / name).write_bytes(data)


def of_kind(form: str, size=(20, 20), **how) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size).save(buffer, form, **how)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG that promises 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1 << 20))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


# In self-test.safetensors: pixels 0, 1, 2; squares 3; rows 4; table 5, origins 6, shape 7; answers 8.
LIES = {
    "another size": (exchanged(of_kind("PNG")), "expected 340 x 130"),
    "no picture": (exchanged(b"none"), "no JPEG or PNG"),
    "another format": (exchanged(of_kind("TIFF", (340, 130))), "no JPEG or PNG"),
    "a bomb": (exchanged(bomb()), "self-test-1"),
    "a large file": (exchanged(bytes(2 << 20)), "larger than"),
    "pixels of NaN": (retold(1, with_nan), "levels that are none"),
    "pixels of doubles": (retold(1, lambda pixels: pixels.astype(np.float64)), "a picture of float64"),
    "pixels in a row": (retold(0, lambda pixels: pixels.reshape(-1)), "a picture of uint8, shape"),
    "other squares": (retold(3, lambda squares: squares[:, :8]), "squares of uint8"),
    "rows of NaN": (retold(4, with_nan), "no numbers"),
    "rows of two pictures": (retold(4, lambda rows: rows[:2]), "rows of float32"),
    "wide rows": (retold(4, lambda rows: np.zeros((3, 10_000), np.float32)), None),
    "a table of NaN": (retold(5, with_nan), "no numbers"),
    "a wide table": (retold(5, lambda table: table[:, :100]), "cannot have"),
    "a fourth channel": (retold(6, lambda origins: origins + 1), "cannot have"),
    "a vast shape": (retold(7, lambda shape: shape * 10**12), "cannot have"),
    "a negative shape": (retold(7, lambda shape: -shape), "cannot have"),
    "answers of NaN": (retold(8, with_nan), "no numbers"),
    "answers of others": (retold(8, lambda answers: answers[:, :1]), "answers of shape"),
    "no tensors": (lambda folder: tensor_files.write_tensors(folder / integrity.SELF_TEST, []), "0 tensors"),
    "one file less": (lambda folder: (folder / "self-test-2.picture").unlink(), "described and not there"),
    "no list of tensors": (exchanged(b"x" * 99, integrity.SELF_TEST), "not a readable list"),
}


@pytest.mark.parametrize("name", LIES)
def test_pictures_that_lie_are_refused(made, tmp_path, cli, name):
    lie, says = LIES[name]
    folder = Path(shutil.copytree(made / "dense", tmp_path / "b"))
    lie(folder)
    done = cli("bundle", "doctor", sign(folder), "--json")
    assert done.code == 5, done.out
    assert "Traceback" not in done.err
    if says is None:  # of a shape that the other steps here do not give
        assert "cannot be done here" in next(step["says"] for step in done.json["steps"] if not step["equal"])
    else:
        assert says in done.json["error"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda told: told.update(pictures=["../x.png"]), r"\$\.self_test\.pictures\[0\]"),
        (lambda told: told.update(pictures=[]), r"\$\.self_test\.pictures"),
        (lambda told: told.update(pictures=[NAMES[0]] * 3), "not described"),
        (lambda told: told.update(steps=["decoding", "/bin/sh"]), r"\$\.self_test\.steps"),
        (lambda told: told.update(steps=["resizing", "decoding"]), "no self-test of"),
        (lambda told: told.update(steps=["decoding", "resizing", "head"]), "no self-test of"),
        (lambda told: told["made_by"].update(Pillow="\x1b[2J"), r"\$\.self_test\.made_by"),
        (lambda told: told["made_by"].update({"../x": "1"}), r"\$\.self_test\.made_by"),
        (lambda told: told.update(more=1), r"\$\.self_test"),
        (lambda told: told.update(missing="\x1b]0;"), r"\$\.self_test\.missing"),
    ],
)
def test_a_description_that_lies_is_refused(made, tmp_path, change, says):
    folder = Path(shutil.copytree(made / "sklearn", tmp_path / "b"))
    with pytest.raises(BundleError, match=says):
        heads.bundle_doctor(sign(folder, lambda about: change(about["self_test"])))
