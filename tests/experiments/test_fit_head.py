"""From kept features to a bundle that predicts: fit-head, predict, evaluate, through the command line."""

from __future__ import annotations

import csv
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import write_images
from surroundings import OFFLINE, ROOT

import featcache
from featcache.backbones import registry
from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.errors import BundleError, DataError, UsageError
from heads import OwnCNNClassifier
from heads.bundles.bundle import open_bundle
from heads.experiments.head_fit import fit_head
from heads.experiments.reference import ROWS
from heads.inference.bundle_evaluation import evaluate_bundle
from heads.inference.prediction import predict
from heads.training.architectures import HeadShape, own_cnn

PARTS = {"accuracy", "loss", "balanced_accuracy", "macro_f1", "roc_auc", "n"}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A head on the synthetic sample, its cache, and its bundle's folder."""
    folder = tmp_path_factory.mktemp("fitted")
    featcache.extract(None, "mobilenet", weights="random", size=64, cache=folder / "cache")
    epochs: list[int] = []
    done = fit_head(
        "multiclass",
        pooling="avg",
        cache=folder / "cache",
        out=folder / "run",
        epochs=12,
        learning_rate=0.003,
        units=(32, 16),
        on_epoch=lambda epoch, latest: epochs.append(epoch),
    )
    assert epochs == list(range(1, 13))
    return done, folder / "cache", folder / "run" / "bundle"


def test_the_result_and_its_files(fitted):
    done, _, bundle = fitted
    result, run = done.result, bundle.parent
    keys = "task feature_set model parameters hyperparameters epochs_run train val test seconds bundle run"
    assert set(keys.split()) <= set(result)
    assert list(result["phases"]) == ["load", "audit", "train", "evaluate", "bundle", "draw"]
    assert result["phases"]["train"] == pytest.approx(result["seconds"], abs=0.01)
    assert 76 * 12 / (result["seconds"] + 0.006) <= result["images_per_second"] * 1.01
    assert result["images_per_second"] * 0.99 <= 76 * 12 / max(1e-9, result["seconds"] - 0.006)
    assert set(result["train"]) >= PARTS
    assert set(result["val"]) >= PARTS
    assert PARTS | {"accuracy_ci", "confusion"} <= set(result["test"])
    assert result["made"] == ["val"]
    assert (result["train"]["n"], result["val"]["n"], result["test"]["n"]) == (76, 20, 32)
    assert result["hyperparameters"]["units"] == [32, 16]
    figures = {f"{name}.png" for name in ("curves", "confusion", "roc", "precision_recall", "reliability")}
    files = {"bundle", "run.json", "history.csv", "predictions.csv", "test_answers.csv"}
    assert {p.name for p in run.iterdir()} == files | figures
    assert json.loads((run / "run.json").read_text()) == json.loads(json.dumps(result))
    assert all(p.stat().st_size > 10_000 for p in run.glob("*.png"))
    rows = list(csv.DictReader((run / "predictions.csv").open()))
    test = [row for row in rows if row["part"] == "test"]
    assert np.mean([row["label"] == row["predicted"] for row in test]) == pytest.approx(result["test"]["accuracy"])
    assert len(list(csv.DictReader((run / "history.csv").open()))) == 12
    total = sum(layer.parameters for layer in done.layers)
    assert result["parameters"]["total"] == total == 3_228_864 + 1024 * 32 + 32 + 32 * 16 + 16 + 16 * 4 + 4


def test_it_is_the_classifier_fitted_by_hand(fitted):
    done, cache, _ = fitted
    f = featcache.load("mobilenet", pooling="avg", cache=cache)
    by_hand = type(done.estimator)(**done.estimator.get_params())
    by_hand.fit(
        f.X[done.parts.train], f.y[done.parts.train], validation_data=(f.X[done.parts.val], f.y[done.parts.val])
    )
    np.testing.assert_allclose(by_hand.predict_proba(f.X), done.probabilities, atol=1e-6)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_parameters_are_the_references(row):
    if row.model == "own-cnn":
        model = own_cnn(2 if row.task == "binary" else 4, units=row.settings["units"])
        counts = (model.count_params(), model.count_params())
    else:
        backbone = registry.get(row.backbone)
        side = 5 if row.backbone == "inceptionresnetv2" else 7
        head = HeadShape(side * side * backbone.channels, 2 if row.task == "binary" else 4).parameters["total"]
        counts = (backbone.parameters + head, head)
    if row.total is not None:
        assert counts == (row.total, row.trainable)


