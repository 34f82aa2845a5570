"""Confident learning, beside what cleanlab made of the same probabilities (tests/golden/confident_learning.json)."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.preprocessing import normalize
from surroundings import ROOT

from heads.evaluation.confident_learning import LabelNoise, doubts, label_noise, likely_classes, suspected
from heads.evaluation.nearest_of_others import nearest_of_others

GOLDEN = json.loads((ROOT / "tests" / "golden" / "confident_learning.json").read_text())["cases"]
CASES = pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])


def given(case: dict) -> tuple[np.ndarray, np.ndarray]:
    return np.array(case["labels"]), np.array(case["probabilities"])


@CASES
def test_thresholds_and_the_joint_are_cleanlabs(case):
    labels, probabilities = given(case)
    noise = label_noise(labels, probabilities)
    np.testing.assert_allclose(noise.thresholds, case["thresholds"], atol=1e-6)
    joint = np.array(case["confident_joint"])
    counts = np.bincount(labels, minlength=len(joint))
    np.testing.assert_allclose(noise.joint, joint / joint.sum(axis=1, keepdims=True) * counts[:, None])
    # Its own is rounded to whole images.
    assert np.abs(noise.joint - np.array(case["calibrated_joint"])).max() <= 1
    assert noise.joint.sum() == pytest.approx(len(labels))
    assert noise.wrong == pytest.approx(noise.joint.sum() - noise.joint.trace())


@CASES
def test_suspects_and_their_order_are_cleanlabs(case):
    labels, probabilities = given(case)
    noise = LabelNoise(np.array(case["thresholds"]), np.array(case["calibrated_joint"], float))
    found = np.flatnonzero(suspected(labels, probabilities, noise))
    assert found.tolist() == case["issues"]
    np.testing.assert_allclose(1 - doubts(labels, probabilities), case["self_confidence"], atol=1e-6)
    ranked = found[np.argsort(-doubts(labels, probabilities)[found], kind="stable")]
    assert ranked.tolist() == case["ranked"]
    # By our own rounding, at most one image more or less of each pair of classes.
    own = set(np.flatnonzero(suspected(labels, probabilities, label_noise(labels, probabilities))))
    assert len(own ^ set(case["issues"])) <= probabilities.shape[1] * (probabilities.shape[1] - 1)


def test_labels_that_models_are_sure_of_are_wrong_in_the_number_that_was_flipped():
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1, 2], 50)
    labels = true.copy()
    flipped = rng.choice(150, 12, replace=False)
    labels[flipped] = (true[flipped] + 1) % 3
    probabilities = np.full((150, 3), 0.04)
    probabilities[np.arange(150), true] = 0.92
    noise = label_noise(labels, probabilities)
    assert noise.wrong == pytest.approx(12)
    assert set(np.flatnonzero(suspected(labels, probabilities, noise))) == set(flipped)
    assert (likely_classes(labels, probabilities)[flipped] == true[flipped]).all()


def test_a_class_of_which_there_is_no_image_suspects_nobody():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5]])
    noise = label_noise(labels, probabilities)
    assert noise.thresholds[2] == 1
    assert noise.joint[2].sum() == 0
    assert not suspected(labels, probabilities, noise).any()


def test_the_nearest_are_of_other_groups():
    rng = np.random.default_rng(1)
    rows, groups = normalize(rng.normal(size=(40, 6))), np.arange(40) // 4
    asked, among = np.array([0, 7, 39]), np.flatnonzero(np.arange(40) % 3)
    found = nearest_of_others(rows, groups, asked, among, 5)
    for own, nearest in zip(asked, found, strict=True):
        others = [i for i in among if groups[i] != groups[own]]
        assert nearest.tolist() == sorted(others, key=lambda i: -rows[i] @ rows[own])[:5]
    assert nearest_of_others(rows[:5], groups[:5], np.array([0]), np.arange(5), 5)[0].tolist() == [4]
