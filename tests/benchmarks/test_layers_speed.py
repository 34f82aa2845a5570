"""Several layers of one network from one pass, against one pass each.

    pytest tests/benchmarks/test_layers_speed.py -s

Networks converted before, images of 320 pixels, files to committed shards; interleaved, five rounds after a warm-up,
the median of the rounds' ratios.
"""

from __future__ import annotations

import shutil
import statistics
import time

import pytest
from pictures import write_images

import featcache

ROUNDS = 5
CASES = {"vgg16": ["block3_pool", "block4_pool", ""], "resnet50": ["conv3_block4_out", "conv4_block6_out", ""]}


@pytest.mark.parametrize("backbone", CASES)
def test_one_pass_against_one_each(tmp_path, backbone):
    write_images(tmp_path / "d", 48, size=320)
    layers = CASES[backbone]
    options = {"backbone": backbone, "weights": "random", "runtime": "openvino", "keep": "avg", "cache": tmp_path / "c"}

    def together() -> float:
        shutil.rmtree(tmp_path / "c" / "features", ignore_errors=True)
        begun = time.perf_counter()
        featcache.extract_layers(layers, tmp_path / "d", **options)
        return time.perf_counter() - begun

    def one_by_one() -> float:
        shutil.rmtree(tmp_path / "c" / "features", ignore_errors=True)
        begun = time.perf_counter()
        for layer in layers:
            featcache.extract(tmp_path / "d", layer=layer, **options)
        return time.perf_counter() - begun

    together(), one_by_one()  # converts
    rounds = [(one_by_one(), together()) for _ in range(ROUNDS)]
    ratios = [longer / shorter for longer, shorter in rounds]
    each, at_once = (statistics.median(times) for times in zip(*rounds, strict=True))
    print(  # noqa: T201
        f"\n{backbone}, {len(layers)} layers, 48 images: one pass each {each:.1f} s, one pass {at_once:.1f} s, ratio "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )
