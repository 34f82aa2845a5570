"""Bundles as one file: equal to the bundle, run without this package, and refused where there is no such form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import write_onnx
from pictures import write_images
from PIL import Image
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC

import featcache
import heads
from featcache.data.decoding import decode
from featcache.errors import BundleError, UsageError
from heads.bundles.bundle import open_bundle
from heads.bundles.saving import save_bundle
from heads.evaluation.calibration import fit_calibration
from heads.exporting import bundle_export
from heads.training.calibrated_ridge import CalibratedRidgeClassifier

NAMES = {"binary": ("covid", "normal"), "three": ("covid", "normal", "ä <&>")}
SVM = CalibratedClassifierCV(SVC(kernel="linear"), ensemble=False)
# Name: classes, pooling, model, calibration, form.
CASES = {
    "dense": ("binary", "flatten", heads.DenseHeadClassifier(8), None, "onnx"),
    "dense, normalised": (
        "three",
        "flatten",
        heads.DenseHeadClassifier((8, 5), batch_norm=True, activation="elu"),
        "temperature",
        "xml",
    ),
    "gelu": ("binary", "max", heads.DenseHeadClassifier(8, activation="gelu"), "isotonic", "onnx"),
    "tanh": ("three", "avg", heads.DenseHeadClassifier(8, activation="tanh"), "isotonic", "onnx"),
    "logistic": ("binary", "avg", make_pipeline(StandardScaler(), LogisticRegression()), "sigmoid", "xml"),
    "of three": ("three", "flatten", make_pipeline(Normalizer(), LogisticRegression(C=100)), "sigmoid", "onnx"),
    "components": ("three", "flatten", make_pipeline(PCA(5, whiten=True), LinearDiscriminantAnalysis()), None, "onnx"),
    "two of lda": ("binary", "flatten", make_pipeline(MinMaxScaler(), LinearDiscriminantAnalysis()), None, "xml"),
    "svm": ("binary", "flatten", make_pipeline(Normalizer("l1"), SVM), "temperature", "onnx"),
    "svm of three": ("three", "max", CalibratedClassifierCV(LinearSVC(), ensemble=False), None, "xml"),
    "ridge": ("binary", "max", make_pipeline(Normalizer(), CalibratedRidgeClassifier(0.1)), None, "onnx"),
    "ridge of three": ("three", "avg", make_pipeline(Normalizer(), CalibratedRidgeClassifier()), "sigmoid", "xml"),
    "sgd": ("three", "avg", make_pipeline(MaxAbsScaler(), SGDClassifier("log_loss", random_state=0)), None, "onnx"),
}


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Features of a small network in a file, of two and of three classes: ``of(classes, pooling)``, and their cache."""
    folder = tmp_path_factory.mktemp("exported")
    network = write_onnx(folder / "small.onnx")
    for name, classes in NAMES.items():
        write_images(folder / name, 60, classes, size=40)
        for number, path in enumerate(sorted((folder / name).rglob("*.png"))):  # something to learn
            grey = np.asarray(Image.open(path)) // 2
            shift = np.uint8(30 * (number // (60 // len(classes))))
            Image.fromarray(np.minimum(grey, 200) + shift).save(path)
        framing = {"resize": "crop", "crop": 0.875, "interpolation": "bicubic"}
        featcache.extract(folder / name, network, mean=0.4, std=0.3, cache=folder / "c", **framing)

    def of(classes: str, pooling: str):
        return featcache.load(classes=NAMES[classes], data=folder / classes, pooling=pooling, cache=folder / "c")

    of.cache = folder / "c"
    return of


def drawn(head: heads.DenseHeadClassifier, f) -> heads.DenseHeadClassifier:
    """A head as if it had been fitted, without the seconds that TensorFlow takes: its weights are drawn."""
    rng = np.random.default_rng(1)
    head.classes_, head.n_features_in_ = np.unique(f.y), f.X.shape[1]
    shapes = head.weight_shapes()
    head.weights_ = [rng.normal(0, 1 / np.sqrt(shape[0]), shape).astype(np.float32) for shape in shapes]
    if head.batch_norm:
        for place in (5, 11):  # a variance
            head.weights_[place] = np.abs(head.weights_[place]) + np.float32(0.1)
    return head


def saved(folder: Path, features, name: str) -> tuple[Path, str]:
    classes, pooling, model, calibration, form = CASES[name]
    f = features(classes, pooling)
    train, rest = np.arange(0, 60, 2), np.arange(1, 60, 2)
    model = drawn(model, f) if isinstance(model, heads.DenseHeadClassifier) else model.fit(f.X[train], f.y[train])
    numbers = fit_calibration(model.predict_proba(f.X[rest]), f.y[rest], calibration)[0] if calibration else None
    settled = {"calibration": numbers, "warnings": ["made <up>"]}
    return save_bundle(
        folder / "b", model, f, train, task="multiclass", scores={}, cache=features.cache, **settled
    ), form


@pytest.mark.parametrize("name", CASES)
def test_what_is_exported_is_the_bundle(features, tmp_path, name):
    bundle, form = saved(tmp_path, features, name)
    done = heads.export_bundle(bundle, tmp_path / f"out.{form}", cache=tmp_path / "none")
    assert done["equal"]
    assert done["difference"] <= 1e-4
    assert done["runtime"].startswith({"onnx": "onnxruntime", "xml": "openvino"}[form])
    made = [path for path in tmp_path.iterdir() if path.name.startswith("out.")]
    assert done["bytes"] == sum(path.stat().st_size for path in made)
    assert len(made) == {"onnx": 1, "xml": 2}[form]


RUN = """
import json, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("featcache", "heads", "tensorflow", "keras", "torch", "sklearn", "onnx"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import numpy as np
file, images = sys.argv[1], np.load(sys.argv[2])
if file.endswith(".onnx"):
    import onnxruntime
    session = onnxruntime.InferenceSession(file)
    about = session.get_modelmeta().custom_metadata_map
    given = [session.run(["probabilities"], {"images": image[None]})[0][0] for image in images]
else:
    import openvino
    model = openvino.Core().read_model(file)
    about = {name: model.get_rt_info(["featcache", name]).value for name in ("classes", "warnings", "framing", "spec")}
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    given = [compiled({"images": image[None]})["probabilities"][0] for image in images]
print(json.dumps([np.array(given).tolist(), dict(about)]))
"""


@pytest.mark.parametrize("form", ["onnx", "xml"])
def test_it_runs_without_this_package(features, tmp_path, form):
    bundle, _ = saved(tmp_path, features, "of three")
    heads.export_bundle(bundle, tmp_path / f"out.{form}")
    opened, f = open_bundle(bundle), features("three", "flatten")
    images = [decode(Path(path).read_bytes(), opened.spec.size, opened.spec.framing) for path in f.paths]
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", RUN, str(tmp_path / f"out.{form}"), str(tmp_path / "images.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    given, about = json.loads(done.stdout)
    wanted = opened.predict_proba(f)
    assert len(np.unique(wanted.argmax(axis=1))) > 1
    np.testing.assert_allclose(given, wanted, atol=1e-5)
    assert json.loads(about["classes"]) == list(NAMES["three"])
    assert json.loads(about["warnings"]) == ["made <up>"]
    assert json.loads(about["framing"])["crop"] == 0.875
    assert json.loads(about["spec"]) == json.loads(opened.spec.to_json())


def test_pixels_need_no_network(tmp_path):
    write_images(tmp_path / "d", 30, size=12)
    featcache.extract(tmp_path / "d", "pixels", size=6, cache=tmp_path / "c")
    f = featcache.load("pixels", cache=tmp_path / "c")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(f.X, f.y)
    bundle = save_bundle(tmp_path / "b", model, f, np.arange(30), task="binary", scores={}, cache=tmp_path / "c")
    assert heads.export_bundle(bundle, tmp_path / "o.onnx")["equal"]


def test_a_model_that_is_no_chain_is_refused(features, tmp_path, cli):
    f = features("binary", "avg")
    model = RandomForestClassifier(3, random_state=0).fit(f.X, f.y)
    bundle = save_bundle(tmp_path / "b", model, f, np.arange(60), task="binary", scores={}, cache=features.cache)
    done = cli("bundle", "export", bundle, tmp_path / "o.xml", "--json")
    assert done.code == 2
    assert "RandomForestClassifier is no chain that can be exported; these are: the dense head; Log" in done.err
    for name in ("o.pt", "o", ""):
        with pytest.raises(UsageError, match=r"expected a file to write, .onnx or .xml"):
            heads.export_bundle(bundle, tmp_path / name)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("o")]


def test_what_differs_is_not_written(features, tmp_path, monkeypatch, cli):
    bundle, _ = saved(tmp_path, features, "logistic")
    with monkeypatch.context() as patch:
        patch.setattr(bundle_export, "_square", lambda picture, bundle: np.zeros((1, 16, 16, 3), np.uint8))
        with pytest.raises(BundleError, match=r"as \.onnx it gives probabilities that differ by 0\.\d+ from"):
            heads.export_bundle(bundle, tmp_path / "o.onnx")
    assert not (tmp_path / "o.onnx").exists()
    done = cli("bundle", "export", bundle, tmp_path / "o.onnx", "--json")
    assert done.code == 0, done.err
    assert {"file", "equal", "difference"} <= done.json.keys()


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["mobilenetv2", "resnet50", "densenet121", "xception", "efficientnetb0"])
def test_networks_of_the_table(tmp_path, backbone):
    write_images(tmp_path / "d", 24, size=96)
    featcache.extract(tmp_path / "d", backbone, weights="random", size=96, cache=tmp_path / "c")
    f = featcache.load(backbone, pooling="avg", cache=tmp_path / "c")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(f.X, f.y)
    bundle = save_bundle(tmp_path / "b", model, f, np.arange(24), task="binary", scores={}, cache=tmp_path / "c")
    for form in ("onnx", "xml"):
        assert heads.export_bundle(bundle, tmp_path / f"o.{form}")["difference"] <= 1e-4
