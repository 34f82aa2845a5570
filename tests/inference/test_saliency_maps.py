"""Class-activation maps equal TensorFlow's own gradients, peak where the evidence was planted, and are drawn."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import networks
import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image
from scipy.stats import binomtest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

import featcache
from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.errors import DataError, UsageError
from featcache.features.pooling import pool
from heads import DenseHeadClassifier, OwnCNNClassifier, own_cnn
from heads.bundles.saving import save_bundle
from heads.experiments.baselines import baselines
from heads.experiments.head_fit import fit_head
from heads.inference import saliency_plots
from heads.inference.class_activation import contributions
from heads.inference.overlays import border_share, overlay
from heads.inference.prediction import predict
from heads.inference.saliency_maps import saliency
from heads.training.architectures import ACTIVATIONS, HeadShape

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
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(64, 64, 3))
    return model, np.random.default_rng(2).uniform(-120, 150, (3, 64, 64, 3)).astype(np.float32)


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
    monkeypatch.setattr("heads.inference.class_activation._BLOCK_BYTES", 3 * maps[0].nbytes)
    np.testing.assert_allclose(contributions(head, maps, "flatten"), whole, rtol=1e-5, atol=1e-6)


# -- planted evidence ------------------------------------------------------------------------------

PIXELS = 48


@dataclass(frozen=True)
class Planted:
    """Noise images, a bright blob in those of one class, and where it stands: (row, column) as shares of the side."""

    folder: Path
    data: Path
    cache: Path
    centres: Mapping[str, np.ndarray]


def write_blobs(folder: Path, count: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:PIXELS, :PIXELS] / PIXELS
    centres = {}
    for number in range(count):
        label, name = ("covid", "normal")[number % 2], f"{folder.name}-{number:03d}"
        pixels = rng.normal(90, 25, (PIXELS, PIXELS))
        if label == "covid":
            down, across = centres[name] = rng.choice([0.25, 0.75], 2) + rng.uniform(-0.03, 0.03, 2)
            pixels += 150 * np.exp(-((rows - down) ** 2 + (columns - across) ** 2) / (2 * 0.07**2))
        path = folder / label / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return centres


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    """The blob is at one of four places; features are VGG16's third block with random weights, 6 x 6 cells."""
    folder = tmp_path_factory.mktemp("planted")
    write_blobs(folder / "data" / "train", 80, 0)
    centres = write_blobs(folder / "data" / "test", 40, 1)
    data, cache = folder / "data", folder / "cache"
    featcache.extract(data, "vgg16", weights="random", size=PIXELS, layer="block3_pool", cache=cache)
    return Planted(folder, data, cache, centres)


@pytest.fixture(scope="module")
def bundle(planted):
    fitted = fit_head(
        "binary",
        pooling="flatten",
        cache=planted.cache,
        out=planted.folder / "flatten",
        epochs=120,
        units=32,
        learning_rate=0.0001,  # at ten times that, few seeds learn anything
    )
    assert fitted.result["test"]["accuracy"] > 0.85
    return fitted.result["bundle"]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "saliency.csv").open() as file:
        return list(csv.DictReader(file))


def assert_peaks_at_the_blobs(rows: list[dict[str, str]], centres: Mapping[str, np.ndarray], side: int) -> None:
    """The strongest cell is the blob's or next to it, in most images, and more often than by chance."""
    near, chance = [], []
    cells = np.stack(np.mgrid[:side, :side], axis=-1)
    for row in rows:
        if row["label"] == "covid":
            blob = np.floor(centres[Path(row["path"]).stem] * side)
            peak = np.array([int(row["peak_row"]), int(row["peak_column"])])
            near.append(np.abs(peak - blob).max() <= 1)
            chance.append((np.abs(cells - blob).max(axis=-1) <= 1).mean())
    assert len(near) == 20
    assert np.mean(near) >= 0.7
    assert binomtest(int(np.sum(near)), len(near), float(np.mean(chance)), "greater").pvalue < 1e-3


def test_flattened_the_map_peaks_where_the_class_was_planted(planted, bundle, tmp_path):
    result = saliency(bundle, split="test", cache=planted.cache, out=tmp_path / "s", limit=0)
    assert (result["map"], result["images"], result["drawn"]) == ([6, 6], 40, 0)
    assert_peaks_at_the_blobs(rows_of(tmp_path / "s"), planted.centres, 6)


