"""Bundles of several labels and of numbers as one file: equal to the bundle, and described in its metadata."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
from findings import LABELS, write_findings
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import LinearSVC, LinearSVR

import featcache
from featcache import Multilabel, Regression
from featcache.data.decoding import decode
from featcache.errors import UsageError
from heads import DenseHeadMultilabelClassifier, DenseHeadRegressor, LabelWiseClassifier, export_bundle, open_bundle
from heads.bundles.saving import save_bundle
from heads.evaluation.calibration import fit_calibration
from heads.evaluation.label_decision import two_columns
from heads.training.calibrated_ridge import CalibratedRidgeClassifier

SVM = CalibratedClassifierCV(LinearSVC(), ensemble=False)
# Name: model, how labels are calibrated, form.
OF_LABELS = {
    "dense": (DenseHeadMultilabelClassifier(8), None, "onnx"),
    "dense, calibrated": (
        DenseHeadMultilabelClassifier((8, 5), batch_norm=True, activation="elu"),
        "isotonic",
        "xml",
    ),
    "label by label": (make_pipeline(StandardScaler(), LabelWiseClassifier(LogisticRegression())), "sigmoid", "onnx"),
    "ridges": (make_pipeline(Normalizer(), LabelWiseClassifier(CalibratedRidgeClassifier())), None, "onnx"),
    "support vectors": (LabelWiseClassifier(make_pipeline(Normalizer(), SVM)), "temperature", "xml"),
}
OF_NUMBERS = {
    "dense": (DenseHeadRegressor(8, activation="tanh"), "onnx"),
    "dense, normalised": (DenseHeadRegressor((8, 5), batch_norm=True, activation="gelu"), "xml"),
    "ridge": (make_pipeline(Normalizer(), Ridge(alpha=0.01)), "onnx"),
    "lasso": (make_pipeline(StandardScaler(), Lasso()), "xml"),
    "svr": (make_pipeline(StandardScaler(), LinearSVR()), "onnx"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    featcache.extract(write_findings(folder / "here", patients=40), "pixels", size=16, cache=folder / "c")
    return folder / "c"


def drawn(head, f):
    """A head as if it had been fitted: its weights are drawn."""
    rng = np.random.default_rng(1)
    head.n_features_in_, head.n_outputs_ = f.X.shape[1], len(f.classes)
    shapes = head.weight_shapes()
    head.weights_ = [rng.normal(0, 0.05 / np.sqrt(shape[0]), shape).astype(np.float32) for shape in shapes]
    if head.batch_norm:
        for place in (5, 11):  # a variance
            head.weights_[place] = np.abs(head.weights_[place]) + np.float32(0.1)
    return head


def fitted(model, f):
    return drawn(model, f) if hasattr(model, "weight_shapes") else model.fit(f.X, f.y)


def calibrations(model, f, method):
    """Of the first label; the others stay as they are."""
    known = ~np.isnan(f.y[:, 0])
    given = two_columns(model.predict_proba(f.X)[known, 0])
    return [fit_calibration(given, f.y[known, 0].astype(np.int64), method)[0], None, None]


@pytest.mark.parametrize("name", OF_LABELS)
def test_labels(made, tmp_path, name):
    model, method, form = OF_LABELS[name]
    f = featcache.load("pixels", task=Multilabel(LABELS), cache=made)
    if "label" in name:  # of one label all that is known is the same
        f.y[:, 2] = 1
    model = fitted(model, f)
    settled = calibrations(model, f, method) if method else None
    bundle = save_bundle(tmp_path / "b", model, f, np.arange(len(f)), scores={}, cache=made, calibration=settled)
    done = export_bundle(bundle, tmp_path / f"out.{form}")
    assert (done["equal"], done["learns"], done["classes"]) == (True, "labels", list(LABELS))
    assert done["difference"] <= 1e-4
    if form == "onnx":
        session = onnxruntime.InferenceSession(tmp_path / "out.onnx")
        about = session.get_modelmeta().custom_metadata_map
        assert (about["learns"], json.loads(about["classes"])) == ("labels", list(LABELS))
        assert about["calibration"] == (f"{method}, applied" if method else "none")
        opened = open_bundle(bundle)
        for path in f.paths[:3]:
            with open(path, "rb") as file:
                image = decode(file.read(), opened.spec.size, opened.spec.framing)[None]
            given = session.run(["probabilities"], {"images": image})[0]
            np.testing.assert_allclose(given, opened.predict_images([path]), atol=1e-4)


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_numbers(made, tmp_path, name, cli):
    model, form = OF_NUMBERS[name]
    f = featcache.load("pixels", task=Regression("age"), cache=made)
    bundle = save_bundle(tmp_path / "b", fitted(model, f), f, np.arange(len(f)), scores={}, cache=made)
    done = cli("bundle", "export", bundle, tmp_path / f"out.{form}", "--json")
    assert done.code == 0, done.err
    assert (done.json["equal"], done.json["learns"], done.json["classes"]) == (True, "number", ["age"])
    if form == "onnx":
        (output,) = onnxruntime.InferenceSession(tmp_path / "out.onnx").get_outputs()
        assert (output.name, output.shape) == ("values", [1, 1])


def test_what_has_no_such_form_is_refused_and_nothing_written(made, tmp_path):
    labels = featcache.load("pixels", task=Multilabel(LABELS), cache=made)
    ages = featcache.load("pixels", task=Regression("age"), cache=made)
    models = ((LabelWiseClassifier(KNeighborsClassifier()), labels), (RandomForestRegressor(3), ages))
    for number, (model, f) in enumerate(models):
        bundle = save_bundle(tmp_path / str(number), model.fit(f.X, f.y), f, np.arange(len(f)), scores={}, cache=made)
        with pytest.raises(UsageError, match="is no chain that can be exported; these are: the dense head"):
            export_bundle(bundle, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()
