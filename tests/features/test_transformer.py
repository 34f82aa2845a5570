"""``FrozenBackbone`` as sklearn sees it."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pictures import write_images
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

import featcache
from featcache import FrozenBackbone
from featcache.errors import DataError


class DrawsNumbers(FrozenBackbone):
    """sklearn's checks feed tables of numbers, so draw each row as an image file, and pass on the paths."""

    def _draw(self, X):
        folder = Path(self.cache) / "drawn"
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for row in np.asarray(X, dtype=np.float64):
            path = folder / f"{hashlib.sha256(row.tobytes()).hexdigest()}.png"
            if not path.exists():
                Image.fromarray(np.frombuffer(bytes.fromhex(path.stem), np.uint8).reshape(4, 8)).save(path)
            paths.append(str(path))
        return paths

    def fit(self, X, y=None):
        return super().fit(self._draw(validate_data(self, X)), y)

    def transform(self, X):
        check_is_fitted(self)
        return super().transform(self._draw(validate_data(self, X, reset=False)))

    def fit_transform(self, X, y=None):
        return super().fit_transform(self._draw(validate_data(self, X)), y)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.one_d_array, tags.input_tags.two_d_array = False, False, True
        return tags


@parametrize_with_checks(
    [
        FrozenBackbone("pixels", pooling="flatten", size=8),  # as it is: sklearn itself leaves out most
        DrawsNumbers("pixels", pooling="flatten", size=8),
    ]
)
def test_sklearn_checks(estimator, check, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check(estimator)


@pytest.fixture
def paths(tmp_path):
    return [str(path) for path in write_images(tmp_path / "d", 12)]


@pytest.fixture
def backbone(tmp_path):
    return FrozenBackbone("mobilenet", weights="random", size=32, cache=str(tmp_path / "cache"), batch_size=4)


def test_equals_what_load_gives(paths, backbone, tmp_path):
    rows = backbone.fit_transform(paths)
    featcache.extract(tmp_path / "d", "mobilenet", weights="random", size=32, cache=tmp_path / "cache", batch_size=4)
    f = featcache.load(backbone.feature_set_, pooling="avg", data=tmp_path / "d", cache=tmp_path / "cache")
    order = [f.paths.index(path) for path in paths]
    np.testing.assert_array_equal(rows, f.X[order])
    assert rows.shape == (12, 1024) == (12, backbone.n_features_out_)


@pytest.mark.parametrize(
    "shape", [list, np.array, pd.Series, lambda p: np.array(p)[:, None], lambda p: pd.DataFrame({"path": p})]
)
def test_paths_come_in_many_shapes(paths, backbone, shape):
    np.testing.assert_array_equal(backbone.fit(shape(paths)).transform(shape(paths)), backbone.transform(paths))


def test_relative_paths_mean_the_current_folder(paths, backbone, tmp_path, monkeypatch):
    rows = backbone.fit_transform(paths)
    monkeypatch.chdir(tmp_path)
    mixed = [os.path.relpath(path, tmp_path) if i % 2 else path for i, path in enumerate(paths)]
    np.testing.assert_array_equal(backbone.transform(mixed), rows)


def test_order_and_repeats(paths, backbone):
    rows = backbone.fit_transform(paths)
    np.testing.assert_array_equal(backbone.transform([paths[3], paths[0], paths[3]]), rows[[3, 0, 3]])


def test_clone_pickle_names_and_frames(paths, backbone):
    with pytest.raises(NotFittedError):
        clone(backbone).transform(paths)
    fitted = pickle.loads(pickle.dumps(backbone.fit(paths)))
    np.testing.assert_array_equal(fitted.transform(paths), backbone.transform(paths))
    assert list(fitted.get_feature_names_out()[:2]) == ["mobilenet_0", "mobilenet_1"]
    frame = clone(backbone).set_output(transform="pandas").fit_transform(paths)
    assert list(frame.columns[:2]) == ["mobilenet_0", "mobilenet_1"]
    assert clone(backbone).get_params() == backbone.get_params()


def test_in_a_pipeline_under_grid_search(paths, backbone):
    y = [i % 2 for i in range(12)]
    model = make_pipeline(
        FrozenBackbone("pixels", pooling="flatten", size=8, cache=backbone.cache), LogisticRegression()
    )
    grid = {"logisticregression__C": [0.1, 1.0], "frozenbackbone__pooling": ["flatten", "avg"]}
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(paths, y)
    assert search.best_score_ <= 1
    assert search.predict(paths[:2]).shape == (2,)


def test_a_bad_image_is_never_dropped(paths, backbone, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(DataError, match="1 of 13") as caught:
        backbone.fit([*paths, str(tmp_path / "bad.png")])
    assert caught.value.bad[0].path.endswith("bad.png")
    with pytest.raises(DataError, match="1 of 1"):
        backbone.fit(paths).transform([str(tmp_path / "nowhere.png")])


def test_what_is_no_path(backbone):
    with pytest.raises(TypeError, match="expected image paths"):
        backbone.fit([1.5, 2.5])
    with pytest.raises(ValueError, match="shape"):
        backbone.fit(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="no image paths"):
        backbone.fit([])
