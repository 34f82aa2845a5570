"""The network in a bundle: converted and whole, used without TensorFlow, and refused where it is not its own."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import write_onnx
from pictures import write_images
from sklearn.linear_model import LogisticRegression
from surroundings import GOLDEN, ROOT
from xgboost import XGBClassifier

import featcache
from featcache import Store
from featcache.backbones import inference_graph
from featcache.data.decoding import decode
from featcache.errors import BundleError, DataError, WeightsError
from featcache.system import tensor_files
from heads.bundles import integrity
from heads.bundles.bundle import open_bundle
from heads.bundles.doctor import bundle_doctor
from heads.bundles.saving import save_bundle
from heads.inference.prediction import predict

LOGISTIC = LogisticRegression(max_iter=300)


def sign(folder: Path, change=lambda about: None) -> Path:
    """Write ``bundle.json`` anew, with all hashes, as a hostile hand would."""
    about = json.loads((folder / "bundle.json").read_text())
    change(about)
    names = [path.name for path in folder.iterdir() if path.name != "bundle.json"]
    about["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    about["digest"] = integrity.digest({key: value for key, value in about.items() if key != "digest"})
    (folder / "bundle.json").write_bytes(integrity.written(about))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Images, and bundles on a network in a file: ``sklearn`` and ``xgboost``."""
    folder = tmp_path_factory.mktemp("networks")
    write_images(folder / "d", 40, size=20)
    network = write_onnx(folder / "small.onnx")
    featcache.extract(folder / "d", network, mean=0.4, std=0.3, resize="squash", cache=folder / "c")
    f = featcache.load(cache=folder / "c", pooling="flatten")
    for name, model in (("sklearn", LOGISTIC), ("xgboost", XGBClassifier(n_estimators=2, max_depth=2, n_jobs=1))):
        model.fit(f.X, f.y)
        save_bundle(folder / name, model, f, np.arange(40), task="binary", scores={}, cache=folder / "c")
    return folder


@pytest.fixture(scope="module")
def of_table(tmp_path_factory):
    """The same of a network of the table, with a dense head: ``dense``."""
    from heads import DenseHeadClassifier

    folder = tmp_path_factory.mktemp("table")
    write_images(folder / "d", 24, size=32)
    featcache.extract(folder / "d", "mobilenetv3small", weights="random", size=32, cache=folder / "c")
    f = featcache.load(cache=folder / "c", pooling="avg")
    head = DenseHeadClassifier(4, epochs=1, random_state=0).fit(f.X, f.y)
    save_bundle(folder / "dense", head, f, np.arange(24), task="binary", scores={}, cache=folder / "c")
    return folder


# Not ``sys.modules["torch"] = None``, which SciPy takes for a torch that is there.
PREDICT = """
import json, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "torch", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import heads
bundle, data, cache = sys.argv[1:]
rows = heads.predict(bundle, [data], cache=cache)["rows"]
heads.evaluate_bundle(bundle, data, cache=cache, out=cache + "-run")
print(json.dumps([list(row["probabilities"].values()) for row in rows]))
"""


