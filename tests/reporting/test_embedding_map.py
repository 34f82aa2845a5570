"""The page's map labels images as the bundle does."""

from __future__ import annotations

import csv

import numpy as np
from pictures import write_images
from PIL import Image

import featcache
from heads.experiments.head_fit import fit_head
from heads.reporting.embedding_map import explore


def test_a_threshold_decides_on_the_map_too(tmp_path):
    """Of a model that must find nearly all, many are called positive that are less probable than not."""
    for number, path in enumerate(write_images(tmp_path / "d", 80, size=16)):
        pixels = np.array(Image.open(path)) // 2
        pixels[:6] += np.uint8(25 * (path.parent.name == "covid") * (number % 3 > 0))
        Image.fromarray(pixels).save(path)
    featcache.extract(tmp_path / "d", "pixels", size=16, cache=tmp_path / "c")
    fitted = fit_head(
        "binary",
        backbone="pixels",
        cache=tmp_path / "c",
        epochs=3,
        units=8,
        learning_rate=0.001,
        out=tmp_path / "run",
        sensitivity=1.0,
        audit=False,
    )
    points = explore(fitted.result["bundle"], cache=tmp_path / "c", images=False)
    with (tmp_path / "run" / "predictions.csv").open() as file:
        said = {row["path"].split("/")[-1]: row["predicted"] for row in csv.DictReader(file)}
    drawn = {
        path.split("/")[-1]: points["classes"][code]
        for path, code in zip(points["path"], points["predicted"], strict=True)
    }
    assert drawn == {name: said[name] for name in drawn}
    most_probable = np.array(points["probabilities"]).reshape(-1, 2).argmax(axis=1)
    assert (most_probable != points["predicted"]).any()
    assert points["wrong"] == sum(a != b for a, b in zip(points["predicted"], points["label"], strict=True))
