"""Keras models, as objects and in ``.keras`` files, against Keras itself on the same pixels."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import write_images
from PIL import Image

import featcache
from featcache.data.decoding import decode
from featcache.errors import UsageError, WeightsError

keras = pytest.importorskip("keras")

UNIT = {"mean": 0, "std": 1, "resize": "squash"}  # pixels of 0 to 1
SIZE = 32


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, 6, size=SIZE)
    return folder


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def convolutional(activation="relu", seed=0, size=SIZE, names=True):
    """A nested functional model with weights of a seed, that gives maps of 13 x 13 x 5 of 32 pixels."""
    keras.utils.set_random_seed(seed)

    def called(name):
        return {"name": name} if names else {}

    inner = keras.Sequential([keras.Input((None, None, 4)), keras.layers.Conv2D(5, 3)], **called("inner"))
    images = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, activation=activation, **called("first"))(images)
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization(**called("normed"))(x))
    return keras.Model(images, inner(x * keras.ops.mean(x, axis=-1, keepdims=True)))


def pixels(paths, size=SIZE):
    return np.stack([decode(open(path, "rb").read(), size) for path in paths]).astype(np.float32) / 255


def features(result, cache, images, pooling="map"):
    return featcache.load(result.feature_set, pooling=pooling, data=images, cache=cache)


def close(given, wanted, tolerance=1e-5):
    assert given.shape == wanted.shape
    assert np.abs(given - wanted).max() <= tolerance * np.abs(wanted).max()


def test_an_object_gives_what_its_own_predict_gives(images, cache):
    model = convolutional()
    result = featcache.extract(images, model, cache=cache, **UNIT)
    given = features(result, cache, images)
    close(given.X, model.predict(pixels(given.paths), verbose=0))
    assert result.feature_set.startswith("net-")
    assert given.spec.scaling.mean == (0.0,)


def test_a_file_is_the_object_that_was_saved(images, cache, tmp_path):
    model = convolutional()
    model.compile("adam", "mse")
    model.save(tmp_path / "mine.keras")
    by_object = featcache.extract(images, model, cache=cache, **UNIT)
    by_file = featcache.extract(images, tmp_path / "mine.keras", cache=cache, **UNIT)
    assert by_file.feature_set == by_object.feature_set
    assert by_file.reused == by_object.computed == 6
    (tmp_path / "mine.keras").unlink()
    assert features(by_file, cache, images).X.shape == (6, 13, 13, 5)


def spec_of(model, images, cache, **asked):
    return features(featcache.extract(images, model, cache=cache, **UNIT, **asked), cache, images).spec


def test_names_count_for_nothing_and_what_is_computed_for_all(images, cache):
    wanted = spec_of(convolutional(), images, cache)
    assert spec_of(convolutional(), images, cache) == wanted
    assert spec_of(convolutional(names=False), images, cache).hex == wanted.hex
    other_activation, other_weights = convolutional("tanh"), convolutional()
    other_weights.get_layer("normed").moving_mean.assign([0, 0, 0, 1e-3])
    digests = {spec_of(model, images, cache).weights_digest for model in (other_activation, other_weights)}
    assert len(digests | {wanted.weights_digest}) == 3


def test_the_optimizer_and_the_seeds_of_dropout_decide_nothing(images, cache):
    model = convolutional()
    wanted = spec_of(model, images, cache)
    again = convolutional(seed=0)
    again.compile("sgd", "mse", metrics=["mae"])
    again.layers[3].seed_generator.state.assign([7, 8])
    assert "dropout" in again.layers[3].name
    assert spec_of(again, images, cache) == wanted


def test_a_layer_by_name(images, cache):
    model = convolutional()
    result = featcache.extract(images, model, layer="normed", cache=cache, **UNIT)
    given = features(result, cache, images)
    part = keras.Model(model.inputs, model.get_layer("normed").output)
    close(given.X, part.predict(pixels(given.paths), verbose=0))
    with pytest.raises(UsageError, match=r"no layer 'norm'; did you mean normed"):
        featcache.extract(images, model, layer="norm", cache=cache, **UNIT)


def test_two_layers_of_one_name_in_equal_models_are_told_apart(images, cache):
    def twice(first, second):
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Conv2D(3, 3, name=name, padding="same") for name in (first, second)]
        return keras.Sequential([keras.Input((SIZE, SIZE, 3)), *layers])

    one, other = twice("a", "b"), twice("b", "a")
    assert spec_of(one, images, cache) == spec_of(other, images, cache)
    given = [
        features(featcache.extract(images, m, layer="a", cache=cache, **UNIT), cache, images) for m in (one, other)
    ]
    assert given[0].spec.backbone == given[1].spec.backbone
    assert given[0].feature_set != given[1].feature_set
    close(given[1].X, other.predict(pixels(given[1].paths), verbose=0))


def test_size_is_the_models_own_or_asked(images, cache):
    free = convolutional(size=None)
    with pytest.raises(UsageError, match="give --size"):
        featcache.extract(images, free, cache=cache, **UNIT)
    result = featcache.extract(images, free, size=24, cache=cache, **UNIT)
    given = features(result, cache, images)
    close(given.X, free.predict(pixels(given.paths, 24), verbose=0))
    assert spec_of(free, images, cache, size=16).backbone == given.spec.backbone
    with pytest.raises(UsageError, match="takes images of 32 x 32"):
        featcache.extract(images, convolutional(), size=24, cache=cache, **UNIT)


def test_a_model_of_a_class_of_its_own(images, cache):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv = keras.layers.Conv2D(6, 4, strides=4)

        def call(self, inputs):
            tokens = keras.ops.reshape(self.conv(inputs), (-1, 64, 6))
            return keras.ops.concatenate([keras.ops.mean(tokens, axis=1, keepdims=True), tokens], axis=1)

    model = Own()
    with pytest.raises(UsageError, match="no weights yet; call it"):
        featcache.extract(images, model, size=SIZE, cache=cache, **UNIT)
    wanted = np.asarray(model(np.zeros((1, SIZE, SIZE, 3), np.float32)))
    assert wanted.shape == (1, 65, 6)
    result = featcache.extract(images, model, cache=cache, **UNIT)
    given = features(result, cache, images)
    tokens = model.predict(pixels(given.paths), verbose=0)
    close(given.X, tokens[:, 1:].reshape(6, 8, 8, 6))
    close(features(result, cache, images, "cls").X, tokens[:, 0])
    with pytest.raises(UsageError, match="cannot be cut at 'conv'"):
        featcache.extract(images, model, layer="conv", cache=cache, **UNIT)


def test_constants_from_outside_stand_in_the_network(images, cache):
    """Keras' Normalization keeps its numbers as tensors, which no list of weights holds."""

    def model(shift):
        wide = keras.layers.Normalization(
            axis=(1, 2, 3),
            mean=shift + np.arange(SIZE * SIZE * 3.0).reshape(SIZE, SIZE, 3),
            variance=np.full((SIZE, SIZE, 3), 4.0),
        )
        return keras.Sequential([keras.Input((SIZE, SIZE, 3)), wide, keras.layers.AveragePooling2D(4)])

    given = features(featcache.extract(images, model(0.0), cache=cache, **UNIT), cache, images)
    close(given.X, model(0.0).predict(pixels(given.paths), verbose=0))
    assert spec_of(model(1.0), images, cache).weights_digest != given.spec.weights_digest


