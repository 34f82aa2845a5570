"""Extract, from files to committed shards, against the network's bare forward pass, side by side.

    pytest tests/benchmarks/test_extract_speed.py -s

Each round times the forward pass over decoded pixels in memory, then the whole way from files to a fresh
cache, on the same runtime, at the same batch size; the ratio of the medians is printed.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import pytest

from featcache import backbones, pipeline, tensorflow_runtime, weights
from featcache.dataset import open_dataset
from featcache.extraction import row_keys
from featcache.images import RECIPE, decode
from featcache.sample import write_sample
from featcache.spec import FeatureSpec
from featcache.store import Store

ROUNDS = 3
IMAGES = {"vgg16": 32, "xception": 64, "resnet50": 64, "mobilenet": 128}


@pytest.mark.parametrize("name", IMAGES)
def test_extract_against_bare_forward(name, tmp_path, benchmark):
    row = backbones.get(name)
    spec = FeatureSpec(name, "", "random0", "0" * 64, 224, RECIPE, row.preprocess, "map", "float32", "float32")
    network = tensorflow_runtime.TensorFlowRuntime(weights.build(row, 224, weights.WeightsSource("random")), spec)
    dataset = open_dataset(write_sample(tmp_path / "sample", train=IMAGES[name] // 4, test=1))
    paths = dataset.paths[: IMAGES[name]]
    with Store(tmp_path / "keys") as store:
        keys, _ = row_keys(store, paths)
    jobs = [pipeline.Job(path, key) for path, key in zip(paths, keys, strict=True)]
    pixels = np.stack([decode(Path(path).read_bytes(), 224) for path in paths])
    batch = network.batches[0]
    bare: list[float] = []
    whole: list[float] = []

    def forward() -> None:
        started = time.perf_counter()
        for start in range(0, len(pixels), batch):
            network(pixels[start : start + batch])
        bare.append(time.perf_counter() - started)

    def extract() -> None:
        with Store(tmp_path / f"cache{len(whole)}") as store:
            started = time.perf_counter()
            outcome = pipeline.run(jobs, 224, network, lambda rows: store.commit(spec, rows), batch_size=batch)
            whole.append(time.perf_counter() - started)
        assert outcome.computed == len(paths)

    network(pixels[:batch])
    benchmark.pedantic(extract, setup=forward, rounds=ROUNDS, warmup_rounds=1)
    bare, whole = bare[1:], whole[1:]  # the first of each warmed up
    ratio = statistics.median(bare) / statistics.median(whole)
    spread = [b / w for b, w in zip(bare, whole, strict=True)]
    rate = len(paths) / statistics.median(whole)
    benchmark.extra_info["of_bare_forward"] = ratio
    print(  # noqa: T201
        f"\n{name}: extract {rate:.2f} images/s, {ratio:.3f} of the bare forward pass "
        f"(batch {batch}, {len(paths)} images, {ROUNDS} rounds: {min(spread):.3f} to {max(spread):.3f})"
    )
