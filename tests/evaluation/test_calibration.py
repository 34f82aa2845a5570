"""Probabilities and thresholds settled on validation rows: against sklearn, and on models whose fault is known."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from command_line import run_within
from pictures import write_images
from PIL import Image
from scipy.special import softmax
from shortened import few_trees
from sklearn import metrics
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from surroundings import GOLDEN

import featcache
from featcache.errors import BundleError, UsageError
from heads.bundles import integrity
from heads.bundles.bundle import open_bundle
from heads.bundles.saving import save_bundle
from heads.evaluation.calibration import METHODS, calibrate, check_calibration, fit_calibration
from heads.evaluation.intervals import share_interval
from heads.evaluation.metrics import evaluate, labels_of, scores
from heads.evaluation.operating_point import choose_threshold, operating_point
from heads.evaluation.reliability import calibration_metrics, reliability_bins
from heads.experiments.head_fit import fit_head
from heads.inference.bundle_evaluation import evaluate_bundle
from heads.inference.prediction import predict

GOLDEN = GOLDEN / "bundle-v1"


def blurred(n: int, classes: int, seed: int = 0, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from probabilities, and these probabilities, their logits made ``sharpness`` times what they are."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, classes))
    p = softmax(logits, axis=1)
    y = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return y, softmax(sharpness * logits, axis=1)


# -- measured --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [62, 95, 400])
def test_bins_are_sklearns(n):
    y, p = blurred(n, 2)
    bins = reliability_bins(y, p)
    found, stated = calibration_curve(y, p[:, 1], n_bins=min(10, n // 10), strategy="quantile")
    np.testing.assert_allclose(bins.stated, stated)
    np.testing.assert_allclose(bins.hits / bins.counts, found)
    assert bins.counts.sum() == n
    assert bins.error == pytest.approx(np.abs(found - stated) @ bins.counts / n)


@pytest.mark.parametrize("classes", [2, 4])
def test_brier_is_sklearns(classes):
    y, p = blurred(80, classes)
    assert scores(y, p)["brier"] == pytest.approx(metrics.brier_score_loss(y, p, labels=range(classes)))
    by_hand = np.square(p - np.eye(classes)[y]).sum(axis=1).mean()
    assert scores(y, p)["brier"] == pytest.approx(by_hand / 2 if classes == 2 else by_hand)


def test_of_several_classes_it_is_the_label_that_is_judged():
    y, p = blurred(500, 4)
    found, stated = calibration_curve(p.argmax(axis=1) == y, p.max(axis=1), n_bins=10, strategy="quantile")
    np.testing.assert_allclose(reliability_bins(y, p).hits / reliability_bins(y, p).counts, found)
    np.testing.assert_allclose(reliability_bins(y, p).stated, stated)


@pytest.mark.parametrize("classes", [2, 4])
def test_true_probabilities_exceed_chance_in_one_case_of_twenty(classes):
    above = 0
    for seed in range(200):
        found = calibration_metrics(*blurred(60, classes, seed))
        above += found["ece"] > found["ece_by_chance"]
    assert 1 <= above <= 22  # 10 expected; binomial tails of 1 in 10,000


def test_an_overconfident_model_exceeds_chance():
    found = evaluate(*blurred(300, 2, sharpness=4))
    assert found["ece"] > 2 * found["ece_by_chance"]
    assert all(p == 1 for p in reliability_bins(np.ones(5, int), np.tile([0.0, 1.0], (5, 1))).stated)


# -- mended ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "classes"), [(m, c) for m in METHODS for c in (2, 3)])
def test_it_is_sklearns_calibration_of_the_frozen_model(method, classes):
    X, y = make_classification(900, n_classes=classes, n_informative=6, flip_y=0.2, random_state=1)
    fit, val, test = np.split(np.arange(900), [200, 600])
    model = LogisticRegression(C=1000, max_iter=500).fit(X[fit], y[fit])
    reference = CalibratedClassifierCV(FrozenEstimator(model), method=method).fit(X[val], y[val])
    calibration, _ = fit_calibration(model.predict_proba(X[val]), y[val], method)
    ours = calibrate(model.predict_proba(X[test]), json.loads(json.dumps(calibration)))
    check_calibration(calibration, classes)
    np.testing.assert_allclose(ours.sum(axis=1), 1)
    if classes == 3 and method != "temperature":
        # sklearn's softmax scores are no log-odds of a class against the rest; the curves are its own on those.
        shares = []
        for c in range(3):
            p, q = (np.clip(model.predict_proba(X[rows])[:, c], 1e-15, None) for rows in (val, test))
            one = CalibratedClassifierCV(FrozenEstimator(Odds()), method=method).fit(
                np.c_[np.log(p / (1 - p))], y[val] == c
            )
            shares.append(one.predict_proba(np.c_[np.log(q / (1 - q))])[:, 1])
        wanted = np.array(shares).T / np.sum(shares, axis=0)[:, None]
        np.testing.assert_allclose(ours, wanted, atol=1e-4)
    else:
        np.testing.assert_allclose(ours, reference.predict_proba(X[test]), atol=1e-4)


class Odds(ClassifierMixin, BaseEstimator):
    """A model that is given its decisions."""

    def __init__(self):
        self.classes_ = np.array([False, True])

    def predict(self, X):
        return X[:, 0] > 0

    def fit(self, X, y):
        return self

    def decision_function(self, X):
        return X[:, 0]


@pytest.mark.parametrize(("method", "classes"), [(m, c) for m in METHODS for c in (2, 4)])
def test_an_overconfident_model_is_mended(method, classes):
    y, p = blurred(3000, classes, sharpness=4)
    val, test = np.arange(1500), np.arange(1500, 3000)
    calibration, warnings = fit_calibration(p[val], y[val], method)
    assert warnings == ()
    before, after = scores(y[test], p[test]), scores(y[test], calibrate(p[test], calibration))
    assert after["ece"] < 0.35 * before["ece"]
    assert after["loss"] < 0.7 * before["loss"]
    assert after["brier"] < before["brier"]
    if method == "temperature":
        assert calibration["inverse_temperature"] == pytest.approx(1 / 4, rel=0.15)
        assert after["accuracy"] == before["accuracy"]


@pytest.mark.parametrize("method", ["temperature", "sigmoid", "isotonic"])
def test_two_images_of_a_class_are_enough(method):
    """sklearn's default asks for five of each; on a frozen model its folds change nothing."""
    y = np.array([0, 0, 0, 1, 1])
    given = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]])
    calibration, _ = fit_calibration(given, y, method)
    mended = calibrate(given, calibration)
    np.testing.assert_allclose(mended.sum(axis=1), 1)
    assert log_loss(y, mended) <= log_loss(y, given) + 0.1


