"""Which rows are learnt from: given parts are kept, missing ones made, and what cannot be divided says so."""

from __future__ import annotations

import numpy as np
import pytest

from featcache.errors import DataError
from featcache.features.labelled_features import Features, FeatureSource
from featcache.spec import FeatureSpec
from heads.evaluation.splits import partition

SPEC = FeatureSpec("vgg16", "", "random0", "0d" * 32, 224, "decode-1", "caffe", "map", "float32", "float32")


def features(y, splits=None, groups=None, classes=("normal", "covid")) -> Features:
    y = np.asarray(y)
    n = len(y)
    return Features(
        X=np.ones((n, 3), np.float32),
        y=y,
        classes=tuple(classes),
        paths=[f"/p/{i}.png" for i in range(n)],
        groups=np.array(groups if groups is not None else [str(i) for i in range(n)], dtype=object),
        splits=np.array(splits if splits is not None else [""] * n, dtype=object),
        keys=[b"%032d" % i for i in range(n)],
        sources=(FeatureSource("vgg16-random0-224-00000000", SPEC, "flatten", (3,), 3),),
        synthetic=False,
    )


def test_given_parts_are_kept():
    splits = ["train"] * 20 + ["val"] * 4 + ["test"] * 6
    parts = partition(features([0, 1] * 15, splits))
    assert [len(parts.train), len(parts.val), len(parts.test)] == [20, 4, 6]
    assert parts.made == ()


@pytest.mark.parametrize("seed", range(5))
def test_missing_parts_are_stratified_with_groups_whole(seed):
    rng = np.random.default_rng(seed)
    groups = [f"patient{i // 3}" for i in range(300)]
    y = (np.arange(300) // 3 % 3 == 0).astype(int)
    order = rng.permutation(300)
    f = features(y[order], groups=np.array(groups)[order])
    parts = partition(f, seed=seed)
    assert set(parts.made) == {"val", "test"}
    rows = np.concatenate(list(parts.parts().values()))
    np.testing.assert_array_equal(np.sort(rows), np.arange(300))
    of = [set(f.groups[index]) for index in parts.parts().values()]
    assert not of[0] & of[1]
    assert not of[0] & of[2]
    assert not of[1] & of[2]
    assert all(0.2 < f.y[index].mean() < 0.47 for index in parts.parts().values())
    assert len(parts.test) == pytest.approx(60, abs=9)
    assert len(parts.val) == pytest.approx(48, abs=9)
    np.testing.assert_array_equal(parts.train, partition(f, seed=seed).train)


def test_a_group_in_training_and_test_is_said(caplog):
    groups = [str(i) for i in range(30)]
    groups[25] = groups[3]
    with caplog.at_level("WARNING"):
        partition(features([0, 1] * 15, ["train"] * 20 + ["test"] * 10, groups))
    assert "1 group(s) stand in test and in training" in caplog.text


CASES = {
    "a class with one image": ({"y": [0] * 10 + [1]}, "class 'covid' has 1 image to learn from.*Add some"),
    "a class of one group": (
        {"y": [0] * 8 + [1] * 4, "groups": [str(i) for i in range(8)] + ["p"] * 4},
        "class 'covid' has 4 images of 1 group to learn from",
    ),
    "a class missing in test": (
        {"y": [0, 1] * 10 + [0] * 5, "splits": ["train"] * 20 + ["test"] * 5},
        "test part has no images of covid .it has normal 5.*--classes",
    ),
    "a class missing in train": (
        {"y": [0] * 20 + [0, 1] * 3, "splits": ["train"] * 20 + ["test"] * 6},
        "class 'covid' has 0 images to learn from",
    ),
    "one group only": (
        {"y": [0, 1] * 10, "groups": ["p"] * 20},
        "all 20 images belong to one group, 'p'.*--group-regex",
    ),
    "no training rows": ({"y": [0, 1] * 3, "splits": ["test"] * 6}, "no train split"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_divided_names_the_fix(case):
    arguments, message = CASES[case]
    with pytest.raises(DataError, match=f"(?s){message}"):
        partition(features(**arguments))


def test_features_that_are_not_finite():
    f = features([0, 1] * 10)
    f.X[3, 1] = np.nan
    with pytest.raises(DataError, match=r"1 image.*/p/3.png.*cache verify"):
        partition(f)