def test_several_outputs_are_refused_with_the_layers_that_make_them(images, cache):
    inputs = keras.Input((SIZE, SIZE, 3), name="images")
    low = keras.layers.Conv2D(3, 3, name="low")(inputs)
    model = keras.Model({"images": inputs}, {"low": low, "high": keras.layers.Conv2D(3, 3, name="high")(low)})
    with pytest.raises(UsageError, match=r"gives 2 outputs.*high, low"):
        featcache.extract(images, model, cache=cache, **UNIT)
    assert featcache.extract(images, model, layer="low", cache=cache, **UNIT).shape == [30, 30, 3]


def test_what_is_no_network_of_images_is_refused(images, cache):
    two = [keras.Input((SIZE, SIZE, 3), name=name) for name in ("left", "right")]
    with pytest.raises(WeightsError, match="inputs left, right; expected one"):
        featcache.extract(images, keras.Model(two, two[0] + two[1]), cache=cache, **UNIT)
    for shape, said in (((8,), "four axes"), ((3, SIZE, SIZE), "last axis"), ((SIZE, 16, 3), "squares")):
        inputs = keras.Input(shape)
        with pytest.raises(WeightsError, match=said):
            featcache.extract(images, keras.Model(inputs, inputs * 2), cache=cache, **UNIT)