def test_probabilities_of_0_and_1_are_mended_too():
    y, _ = blurred(200, 2)
    p = np.eye(2)[np.where(np.arange(200) % 5 == 0, 1 - y, y)]  # wrong once in five, and always sure
    for method in METHODS:
        calibration, _ = fit_calibration(p, y, method)
        mended = calibrate(p, calibration)
        assert np.isfinite(mended).all()
        np.testing.assert_allclose(mended.max(axis=1), 0.8, atol=0.06)


def test_what_few_or_faultless_rows_cannot_say_is_said():
    y, p = blurred(60, 2, sharpness=4)
    assert "isotonic on 60 validation images overfits" in fit_calibration(p, y, "isotonic")[1][0]
    for method in ("temperature", "isotonic"):
        calibration, warnings = fit_calibration(np.eye(2)[y] * 0.8 + 0.1, y, method)
        assert calibration is None
        assert "left as they are" in warnings[0]
    calibration, _ = fit_calibration(np.eye(2)[y] * 0.8 + 0.1, y, "sigmoid")
    assert 0.9 < calibrate(np.eye(2)[y] * 0.8 + 0.1, calibration).max() < 1  # Platt's priors
    with pytest.raises(UsageError, match="expected one of temperature"):
        fit_calibration(p, y, "beta")


# -- thresholds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [0.5, 0.9, 0.95, 1.0])
def test_no_threshold_finds_as_many_at_a_better_specificity(wanted):
    y, p = blurred(300, 2)
    found, _ = choose_threshold(y, p, wanted)
    false, true, _ = metrics.roc_curve(y, p[:, 1], drop_intermediate=False)
    assert found["sensitivity"] >= wanted
    assert found["specificity"] == pytest.approx(1 - false[true >= wanted].min())
    predicted = labels_of(p, found["value"])
    assert metrics.recall_score(y, predicted) == found["sensitivity"]
    assert found["sensitivity_ci"] == pytest.approx(share_interval(predicted[y == 1]))


