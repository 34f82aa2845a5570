"""Class-activation maps equal TensorFlow's own gradients, peak where the evidence was planted, and are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from featcache.accelerator import load_tensorflow
from featcache.errors import UsageError
from featcache.pooling import pool
from heads import DenseHeadClassifier, OwnCNNClassifier, own_cnn
from heads.architectures import ACTIVATIONS, HeadShape
from heads.class_activation import contributions

SIDE, CHANNELS = 3, 24


def random_head(n_features: int, n_classes: int, units: tuple[int, ...] = (16,), **params) -> DenseHeadClassifier:
    """A head of random weights, biases and batch statistics; what it was trained for does not matter to a gradient."""
    rng = np.random.default_rng(5)
    head = DenseHeadClassifier(units, **params)
    head.classes_, head.n_features_in_ = np.arange(n_classes), n_features
    shapes = HeadShape(n_features, n_classes, units, head.activation, head.batch_norm).weight_shapes
    head.weights_ = [rng.normal(0, (shape[0] if len(shape) == 2 else 4) ** -0.5, shape) for shape in shapes]
    head.weights_ = [weight.astype(np.float32) for weight in head.weights_]
    if head.batch_norm:
        for layer in range(len(units)):  # variances
            head.weights_[6 * layer + 5] = rng.uniform(0.5, 2, units[layer]).astype(np.float32)
    return head


def random_maps(count: int = 6) -> np.ndarray:
    maps = np.random.default_rng(1).normal(size=(count, SIDE, SIDE, CHANNELS))
    return np.maximum(maps, 0).astype(np.float32)


def width(pooling: str) -> int:
    return SIDE * SIDE * CHANNELS if pooling == "flatten" else CHANNELS


def keras_logits(head) -> object:
    """The head as Keras has it, without the last activation."""
    _, keras = load_tensorflow()
    model = head.to_keras()
    model.layers[-1].activation = keras.activations.linear
    return keras.Model(model.inputs, model.layers[-1](model.layers[-2].output))


def keras_pooling(pooling: str) -> object:
    _, keras = load_tensorflow()
    kinds = {"flatten": "Flatten", "avg": "GlobalAveragePooling2D", "max": "GlobalMaxPooling2D"}
    return getattr(keras.layers, kinds[pooling])()


def tensorflow_map(behind, maps: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Gradient of the target's logit with respect to the map, times the map, by TensorFlow."""
    tf, _ = load_tensorflow()
    at = tf.convert_to_tensor(maps)
    with tf.GradientTape() as tape:
        tape.watch(at)
        logits = behind(at, training=False)
        if logits.shape[1] == 1:
            logits = tf.concat([-logits, logits], axis=1)
        chosen = tf.reduce_sum(tf.gather(logits, target, batch_dims=1))
    return tf.reduce_sum(tape.gradient(chosen, at) * at, axis=-1).numpy()


def assert_same(found: np.ndarray, wanted: np.ndarray) -> None:
    assert np.ptp(wanted) > 0
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


# -- against TensorFlow ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def backbone():
    """VGG16 with random weights on small images, and images."""
    _, keras = load_tensorflow()
    keras.utils.set_random_seed(0)
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(96, 96, 3))
    return model, np.random.default_rng(2).uniform(-120, 150, (5, 96, 96, 3)).astype(np.float32)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("pooling", ["flatten", "avg", "max"])
def test_it_is_the_gradient_through_the_full_network(backbone, pooling, n_classes):
    """One graph from pixels to logit, as Keras runs it; ours starts from the map."""
    tf, keras = load_tensorflow()
    model, images = backbone
    maps = model(images, training=False).numpy()
    head = random_head(pool(maps, pooling).shape[1], n_classes, (16, 8))
    logits = keras_logits(head)(keras_pooling(pooling)(model.output))
    network = keras.Model(model.input, [model.output, logits])
    with tf.GradientTape() as tape:
        at, out = network(images, training=False)
        out = tf.concat([-out, out], axis=1) if n_classes == 2 else out
        predicted = tf.argmax(out, axis=1)
        chosen = tf.reduce_sum(tf.gather(out, predicted, batch_dims=1))
    wanted = tf.reduce_sum(tape.gradient(chosen, at) * at, axis=-1).numpy()
    assert_same(contributions(head, maps, pooling), wanted)


@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch_norm"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation, batch_norm):
    maps, target = random_maps(), np.array([0, 1, 2, 2, 1, 0])
    _, keras = load_tensorflow()
    head = random_head(width("flatten"), 3, (32, 24, 16), activation=activation, batch_norm=batch_norm)
    wanted = tensorflow_map(keras.Sequential([keras_pooling("flatten"), keras_logits(head)]), maps, target)
    assert_same(contributions(head, maps, "flatten", target), wanted)