def test_an_image_is_judged_as_its_cached_features_are(fitted, cli, tmp_path):
    """On a machine that has the bundle and nothing else."""
    done, _, bundle = fitted
    shutil.copytree(bundle, tmp_path / "b")
    paths = [Path(path) for path in done.features.paths[::9]]
    copies = [Path(shutil.copy(path, tmp_path / f"{i}.png")) for i, path in enumerate(paths)]
    answer = cli("predict", "b", *copies, "--cache", "fresh", "--json").json
    wanted = done.probabilities[::9]
    given = [list(row["probabilities"].values()) for row in answer["rows"]]
    np.testing.assert_allclose(given, wanted, atol=1e-5)
    assert [row["label"] for row in answer["rows"]] == [done.features.classes[i] for i in wanted.argmax(axis=1)]
    assert [row["path"] for row in answer["rows"]] == [str(path) for path in copies]
    people = cli("predict", "b", tmp_path, "--cache", "fresh")  # a folder; and the sample says what it is
    assert people.out.count(".png") == len(copies) + 0
    assert "SYNTHETIC" in people.out


def test_evaluate_on_other_data(fitted, cli, tmp_path):
    done, _, bundle = fitted
    folder = tmp_path / "other"
    for i in range(0, len(done.features), 5):
        target = folder / done.features.classes[done.features.y[i]] / f"{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(done.features.paths[i], target)
    write_images(folder, 3, ("tuberculosis",))
    answer = cli("evaluate", bundle, "--data", folder, "--cache", "fresh", "--out", "o", "--json")
    assert answer.code == 0, answer.err
    result = answer.json
    rows = range(0, len(done.features), 5)
    right = done.probabilities[rows].argmax(axis=1) == done.features.y[rows]
    assert result["test"]["accuracy"] == pytest.approx(right.mean())
    assert result["other_classes"] == 3
    assert result["internal"] == done.result["test"]
    assert result["trained_on"] == len(set(rows) & set(done.parts.train.tolist()))
    assert "were in the model's training data" in answer.err
    assert (tmp_path / "o" / "confusion.png").exists()
    people = cli("evaluate", bundle, "--data", folder, "--cache", "fresh", "--split", "test")
    assert people.code == 3
    assert "no test split" in people.err


def test_data_without_any_class_of_the_model(fitted, tmp_path):
    write_images(tmp_path / "d", 4, ("cat", "dog"))
    with pytest.raises(DataError, match="none of its classes"):
        evaluate_bundle(fitted[2], tmp_path / "d", cache=tmp_path / "c")