def test_a_threshold_on_ties_and_on_scores_that_leave_no_room():
    y = np.array([0, 0, 1, 1])
    p = np.array([0.2, 0.4, 0.4, 0.9])
    found, warnings = choose_threshold(y, np.c_[1 - p, p], 1.0)
    assert (found["sensitivity"], found["specificity"]) == (1, 0.5)
    assert "as low as 0.16" in warnings[0]  # two of two
    next_up = np.nextafter(0.4, 1)
    p = np.array([0.2, 0.4, next_up, 0.9])
    assert choose_threshold(y, np.c_[1 - p, p], 1.0)[0]["specificity"] == 1
    for bad in (0, 1.2, -1):
        with pytest.raises(UsageError, match="expected a share"):
            choose_threshold(y, np.c_[1 - p, p], bad)


def test_figures_are_those_of_the_labels_that_are_given():
    y, p = blurred(200, 2)
    found, point = evaluate(y, p, classes=["a", "b"], threshold=0.2), operating_point(y, p, None, 0.2)
    predicted = p[:, 1] >= 0.2
    assert found["accuracy"] == metrics.accuracy_score(y, predicted)
    assert found["confusion"] == metrics.confusion_matrix(y, predicted).tolist()
    assert found["recall"] == {"a": point["specificity"], "b": point["sensitivity"]}
    assert point["sensitivity"] > point["at_half"]["sensitivity"]
    assert point["specificity"] < point["at_half"]["specificity"]
    assert point["sensitivity_ci"][0] < point["sensitivity"] < point["sensitivity_ci"][1]
    assert found["roc_auc"] == evaluate(y, p)["roc_auc"]


# -- in a bundle -----------------------------------------------------------------------------------


