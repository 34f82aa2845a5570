"""Real radiographs with findings, patients, sexes, ages and views: what is said of them, and what is not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import featcache
from featcache import Classification, Multilabel
from heads import audit, fit_head

pytestmark = [pytest.mark.real, pytest.mark.slow]
LITE0 = {"mean": 0.498039, "std": 0.501961, "resize": "crop", "crop": 0.875, "interpolation": "bicubic"}
ASKED = {"pooling": "avg", "cv": 5, "per_patient": "mean", "epochs": 40}


@pytest.fixture(scope="module")
def cache(reference, tmp_path_factory):
    network = reference / "weights" / "efficientnet_lite0.onnx"
    if not network.is_file():
        pytest.skip("no weights of EfficientNet-Lite0")
    folder = tmp_path_factory.mktemp("real tasks") / "c"
    for name in ("nih", "hannover"):
        featcache.extract(reference / "data" / name / "manifest.csv", str(network), **LITE0, cache=folder)
    return folder


def test_every_finding_of_ten_images_and_more_has_its_figures(reference, cache, tmp_path):
    data = reference / "data" / "nih" / "manifest.csv"
    fitted = fit_head(
        Multilabel(column="findings"), data=data, by="sex,view,age:0-40-65-", cache=cache, out=tmp_path / "r", **ASKED
    )
    test, features = fitted.result["cross_validated"]["test"], fitted.features
    assert len(features) == test["n"] == 157
    counts = features.task.counts(features.y, features.classes)
    told = {name for name, one in test["labels"].items() if one["roc_auc"] is not None}
    assert told == {name for name, count in counts.items() if count >= 10}
    assert {one.get("note") for name, one in test["labels"].items() if name not in told} == {"too few"}
    for name in told:
        low, high = test["labels"][name]["roc_auc_ci"]
        assert low <= test["labels"][name]["roc_auc"] <= high
    assert test["per_patient"]["n"] == len(set(features.groups)) == 108
    assert set(test["subgroups"]["columns"]) == {"sex", "view", "age"}


def test_a_view_that_gives_the_class_away_is_named_and_seen_through(reference, cache, tmp_path):
    data = reference / "data" / "hannover" / "manifest.csv"
    found = audit(data, cache=cache, out=tmp_path / "a")
    view = next(probe for probe in found["shortcuts"] if probe["probe"] == "view")
    assert view["flag"]
    assert any("view" in warning for warning in found["warnings"])
    task = Classification("binary", ("ward", "icu"))
    fitted = fit_head(task, data=data, by="view", cache=cache, out=tmp_path / "r", **ASKED)
    test = fitted.result["cross_validated"]["test"]
    views = test["subgroups"]["columns"]["view"]["subgroups"]
    assert views["pa"]["value"] is None
    assert views["pa"]["note"] == "too few to say: no image of icu"
    assert views["ap"]["value"] < test["roc_auc"]
    assert (test["n"], test["per_patient"]["n"]) == (243, 71)
    assert test["per_patient"]["roc_auc"] != test["roc_auc"]


def test_labels_dealt_to_patients_raise_no_flag(reference, cache, tmp_path):
    rows = [line.split(",") for line in (reference / "data" / "hannover" / "manifest.csv").read_text().splitlines()]
    header, rows = rows[0], rows[1:]
    place, group, label = (header.index(name) for name in ("path", "group", "label"))
    patients = sorted({row[group] for row in rows})
    flags = Counter()
    for seed in range(3):
        dealt = dict(zip(patients, np.random.default_rng(seed).permutation(len(patients)) % 2, strict=True))
        for row in rows:
            row[place] = str(reference / "data" / "hannover" / row[place]) if seed == 0 else row[place]
            row[label] = ("icu", "ward")[dealt[row[group]]]
        table = tmp_path / f"{seed}.csv"
        table.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
        found = audit(table, cache=cache, out=tmp_path / f"a{seed}")
        flags.update(probe["probe"] for probe in found["shortcuts"] if probe["flag"])
    assert not flags
