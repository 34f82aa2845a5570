"""One value for what is asked of the kept features."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from pictures import write_images

import featcache
from featcache.errors import DataError, UsageError
from featcache.features.feature_request import FeatureRequest
from featcache.features.loading import load_request


def test_it_carries_all_that_a_load_takes():
    signature = inspect.signature(featcache.load)
    asked = {name: parameter.default for name, parameter in signature.parameters.items()}
    assert {field.name: field.default for field in fields(FeatureRequest)} == asked


def test_a_request_loads_what_the_keywords_load(tmp_path):
    write_images(tmp_path / "d", 12, ("covid", "normal", "other"))
    featcache.extract(tmp_path / "d", "pixels", size=8, cache=tmp_path / "c")
    request = FeatureRequest(backbone="pixels", task="binary", cache=tmp_path / "c")
    asked, named = load_request(request), featcache.load("pixels", task="binary", cache=tmp_path / "c")
    np.testing.assert_array_equal(asked.X, named.X)
    assert (asked.classes, asked.paths, asked.feature_set) == (named.classes, named.paths, named.feature_set)
    assert load_request(replace(request, classes=["other", "covid"])).classes == ("other", "covid")
    with pytest.raises(DataError, match="no images of the class"):
        load_request(replace(request, classes=("covid", "flu")))


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ({"pooling": "mean"}, "pooling 'mean' is unknown"),
        ({"task": "trinary"}, "task 'trinary' is unknown"),
        ({"classes": ["covid"]}, "two or more different names, got covid"),
        ({"classes": ["covid", "covid"]}, "two or more different names"),
        ({"task": "binary", "classes": ["a", "b", "c"]}, "exactly two classes, got a, b, c"),
    ],
)
def test_what_no_data_could_give_is_refused_where_the_request_is_made(odd, told):
    with pytest.raises(UsageError, match=told):
        FeatureRequest(**odd)


def test_it_does_not_change():
    request = FeatureRequest(classes=["a", "b"])
    assert request.classes == ("a", "b")
    assert hash(request) == hash(FeatureRequest(classes=("a", "b")))
    with pytest.raises(FrozenInstanceError):
        request.pooling = "avg"