@dataclass
class Settled:
    """What ``fit-head`` printed and kept."""

    folder: Path
    out: str
    err: str
    result: dict
    features: featcache.features.loading.Features
    raw: np.ndarray

    @property
    def bundle(self) -> Path:
        return self.folder / "run" / "bundle"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A head on images whose bright side tells the class, but for one in seven: it is sure, and often wrong."""
    folder = tmp_path_factory.mktemp("fitted")
    for split, seed, count in (("train", 0, 60), ("val", 1, 60), ("test", 2, 60)):
        for i, path in enumerate(write_images(folder / "d" / split, count, size=8, seed=seed)):
            marked = (path.parent.name == "covid") != (i % 7 == 0)
            pixels = np.array(Image.open(path)) // 8
            pixels[:, 4 * marked : 4 + 4 * marked] += 20
            Image.fromarray(pixels).save(path)
    featcache.extract(folder / "d", "pixels", size=8, cache=folder / "c")
    command = (
        "fit-head --task binary --backbone pixels --cache c --out run --epochs 40 --units 4 --activation linear "
        "--dropout 0 --learning-rate 0.0005 --calibrate temperature --sensitivity 0.9"
    )
    with few_trees():
        done = run_within(folder, *command.split())
    assert done.code == 0, done.err
    f = featcache.load("pixels", task="binary", cache=folder / "c")
    raw = open_bundle(folder / "run" / "bundle").estimator.predict_proba(f.X)
    return Settled(folder, done.out, done.err, json.loads((folder / "run" / "run.json").read_text()), f, raw)


def test_fit_head_settles_on_val_and_judges_on_test(fitted):
    result, y = fitted.result, fitted.features.y
    val, test = (fitted.features.splits == part for part in ("val", "test"))
    calibration, _ = fit_calibration(fitted.raw[val], y[val], "temperature")
    assert result["calibration"]["inverse_temperature"] == pytest.approx(calibration["inverse_temperature"], rel=1e-5)
    mended = calibrate(fitted.raw, result["calibration"])
    before = scores(y[test], fitted.raw[test])
    assert result["calibration"]["test_before"] == pytest.approx(
        {n: before[n] for n in ("loss", "brier", "ece")}, rel=1e-4
    )
    assert result["test"]["ece"] < 0.6 * before["ece"]
    assert result["test"]["ece"] == pytest.approx(scores(y[test], mended[test])["ece"], rel=1e-4)
    chosen, _ = choose_threshold(y[val], mended[val], 0.9)
    for name, value in chosen.items():
        assert result["threshold"]["chosen_on_val"][name] == pytest.approx(value, rel=1e-4), name
    given = mended[test, 1] >= chosen["value"]
    assert result["threshold"]["test"]["sensitivity"] == pytest.approx(metrics.recall_score(y[test], given))
    assert result["test"]["accuracy"] == pytest.approx(metrics.accuracy_score(y[test], given))
    assert (fitted.folder / "run" / "reliability.png").stat().st_size > 10_000
    with (fitted.folder / "run" / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "test"]
    assert [row["predicted"] for row in rows] == [("normal", "covid")[int(one)] for one in given]


def test_predict_and_evaluate_apply_what_was_settled(fitted, tmp_path):
    rows, result = np.flatnonzero(fitted.features.splits == "test"), fitted.result
    answer = predict(fitted.bundle, [fitted.features.paths[i] for i in rows], cache=tmp_path / "c")
    found = np.array([list(row["probabilities"].values()) for row in answer["rows"]])
    np.testing.assert_allclose(found, calibrate(fitted.raw, result["calibration"])[rows], atol=1e-6)
    threshold = result["threshold"]["value"]
    assert answer["threshold"] == threshold
    assert [row["label"] for row in answer["rows"]] == [("normal", "covid")[int(p >= threshold)] for p in found[:, 1]]
    assert any(p < 0.5 for p, row in zip(found[:, 1], answer["rows"], strict=True) if row["label"] == "covid")
    judged = evaluate_bundle(fitted.bundle, fitted.folder / "d", split="test", cache=tmp_path / "c", out=tmp_path / "o")
    assert judged["test"]["confusion"] == result["test"]["confusion"]
    assert judged["test"]["brier"] == pytest.approx(result["test"]["brier"], rel=1e-4)
    assert judged["threshold"] == result["threshold"]["test"]
    assert judged["warnings"] == result["warnings"] == answer["warnings"]
    assert (tmp_path / "o" / "reliability.png").exists()


def test_the_verbs_say_it(fitted, cli):
    for words in ("calibrated by temperature, on test: loss", "  sensitivity", "at 0.5 it is", "by chance, were every"):
        assert words in fitted.out
    assert "the sensitivity may be as low as" in fitted.err
    people = cli("predict", fitted.bundle, fitted.folder / "d" / "test" / "covid", "--cache", fitted.folder / "c")
    assert "warning of this model: threshold: chosen on 30 positive" in people.out


def test_what_cannot_be_had_is_refused_before_the_fit(fitted, tmp_path):
    epochs: list[int] = []
    call = {"backbone": "pixels", "on_epoch": lambda epoch, latest: epochs.append(epoch)}
    for wish, message in (
        ({"calibration": "magic"}, "expected one of temperature"),
        ({"sensitivity": 95}, "expected a share"),
    ):
        with pytest.raises(UsageError, match=message):
            fit_head("binary", cache=fitted.folder / "c", **call, **wish)
    write_images(tmp_path / "d", 12, ("a", "b", "c"), size=8)
    featcache.extract(tmp_path / "d", "pixels", size=8, cache=tmp_path / "c")
    with pytest.raises(UsageError, match="is for two classes"):
        fit_head("multiclass", cache=tmp_path / "c", sensitivity=0.9, **call)
    assert not epochs


# -- the format ------------------------------------------------------------------------------------


def test_a_bundle_of_format_1_is_read(tmp_path):
    """Written by the version before format 2; never to be made anew."""
    opened = open_bundle(GOLDEN)
    assert opened.about["version"] == 1
    assert (opened.threshold, opened.novelty, opened.warnings) == (None, None, [])
    featcache.extract(None, "pixels", size=8, cache=tmp_path / "c")
    f = featcache.load("pixels", cache=tmp_path / "c")
    wanted = [  # what the version that wrote it gave
        [6.537530971e-02, 4.221278979e-01, 1.406866446e-03, 5.110899259e-01],
        [9.965076230e-01, 3.420728701e-03, 3.255476855e-05, 3.909354343e-05],
        [2.595472703e-01, 6.577903224e-01, 6.206564250e-08, 8.266234518e-02],
    ]
    np.testing.assert_allclose(opened.predict_proba(f)[::50], wanted, rtol=1e-4)
    row = predict(GOLDEN, [f.paths[0]], cache=tmp_path / "c")["rows"][0]
    np.testing.assert_allclose(list(row["probabilities"].values()), wanted[0], rtol=1e-4)
    assert (row["unlike_training"], row["distance"]) == (None, None)


def rewritten(folder: Path, change) -> Path:
    """The bundle with its description changed and signed anew, as a hostile hand could."""
    about = json.loads((folder / "bundle.json").read_text())
    change(about)
    plain = {key: value for key, value in about.items() if key != "digest"}
    (folder / "bundle.json").write_bytes(integrity.written({**plain, "digest": integrity.digest(plain)}))
    return folder


def put(*place_and_value):
    *place, last, value = place_and_value

    def change(about):
        for name in place:
            about = about[name]
        about[last] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        put("calibration", "inverse_temperature", float("nan")),
        put("calibration", "inverse_temperature", -1.0),
        put("calibration", "inverse_temperature", 10**400),
        put("calibration", "inverse_temperature", "1"),
        put("calibration", "method", "pickle"),
        put("calibration", "method", ["temperature"]),
        put("calibration", {"method": "sigmoid", "rows": 9, "slope": [1.0, 2.0], "intercept": [0.0, 0.0]}),
        put("calibration", {"method": "isotonic", "rows": 9, "logits": [[1.0, 0.0]], "shares": [[0.0, 1.0]]}),
        put("calibration", {"method": "isotonic", "rows": 9, "logits": [[0.0, 1.0]], "shares": [[0.0, 7.0]]}),
        put("calibration", {"method": "isotonic", "rows": 9, "logits": [[]], "shares": [[]]}),
        put("calibration", "temperature"),
        put("threshold", "value", 1.5),
        put("threshold", "value", float("nan")),
        put("threshold", "value", True),
        put("threshold", 0.5),
        put("threshold", "wanted", "\x1b[2J"),
        put("warnings", ["all is well\x1b[2K"]),
        put("warnings", "none"),
        put("warnings", [7]),
        put("novelty", None),
        put("novelty", "threshold", float("inf")),
        put("novelty", "neighbours", 10**9),
        put("novelty", "neighbours", 0),
        put("novelty", "rows", 3),
        put("novelty", []),
        lambda about: about.pop("warnings"),
        put("version", 1),
    ],
)
def test_hostile_values_are_refused_before_the_model_is_opened(fitted, tmp_path, change, monkeypatch):
    from heads.bundles import serialization

    folder = Path(shutil.copytree(fitted.bundle, tmp_path / "b"))
    assert open_bundle(folder).novelty is not None  # sound before
    rewritten(folder, change)
    monkeypatch.setattr(serialization, "read", lambda *a: pytest.fail("opened before it was proven"))
    with pytest.raises(BundleError):
        open_bundle(folder)


def test_vectors_that_are_none_are_refused(fitted, tmp_path):
    folder = Path(shutil.copytree(fitted.bundle, tmp_path / "b"))
    sound = open_bundle(folder).novelty.reference
    for reference in (
        sound.astype(np.float32),
        sound * np.float16(0.5),
        sound[:-1],
        sound[0],
        np.full_like(sound, np.nan),
    ):
        featcache.system.tensor_files.write_tensors(folder / "novelty.safetensors", [reference])
        digest = featcache.system.atomic_files.sha256_file(folder / "novelty.safetensors")
        rewritten(folder, put("files", "novelty.safetensors", digest))
        with pytest.raises(BundleError):
            open_bundle(folder)
    featcache.system.tensor_files.write_tensors(folder / "novelty.safetensors", [sound])
    rewritten(
        folder,
        put("files", "novelty.safetensors", featcache.system.atomic_files.sha256_file(folder / "novelty.safetensors")),
    )
    assert open_bundle(folder).novelty is not None


def test_warnings_of_callers_are_kept_and_harmless(fitted, tmp_path):
    estimator, f = open_bundle(fitted.bundle).estimator, fitted.features
    save_bundle(
        tmp_path / "b",
        estimator,
        f,
        np.flatnonzero(f.splits == "train"),
        task="binary",
        scores={},
        cache=fitted.folder / "c",
        warnings=["labels can be read off the border", "group \x1b[2Jx"],
    )
    opened = open_bundle(tmp_path / "b")
    assert opened.warnings == ["labels can be read off the border", "group ?[2Jx"]
    np.testing.assert_array_equal(opened.predict_proba(f), fitted.raw)  # this one has no calibration
