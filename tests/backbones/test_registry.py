"""The table of backbones, walked row by row against Keras."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from featcache.backbones import inference_graph, openvino_runtime, registry, tensorflow_runtime, weights
from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.errors import UsageError
from featcache.spec import FeatureSpec

NETWORKS = [row for row in registry.TABLE.values() if row.name != "pixels"]
# One small member of each family; the others are built under the marker "slow".
QUICK = {
    "resnet50v2",
    "inceptionv3",
    "mobilenet",
    "mobilenetv2",
    "mobilenetv3small",
    "densenet121",
    "nasnetmobile",
    "efficientnetb0",
    "efficientnetv2b0",
    "convnexttiny",
}

SLOWER = sorted((QUICK - {"efficientnetb0"}) | {"resnet50", "vgg19", "inceptionresnetv2"})

# From the layer tables of the reference: output at 224 x 224, and parameters.
REFERENCE = {
    "vgg16": ((7, 7, 512), 14_714_688),
    "vgg19": ((7, 7, 512), 20_024_384),
    "resnet50": ((7, 7, 2048), 23_587_712),
    "xception": ((7, 7, 2048), 20_861_480),
    "inceptionresnetv2": ((5, 5, 1536), 54_336_736),
}

# SHA-256 of what each kind of preprocessing makes of one fixed image, rounded to 0.01. Worked out from the
# published formulas in float64 (test_golden_digests_follow_from_the_formulas), and never to be made anew.
GOLDEN = {
    "caffe": "7f696b5f",
    "tf": "75242266",
    "torch": "14f494b7",
    "builtin": "5d1f112b",
    "rescale": "a7b5bca0",
}

PIXELS = np.random.default_rng(20).integers(0, 256, (2, 16, 16, 3)).astype(np.float32)


def digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.round(np.asarray(values, np.float64), 2).astype("<f4").tobytes()).hexdigest()[:8]


def formula(mode: str) -> np.ndarray:
    x = PIXELS.astype(np.float64)
    if mode == "caffe":
        return x[..., ::-1] - [103.939, 116.779, 123.68]
    if mode == "tf":
        return x / 127.5 - 1
    if mode == "torch":
        return (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return x / 255 if mode == "rescale" else x


@pytest.mark.parametrize("row", NETWORKS, ids=lambda row: row.name)
def test_preprocessing_is_the_backbones_own(row):
    tf, keras = load_tensorflow()
    own = getattr(keras.applications, row.module).preprocess_input(PIXELS.copy())
    ours = inference_graph.preprocess(keras, tf.constant(PIXELS), row.preprocess).numpy()
    np.testing.assert_allclose(ours, own, rtol=1e-6, atol=1e-5)
    assert digest(ours) == GOLDEN[row.preprocess], "preprocessing changed or was swapped"


@pytest.mark.parametrize("mode", GOLDEN)
def test_golden_digests_follow_from_the_formulas(mode):
    assert digest(formula(mode)) == GOLDEN[mode]


def test_golden_digests_tell_all_kinds_apart():
    assert len(set(GOLDEN.values())) == len(GOLDEN)


def _build(row, size):
    model = weights.build(row, size, weights.WeightsSource("random"))
    assert model.outputs[0].shape[-1] == row.channels
    assert model.count_params() == row.parameters
    assert not model.trainable_weights
    return model


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, marks=[] if row.name in QUICK else pytest.mark.slow, id=row.name)
        for row in NETWORKS
        if row.name not in REFERENCE  # built below
    ],
)
def test_widths_of_the_table(row):
    _build(row, max(row.min_size, 96))


@pytest.mark.parametrize("name", REFERENCE)
def test_the_reports_shapes_and_parameters(name):
    shape, parameters = REFERENCE[name]
    model = _build(registry.get(name), 224)
    assert tuple(model.outputs[0].shape[1:]) == shape
    assert model.count_params() == parameters


def _spec(name: str, **changes) -> FeatureSpec:
    row = registry.get(name)
    values = {
        "backbone": name,
        "layer": "",
        "weights": "random0",
        "weights_digest": "0" * 64,
        "size": 96,
        "recipe": "decode-1",
        "preprocess": row.preprocess,
        "keep": "map",
        "dtype": "float32",
        "precision": "float32",
    }
    return FeatureSpec(**{**values, **changes})


IMAGES = np.random.default_rng(5).integers(0, 256, (5, 96, 96, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "name", ["vgg16", "xception", "efficientnetb0", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOWER)]
)
def test_features_equal_keras_own_prediction(name):
    """On both runtimes; the small ones of all other families, and the reference's networks, with the slow tests."""
    _, keras = load_tensorflow()
    row = registry.get(name)
    model = _build(row, 96)
    own = getattr(keras.applications, row.module).preprocess_input(IMAGES.astype(np.float32))
    wanted = model.predict(own, verbose=0)
    for computing in (
        tensorflow_runtime.TensorFlowRuntime(model, _spec(name)),
        openvino_runtime.OpenVINORuntime(openvino_runtime.convert(model, _spec(name)), _spec(name)),
    ):
        got = computing(IMAGES)
        np.testing.assert_allclose(got["map"], wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
        np.testing.assert_allclose(got["avg"], wanted.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_any_layer_half_precision_and_averages_alone():
    _, keras = load_tensorflow()
    model = _build(registry.get("vgg16"), 96)
    own = keras.applications.vgg16.preprocess_input(IMAGES.astype(np.float32))
    wanted = keras.Model(model.inputs, model.get_layer("block3_pool").output).predict(own, verbose=0)
    got = tensorflow_runtime.TensorFlowRuntime(model, _spec("vgg16", layer="block3_pool", dtype="float16"))(IMAGES)
    assert got["map"].dtype == np.float16
    np.testing.assert_allclose(got["map"], wanted, rtol=2e-3, atol=1e-3)
    alone = tensorflow_runtime.TensorFlowRuntime(model, _spec("vgg16", layer="block3_pool", keep="avg"))(IMAGES)
    assert set(alone) == {"avg"}
    np.testing.assert_allclose(alone["avg"], wanted.mean(axis=(1, 2)), rtol=1e-4)


def test_an_unknown_layer_suggests_one():
    model = _build(registry.get("vgg16"), 96)
    with pytest.raises(UsageError, match="did you mean block5_conv3"):
        tensorflow_runtime.TensorFlowRuntime(model, _spec("vgg16", layer="block5_conv"))


def test_mixed_precision_computes_in_half_and_gives_float32():
    row = registry.get("mobilenet")
    half = weights.build(row, 96, weights.WeightsSource("random"), "bfloat16")
    assert half.layers[2].compute_dtype == "bfloat16"
    got = tensorflow_runtime.TensorFlowRuntime(half, _spec("mobilenet", precision="bfloat16"))(IMAGES)["map"]
    full = tensorflow_runtime.TensorFlowRuntime(_build(row, 96), _spec("mobilenet"))(IMAGES)["map"]
    assert got.dtype == np.float32
    assert np.abs(got - full).max() < 0.1 * np.abs(full).max()
    _, keras = load_tensorflow()
    assert keras.config.dtype_policy().name == "float32"


def test_names_are_forgiving_and_misspellings_suggested():
    assert registry.get("ResNet-50").name == "resnet50"
    assert registry.get("Inception_ResNet_V2").name == "inceptionresnetv2"
    with pytest.raises(UsageError, match="did you mean xception"):
        registry.get("xeption")


def test_too_small_an_input():
    with pytest.raises(UsageError, match="at least 71"):
        weights.build(registry.get("xception"), 64, weights.WeightsSource("random"))