def test_bad_images_to_predict(fitted, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    good = fitted[0].features.paths[0]
    with pytest.raises(DataError, match="1 of 2 images cannot be used") as caught:
        predict(fitted[2], [tmp_path / "broken.png", good], cache=tmp_path / "c")
    assert caught.value.bad[0].path.endswith("broken.png")
    answer = predict(fitted[2], [tmp_path / "broken.png", good], cache=tmp_path / "c", skip_bad=True)
    assert [row["path"] for row in answer["rows"]] == [good]
    assert len(answer["skipped"]) == 1


# -- bundles that are not what they were -----------------------------------------------------------


@pytest.fixture
def copy(fitted, tmp_path):
    shutil.copytree(fitted[2], tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    """Fails the test where a byte of a model is read before the bundle is refused."""
    from heads.bundles import serialization

    def read(*arguments):
        raise AssertionError("opened before it was proven")

    monkeypatch.setattr(serialization, "read", read)


def test_a_flipped_byte_anywhere(copy, nothing_is_loaded):
    rng = np.random.default_rng()
    for path in sorted(copy.iterdir()):
        original = path.read_bytes()
        places = rng.integers(0, len(original), 40 if path.suffix == ".json" else 3)
        for place in places:
            damaged = bytearray(original)
            damaged[place] ^= 1 << int(rng.integers(0, 8))
            path.write_bytes(damaged)
            with pytest.raises(BundleError):
                open_bundle(copy)
        path.write_bytes(original)


def test_a_swapped_missing_or_added_file(copy, nothing_is_loaded):
    (copy / "model.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(BundleError, match=r"holds model\.pkl"):
        open_bundle(copy)
    (copy / "model.pkl").unlink()
    shutil.copy(copy / "training.safetensors", copy / "head.safetensors")
    with pytest.raises(BundleError, match="damaged or exchanged"):
        open_bundle(copy)
    (copy / "head.safetensors").unlink()
    with pytest.raises(BundleError, match=r"head\.safetensors is missing"):
        open_bundle(copy)
    with pytest.raises(BundleError, match="no bundle here"):
        open_bundle(copy.parent)


def test_a_pickle_that_the_description_names(copy, nothing_is_loaded):
    """Somebody who writes the description anew, digests and all, still gets no other file opened."""
    from heads.bundles import integrity

    (copy / "model.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    about = json.loads((copy / "bundle.json").read_text())
    about["files"]["model.pkl"] = featcache.system.atomic_files.sha256_file(copy / "model.pkl")
    plain = {key: value for key, value in about.items() if key != "digest"}
    (copy / "bundle.json").write_bytes(integrity.written({**plain, "digest": integrity.digest(plain)}))
    with pytest.raises(BundleError, match="which no bundle holds"):
        open_bundle(copy)


def test_a_pickle_dressed_as_a_model(copy):
    from heads.bundles import integrity

    about = json.loads((copy / "bundle.json").read_text())
    (copy / "head.safetensors").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR." * 20)
    about["files"]["head.safetensors"] = featcache.system.atomic_files.sha256_file(copy / "head.safetensors")
    plain = {key: value for key, value in about.items() if key != "digest"}
    (copy / "bundle.json").write_bytes(integrity.written({**plain, "digest": integrity.digest(plain)}))
    with pytest.raises(BundleError, match="not a readable list of tensors"):
        open_bundle(copy)


def test_a_later_format(copy):
    text = (copy / "bundle.json").read_text()
    (copy / "bundle.json").write_text(text.replace('"version": 4,', '"version": 5,'))
    with pytest.raises(BundleError, match="upgrade"):
        open_bundle(copy)


def test_features_of_another_spec_are_refused(fitted, tmp_path):
    _, cache, bundle = fitted
    featcache.extract(None, "mobilenet", weights="random:1", size=64, cache=tmp_path / "c")
    other = featcache.load("mobilenet", pooling="avg", cache=tmp_path / "c")
    with pytest.raises(BundleError, match="they mean something else"):
        open_bundle(bundle).predict_proba(other)
    with pytest.raises(BundleError, match="they mean something else"):
        open_bundle(bundle).predict_proba(featcache.load("mobilenet", pooling="max", cache=cache))


@pytest.mark.slow
def test_weights_of_another_network_are_refused(fitted, copy, tmp_path, cli):
    """A bundle without its network takes weights that are given, but only the right ones."""
    from heads.bundles import integrity

    about = json.loads((copy / "bundle.json").read_text())
    del about["files"]["network.openvino"]
    (copy / "network.openvino").unlink()
    plain = {key: value for key, value in about.items() if key != "digest"}
    (copy / "bundle.json").write_bytes(integrity.written({**plain, "digest": integrity.digest(plain)}))
    image = fitted[0].features.paths[0]
    none = cli("predict", copy, image, "--cache", "fresh")
    assert none.code == 4
    assert "no weights of mobilenet" in none.err
    wrong = cli("predict", copy, image, "--cache", "fresh", "--weights", "random:5")
    assert wrong.code == 5
    assert "would mean something else" in wrong.err
    right = cli("predict", copy, image, "--cache", "fresh", "--weights", "random", "--json").json
    np.testing.assert_allclose(list(right["rows"][0]["probabilities"].values()), fitted[0].probabilities[0], atol=1e-5)


def test_a_bundle_is_never_overwritten(fitted, cli):
    _done, cache, bundle = fitted
    before = {p.name: p.read_bytes() for p in bundle.iterdir()}
    again = cli("fit-head", "--no-audit", "--cache", cache, "--pooling", "avg", "--epochs", 1, "--out", bundle.parent)
    assert again.code == 2
    assert "there already" in again.err
    assert {p.name: p.read_bytes() for p in bundle.iterdir()} == before


# -- the own CNN -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_own_cnn_from_pixels_to_prediction(tmp_path, cli):
    write_images(tmp_path / "d" / "train", 16, size=20)
    write_images(tmp_path / "d" / "test", 8, size=20, seed=1)
    settings = ("--epochs", 2, "--units", 8, "--checkpoint")
    asked = ("--no-audit", "--task", "binary", "--model", "own-cnn", "--data", "d", *settings)
    done = cli("fit-head", *asked, "--out", "o", "--json")
    assert done.code == 0, done.err
    result = done.json
    total = 1_792 + 36_928 + 23_888_000 + 128 * 8 + 8 + 8 + 1  # the reference's layers, with 8 units
    assert result["parameters"] == {"total": total, "trainable": total}
    assert result["feature_set"].startswith("pixels-")
    image = next((tmp_path / "d" / "test" / "covid").iterdir())
    answer = cli("predict", "o/bundle", image, "--cache", "fresh", "--json").json["rows"][0]
    row = next(r for r in csv.DictReader((tmp_path / "o" / "predictions.csv").open()) if r["path"] == str(image))
    assert answer["probabilities"]["covid"] == pytest.approx(float(row["covid"]), abs=1e-5)


def test_a_training_of_the_own_cnn_leaves_no_weights_behind(monkeypatch):
    """TensorFlow keeps a training step's graph, and its variables with it, for as long as the process lives."""
    built, build = [], OwnCNNClassifier._build
    monkeypatch.setattr(OwnCNNClassifier, "_build", lambda self: built.append(build(self)) or built[-1])
    X = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    trained = OwnCNNClassifier(units=4, epochs=1, batch_size=4, random_state=0).fit(X, np.arange(8) % 2)
    tf, _ = load_tensorflow()
    network = built[0]
    variables = [variable.value for variable in (*network.variables, *network.optimizer.variables)]
    assert len(variables) > 3 * len(trained.weights_)  # weights, and two moments of each
    held = [tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype) for variable in variables]
    assert sum(int(tf.size(value)) for value in held) == 0
    assert trained.predict_proba(X).shape == (8, 2)


def test_the_own_cnn_learns_reproduces_and_stops():
    rng = np.random.default_rng(0)
    y = np.arange(24) % 3
    X = rng.integers(0, 60, (24, 24, 24, 3), dtype=np.uint8)
    X[y == 1, :12] += 150
    X[y == 2, :, :12] += 150
    network = OwnCNNClassifier(8, epochs=12, batch_size=8, dropout=0.1, random_state=4)
    assert network.fit(X, y).score(X, y) == 1
    assert network.hidden(X).shape == (24, 128)
    np.testing.assert_allclose(
        OwnCNNClassifier(**network.get_params()).fit(X, y).predict_proba(X), network.predict_proba(X), atol=1e-5
    )
    np.testing.assert_allclose(network.to_keras()(X.astype(np.float32)).numpy(), network.predict_proba(X), atol=1e-6)
    stopped = OwnCNNClassifier(8, epochs=40, batch_size=8, learning_rate=0.01, patience=2, random_state=0)
    stopped.fit(X[:12], y[:12], validation_data=(X[12:], (y[12:] + 1) % 3))  # labels that cannot be learnt
    assert stopped.n_iter_ < 40
    assert stopped.n_iter_ - stopped.best_epoch_ == 2
    assert stopped.best_epoch_ == 1 + int(np.argmin(stopped.history_["val_loss"]))
    with pytest.raises(ValueError, match="expected decoded images"):
        network.predict(X[..., 0])


# -- calls that cannot work ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--classes", "covid,flu"], 3, "no images of the class(es) flu"),
        (["--model", "transformer"], 2, "'transformer' is not one of"),
        (["--model", "own-cnn", "--batch-norm"], 2, "own-cnn has no batch_norm"),
        (["--activation", "swishy"], 2, "'swishy' is not one of"),
        (["--pooling", "map"], 2, "'map' is not one of 'flatten', 'avg', 'max'"),
        (["--units", "many"], 2, "expected whole numbers"),
        (["--backbone", "vgg16"], 3, "no features of vgg16"),
        (["--task", "ternary"], 2, "'ternary' is not one of"),
    ],
)
def test_bad_calls(fitted, cli, tmp_path, options, code, message):
    done = cli("fit-head", "--no-audit", "--cache", fitted[1], *options)
    assert (done.code, message in done.err) == (code, True), done.err
    assert not list(tmp_path.glob("runs/*"))


def test_all_labels_equal(tmp_path):
    write_images(tmp_path / "d", 6, ("covid",))
    featcache.extract(tmp_path / "d", "pixels", size=8, cache=tmp_path / "c")
    with pytest.raises(DataError, match="a task needs at least two"):
        fit_head("multiclass", model="own-cnn", data=tmp_path / "d", cache=tmp_path / "c")
    with pytest.raises(UsageError):
        fit_head("multiclass", cache=tmp_path / "c", no_such_setting=3)


def test_a_line_for_each_epoch_on_a_terminal(fitted, tmp_path):
    read, write = pty.openpty()
    command = [
        sys.executable,
        str(ROOT / "cli.py"),
        "fit-head",
        "--no-audit",
        "--cache",
        str(fitted[1]),
        "--pooling",
        "avg",
    ]
    process = subprocess.Popen(
        [*command, "--epochs", "3"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=write,
        text=True,
        env={**os.environ, **OFFLINE, "TERM": "xterm"},
    )
    os.close(write)
    shown = b""
    while True:
        try:
            part = os.read(read, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert process.wait() == 0
    for epoch in (1, 2, 3):
        assert f"epoch    {epoch}  loss ".encode() in shown
    assert process.stdout is not None
    out = process.stdout.read()
    assert "global average" in out
    assert "SYNTHETIC images: no medical result" in out
    assert len(list((tmp_path / "runs").glob("fit-head-multiclass-mobilenet-*"))) == 1
