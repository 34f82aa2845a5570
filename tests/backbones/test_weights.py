"""Where weights come from, and the digest that names them."""

from __future__ import annotations

import random

import h5py
import numpy as np
import pytest
from legacy_weights import save_legacy

from featcache.backbones import registry, weights
from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.errors import WeightsError

VGG16 = registry.get("vgg16")


def build(name: str = "mobilenet", source: str = "random:3", size: int = 64):
    return weights.build(registry.get(name), size, weights.parse(source))


def test_a_seed_gives_the_same_weights_and_leaves_the_callers_generators_alone():
    load_tensorflow()  # its import draws from Python's generator, once a process
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].copy()
    one, two, other = build(), build(), build(source="random:4")
    assert weights.digest(one) == weights.digest(two) != weights.digest(other)
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


def test_the_digest_sees_a_single_bit():
    model = build()
    before = weights.digest(model)
    values = model.weights[5].numpy()
    values.flat[0] = np.nextafter(values.flat[0], 1)
    model.weights[5].assign(values)
    assert weights.digest(model) != before


@pytest.mark.parametrize("name", ["vgg16", "mobilenet"])
@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".bin"])
def test_both_layouts_of_files_load_whatever_they_are_called(tmp_path, name, suffix):
    model = build(name)
    path = tmp_path / f"w{suffix}"
    if suffix == ".h5":
        save_legacy(model, path)
    else:
        model.save_weights(tmp_path / "w.weights.h5")
        (tmp_path / "w.weights.h5").rename(path)
    assert weights.digest(build(name, str(path))) == weights.digest(model)


def test_weights_of_another_backbone_are_refused(tmp_path):
    build("mobilenetv2").save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(WeightsError, match="does not fit mobilenet"):
        build("mobilenet", str(tmp_path / "w.weights.h5"))
    save_legacy(build("vgg19"), tmp_path / "w.h5")
    with pytest.raises(WeightsError, match="does not fit vgg16"):
        build("vgg16", str(tmp_path / "w.h5"))


def test_what_is_no_file_of_weights(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        weights.parse("imagnet")
    (tmp_path / "w.h5").write_text("hello")
    with pytest.raises(WeightsError, match="not an HDF5 file"):
        build("mobilenet", str(tmp_path / "w.h5"))
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(WeightsError, match="does not fit"):
        build("mobilenet", str(tmp_path / "empty.h5"))


def test_a_file_that_lacks_a_layer_is_not_filled_up_with_random_numbers(tmp_path):
    build("mobilenet").save_weights(tmp_path / "w.weights.h5")
    with h5py.File(tmp_path / "w.weights.h5", "r+") as file:
        del file["layers/conv2d_3"]
    with pytest.raises(WeightsError, match="does not fit mobilenet"):
        build("mobilenet", str(tmp_path / "w.weights.h5"))


def test_official_efficientnet_files_mean_what_they_mean_to_keras(tmp_path):
    """The published files want one more division by sqrt(deviation), which Keras adds for "imagenet" alone."""
    _, keras = load_tensorflow()
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    model = build("efficientnetb0")
    norm = next(layer for layer in model.layers if type(layer).__name__ == "Normalization")
    norm.set_weights([mean, deviation, *norm.get_weights()[2:]])
    norm.finalize_state()
    model.save_weights(tmp_path / "w.weights.h5")
    loaded = build("efficientnetb0", str(tmp_path / "w.weights.h5"))
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    norm = next(layer for layer in loaded.layers if type(layer).__name__ == "Normalization")
    seen = keras.Model(loaded.inputs, norm.output).predict(pixels, verbose=0)
    # What Keras feeds the stem: (x/255 - mean) / sqrt(deviation) / sqrt(deviation).
    np.testing.assert_allclose(seen, (pixels / 255 - mean) / deviation, rtol=1e-4, atol=1e-4)


def test_offline_is_exit_4_with_the_recipe(cli, images):
    done = cli("extract", "--data", images, "--backbone", "mobilenet", "--json")
    assert done.code == 4
    assert done.json["exit_code"] == 4
    for part in (
        "cannot be downloaded",
        "weights pack mobilenet ",
        "weights unpack ",
        "--weights FILE",
        "--weights random",
        "keras.applications.MobileNet(",
    ):
        assert part in done.err
    assert "Traceback" not in done.err
