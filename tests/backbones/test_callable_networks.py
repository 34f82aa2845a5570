"""Functions of images as backbones: what they give is kept as it is, and held to what it was."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import write_images

import featcache
import heads
from featcache.data.decoding import decode
from featcache.errors import UsageError, WeightsError

SIZE = 16
MINE = {"identity": "my-net 3", "size": SIZE, "resize": "squash"}


@pytest.fixture
def data(tmp_path):
    write_images(tmp_path / "data", 24, size=SIZE + 4)
    return tmp_path / "data"


@pytest.fixture
def extract(data, tmp_path):
    def run(function, **asked):
        return featcache.extract(**{"data": data, "cache": tmp_path / "cache", **MINE, **asked}, backbone=function)

    return run


@pytest.fixture
def load(data, tmp_path):
    return lambda result, pooling="map": featcache.load(
        result.feature_set, pooling=pooling, data=data, cache=tmp_path / "cache"
    )


def maps(images):
    assert images.dtype == np.uint8
    assert images.shape[1:] == (SIZE, SIZE, 3)
    return images.reshape(len(images), 4, 4, 4, 4, 3).mean((2, 4))


def tokens(images):
    flat = maps(images).reshape(len(images), 16, 3)
    return np.concatenate([flat[:, :1] + 1, flat], axis=1)


def vectors(images):
    return maps(images).mean((1, 2)).tolist()


def squares(paths):
    return np.stack([decode(open(path, "rb").read(), SIZE) for path in paths])


def test_maps(extract, load):
    result = extract(maps)
    assert (result.runtime, result.computed, result.shape) == ("callable", 24, [4, 4, 3])
    given = load(result)
    np.testing.assert_array_equal(given.X, maps(squares(given.paths)).astype(np.float32))
    np.testing.assert_allclose(load(result, "avg").X, given.X.mean((1, 2)), rtol=1e-6)
    assert given.spec.preprocess == "none"
    assert given.spec.scaling is None
    assert result.backbone == "my_net_3"

    def never(images):
        raise AssertionError("nothing is left to compute")

    assert extract(never).reused == 24
    assert extract(maps, identity="my-net 4").computed == 24


def test_tokens_and_vectors(extract, load):
    result = extract(tokens)
    given = load(result, "cls")
    np.testing.assert_array_equal(given.X, tokens(squares(given.paths))[:, 0].astype(np.float32))
    np.testing.assert_array_equal(load(result).X.reshape(24, 16, 3), tokens(squares(given.paths))[:, 1:].astype("f4"))
    result = extract(vectors, identity="of vectors")
    given = load(result, "avg")
    np.testing.assert_allclose(given.X, vectors(squares(given.paths)), rtol=1e-6)
    assert given.spec.keep == "vector"
    with pytest.raises(UsageError, match="gives vectors, not maps"):
        extract(vectors, identity="of vectors", keep="map")


@pytest.mark.slow
def test_a_head_learns_from_them_and_labels_what_has_features(extract, data, tmp_path):
    result, cache = extract(maps), tmp_path / "cache"
    asked = {"backbone": result.feature_set, "data": data, "cache": cache, "out": tmp_path / "run"}
    heads.fit_head("binary", classes=("covid", "normal"), epochs=2, **asked)
    assert len(heads.predict(tmp_path / "run" / "bundle", [data], cache=cache)["rows"]) == 24
    write_images(tmp_path / "new", 2, size=SIZE + 4, seed=9)
    with pytest.raises(WeightsError, match="my_net_3 is a function, which only the program that has it can run"):
        heads.predict(tmp_path / "run" / "bundle", [tmp_path / "new"], cache=cache)
    extract(maps, data=tmp_path / "new")
    assert len(heads.predict(tmp_path / "run" / "bundle", [tmp_path / "new"], cache=cache)["rows"]) == 2


def test_one_image_at_a_time_where_others_move_it(extract, load):
    sizes = []

    def moved(images):
        sizes.append(len(images))
        return maps(images) + len(images)

    given = load(extract(moved))
    np.testing.assert_array_equal(given.X, (maps(squares(given.paths)) + 1).astype(np.float32))
    assert sizes.count(2) == 1  # the proof
    assert set(sizes) == {1, 2}


def test_what_decides_features_must_be_said(extract):
    for missing, said in (
        ("identity", "identity: a function says nothing"),
        ("size", "size None"),
        ("resize", "resize: "),
    ):
        with pytest.raises(UsageError, match=said):
            extract(maps, **{missing: None})
    for identity in ("", "a\nb", 3, "x" * 201):
        with pytest.raises(UsageError, match="expected a line of 1 to 200 characters"):
            extract(maps, identity=identity)


@pytest.mark.parametrize(
    "odd",
    [
        {"mean": 0},
        {"weights": "random"},
        {"layer": "x"},
        {"preprocess": "rescale"},
        {"precision": "float16"},
        {"runtime": "openvino"},
        {"channels": 1},
        {"dtype": "uint8"},
        {"devices": "cpu:2"},
        {"scheduler": "local"},
    ],
)
def test_what_does_not_apply_is_refused(extract, odd):
    with pytest.raises(UsageError, match="|".join(odd)):
        extract(maps, **odd)


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        (lambda images: np.zeros(len(images)), "expected numbers, 1 row"),
        (lambda images: [["a"]] * len(images), "expected numbers"),
        (lambda images: maps(images)[:0], "expected numbers, 1 row"),
        (lambda images: maps(images)[:, None], "expected a map"),
        (lambda images: np.zeros((len(images), 0)), "expected a map"),
        (lambda images: np.ones((len(images), 3)), "the same 'avg' for two different pictures"),
        (lambda images: maps(images) * np.nan, "NaN or infinite"),
        (lambda images: np.random.default_rng().normal(size=(len(images), 3)), "differ by"),
    ],
)
def test_what_is_no_features_is_refused(extract, gives, said):
    with pytest.raises((UsageError, WeightsError), match=said):
        extract(gives)


def test_another_shape_or_nan_later_keeps_nothing_of_that_block(extract, tmp_path):
    for name, spoil, said in (
        ("nan", lambda rows: np.where(rows > 0, np.nan, rows), "NaN or infinite"),
        ("shape", lambda rows: rows[:, :2], "and gave"),
    ):
        calls = []

        def late(images, spoil=spoil, calls=calls):
            calls.append(len(images))
            rows = maps(images)
            return spoil(rows) if sum(calls) > 14 else rows  # six images go before: first call and proof

        with pytest.raises(WeightsError, match=said):
            extract(late, identity=name, batch_size=4, commit_rows=4)
        assert calls[-1] == 4
        with featcache.Store(tmp_path / "cache") as store:
            (feature_set,) = [one for one in store.feature_sets() if f"-{name}-" in one]
            assert len(store.rows(feature_set)) == sum(calls) - 6 - 4


def test_one_identity_means_one_shape(extract, data):
    extract(maps)
    write_images(data, 30, size=SIZE + 4, seed=1)
    with pytest.raises(WeightsError, match=r"gives \(2, 4, 3\) of an image, and gave \(4, 4, 3\) before"):
        extract(lambda images: maps(images)[:, :2])


def test_a_function_that_failed_may_be_mended(extract):
    with pytest.raises(WeightsError):
        extract(lambda images: np.ones((len(images), 3)))
    assert extract(maps).shape == [4, 4, 3]


def test_float16_that_overflows_is_refused(extract):
    with pytest.raises(WeightsError, match="beyond float16"):
        extract(lambda images: maps(images) * 1e4, dtype="float16")


def test_its_own_errors_are_its_own(extract):
    def broken(images):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        extract(broken)
    with pytest.raises(UsageError, match="object: no network that is read here"):
        extract(object())
