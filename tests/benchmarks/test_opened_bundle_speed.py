"""An opened bundle, image by image, against its bare network.

    pytest tests/benchmarks/test_opened_bundle_speed.py -s

1,000 calls with one decoded image each, and as many of OpenVINO's compiled network, interleaved by tens; the ratio of
the two paces. The head is the reference's, on pooled features.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import openvino
import pytest
from pictures import write_images

import featcache
import heads
from featcache.backbones import openvino_runtime

CALLS, TOGETHER = 1000, 10


@pytest.mark.parametrize("backbone", ["mobilenetv2", "resnet50"])
def test_against_the_bare_network(tmp_path, backbone):
    write_images(tmp_path / "d", 24, size=224)
    featcache.extract(tmp_path / "d", backbone, weights="random", cache=tmp_path / "c")
    heads.fit_head("binary", pooling="avg", epochs=2, cache=tmp_path / "c", out=tmp_path / "o", audit=False)
    opened = heads.open_bundle(tmp_path / "o" / "bundle")
    model = openvino_runtime.read(opened.network)
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    bare = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    images = np.random.default_rng(0).integers(0, 256, (TOGETHER, 1, 224, 224, 3), np.uint8)

    def timed(call) -> float:
        begun = time.perf_counter()
        for image in images:
            call(image)
        return time.perf_counter() - begun

    ways = (lambda image: bare.infer({0: image}, share_inputs=True, share_outputs=True), opened.predict_images)
    for call in ways:
        timed(call)
    rounds = [tuple(timed(call) for call in ways) for _ in range(CALLS // TOGETHER)]
    ratios = [network / bundle for network, bundle in rounds]
    alone = statistics.median(network for network, _ in rounds) / TOGETHER * 1000
    low, pace, high = np.quantile(ratios, (0.1, 0.5, 0.9))
    print(  # noqa: T201
        f"\n{backbone}: {alone:.1f} ms an image by the bare network; the opened bundle has {pace:.2f} of its pace "
        f"({low:.2f} to {high:.2f})"
    )