def test_preprocessing_is_never_guessed(images, cache):
    with pytest.raises(UsageError, match="Give --mean and --std and --resize"):
        featcache.extract(images, convolutional(), cache=cache)
    for odd in ({"identity": "x"}, {"weights": "random"}):
        with pytest.raises(UsageError, match=r"identity names|weights 'random' go with no object"):
            featcache.extract(images, convolutional(), cache=cache, **UNIT, **odd)


def test_a_single_channel_takes_the_luminance(images, cache):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((SIZE, SIZE, 1)), keras.layers.Conv2D(4, 5, strides=5)])
    given = features(featcache.extract(images, model, cache=cache, **UNIT), cache, images)
    grey = pixels(given.paths)[..., :1]  # of grey pictures
    close(given.X, model.predict(grey, verbose=0))


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
def test_keras_hub_backbones(images, cache, tmp_path, kind):
    hub = pytest.importorskip("keras_hub")
    model = transformer(hub, kind, 28)
    result = featcache.extract(images, model, cache=cache, **UNIT)
    given = features(result, cache, images)
    tokens = predicted(model, pixels(given.paths, 28))
    prefix = tokens.shape[1] - 4
    assert prefix == {"vit": 1, "dinov2": 1}[kind]
    close(given.X, tokens[:, prefix:].reshape(6, 2, 2, 16))
    close(features(result, cache, images, "cls").X, tokens[:, 0])
    model.save(tmp_path / "hub.keras")
    assert featcache.extract(images, tmp_path / "hub.keras", cache=cache, **UNIT).feature_set == result.feature_set


def predicted(model, numbers):
    return model.predict({"images": numbers} if isinstance(model.input, dict) else numbers, verbose=0)


def transformer(hub, kind, size):
    """A small transformer with drawn weights and patches of 14 pixels."""
    keras.utils.set_random_seed(3)
    if kind == "vit":
        return hub.models.ViTBackbone(
            image_shape=(size, size, 3), patch_size=14, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
        )
    return hub.models.DINOV2Backbone(
        patch_size=14,
        num_layers=2,
        hidden_dim=16,
        num_heads=2,
        intermediate_dim=32,
        image_shape=(size, size, 3),
        position_embedding_shape=(28, 28, 3),
        num_register_tokens=0,
        use_mask_token=False,
    )


@pytest.mark.real
@pytest.mark.parametrize("kind", ["vit", "dinov2"])
def test_keras_hub_from_files_of_radiographs_to_features(reference, cache, tmp_path, kind):
    """The whole path, against Pillow and Keras: picture, square, numbers, network."""
    hub = pytest.importorskip("keras_hub")
    files = [file for file in sorted((reference / "data" / "xray4").rglob("*")) if file.is_file()][::9][:10]
    assert len(files) == 10
    for number, file in enumerate(files):
        place = tmp_path / "radiographs" / "ab"[number % 2] / f"{number}{file.suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    model = transformer(hub, kind, 112)
    result = featcache.extract(tmp_path / "radiographs", model, mean=0.5, std=0.5, resize="squash", cache=cache)
    given = features(result, cache, tmp_path / "radiographs")
    squares = [Image.open(path).convert("RGB").resize((112, 112), Image.Resampling.BILINEAR) for path in given.paths]
    numbers = np.stack([np.asarray(square, np.float32) for square in squares]) / 127.5 - 1
    tokens = predicted(model, numbers)
    close(given.X.reshape(10, 64, 16), tokens[:, 1:], 1e-3)
