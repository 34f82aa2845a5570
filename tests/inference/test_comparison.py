"""Two models on the same images: against SciPy and the plain way to draw rows, and on pairs whose truth is known."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from pictures import write_images
from PIL import Image
from scipy.stats import binom
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import featcache
from featcache.errors import DataError
from heads.auditing.audit_record import AuditRecord, write_record
from heads.bundles.saving import save_bundle
from heads.evaluation.intervals import share_interval
from heads.evaluation.paired_tests import differences, error_difference, label_differences, swapped
from heads.inference.bundle_evaluation import evaluate_bundle
from heads.inference.comparison import compare, paired


def model(y: np.ndarray, skill: float, seed: int) -> np.ndarray:
    """Probabilities of two classes, right in about this share of the rows."""
    rng = np.random.default_rng(seed)
    right = rng.random(len(y)) < skill
    sure = rng.uniform(0.5, 1, len(y))
    p = np.where(right == (y == 1), sure, 1 - sure)
    return np.c_[1 - p, p]


def judge(y, a, b, groups=None):
    return paired(y, a, b, a.argmax(axis=1), b.argmax(axis=1), groups)


Y = np.arange(120) % 2


@pytest.mark.parametrize("seed", range(4))
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(seed):
    a, b = model(Y, 0.9, seed), model(Y, 0.8, seed + 100)
    found = judge(Y, a, b)
    right_a, right_b = a.argmax(axis=1) == Y, b.argmax(axis=1) == Y
    table = metrics.confusion_matrix(right_a, right_b, labels=[True, False])
    counts = found["agreement"]
    assert [[counts["both_right"], counts["only_a"]], [counts["only_b"], counts["both_wrong"]]] == table.tolist()
    less, more = sorted((table[0, 1], table[1, 0]))
    assert found["mcnemar"] == {
        "p": pytest.approx(min(1, 2 * binom.cdf(less, less + more, 0.5))),
        "independent": True,
    }
    assert found["shown"] == (found["mcnemar"]["p"] < 0.05)


def test_intervals_are_those_of_rows_drawn_in_pairs():
    """Against the plain way: draw rows, and ask sklearn for both models."""
    a, b = model(Y, 0.9, 1), model(Y, 0.75, 2)
    found, rng = judge(Y, a, b)["differences"], np.random.default_rng(5)
    drawn = {"accuracy": [], "balanced_accuracy": [], "roc_auc": []}
    for _ in range(600):
        rows = rng.integers(0, len(Y), len(Y))
        for name, call in (
            ("accuracy", metrics.accuracy_score),
            ("balanced_accuracy", metrics.balanced_accuracy_score),
        ):
            drawn[name].append(call(Y[rows], a[rows].argmax(axis=1)) - call(Y[rows], b[rows].argmax(axis=1)))
        drawn["roc_auc"].append(metrics.roc_auc_score(Y[rows], a[rows, 1]) - metrics.roc_auc_score(Y[rows], b[rows, 1]))
    assert found["accuracy"]["value"] == pytest.approx(
        metrics.accuracy_score(Y, a.argmax(axis=1)) - metrics.accuracy_score(Y, b.argmax(axis=1))
    )
    assert found["roc_auc"]["value"] == pytest.approx(
        metrics.roc_auc_score(Y, a[:, 1]) - metrics.roc_auc_score(Y, b[:, 1])
    )
    for name, values in drawn.items():
        assert found[name]["ci"] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.03), name
        width = np.diff(np.quantile(values, [0.025, 0.975]))[0]
        assert np.diff(found[name]["ci"])[0] == pytest.approx(width, rel=0.25)


def test_a_model_and_itself():
    a = model(Y, 0.9, 1)
    found = judge(Y, a, a)
    assert found["mcnemar"]["p"] == 1
    assert not found["shown"]
    for difference in found["differences"].values():
        assert difference["value"] == 0
        low, high = difference["ci"]
        assert low == pytest.approx(-high)
        assert 0.02 < high < 0.15  # these images do not prove equality
    assert "no difference in accuracy is shown on n = 120 images" in found["verdict"]
    assert f"up to {found['differences']['accuracy']['ci'][1]:.3f} could hide" in found["verdict"]


def test_a_better_model_is_shown_and_which():
    good, poor = model(Y, 0.95, 1), model(Y, 0.7, 2)
    for a, b, name in ((good, poor, "A"), (poor, good, "B")):
        found = judge(Y, a, b)
        assert found["shown"]
        assert found["mcnemar"]["p"] < 0.001
        assert found["verdict"].startswith(f"{name} is the more accurate")
        assert "from elsewhere it says nothing" in found["verdict"]


def test_copies_of_a_patients_images_are_no_evidence():
    y = np.arange(40) % 2
    a, b = (
        np.eye(2)[np.where(np.isin(np.arange(40), wrong), 1 - y, y)] * 0.8 + 0.1 for wrong in ([5, 6], range(10, 15))
    )
    once = judge(y, a, b)
    many, groups = np.repeat(np.arange(40), 6), np.repeat(np.arange(40), 6)
    copied = judge(y[many], a[many], b[many], groups)
    assert once["mcnemar"]["p"] > 0.05
    assert copied["mcnemar"]["p"] < 0.05  # what taking images as independent leads to
    assert not copied["mcnemar"]["independent"]
    assert not copied["shown"]
    assert "of 40 groups" in copied["verdict"]
    assert "permutation test over groups" in copied["verdict"]
    for name, difference in once["differences"].items():
        assert copied["differences"][name]["ci"] == pytest.approx(difference["ci"], abs=0.02)


def test_intervals_cover_the_truth_where_few_are_judged_differently():
    """The truth: both right on the same 95%, A alone on 3%, B alone on 1%."""
    covered = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 2, 60)
        fate = rng.choice(4, 60, p=[0.95, 0.03, 0.01, 0.01])
        a, b = (np.where(np.isin(fate, right), y, 1 - y) for right in ((0, 1), (0, 2)))
        low, high = judge(y, np.eye(2)[a], np.eye(2)[b])["differences"]["accuracy"]["ci"]
        covered += low <= 0.02 <= high
    assert covered >= 18


def test_a_class_without_images_has_no_area():
    y = np.zeros(20, int)
    found = judge(y, model(y, 0.9, 0), model(y, 0.8, 1))["differences"]
    assert found["roc_auc"] == {"value": None, "ci": None, "p": None}
    assert found["accuracy"]["value"] is not None


# -- kept models -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Images whose upper half tells the class; models that see all of it, none of it, or name classes backwards."""
    folder = tmp_path_factory.mktemp("kept")
    for seed, (split, count) in enumerate((("train", 80), ("test", 80))):
        for path in write_images(folder / "d" / split, count, size=8, seed=seed):
            pixels = np.array(Image.open(path)) // 2
            pixels[:4] += np.uint8(60 * (path.parent.name == "covid"))
            Image.fromarray(pixels).save(path)
    featcache.extract(folder / "d", "pixels", size=8, cache=folder / "c")

    def keep(name, classes, blind, rows="train", warnings=()):
        f = featcache.load("pixels", classes=classes, pooling="flatten", cache=folder / "c")
        train = np.flatnonzero(np.isin(f.splits, [rows] if rows != "all" else ["train", "test"]))
        fit = LogisticRegression(max_iter=2000).fit(f.X[train] / 255.0, f.y[train])
        fit.coef_ /= 255.0
        if blind:
            fit.coef_ *= np.arange(192)[None] >= 96
            fit.intercept_ *= 0
        save_bundle(folder / name, fit, f, train, task="binary", scores={}, cache=folder / "c", warnings=warnings)
        return folder / name

    return folder, {
        "seeing": keep("seeing", ("normal", "covid"), False),
        "blind": keep("blind", ("normal", "covid"), True, warnings=["it was made to be blind"]),
        "backwards": keep("backwards", ("covid", "normal"), False),
        "knowing": keep("knowing", ("normal", "covid"), False, rows="all"),
    }


