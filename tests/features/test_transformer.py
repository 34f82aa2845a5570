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
from featcache.errors import DataError, UsageError


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


def averages(images):
    return images.reshape(len(images), 4, 8, 4, 8, 3).mean((2, 4))


def test_a_function_in_a_pipeline_under_grid_search(paths, tmp_path):
    given = {"identity": "averages 1", "size": 32, "resize": "squash", "cache": str(tmp_path / "cache")}
    backbone = FrozenBackbone(averages, pooling="flatten", **given)
    assert backbone.fit(paths).get_feature_names_out()[0] == "averages_1_0"
    assert clone(backbone).fit_transform(paths).shape == (12, 48)
    model = make_pipeline(backbone, LogisticRegression())
    search = GridSearchCV(model, {"frozenbackbone__pooling": ["flatten", "avg", "max"]}, cv=3, error_score="raise")
    assert search.fit(paths, [i % 2 for i in range(12)]).predict(paths[:2]).shape == (2,)
    with pytest.raises(UsageError, match="averages_1 gives no class token"):
        FrozenBackbone(averages, pooling="cls", **given).fit(paths)
    with pytest.raises(UsageError, match="identity"):
        FrozenBackbone(averages).fit(paths)


def write_onnx(path, weights):
    """A network of one convolution of 8 x 8 pixels, whose 16 squares are given as tokens after their mean."""
    onnx = pytest.importorskip("onnx")
    make, numbers = onnx.helper, onnx.numpy_helper.from_array
    nodes = [
        make.make_node("Conv", ["images", "weights"], ["map"], strides=[8, 8]),
        make.make_node("Reshape", ["map", "flat"], ["rows"]),
        make.make_node("Transpose", ["rows"], ["patches"], perm=[0, 2, 1]),
        make.make_node("ReduceMean", ["patches"], ["mean"], axes=[1], keepdims=1),
        make.make_node("Concat", ["mean", "patches"], ["tokens"], axis=1),
    ]
    constants = [numbers(weights, "weights"), numbers(np.array([1, len(weights), 16]), "flat")]
    ports = [
        make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("images", [1, 3, 32, 32]), ("tokens", [1, 17, len(weights)]))
    ]
    graph = make.make_graph(nodes, "net", ports[:1], ports[1:], constants)
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), path)


def test_a_network_in_a_file(paths, tmp_path):
    weights = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)
    write_onnx(tmp_path / "my net.onnx", weights)
    given = {"mean": 0.5, "std": (0.5, 0.25, 0.5), "resize": "squash", "cache": str(tmp_path / "cache")}
    given = {"backbone": tmp_path / "my net.onnx", "order": "bgr", **given}
    backbone = FrozenBackbone(pooling="avg", **given)
    rows = backbone.fit_transform(paths)
    x = np.stack([np.asarray(Image.open(path).convert("RGB"), np.float32) for path in paths]) / 255
    x = ((x - 0.5) / np.array([0.5, 0.25, 0.5], np.float32))[..., ::-1].reshape(12, 4, 8, 4, 8, 3)
    wanted = np.einsum("nyixjc,kcij->nyxk", x, weights)
    np.testing.assert_allclose(rows, wanted.mean((1, 2)), atol=1e-4)
    np.testing.assert_allclose(FrozenBackbone(pooling="cls", **given).fit_transform(paths), rows, atol=1e-4)
    flat = FrozenBackbone(pooling="flatten", **given).fit(paths)
    np.testing.assert_allclose(flat.transform(paths), wanted.reshape(12, -1), atol=1e-3)
    assert list(flat.get_feature_names_out()[:2]) == ["my_net_0", "my_net_1"]
    fitted = pickle.loads(pickle.dumps(backbone))
    np.testing.assert_array_equal(fitted.transform(paths), rows)


def test_a_keras_model(paths, tmp_path):
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(6, 8, strides=8), keras.layers.GlobalAveragePooling2D()]
    model = keras.Sequential([keras.Input((32, 32, 3)), *layers], name="mine")
    backbone = FrozenBackbone(model, mean=0, std=1, resize="squash", cache=str(tmp_path / "cache"), pooling="flatten")
    rows = backbone.fit_transform(paths)
    x = np.stack([np.asarray(Image.open(path).convert("RGB"), np.float32) for path in paths]) / 255
    np.testing.assert_allclose(rows, model.predict(x, verbose=0), atol=1e-5)
    copied = clone(backbone).fit(paths)
    assert copied.feature_set_ == backbone.feature_set_
    assert copied.get_feature_names_out()[0] == "mine_0"
