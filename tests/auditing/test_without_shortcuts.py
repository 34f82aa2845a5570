"""What is left of a score without its shortcut, where the truth is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

import featcache
from heads import audit
from heads.auditing.without_shortcuts import without_shortcuts
from heads.evaluation.overlap_weights import kish, overlap
from heads.evaluation.weighed_recall import weighed_recall

PATIENTS, SIZE = 200, 2


def planted(rng, rates, patients=PATIENTS, size=SIZE):
    """Features that show a class weakly and a marker well; the marker is there as often as the rates say."""
    groups = np.repeat(np.arange(patients), size)
    y = rng.permutation(np.arange(patients) % 2)[groups]
    marker = (rng.random(patients)[groups] < np.where(y == 1, *rates)).astype(float)
    X = rng.normal(size=(len(y), 20))
    X[:, 0] += 1.5 * y
    X[:, 1] += 4 * marker
    return X, y, groups, marker


def saying(marker, y, groups):
    """The share of each class among patients of the other folds with the marker, or without."""
    given = np.zeros((len(y), 2))
    for learnt, held in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(y, y, groups):
        shares = [np.bincount(y[learnt][marker[learnt] == there], minlength=2) for there in (0, 1)]
        given[held] = np.stack([share / share.sum() for share in shares])[marker[held].astype(int)]
    return given


@pytest.fixture(scope="module")
def confounded():
    X, y, groups, marker = planted(np.random.default_rng(0), (0.9, 0.1))
    return X, y, groups, marker, saying(marker, y, groups)


def test_what_is_left_is_what_models_score_for_which_the_marker_means_nothing(confounded):
    X, y, groups, _, given = confounded
    found = without_shortcuts(X, y, groups, {"corners": given})
    others, true, _, _ = planted(np.random.default_rng(1), (0.5, 0.5), 8000, 1)
    truth = balanced_accuracy_score(true[400:], RidgeClassifier(10).fit(others[:400], true[:400]).predict(others[400:]))
    assert found["plain"] > truth + 0.08
    assert found["net_ci"][0] < truth < found["net_ci"][1]
    assert 0 < found["difference_ci"][0] < found["plain"] - truth < found["difference_ci"][1]
    assert found["difference"] == pytest.approx(found["plain"] - found["net"])
    assert found["matched"]["effective_patients"] < PATIENTS / 2
    assert found["said"].startswith(f"Of a balanced accuracy of {found['plain']:.2f}, some {found['difference']:.2f} (")
    assert (found["n"], found["probes"]) == (400, ["corners"])


def test_a_marker_that_means_nothing_takes_nothing(confounded):
    missed = 0
    for seed in range(20):
        X, y, groups, marker = planted(np.random.default_rng([2, seed]), (0.5, 0.5), 100)
        found = without_shortcuts(X, y, groups, {"corners": saying(marker, y, groups)})
        missed += not found["difference_ci"][0] <= 0 <= found["difference_ci"][1]
        assert found["difference_ci"][1] - found["difference_ci"][0] < 0.15
    assert missed <= 2
    assert "no part is shown to come from what corners alone gives away" in found["said"]


@pytest.mark.parametrize("classes", [2, 3])
def test_of_a_perfect_shortcut_nothing_is_said(classes):
    rng = np.random.default_rng(3)
    y = np.arange(90) % classes
    given = np.where(np.eye(classes)[y] == 1, 0.98, 0.01) + rng.uniform(0, 0.01, (90, classes))
    found = without_shortcuts(rng.normal(size=(90, 5)) + y[:, None], y, np.arange(90), {"border": given})
    assert [found[name] for name in ("net", "net_ci", "difference", "difference_ci")] == [None] * 4
    assert found["matched"]["score"] is None
    assert "nothing can be told apart from the shortcut: border alone tells the classes to 100%" in found["said"]


def test_of_nine_patients_of_a_class_nothing_is_said():
    y = np.repeat([0, 1], [40, 9])
    given = np.random.default_rng(0).dirichlet([1, 1], 49)
    assert without_shortcuts(np.random.default_rng(0).normal(size=(49, 3)), y, np.arange(49), {"a": given}) is None


def test_rows_of_which_a_probe_says_nothing_take_part(confounded):
    X, y, groups, _, given = confounded
    part = given.copy()
    part[:40] = np.nan
    found = without_shortcuts(X, y, groups, {"corners": given, "view": part})
    assert found["n"] == 400
    assert 0 < found["net"] < found["plain"]


# -- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "near"), [(2, 0.01), (3, 0.1)])
def test_weights_make_classes_alike(classes, near):
    rng = np.random.default_rng(classes)
    y = rng.integers(0, classes, 600)
    known = rng.normal(size=(600, 3)) + 0.5 * y[:, None] * np.array([1, -1, 0])
    alike = overlap(known, y)
    means = [np.average(known[y == label], axis=0, weights=alike.weight[y == label]) for label in range(classes)]
    np.testing.assert_allclose(means[1:], means[:-1], atol=near)  # they were 0.5 apart
    np.testing.assert_allclose([alike.weight[y == label].mean() for label in range(classes)], 1)
    told = LogisticRegression(C=1e4, class_weight="balanced").fit(known, y, alike.weight)
    assert np.abs(told.coef_).max() < 2 * near
    assert alike.told > 1 / classes + 0.1
    assert abs(alike.left - 1 / classes) < 0.08


def test_patients_that_count_alike():
    groups = np.repeat(np.arange(10), 3)
    assert kish(np.ones(30), groups) == pytest.approx(10)
    assert kish(np.repeat([1.0, 1, *[1e-9] * 8], 3), groups) == pytest.approx(2)


def test_copies_of_rows_change_no_interval(confounded):
    """Two images of a patient that say the same are worth one."""
    _, y, groups, _, _ = confounded
    predicted = np.where(np.random.default_rng(0).random(PATIENTS)[groups] < 0.8, y, 1 - y)
    once, twice = (
        weighed_recall(y[rows], predicted[rows], groups[rows], None) for rows in (slice(0, None, 2), slice(None))
    )
    np.testing.assert_allclose(once.interval(), twice.interval())
    assert once.score == pytest.approx(balanced_accuracy_score(y, predicted))
    assert twice.above(twice) == (0, 0)


# -- through the public door -----------------------------------------------------------------------

SIDE = 32


def rows(pictures):
    """Averages of a picture's 16 parts: a marker in the corner is one of them."""
    grey = np.asarray(pictures, np.float32).mean(axis=3)
    return grey.reshape(len(grey), 4, SIDE // 4, 4, SIDE // 4).mean(axis=(2, 4)).reshape(len(grey), 16)


def lay_out(folder, rng, rates, patients=240):
    """Noise with a spot in the middle, brighter in one class, and a mark in the corner as often as the rates say."""
    for number in range(patients):
        label = number % 2
        grey = rng.normal(100, 15, (64, 64))
        grey[24:40, 24:40] += 15 * label + rng.normal(0, 15)
        if rng.random() < rates[label]:
            grey[2:12, 2:12] = 250
        place = folder / ("normal", "covid")[label] / f"{number:03d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(place, compress_level=0)
    return folder


def audited(tmp_path, rates, seed=0):
    data = lay_out(tmp_path / "data", np.random.default_rng(seed), rates)
    given = {"identity": "sixteen averages", "size": SIDE, "resize": "squash"}
    extracted = featcache.extract(data, backbone=rows, cache=tmp_path / "cache", **given)
    result = audit(data, task="binary", cache=tmp_path / "cache", out=tmp_path / "o")
    assert result["features"] == extracted.feature_set
    assert json.loads((tmp_path / "o" / "run.json").read_text())["without_shortcuts"] == result["without_shortcuts"]
    return result


@pytest.mark.usefixtures("undrawn", "few_trees")
def test_a_mark_in_the_corner_of_most_pictures_of_a_class(tmp_path):
    result = audited(tmp_path / "most", (0.15, 0.85))
    found = result["without_shortcuts"]
    assert "corners" in found["probes"]
    assert not {"histogram", "thumbnail"} & set(found["probes"])  # the spot shows in them
    chance = lay_out(tmp_path / "chance", np.random.default_rng(1), (0.5, 0.5), 600)
    files = sorted(chance.glob("*/*.png"))
    pictures = [
        np.asarray(Image.open(file).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)) for file in files
    ]
    y = np.array([file.parent.name == "covid" for file in files], int)
    truth = balanced_accuracy_score(y, cross_val_predict(RidgeClassifier(10), rows(pictures), y, cv=5))
    assert found["net_ci"][0] < truth < found["net_ci"][1]
    assert 0 < found["difference_ci"][0] < found["plain"] - truth < found["difference_ci"][1]
    assert any(text.startswith("shortcut, and the score: of a balanced accuracy of ") for text in result["warnings"])


@pytest.mark.usefixtures("undrawn", "few_trees")
def test_a_mark_in_the_corner_of_all_pictures_of_a_class(tmp_path):
    result = audited(tmp_path, (0, 1))
    assert result["without_shortcuts"]["net"] is None
    assert any("nothing can be told apart from the shortcut" in text for text in result["warnings"])


@pytest.mark.usefixtures("undrawn", "few_trees")
def test_no_mark(tmp_path):
    result = audited(tmp_path, (0.5, 0.5))
    assert result["without_shortcuts"] is None
    assert not any(text.startswith("shortcut, and the score") for text in result["warnings"])