def test_averaged_the_map_peaks_where_the_class_was_planted(planted, tmp_path):
    fitted = fit_head(
        "binary", pooling="avg", cache=planted.cache, out=tmp_path / "r", epochs=300, units=32, learning_rate=0.001
    )
    assert fitted.result["test"]["accuracy"] > 0.85
    saliency(fitted.result["bundle"], split="test", cache=planted.cache, out=tmp_path / "s", limit=0)
    assert_peaks_at_the_blobs(rows_of(tmp_path / "s"), planted.centres, 6)


@pytest.mark.parametrize("prefix", [0, 1])
def test_a_network_that_is_not_of_the_table(planted, tmp_path, prefix):
    """Its cells' contributions are what finite differences of the logit say: of a map, and of patches' tokens."""
    made = networks.convolution(side=PIXELS) if not prefix else networks.tokens(side=PIXELS)
    if prefix:
        made.graph.initializer[2].CopyFrom(networks.numbers("shape", [0, 8, (PIXELS // 4) ** 2]))
    path = networks.write(tmp_path, made)
    name = featcache.extract(planted.data, path, cache=tmp_path / "cache", **networks.SCALED).feature_set
    f = featcache.load(name, task="binary", pooling="flatten", cache=tmp_path / "cache")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3)).fit(f.X, f.y)
    kept = save_bundle(tmp_path / "b", model, f, np.arange(len(f)), task="binary", scores={}, cache=tmp_path / "cache")
    saliency(kept, split="test", cache=tmp_path / "cache", out=tmp_path / "s", limit=0)
    rows = {row["path"]: row for row in rows_of(tmp_path / "s") if row["peak_logit"]}
    cells = PIXELS // 4
    test = f.split("test")
    maps = test.X.astype(np.float64).reshape(len(test), cells, cells, -1)
    checked = 0
    for file, one in zip(test.paths, maps, strict=True):
        if file not in rows:
            continue
        row, step = rows[file], 1e-3
        at = int(row["peak_row"]), int(row["peak_column"])
        more, less = one.copy(), one.copy()
        more[at] *= 1 + step
        less[at] *= 1 - step
        moved = model.decision_function([more.ravel(), less.ravel()])
        sign = 1 if row["predicted"] == f.classes[1] else -1
        assert float(row["peak_logit"]) == pytest.approx(sign * (moved[0] - moved[1]) / (2 * step), rel=1e-3)
        checked += 1
    assert checked > 20


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_a_map_lies_over_what_the_network_was_given(tmp_path, monkeypatch, resize):
    """Of wide pictures, of which ``crop`` leaves the ends away and to which ``pad`` adds black."""
    rng = np.random.default_rng(0)
    for number in range(16):
        label = ("covid", "normal")[number % 2]
        pixels = rng.normal((60, 160)[number % 2], 30, (40, 100)).clip(1, 255).astype(np.uint8)
        pixels[:, :20] = 255  # at the left end
        (tmp_path / "d" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "d" / label / f"{number}.png")
    drawn = []
    draw = saliency_plots.evidence
    monkeypatch.setattr(
        saliency_plots, "evidence", lambda pairs, *rest: drawn.extend(pair[0] for pair in pairs) or draw(pairs, *rest)
    )
    featcache.extract(tmp_path / "d", "pixels", size=8, resize=resize, cache=tmp_path / "c")
    f = featcache.load("pixels", task="binary", cache=tmp_path / "c")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(f.X, f.y)
    kept = save_bundle(tmp_path / "b", model, f, np.arange(16), task="binary", scores={}, cache=tmp_path / "c")
    saliency(kept, cache=tmp_path / "c", out=tmp_path / "s", limit=1)
    assert len(drawn) == 3  # one picture, and the means of two classes
    for picture in map(np.asarray, drawn):
        height, width = picture.shape[:2]
        left = picture[height // 2, : width // 10].mean()
        assert (left > 240) == (resize != "crop")
        assert (picture[: height // 8].max() == 0) == (resize == "pad")
        assert (height == width) or (resize == "squash" and width > 2 * height)


def test_the_verb_and_its_files(planted, bundle, cli, tmp_path):
    done = cli("saliency", bundle, "--cache", planted.cache, "--split", "test", "--limit", 4, "--out", "s")
    assert done.code == 0, done.err
    assert "40 images, 4 drawn one by one; maps of 6 x 6 cells" in done.out
    result = json.loads((tmp_path / "s" / "run.json").read_text())
    rows = rows_of(tmp_path / "s")
    answers = {row["path"]: row for row in predict(bundle, [planted.data / "test"], cache=planted.cache)["rows"]}
    assert len(rows) == len(answers) == 40
    for row in rows:
        answer = answers[row["path"]]
        assert row["predicted"] == answer["label"]
        assert row["label"] == Path(row["path"]).parent.name
        assert float(row["probability"]) == pytest.approx(answer["probabilities"][answer["label"]], abs=1e-5)
    drawn = [row for row in rows if row["overlay"]]
    assert len(drawn) == result["drawn"] == 4
    wrong = [row for row in rows if row["label"] != row["predicted"]]
    assert result["misclassified"] == len(wrong)
    assert sum(row in wrong for row in drawn) == min(4, len(wrong))
    for picture in [*(tmp_path / "s" / "overlays" / row["overlay"] for row in drawn), result["figures"][0]]:
        with Image.open(picture) as image:
            assert image.format == "PNG"
            assert np.ptp(np.asarray(image.convert("RGB")), axis=2).max() > 100  # colour over the grey
    for name in ("covid", "normal"):
        shares = [float(row["border_share"]) for row in rows if row["predicted"] == name and row["border_share"]]
        assert result["border"][name] == pytest.approx(np.mean(shares), abs=1e-4)
        assert f"{name:<20} {np.mean(shares):.0%}" in done.out


def test_images_without_labels_and_of_one_name(planted, bundle, tmp_path):
    image = next((planted.data / "test" / "covid").iterdir())
    for place in ("a", "b", "B"):
        (tmp_path / place).mkdir(exist_ok=True)
    copies = [
        shutil.copy(image, tmp_path / place / name) for place, name in (("a", "x.png"), ("b", "x.png"), ("B", "X.png"))
    ]
    result = saliency(bundle, copies, cache=planted.cache, out=tmp_path / "s")
    rows = rows_of(tmp_path / "s")
    assert [row["path"] for row in rows] == [str(copy) for copy in copies]
    assert {row["label"] for row in rows} == {""}
    assert len({row["overlay"].lower() for row in rows}) == 3 == result["drawn"]
    assert {path.name for path in (tmp_path / "s" / "overlays").iterdir()} == {row["overlay"] for row in rows}
    assert all(row["overlay"].lower().startswith(f"x-{row['predicted']}") for row in rows)
    assert result["misclassified"] is None


def test_what_the_features_are_and_how_strong_the_evidence_stands_on_every_figure(
    planted, bundle, monkeypatch, tmp_path
):
    drawn = []
    monkeypatch.setattr("heads.inference.saliency_maps.save_figure", lambda figure, path: drawn.append(figure))
    saliency(bundle, split="test", cache=planted.cache, out=tmp_path / "s", limit=2)
    assert len(drawn) == 3
    assert all("RANDOM weights" in figure.get_suptitle() for figure in drawn)
    row = next(row for row in rows_of(tmp_path / "s") if row["overlay"])
    titles = {axis.get_title(loc="left") for figure in drawn for axis in figure.axes}
    assert f"evidence for {row['predicted']}, up to {float(row['peak_logit']):+.2g}" in titles
    answer = f"labelled {row['label']}, predicted {row['predicted']}, {float(row['probability']):.3f}"
    assert any(f"{Path(row['path']).name}: {answer}" in figure.get_suptitle() for figure in drawn)


def test_a_classical_bundle_and_one_that_has_no_map(planted, tmp_path):
    for name in ("logistic", "dummy"):
        baselines("binary", pooling="max", cache=planted.cache, models=[name], cv=2, out=tmp_path / name)
    saliency(tmp_path / "logistic" / "bundle", split="test", cache=planted.cache, out=tmp_path / "s", limit=0)
    assert_peaks_at_the_blobs(rows_of(tmp_path / "s"), planted.centres, 6)
    with pytest.raises(UsageError, match="DummyClassifier has no class-activation map"):
        saliency(tmp_path / "dummy" / "bundle", cache=planted.cache, out=tmp_path / "d")
    assert not (tmp_path / "d").exists()


@pytest.mark.slow
def test_a_bundle_of_the_own_cnn(planted, tmp_path):
    fitted = fit_head("binary", model="own-cnn", data=planted.data, cache=planted.cache, out=tmp_path / "r", epochs=1)
    result = saliency(fitted.result["bundle"], split="test", cache=planted.cache, out=tmp_path / "s", limit=1)
    assert (result["map"], result["images"], result["drawn"]) == ([54, 54], 40, 1)
    test = fitted.features.split("test")
    wanted = contributions(fitted.estimator, test.X, "map")
    peaks = [divmod(int(one.argmax()), 54) for one in wanted]
    assert [(int(row["peak_row"]), int(row["peak_column"])) for row in rows_of(tmp_path / "s")] == peaks


def test_calls_of_saliency_that_cannot_work(planted, bundle, tmp_path):
    cache = tmp_path / "cache"
    featcache.extract(planted.data, "vgg16", weights="random", size=32, layer="block1_pool", keep="avg", cache=cache)
    f = featcache.load("vgg16", task="binary", pooling="avg", cache=cache)
    model = LogisticRegression(max_iter=1000).fit(f.X, f.y)
    save_bundle(tmp_path / "averages", model, f, np.arange(len(f)), task="binary", scores={}, cache=cache)
    with pytest.raises(DataError, match="--backbone vgg16 --keep map"):
        saliency(tmp_path / "averages", cache=cache)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="1 of 1 images cannot be used") as caught:
        saliency(bundle, [tmp_path / "broken.png"], cache=planted.cache)
    assert caught.value.bad[0].path.endswith("broken.png")
    with pytest.raises(DataError, match="the data has no val split"):
        saliency(bundle, split="val", cache=planted.cache)
    with pytest.raises(UsageError, match="expected 0 or more"):
        saliency(bundle, cache=planted.cache, limit=-1)


# -- drawing ---------------------------------------------------------------------------------------


def test_an_overlay_is_the_map_in_colour_where_there_is_evidence():
    """On black nothing is seen but the evidence: plasma, as strong as TensorFlow's bilinear resize of it says."""
    tf, _ = load_tensorflow()
    evidence = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float32)
    share = np.maximum(evidence, 0) / evidence.max()
    fine = tf.image.resize(share[None, :, :, None], (105, 210), "bilinear").numpy()[0, :, :, 0]
    found = np.asarray(overlay(np.zeros((50, 100), np.uint8), evidence, 210))
    assert found.shape == (105, 210, 3)
    wanted = colormaps["plasma"](fine)[:, :, :3] * 0.8 * fine[:, :, None] * 255
    assert wanted.max() > 150
    np.testing.assert_allclose(found, wanted, atol=3)


def test_where_nothing_speaks_for_the_class_the_image_is_as_it_was():
    pixels = np.random.default_rng(0).integers(0, 256, (70, 70, 3), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    evidence = -np.ones((7, 7), np.float32)
    for picture in (pixels, Image.fromarray(pixels), grey):
        np.testing.assert_array_equal(np.asarray(overlay(picture, evidence, 70)), np.dstack([grey] * 3))
    evidence[0, 0] = 1
    found = np.asarray(overlay(pixels, evidence, 70))
    np.testing.assert_array_equal(found[16:, 16:], np.dstack([grey[16:, 16:]] * 3))
    assert np.ptp(found[:5, :5].astype(int), axis=2).min() > 50


def test_the_border_of_a_map():
    even = np.ones((1, 7, 7))
    middle, corner = np.zeros((2, 1, 7, 7))
    middle[0, 3, 3], corner[0, 0, 6] = 2, 2
    middle[0, 0, 0] = -9  # what speaks against the class does not count
    found = border_share(np.concatenate([even, middle, corner, -even]))
    np.testing.assert_allclose(found, [24 / 49, 0, 1, np.nan])
    np.testing.assert_allclose(border_share(np.ones((1, 14, 28))), [1 - 10 * 20 / (14 * 28)])