def without_tensorflow(bundle: Path, data: Path, cache: Path) -> np.ndarray:
    command = [sys.executable, "-c", PREDICT, str(bundle), str(data), str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", ["sklearn", pytest.param("xgboost", marks=pytest.mark.slow)])
def test_a_network_in_a_file_needs_neither_torch_nor_tensorflow(made, tmp_path, name):
    f = featcache.load(data=made / "d", cache=made / "c")
    given = without_tensorflow(made / name, made / "d", tmp_path / "c")
    np.testing.assert_allclose(given, open_bundle(made / name).predict_proba(f), atol=1e-5)


@pytest.mark.slow
def test_nor_does_a_network_of_the_table_under_a_dense_head(of_table, tmp_path):
    opened = open_bundle(of_table / "dense")
    assert opened.about["version"] == 4
    assert opened.network.name == "network.openvino"
    assert "network.safetensors" not in opened.about["files"]
    f = featcache.load(data=of_table / "d", cache=of_table / "c", pooling="avg")
    given = without_tensorflow(of_table / "dense", of_table / "d", tmp_path / "c")
    np.testing.assert_allclose(given, opened.predict_proba(f), atol=1e-4)
    np.testing.assert_allclose(opened.estimator.to_keras().predict(f.X, verbose=0)[:, 0], given[:, 1], atol=1e-4)


@pytest.mark.slow
def test_weights_alone_are_read_and_carried_where_nothing_converts(of_table, tmp_path, monkeypatch):
    f = featcache.load(data=of_table / "d", cache=of_table / "c", pooling="avg")
    wanted = open_bundle(of_table / "dense").predict_proba(f)
    old = Path(shutil.copytree(of_table / "dense", tmp_path / "old"))  # as format 2 had it
    (old / "network.openvino").unlink()
    with Store(of_table / "c") as store:
        shutil.copy(store.network(f.spec), old / "network.safetensors")
        store.converted(f.spec).unlink()
    for path in old.glob("self-test*"):
        path.unlink()
    sign(old, lambda about: (about.update(version=2), about.pop("learns"), about.pop("self_test")))
    rows = predict(old, [of_table / "d"], cache=tmp_path / "c")["rows"]
    np.testing.assert_allclose([list(row["probabilities"].values()) for row in rows], wanted, atol=1e-5)

    def fail(*_):
        raise RuntimeError("no such operation")

    monkeypatch.setattr("featcache.backbones.openvino_runtime.convert", fail)
    model = LogisticRegression().fit(f.X, f.y)
    new = save_bundle(tmp_path / "new", model, f, np.arange(24), task="binary", scores={}, cache=of_table / "c")
    assert open_bundle(new).network.name == "network.safetensors"
    result = bundle_doctor(new)  # which TensorFlow goes through, where OpenVINO did the converted one
    assert (result["equal"], result["here"].keys() >= {"TensorFlow"}) == (True, True)
    assert [step["name"] for step in result["steps"] if step["equal"]][-3:] == ["scaling", "network", "head"]

    real = inference_graph.preprocess
    monkeypatch.setattr(inference_graph, "preprocess", lambda keras, x, mode: 1.01 * real(keras, x, mode))
    assert [step["name"] for step in bundle_doctor(new)["steps"] if not step["equal"]] == ["scaling"]


def test_a_bundle_of_format_2_is_read(tmp_path):
    """Written by the version before format 3; never to be made anew."""
    opened = open_bundle(GOLDEN / "bundle-v2")
    assert opened.about["version"] == 2
    assert opened.threshold == 0.3650892091812226
    assert opened.warnings == ["made to be kept"]
    assert opened.about["calibration"]["method"] == "sigmoid"
    featcache.extract(None, "pixels", size=4, cache=tmp_path / "c")
    f = featcache.load("pixels", task="binary", cache=tmp_path / "c")
    wanted = [[0.22651595, 0.77348405], [0.29126044, 0.70873956]]  # what the version that wrote it gave
    np.testing.assert_allclose(opened.predict_proba(f)[::50], wanted, rtol=1e-5)
    row = predict(GOLDEN / "bundle-v2", [f.paths[0]], cache=tmp_path / "c")["rows"][0]
    assert row["distance"] == pytest.approx(0.3510286211967468, rel=1e-5)


def test_a_bundle_of_format_3_is_read(tmp_path):
    """Written by the version before format 4; never to be made anew."""
    opened = open_bundle(GOLDEN / "bundle-v3")
    assert opened.about["version"] == 3
    assert (opened.task.kind, opened.task.name) == ("classes", "binary")
    assert opened.threshold == 0.36255599264650135
    featcache.extract(None, "pixels", size=4, cache=tmp_path / "c")
    f = featcache.load("pixels", task="binary", cache=tmp_path / "c")
    wanted = [[0.21521225, 0.78478775], [0.28436608, 0.71563392]]  # what the version that wrote it gave
    np.testing.assert_allclose(opened.predict_proba(f)[::50], wanted, rtol=1e-5)


# -- what is not the network it should be ----------------------------------------------------------


def rewrite(path: Path, change) -> None:
    """The network changed, and its own digest made to fit."""
    from featcache.backbones.openvino_runtime import _digest

    xml, weights, _ = tensor_files.read_tensors(path)
    text, data = change(xml.tobytes().decode(), weights)
    parts = [np.frombuffer(text.encode(), np.uint8), data]
    tensor_files.write_tensors(path, [*parts, _digest(parts)])


def in_first(element: str, name: str, value: str):
    """The first value of an attribute of an element, exchanged in the network's description."""

    def change(text, data):
        changed = re.sub(rf'(<{element}\b[^>]*\b{name}=")[^"]*', rf"\g<1>{value}", text, count=1)
        assert changed != text
        return changed, data

    return change


HUGE = "1" + "0" * 50
CHANGES = {
    "no XML": lambda text, data: ("<net", data),
    "nothing": lambda text, data: ("", data),
    "no weights": lambda text, data: (text, data[:8]),
    "an unknown operation": lambda text, data: (text.replace('type="ReLU"', 'type="Run"'), data),
    "a size of 50 digits": in_first("data", "shape", f"1, {HUGE}, 16, 3"),
    "an offset outside": in_first("data", "offset", "99999999999"),
    "an offset of 50 digits": in_first("data", "offset", HUGE),
    "a negative offset": in_first("data", "offset", "-8"),
    "weights of 50 digits": in_first("data", "size", HUGE),
    "another input": in_first("data", "shape", "1,32,32,3"),
    "another output": lambda text, data: (text.replace("avg:0", "gva:0"), data),
    "strides of nothing": in_first("data", "strides", "0, 0"),
    "an edge to nowhere": in_first("edge", "from-layer", "999999"),
    "a circle": lambda text, data: (text.replace('<edge from-layer="0"', '<edge from-layer="7"', 1), data),
}
ATTACK = """
import sys
from featcache.errors import FeatcacheError
from heads.inference.prediction import predict
image, *bundles = sys.argv[1:]
for bundle in bundles:
    try:
        predict(bundle, [image], cache=bundle + "-cache")
        print("accepted")
    except FeatcacheError as error:
        print(type(error).__name__, error.exit_code, str(error).replace(chr(10), " "), flush=True)
"""


def test_a_hostile_network_is_a_sentence(made, tmp_path):
    """In a process of its own, which ends where OpenVINO is led astray."""
    folders = [Path(shutil.copytree(made / "sklearn", tmp_path / f"{place:02d}")) for place in range(len(CHANGES))]
    for folder, change in zip(folders, CHANGES.values(), strict=True):
        rewrite(folder / "network.openvino", change)
        with pytest.raises(BundleError, match="damaged or exchanged"):  # the manifest tells
            open_bundle(folder)
        sign(folder)
    image = next((made / "d").rglob("*.png"))
    command = [sys.executable, "-c", ATTACK, str(image), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    said = dict(zip(CHANGES, done.stdout.splitlines(), strict=False))
    assert done.returncode == 0, (list(said.items())[-1:], done.stderr)
    assert said.keys() == CHANGES.keys()
    for name, line in said.items():
        assert line.startswith(("WeightsError 4 ", "BundleError 5 ")), (name, line)
        assert len(line.split()) >= 8, (name, line)


def test_bytes_that_are_not_the_networks_are_refused_by_its_own_digest(made, tmp_path):
    folder = Path(shutil.copytree(made / "sklearn", tmp_path / "b"))
    data = bytearray((folder / "network.openvino").read_bytes())
    data[-100] ^= 1
    (folder / "network.openvino").write_bytes(data)
    with pytest.raises(WeightsError, match="its digest is not that of its bytes"):
        predict(sign(folder), [next((made / "d").rglob("*.png"))], cache=tmp_path / "c")


def test_a_bundle_holds_one_network(made, tmp_path):
    folder = Path(shutil.copytree(made / "sklearn", tmp_path / "b"))
    shutil.copy(folder / "network.openvino", folder / "network.safetensors")
    with pytest.raises(BundleError, match="holds both"):
        open_bundle(sign(folder))
    (folder / "network.openvino").unlink()
    with pytest.raises(BundleError, match="not of the table"):
        open_bundle(sign(folder))


def test_a_bundle_from_elsewhere_puts_no_row_into_a_feature_set_of_the_users(made, tmp_path):
    """Its network says of itself that it is the user's, and is another one."""
    other = write_onnx(tmp_path / "other.onnx", seed=9)
    featcache.extract(made / "d", other, mean=0.4, std=0.3, resize="squash", cache=tmp_path / "theirs")
    (converted,) = (tmp_path / "theirs" / "networks").glob("*.openvino")
    hostile = Path(shutil.copytree(made / "sklearn", tmp_path / "hostile"))
    (hostile / "network.openvino").unlink()
    shutil.copy(converted, hostile / "network.openvino")
    sign(hostile)
    cache = Path(shutil.copytree(made / "c", tmp_path / "c"))
    new = write_images(tmp_path / "new", 2, size=20, seed=5)
    predict(hostile, new, cache=cache)
    with Store(cache) as store:
        (name,) = store.feature_sets()
        assert len(store.rows(name)) == 40
    (apart,) = (cache / "bundles").iterdir()
    with Store(apart) as store:
        assert [len(store.rows(name)) for name in store.feature_sets()] == [2]
    # The user's own bundle, on the same images: computed by its own network, into the user's set.
    own = predict(made / "sklearn", new, cache=cache)["rows"]
    fresh = predict(made / "sklearn", new, cache=tmp_path / "fresh")["rows"]
    assert [row["probabilities"] for row in own] == [
        {name: pytest.approx(value, abs=1e-6) for name, value in row["probabilities"].items()} for row in fresh
    ]
    with Store(cache) as store:
        assert len(store.rows(name)) == 42


def test_a_network_of_the_table_tests_itself(of_table, tmp_path):
    result = bundle_doctor(of_table / "dense")
    assert result["equal"]
    assert [step["name"] for step in result["steps"]][3:] == ["scaling", "network", "head"]
    assert "TensorFlow" not in result["here"]
    # What the network gives of the pictures is the same for every bundle of a set, and kept; damaged, it is made anew.
    (kept,) = (of_table / "c" / "networks").glob("*.self-test")
    f = featcache.load(data=of_table / "d", cache=of_table / "c", pooling="avg")
    kept.write_bytes(kept.read_bytes()[:100])
    model = LogisticRegression().fit(f.X, f.y)
    new = save_bundle(tmp_path / "new", model, f, np.arange(24), scores={}, cache=of_table / "c")
    assert bundle_doctor(new)["equal"]


@pytest.mark.parametrize(("of", "name"), [("made", "sklearn"), ("of_table", "dense")])
def test_an_opened_bundle_answers_what_predict_does(of, name, request):
    folder = request.getfixturevalue(of)
    paths = sorted(str(path) for path in (folder / "d").rglob("*.png"))[:5]
    wanted = predict(folder / name, paths, cache=folder / "elsewhere")["rows"]
    opened = open_bundle(folder / name)
    given = opened.predict_images(paths)
    np.testing.assert_allclose(given, [list(row["probabilities"].values()) for row in wanted], atol=1e-5)
    assert [opened.classes[label] for label in opened.labels(given)] == [row["label"] for row in wanted]
    spec = opened.spec
    pixels = np.stack([decode(Path(path).read_bytes(), spec.size, spec.framing) for path in paths])
    np.testing.assert_allclose(opened.predict_images(pixels), given, atol=1e-6)
    np.testing.assert_allclose(opened.predict_images(pixels[2:3]), given[2:3], atol=1e-6)


def test_what_an_opened_bundle_cannot_answer(made, tmp_path):
    opened = open_bundle(shutil.copytree(made / "sklearn", tmp_path / "b"))
    size = opened.spec.size
    for odd in (np.zeros((1, size, size, 3)), np.zeros((1, size, size + 1, 3), np.uint8), np.zeros((0, size, size, 3))):
        with pytest.raises(DataError, match="expected files, or uint8 pixels of shape"):
            opened.predict_images(odd)
    (tmp_path / "x.png").write_bytes(b"none")
    with pytest.raises(DataError, match="1 of 2 images cannot be used"):
        opened.predict_images([tmp_path / "x.png", next((made / "d").rglob("*.png"))])
    with pytest.raises(DataError, match="no images"):
        opened.predict_images([])
    again = open_bundle(tmp_path / "b")
    (tmp_path / "b" / "network.openvino").write_bytes(b"another")
    with pytest.raises(BundleError, match="not the file that was proven"):
        again.predict_images(np.zeros((1, size, size, 3), np.uint8))
