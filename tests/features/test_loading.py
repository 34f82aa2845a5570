"""Loading what is kept."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from pictures import write_images

import featcache
from featcache.errors import DataError, UsageError


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Four classes in train and test, features of a small network."""
    folder = tmp_path_factory.mktemp("kept")
    for seed, split in enumerate(("train", "test")):
        write_images(
            folder / "d" / split,
            16 if split == "train" else 8,
            ("covid", "normal", "pneumonia_bac", "pneumonia_vir"),
            seed=seed,
        )
    featcache.extract(folder / "d", "mobilenet", weights="random", size=64, cache=folder / "cache")
    return folder / "cache"


def test_what_a_load_gives(kept):
    f = featcache.load("mobilenet", cache=kept)
    assert f.X.shape == (24, 2 * 2 * 1024)
    assert f.X.dtype == np.float32
    assert f.classes == ("covid", "normal", "pneumonia_bac", "pneumonia_vir")
    assert [f.classes[i] for i in f.y] == [path.split("/")[-2] for path in f.paths]
    assert len(f.groups) == len(set(f.groups)) == 24
    train, test = f.split("train"), f.split("test")
    assert (len(train), len(test)) == (16, 8)
    assert all("/train/" in path for path in train.paths)
    np.testing.assert_array_equal(test.X, f.X[[("/test/" in path) for path in f.paths]])


def test_poolings_agree_with_numpy(kept):
    maps = featcache.load("mobilenet", pooling="map", cache=kept).X
    get = lambda pooling: featcache.load("mobilenet", pooling=pooling, cache=kept).X  # noqa: E731
    np.testing.assert_array_equal(get("flatten"), maps.reshape(24, -1))
    np.testing.assert_array_equal(get("max"), maps.max(axis=(1, 2)))
    np.testing.assert_allclose(get("avg"), maps.mean(axis=(1, 2)), rtol=1e-4, atol=1e-6 * maps.max())


def test_binary_is_normal_against_covid(kept):
    f = featcache.load("mobilenet", task="binary", pooling="avg", cache=kept)
    assert f.classes == ("normal", "covid")
    assert len(f) == 12
    assert {path.split("/")[-2] for path, y in zip(f.paths, f.y, strict=True) if y == 1} == {"covid"}


def test_any_two_classes(kept):
    f = featcache.load("mobilenet", classes=["pneumonia_vir", "normal"], pooling="avg", cache=kept)
    assert f.classes == ("pneumonia_vir", "normal")
    assert len(f) == 12


def test_frames(kept):
    f = featcache.load("mobilenet", pooling="avg", cache=kept)
    frame = f.to_frame()
    assert list(frame.columns[:5]) == ["path", "label", "y", "split", "group"]
    np.testing.assert_array_equal(frame.filter(regex=r"^f\d+$").to_numpy(), f.X)


def test_tf_datasets(kept):
    f = featcache.load("mobilenet", pooling="avg", cache=kept)
    dataset = f.to_tf_dataset(batch_size=10)
    assert int(dataset.cardinality()) == 3
    X, y = zip(*dataset.as_numpy_iterator(), strict=True)
    np.testing.assert_array_equal(np.concatenate(X), f.X)
    np.testing.assert_array_equal(np.concatenate(y), f.y)
    shuffled = f.to_tf_dataset(batch_size=24, shuffle=True, seed=1)
    first, second = (next(shuffled.as_numpy_iterator())[1] for _ in range(2))
    assert sorted(first) == sorted(f.y)
    assert not np.array_equal(first, second)


def test_export_is_plain_hdf5(kept, tmp_path):
    done = featcache.export(tmp_path / "out.h5", "mobilenet", task="binary", pooling="flatten", cache=kept)
    assert done["rows"] == 12
    f = featcache.load("mobilenet", task="binary", cache=kept)
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["features"][:], f.X)
        np.testing.assert_array_equal(file["labels"][:], f.y)
        assert list(file["classes"].asstr()[:]) == ["normal", "covid"]
        assert list(file["paths"].asstr()[:]) == f.paths
        assert list(file["splits"].asstr()[:]) == list(f.splits)
        assert list(file["groups"].asstr()[:]) == list(f.groups)
        assert '"backbone":"mobilenet"' in file.attrs["spec"]


def test_what_is_not_there_says_what_to_run(kept, tmp_path):
    with pytest.raises(DataError, match="extract --backbone vgg16"):
        featcache.load("vgg16", cache=kept)
    write_images(tmp_path / "other", 4, seed=7)
    with pytest.raises(DataError, match="4 of 4 images have no features"):
        featcache.load("mobilenet", data=tmp_path / "other", cache=kept)
    with pytest.raises(DataError, match="no val split"):
        featcache.load("mobilenet", pooling="avg", cache=kept).split("val")
    with pytest.raises(UsageError, match="pooling 'mean'"):
        featcache.load("mobilenet", pooling="mean", cache=kept)
    with pytest.raises(DataError, match="no images of the class"):
        featcache.load("mobilenet", classes=["covid", "flu"], cache=kept)


def test_a_set_without_rows_says_what_to_run(tmp_path):
    write_images(tmp_path / "d", 4)
    feature_set = featcache.extract(tmp_path / "d", "pixels", size=8, cache=tmp_path / "c").feature_set
    for shard in (tmp_path / "c" / "features" / feature_set).glob("*.h5"):
        shard.unlink()
    with pytest.raises(DataError, match="4 of 4 images have no features"):
        featcache.load("pixels", data=tmp_path / "d", cache=tmp_path / "c")


def test_several_sets_of_one_backbone(tmp_path):
    write_images(tmp_path / "d", 4)
    one, two = (
        featcache.extract(tmp_path / "d", "mobilenet", weights=w, size=32, keep=k, cache=tmp_path / "c").feature_set
        for w, k in (("random:1", "map"), ("random:2", "avg"))
    )
    assert featcache.load("mobilenet", pooling="avg", cache=tmp_path / "c").feature_set == two  # the last
    assert featcache.load("mobilenet", pooling="flatten", cache=tmp_path / "c").feature_set == one  # the only one
    assert featcache.load("mobilenet", pooling="avg", weights="random1", cache=tmp_path / "c").feature_set == one
    assert featcache.load(one, pooling="avg", cache=tmp_path / "c").feature_set == one
    (tmp_path / "c" / "last-extract.json").unlink()
    with pytest.raises(UsageError, match="several feature sets fit"):
        featcache.load("mobilenet", pooling="avg", data=tmp_path / "d", cache=tmp_path / "c")
    with pytest.raises(DataError, match="keeps only the average"):
        featcache.load(two, pooling="max", data=tmp_path / "d", cache=tmp_path / "c")
