"""Random weights: the signal keeps its scale in every network, and a seed means the same bits everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import featcache
from featcache.backbones import inference_graph, random_weights, registry, weights
from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.data.synthetic import CLASSES, draw
from featcache.store.store import Store

NETWORKS = [row for row in registry.TABLE.values() if row.keras_name]
QUICK = {"vgg16", "xception", "resnet50", "mobilenetv2", "mobilenetv3small", "efficientnetb0", "densenet121"}
# SHA-256 of all tensors of random:0. Another digest here is another feature set for everyone: raise DRAWING.
GOLDEN = {
    "xception": "1ee1d518155c04f2b7de5882895c3bc33b2fd821b9f4319d8bcc794b1dba5c33",
    "mobilenetv2": "bfeaacd0cc27d95cbba8d5c3c658d3576198d635c9894dc6aaf457844c50a5ba",
    "efficientnetb0": "f46ad8d92d34680c42ca3d1ae847606681e5be884584cebff76e3d199984435b",
}


def pictures(size: int) -> np.ndarray:
    """One image of each class of the built-in sample."""
    drawn = [Image.fromarray(draw(label, np.random.default_rng(7))) for label in CLASSES]
    return np.stack([np.asarray(image.resize((size, size)).convert("RGB"), np.float32) for image in drawn])


def features(row: registry.Backbone, size: int, *, seed: int = 0, precision: str = "float32", layers=("",)):
    """Of each layer, the last one by default."""
    tf, keras = load_tensorflow()
    model = weights.build(row, size, weights.WeightsSource("random", seed=seed), precision)
    wanted = [model.get_layer(name).output if name else model.outputs[0] for name in layers]
    given = keras.Model(model.inputs, wanted)(
        inference_graph.preprocess(keras, tf.constant(pictures(size)), row.preprocess)
    )
    given = given if len(wanted) > 1 else [given]
    return [np.asarray(tf.cast(values, tf.float32)) for values in given]


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=() if row.name in QUICK else pytest.mark.slow, id=row.name) for row in NETWORKS]
)
def test_the_features_of_every_network_keep_their_scale(row):
    """At its own size; and pictures differ in them by more than a hundredth of that."""
    (found,) = features(row, row.size)
    assert np.isfinite(found).all()
    assert 0.1 < found.std() < 10
    assert found.std(axis=0).mean() > 0.05


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", ["xception", "mobilenetv2"])
def test_so_do_other_seeds_and_sizes(name, seed):
    (found,) = features(registry.get(name), 96, seed=seed)
    assert 0.1 < found.std() < 10


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("vgg16", ("block1_conv1", "block2_pool", "block3_pool", "block4_pool")),
        (
            "xception",
            ("block1_conv1_act", "block3_sepconv2_bn", "block4_pool", "block9_sepconv1_act", "block14_sepconv1_act"),
        ),
        ("resnet50", ("conv1_relu", "conv2_block1_out", "conv3_block4_out", "conv4_block6_out")),
        ("mobilenetv2", ("Conv1_relu", "block_3_project_BN", "block_6_expand_relu", "block_13_expand_relu")),
    ],
)
def test_inner_layers_keep_their_scale(name, layers):
    for layer, found in zip(layers, features(registry.get(name), 160, layers=layers), strict=True):
        assert np.isfinite(found).all()
        assert 0.1 < found.std() < 10, layer


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "xception"])
def test_half_precision_does_not_overflow(name):
    row = registry.get(name)
    (half,), (full,) = (features(row, 96, precision=p) for p in ("float16", "float32"))
    assert np.abs(half - full).max() < 0.1 * np.abs(full).max()


DIGESTS = """
import json, sys
from featcache.backbones import registry as backbones; from featcache.backbones import weights
sources = [weights.WeightsSource("random", seed=seed) for seed in (0, 1)]
digest = lambda name, source: weights.digest(weights.build(backbones.get(name), 96, source))
print(json.dumps({name: [digest(name, source) for source in sources] for name in sys.argv[1:]}))
"""


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({}, id="as it is"),
        pytest.param({"NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512_SKX AVX2 FMA3"}, id="numpy without AVX"),
        pytest.param(
            {"TF_ENABLE_ONEDNN_OPTS": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            id="one thread, no oneDNN",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit", "TF_NUM_INTRAOP_THREADS": "1"},
            id="XLA",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_seed_means_the_same_bits_everywhere(environment):
    own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}  # conftest's, side by side
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DIGESTS, *GOLDEN],
        capture_output=True,
        text=True,
        check=True,
        env={**own, **environment},
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: first for name, (first, _) in found.items()} == GOLDEN
    assert all(first != second for first, second in found.values())


def test_weights_do_not_depend_on_the_size_or_on_what_was_built_before():
    source = weights.WeightsSource("random", seed=5)
    first, second = (weights.digest(weights.build(registry.get("mobilenet"), size, source)) for size in (64, 96))
    assert first == second


def test_a_digest_remembered_under_an_earlier_recipe_is_not_taken(tmp_path, images):
    """Its features came from other weights."""
    where = {"weights": "random", "size": 64, "cache": tmp_path / "cache"}
    (tmp_path / "cache").mkdir()
    source, row = weights.parse("random"), registry.get("mobilenet")
    plain = source.memo(row).replace(f":recipe-{random_weights.DRAWING}", "")
    assert plain != source.memo(row)
    with Store(tmp_path / "cache") as store:
        store.index.remember(plain, "0" * 64)
    found = featcache.extract(images, "mobilenet", **where)
    with Store(tmp_path / "cache") as store:
        assert store.index.memo(source.memo(row)) == weights.digest(weights.build(row, 64, source))
    assert found.computed == 24
