"""The reference beside ours: rows, marks, and going on where one left off."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest
from pictures import write_images

import featcache
from heads.experiments.reference import ROWS
from heads.experiments.reference_features import Source, features_of_row
from heads.experiments.reproduction import IDS

CLASSES = ("covid", "normal", "pneumonia_bac", "pneumonia_vir")


def test_every_part_of_the_reference_has_a_row():
    assert len(ROWS) == 12
    assert {row.backbone for row in ROWS} == {"vgg16", "vgg19", "resnet50", "xception", "inceptionresnetv2", "own-cnn"}
    assert len(IDS) == len(set(IDS)) == 12 + 3 + 1


@pytest.mark.slow
def test_rows_side_by_side_resumed_and_marked(tmp_path, cli):
    for split, count in (("train", 24), ("test", 8)):
        write_images(tmp_path / "d" / split, count, CLASSES, size=24, seed=count)
    call = ("reproduce", "--data", "d", "--only", "m-vgg16-tuned,tsne-m-vgg16,speed", "--quick", "--out", "o")
    done = cli(*call, "--json")
    assert done.code == 0, done.err
    fit, tsne, speed = done.json["rows"]
    assert "random weights: accuracy not comparable" in fit["remarks"]  # offline, and no file was given
    assert "quick: 5 of 120 epochs" in fit["remarks"]
    assert fit["ours"]["total"] == fit["reference"]["total"] == 21_138_500
    assert fit["reference"]["test_accuracy"] == 0.7222
    assert 0 <= fit["ours"]["test_accuracy"] <= 1
    assert "misclassified" in tsne["remarks"]
    assert speed["ours"]["cpu_seconds"] > 0
    table = list(csv.DictReader((tmp_path / "o" / "reproduce.csv").open()))
    assert [row["id"] for row in table] == ["m-vgg16-tuned", "tsne-m-vgg16-tuned", "speed"]
    assert float(table[0]["test_accuracy_ours"]) == fit["ours"]["test_accuracy"]
    assert "| m-vgg16-tuned | 21,138,500 / 21,138,500 |" in (tmp_path / "o" / "reproduce.md").read_text()

    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "o").glob("*.json") if path.name != "run.json"}
    again = cli(*call, "--json")
    assert again.json["rows"] == done.json["rows"]
    assert again.err.count("done before") == 3
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())

    # A row that was cut off in the middle, or whose record is damaged, is made anew.
    (tmp_path / "o" / "m-vgg16-tuned.json").write_text("{")
    (tmp_path / "o" / "m-vgg16-tuned" / "bundle" / "bundle.json").unlink()
    mended = cli(*call, "--json")
    assert mended.code == 0, mended.err
    assert mended.json["rows"][0]["ours"]["test_accuracy"] == fit["ours"]["test_accuracy"]


def test_rows_that_are_not_there_or_not_yet(tmp_path, cli):
    write_images(tmp_path / "d", 8, CLASSES, size=24)
    assert cli("reproduce", "--data", "d", "--only", "x-vgg16").code == 2
    done = cli("reproduce", "--data", "d", "--only", "tsne-m-own")
    assert done.code == 2
    assert "--only m-own-tuned,tsne-m-own-tuned" in done.err


def test_real_weights_are_not_called_random(tmp_path):
    """What is in the cache from a file counts, though this call could get no weights itself."""
    write_images(tmp_path / "d", 8, CLASSES, size=24)
    network = featcache.backbones.weights.build(
        featcache.backbones.registry.get("vgg16"), 224, featcache.backbones.weights.parse("random:3")
    )
    network.save_weights(tmp_path / "w.weights.h5")
    featcache.extract(tmp_path / "d", "vgg16", weights=str(tmp_path / "w.weights.h5"), cache=tmp_path / "c")
    row = next(row for row in ROWS if row.id == "m-vgg16")
    source = Source(tmp_path / "d", None, tmp_path / "c", "imagenet", "model")
    feature_set, is_random = features_of_row(row, source)
    assert feature_set.startswith("vgg16-file-")
    assert not is_random
    assert json.loads((tmp_path / "c" / "last-extract.json").read_text())["feature_sets"]["vgg16"] == feature_set
    # Another preprocessing is another set, and asking for one never gives the other.
    other = featcache.extract(
        tmp_path / "d", "vgg16", weights=str(tmp_path / "w.weights.h5"), preprocess="rescale", cache=tmp_path / "c"
    ).feature_set
    for asked, wanted in (("model", feature_set), ("rescale", other)):
        assert features_of_row(row, replace(source, preprocess=asked)) == (wanted, False)