def test_of_kept_models_on_the_test_part_of_the_last_extracts_data(kept, tmp_path):
    folder, models = kept
    found = compare(models["seeing"], models["blind"], cache=folder / "c", out=tmp_path / "o")
    assert (found["n"], found["split"]) == (80, "test")
    assert found["shown"]
    assert found["verdict"].startswith("A is the more accurate")
    assert found["warnings"] == ["B: it was made to be blind"]
    f = featcache.load("pixels", task="binary", cache=folder / "c").split("test")
    by_hand = {}
    rows = list(csv.DictReader((tmp_path / "o" / "pairs.csv").open()))
    assert [row["path"] for row in rows] == f.paths
    for side in "ab":
        by_hand[side] = np.array([row[side] == row["label"] for row in rows])
        assert found[side]["test"]["accuracy"] == by_hand[side].mean()
        assert found[side]["trained_on"] == 0
    assert found["agreement"]["only_a"] == (by_hand["a"] & ~by_hand["b"]).sum()
    assert json.loads((tmp_path / "o" / "run.json").read_text()) == json.loads(json.dumps(found))


def test_the_order_of_the_classes_makes_no_difference(kept, tmp_path):
    folder, models = kept
    found = compare(models["seeing"], models["backwards"], cache=folder / "c", out=tmp_path / "o")
    assert (found["agreement"]["only_a"], found["agreement"]["only_b"]) == (0, 0)
    assert [difference["value"] for difference in found["differences"].values()] == pytest.approx([0, 0, 0], abs=1e-9)
    assert found["a"]["test"]["accuracy"] == found["b"]["test"]["accuracy"] > 0.9
    assert found["a"]["test"]["recall"] == found["b"]["test"]["recall"]