def test_cells_that_share_a_maximum_share_its_gradient():
    maps = np.round(random_maps() * 2)  # many ties
    _, keras = load_tensorflow()
    head = random_head(CHANNELS, 2)
    behind = keras.Sequential([keras_pooling("max"), keras_logits(head)])
    assert_same(contributions(head, maps, "max", 1), tensorflow_map(behind, maps, np.ones(6, int)))


def test_the_own_cnn():
    """Its map is what its dense layers see: 4 x 4 cells of 64 channels from 24 pixels."""
    _, keras = load_tensorflow()
    keras.utils.set_random_seed(3)
    network = OwnCNNClassifier(8, activation="sigmoid")
    network.classes_, network.image_shape_ = np.arange(3), (24, 24, 3)
    network.weights_ = own_cnn(3, 24, 8, activation="sigmoid").get_weights()
    images = np.random.default_rng(0).integers(0, 256, (40, 24, 24, 3), dtype=np.uint8)
    model = network.to_keras()
    model.layers[-1].activation = keras.activations.linear
    cut = next(i for i, layer in enumerate(model.layers) if isinstance(layer, keras.layers.Flatten))
    maps = keras.Sequential(model.layers[:cut])(images).numpy()
    target = network.predict(images)
    wanted = tensorflow_map(keras.Sequential(model.layers[cut:]), maps, target)
    found = contributions(network, images, "map")
    assert found.shape == (40, 4, 4)
    assert_same(found, wanted)
    with pytest.raises(UsageError, match="expected map"):
        contributions(network, images, "flatten")


# -- linear models ---------------------------------------------------------------------------------

LINEAR = [
    LogisticRegression(max_iter=1000),
    make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    make_pipeline(StandardScaler(with_std=False), PCA(8, whiten=True), LogisticRegression(max_iter=1000)),
    make_pipeline(Normalizer(), PCA(10), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")),
    make_pipeline(Normalizer("l1"), StandardScaler(), LogisticRegression(max_iter=1000)),
]


@pytest.mark.parametrize("model", LINEAR, ids=lambda model: "-".join(getattr(model, "named_steps", ["alone"])))
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("pooling", ["flatten", "avg", "max"])
def test_of_a_linear_model_the_map_adds_up_to_the_decision_function(model, n_classes, pooling):
    """But for a constant, the same for all rows."""
    y = np.arange(40) % n_classes
    maps = random_maps(40)
    maps[..., :4] += y[:, None, None, None]
    rows = pool(maps, pooling)
    model.fit(rows, np.array(["covid", "normal", "other", "viral"])[y])
    decision = model.decision_function(rows)
    decision = np.stack([-decision, decision], axis=1) if n_classes == 2 else decision
    for target in range(n_classes):
        rest = decision[:, target] - contributions(model, maps, pooling, target).sum(axis=(1, 2))
        assert np.ptp(decision[:, target]) > 0.1
        np.testing.assert_allclose(rest, rest[0], atol=1e-4 * np.abs(decision).max())
    predicted = np.searchsorted(model.classes_, model.predict(rows))
    np.testing.assert_array_equal(contributions(model, maps, pooling), contributions(model, maps, pooling, predicted))


def test_calls_that_cannot_work():
    maps, y = random_maps(8), np.arange(8) % 2
    forest = make_pipeline(StandardScaler(), RandomForestClassifier(3)).fit(pool(maps, "avg"), y)
    with pytest.raises(
        UsageError, match="RandomForestClassifier has no class-activation map; there is one of the dense"
    ):
        contributions(forest, maps, "avg")
    head = random_head(CHANNELS, 2)
    for call, message in (
        (lambda: contributions(head, maps, "flatten"), "rows of 216 by flatten; this model was fitted on rows of 24"),
        (lambda: contributions(head, maps, "map"), "expected flatten or avg or max"),
        (lambda: contributions(head, maps[0], "avg"), "expected .n, height, width, channels"),
        (lambda: contributions(head, maps, "avg", 2), "expected positions in 2 classes"),
        (lambda: contributions(head, maps, "avg", y[:3]), "expected 8 positions"),
        (lambda: contributions(head, maps, "avg", y / 2), "expected 8 positions"),
    ):
        with pytest.raises(UsageError, match=message):
            call()
    assert contributions(head, maps[:0], "avg").shape == (0, SIDE, SIDE)


def test_blocks_change_nothing(monkeypatch):
    maps, head = random_maps(11), random_head(width("flatten"), 3)
    whole = contributions(head, maps, "flatten")
    monkeypatch.setattr("heads.class_activation._BLOCK_BYTES", 3 * maps[0].nbytes)
    np.testing.assert_allclose(contributions(head, maps, "flatten"), whole, rtol=1e-5, atol=1e-6)
