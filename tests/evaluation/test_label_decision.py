"""Labels are calibrated, and their thresholds chosen, each on the validation rows that know it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import recall_score

from featcache import Multilabel
from featcache.features.labelled_features import Features, FeatureSource
from featcache.spec import FeatureSpec
from heads.evaluation.calibration import calibrate, fit_calibration
from heads.evaluation.label_decision import calibrate_labels, settle_labels, two_columns
from heads.evaluation.splits import Partition

SPEC = FeatureSpec("vgg16", "", "random0", "0d" * 32, 224, "decode-1", "caffe", "map", "float32", "float32")
NAMES = ("edema", "effusion", "hernia")


def labels() -> tuple[Features, Partition, np.ndarray]:
    """240 rows of three labels, some not known, the last one rare; and what an overconfident model says of them."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(240, 3)) * 1.5 + (0, 0, -5)
    y = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    y[rng.random(y.shape) < 0.2] = np.nan
    features = Features(
        X=np.ones((240, 1), np.float32),
        y=y,
        classes=NAMES,
        paths=[f"/p/{i}.png" for i in range(240)],
        groups=np.array([str(i // 2) for i in range(240)], dtype=object),
        splits=np.array([""] * 240, dtype=object),
        keys=[b"%032d" % i for i in range(240)],
        sources=(FeatureSource("vgg16-random0-224-00000000", SPEC, "flatten", (1,), 1),),
        synthetic=False,
        task=Multilabel(NAMES),
    )
    parts = Partition(np.arange(40), np.arange(40, 140), np.arange(140, 240))
    return features, parts, 1 / (1 + np.exp(-3 * logits))


@pytest.mark.parametrize("method", ["temperature", "sigmoid", "isotonic"])
def test_each_label_is_mended_as_two_classes_are(method):
    features, parts, p = labels()
    settled = settle_labels(features, parts, p, method, None)
    known = parts.val[~np.isnan(features.y[parts.val, 0])]
    wanted, _ = fit_calibration(two_columns(p[known, 0]), features.y[known, 0].astype(int), method)
    assert settled.calibration[0] == wanted
    np.testing.assert_allclose(settled.probabilities[:, 0], calibrate(two_columns(p[:, 0]), wanted)[:, 1])
    np.testing.assert_array_equal(calibrate_labels(p, settled.calibration), settled.probabilities)
    # Of the rare one nothing is learnt, and that is said.
    assert settled.calibration[2] is None
    np.testing.assert_allclose(settled.probabilities[:, 2], p[:, 2])
    assert any("hernia" in text and "not mended" in text for text in settled.warnings)
    assert settled.value is None


def test_thresholds_find_the_wanted_share_of_each_label():
    features, parts, p = labels()
    settled = settle_labels(features, parts, p, None, 0.9)
    assert settled.value[2] == 0.5
    assert settled.threshold[2] is None
    assert "hernia" not in settled.result["threshold"]
    for label, name in enumerate(NAMES[:2]):
        y = features.y[parts.val, label]
        known = ~np.isnan(y)
        called = p[parts.val, label][known] >= settled.value[label]
        assert recall_score(y[known], called) == pytest.approx(settled.threshold[label]["sensitivity"])
        assert 0.9 <= settled.threshold[label]["sensitivity"] < 0.96
        assert settled.result["threshold"][name]["test"]["sensitivity_ci"][0] < 0.9


def test_without_a_wish_all_stays_as_it_is():
    features, parts, p = labels()
    settled = settle_labels(features, parts, p, None, None)
    assert settled.probabilities is p
    assert (settled.calibration, settled.threshold, settled.warnings) == (None, None, ())