def test_a_model_that_learnt_from_the_images_is_named(kept, tmp_path, caplog):
    folder, models = kept
    found = compare(models["seeing"], models["knowing"], cache=folder / "c", out=tmp_path / "o")
    assert (found["a"]["trained_on"], found["b"]["trained_on"]) == (0, 80)
    assert "B learnt from 80 of these 80 images" in caplog.text
    assert [text.startswith("B learnt from 80") for text in found["warnings"]] == [True]
    everything = compare(models["seeing"], models["blind"], folder / "d", cache=folder / "c", out=tmp_path / "p")
    assert (everything["n"], everything["a"]["trained_on"]) == (160, 80)


def test_the_verb(kept, cli):
    folder, models = kept
    done = cli("compare", models["seeing"], models["blind"], "--cache", folder / "c", "--split", "train")
    assert done.code == 0, done.err
    for words in ("A minus B", "both right", "A is the more accurate"):
        assert words in done.out
    assert "A learnt from 80 of these 80 images" in done.err


def test_models_of_other_classes_answer_other_questions(kept, tmp_path):
    folder, models = kept
    write_images(tmp_path / "d", 12, ("cat", "dog"), size=8)
    featcache.extract(tmp_path / "d", "pixels", size=8, cache=tmp_path / "c")
    f = featcache.load("pixels", pooling="flatten", cache=tmp_path / "c")
    fit = LogisticRegression().fit(f.X, f.y)
    save_bundle(tmp_path / "b", fit, f, np.arange(12), task="binary", scores={}, cache=tmp_path / "c")
    with pytest.raises(DataError, match="answer different questions"):
        compare(models["seeing"], tmp_path / "b", cache=folder / "c")
    with pytest.raises(DataError, match="none of its classes"):
        compare(models["seeing"], models["blind"], tmp_path / "d", cache=folder / "c")
    with pytest.raises(DataError, match="no val split"):
        compare(models["seeing"], models["blind"], split="val", cache=folder / "c")


# -- copies and audited pairs ---------------------------------------------------------------------


def test_copies_count_once_where_a_kept_model_is_judged(kept, tmp_path):
    """12 images, each six times, without an audit; and what an audit of more images found holds for some of them."""
    folder, models = kept
    paths = sorted((folder / "d" / "test").glob("*/*.png"))
    chosen = paths[:6] + paths[-6:]
    for path in chosen:
        for copy in range(6):
            place = tmp_path / "copies" / path.parent.name / f"{path.stem}-{copy}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    found = evaluate_bundle(models["seeing"], tmp_path / "copies", cache=folder / "c", out=tmp_path / "o")["test"]
    assert found["n"] == 72
    assert found["accuracy"] == 1
    assert found["accuracy_ci"] == pytest.approx(share_interval(np.ones(12, bool)))
    both = compare(models["seeing"], models["blind"], tmp_path / "copies", cache=folder / "c", out=tmp_path / "p")
    assert both["groups"] == 12
    f = featcache.load("pixels", task="binary", cache=folder / "c")
    key = dict(zip(f.paths, f.keys, strict=True))
    links = [(key[str(a)], key[str(b)]) for a, b in zip(chosen[::2], chosen[1::2], strict=True)]
    write_record(folder / "c", f.keys, AuditRecord([], links, "elsewhere"))
    found = evaluate_bundle(models["seeing"], tmp_path / "copies", cache=folder / "c", out=tmp_path / "q")["test"]
    assert found["accuracy_ci"] == pytest.approx(share_interval(np.ones(6, bool)))


