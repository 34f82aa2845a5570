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

import featcache
from featcache.data import synthetic
from featcache.data.dataset import open_dataset
from featcache.data.synthetic import draw, sample_folder, write_sample
from featcache.extraction.planning import choose_data
from featcache.store.store import Store


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


def test_a_table_of_the_samples_images_is_synthetic_too(tmp_path):
    """Such as the manifest of an audit, or of a worklist: no output on it may look like a medical result."""
    cache = tmp_path / "cache"
    images = write_sample(sample_folder(cache), train=2, test=1)
    lines = [f"{path},{path.parent.name}" for path in sorted(images.rglob("*.png"))]
    table = tmp_path / "manifest.csv"
    table.write_text("\n".join(["path,label", *lines[1:]]))
    assert featcache.extract(table, "pixels", size=8, cache=cache).synthetic
    with Store(cache) as store:
        last = choose_data(store, None)
    assert (last.root, last.synthetic, len(last)) == (str(table), True, len(lines) - 1)
