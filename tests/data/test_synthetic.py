"""The built-in synthetic sample: the same everywhere, learnable but not given away."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featcache.data import synthetic
from featcache.data.dataset import open_dataset
from featcache.data.synthetic import draw, write_sample


@pytest.fixture(scope="module", autouse=True)
def drawn_anew():
    """Not what the tests before it drew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "draw", draw)
        yield


@pytest.fixture(scope="module")
def sample(tmp_path_factory, drawn_anew):
    return open_dataset(write_sample(tmp_path_factory.mktemp("sample") / "v1"))


def test_size(sample):
    dataset = sample
    for split, least in (("train", 24), ("test", 8)):
        for label in ("covid", "normal", "pneumonia_bac", "pneumonia_vir"):
            rows = [s == split and c == label for s, c in zip(dataset.splits, dataset.labels, strict=True)]
            assert sum(rows) >= least


def test_deterministic(sample, tmp_path):
    dataset = sample
    again = open_dataset(write_sample(tmp_path / "v1", train=2, test=1))
    where = dict(zip(dataset.names, dataset.paths, strict=True))
    for name, path in zip(again.names, again.paths, strict=True):
        np.testing.assert_array_equal(Image.open(path), Image.open(where[name]))


def test_learnable_but_not_given_away(sample):
    dataset = sample
    images = np.stack([np.asarray(Image.open(path), dtype=float) for path in dataset.paths])
    labels = np.array(dataset.labels)

    def score(features):
        model = make_pipeline(StandardScaler(), PCA(40), LogisticRegression(C=0.1, max_iter=2000))
        features = features.reshape(len(features), -1)
        if features.shape[1] <= 40:
            model.steps.pop(1)
        return cross_val_score(model, features, labels, cv=4).mean()

    thumbnails = images.reshape(len(images), 32, 8, 32, 8).mean(axis=(2, 4))
    # Local roughness of the lungs, which the classes differ in, pooled over a coarse grid.
    rough = np.abs(np.diff(images, axis=1))[:, :248, :248].reshape(len(images), 8, 31, 8, 31).mean(axis=(2, 4))
    border = np.concatenate([images[:, :12].mean(axis=2), images[:, -12:].mean(axis=2)], axis=1)
    assert score(np.concatenate([thumbnails.reshape(len(images), -1), rough.reshape(len(images), -1)], 1)) > 0.55
    assert score(thumbnails) < 0.95
    assert score(border) < 0.45  # chance is 0.25: nothing outside the lungs tells the class