# -- false alarms ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("patients", "images"), [(6, 20), (10, 20), (20, 3)])
def test_equally_good_models_are_seldom_told_apart(patients, images):
    rng, shown, draws = np.random.default_rng(patients), np.zeros(3), 200
    y, groups = np.repeat(np.arange(patients) % 2, images), np.repeat(np.arange(patients), images)
    for _ in range(draws):
        skill = rng.beta(4.5, 0.5, (2, patients))  # of either model on each patient
        a, b = (np.where(rng.random(len(y)) < one[groups], y, 1 - y) for one in skill)
        score = rng.normal(size=(2, patients))[:, groups] + rng.normal(size=(2, len(y))) + 1.5 * y
        p_a, p_b = (np.c_[-one, one] for one in score)
        found = differences(y, p_a, p_b, a, b, groups)
        shown += [one.p < 0.05 for one in found.values()]
        for one in found.values():
            assert (one.ci[0] <= 0 <= one.ci[1]) or one.p < 0.05
    assert (shown / draws < 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)).all()


@pytest.mark.parametrize(("patients", "images"), [(12, 10), (30, 3)])
def test_equally_good_models_of_labels_and_of_numbers_are_seldom_told_apart(patients, images):
    rng, shown, draws = np.random.default_rng(patients), np.zeros(3), 200
    groups = np.repeat(np.arange(patients), images)
    for _ in range(draws):
        y = (rng.normal(size=(patients, 2))[groups] + 0.5 * rng.normal(size=(len(groups), 2)) > 0.3).astype(float)
        y[rng.random(y.shape) < 0.2] = np.nan  # some are not known
        given = [
            rng.normal(size=(patients, 2))[groups] + rng.normal(size=y.shape) + 1.5 * np.nan_to_num(y) for _ in range(2)
        ]
        mean, each = label_differences(y, *given, groups)
        number = rng.normal(size=len(groups))
        numbers = [number + rng.normal(size=patients)[groups] + rng.normal(size=len(groups)) for _ in range(2)]
        found = [mean, each[0], error_difference(number, *numbers, groups)]
        shown += [one is not None and one.p < 0.05 for one in found]
    assert (shown / draws < 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)).all()


def test_areas_of_labels_differ_by_those_of_the_rows_that_know_them():
    rng = np.random.default_rng(0)
    y = (rng.random((80, 2)) < 0.4).astype(float)
    y[rng.random(y.shape) < 0.3] = np.nan
    a, b = (np.nan_to_num(y) * strength + rng.normal(size=y.shape) for strength in (3, 0.5))
    mean, each = label_differences(y, a, b, np.arange(80))
    areas = [
        [roc_auc_score(y[~np.isnan(y[:, label]), label], one[~np.isnan(y[:, label]), label]) for label in range(2)]
        for one in (a, b)
    ]
    assert [one.value for one in each] == pytest.approx(np.subtract(*areas))
    assert mean.value == pytest.approx(np.subtract(*areas).mean())
    assert mean.p < 0.01
    assert mean.ci[0] > 0
    nobody = np.where(np.isnan(y), np.nan, 0)
    assert label_differences(nobody, a, b, np.arange(80)) == (None, [None, None])


def test_swapping_all_ways_is_the_sign_test_where_each_patient_has_one_image():
    gains = np.r_[np.ones(9), -np.ones(2), np.zeros(30)]
    assert swapped(gains) == pytest.approx(2 * binom.cdf(2, 11, 0.5))
    many = np.r_[np.ones(30), -np.ones(12)]
    assert swapped(many) == pytest.approx(2 * binom.cdf(12, 42, 0.5))
    assert swapped(np.r_[many[:-1], -1.001]) == pytest.approx(swapped(many), abs=0.01)  # by random swaps
