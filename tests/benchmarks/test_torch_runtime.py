"""PyTorch beside OpenVINO: how fast, and how far its features are from OpenVINO's in float32, by precision.

    FEATCACHE_NETWORKS=timm:resnet18,timm:convnext_atto pytest tests/benchmarks/test_torch_runtime.py -s

Random weights, 16 pictures of noise a call, on the device that PyTorch has; interleaved, seven rounds after a warm-up.
"""

from __future__ import annotations

import os
import statistics
import time

import numpy as np
import pytest

from featcache.backbones import torch_setup
from featcache.extraction.request import ExtractionRequest
from featcache.extraction.resolution import resolve
from featcache.store.store import Store

pytest.importorskip("torch")
NETWORKS = os.environ.get("FEATCACHE_NETWORKS", "timm:resnet18,timm:convnext_atto,timm:vit_tiny_patch16_224")
IMAGES, ROUNDS = 16, 7


@pytest.mark.parametrize("name", NETWORKS.split(","))
def test_against_openvino(name, tmp_path):
    with Store(tmp_path) as store:
        asked = {"openvino": ExtractionRequest(name, "random", runtime="openvino")}
        asked |= {
            f"torch, {precision}": ExtractionRequest(name, "random", runtime="torch", precision=precision)
            for precision in torch_setup.PRECISIONS
        }
        resolved = {way: resolve(request, store) for way, request in asked.items()}
        ways = {way: one.build(IMAGES) for way, one in resolved.items()}
        size = resolved["openvino"].spec.size
        images = np.random.default_rng(0).integers(0, 256, (IMAGES, size, size, 3), np.uint8)
        rows = {way: compute(images) for way, compute in ways.items()}
        rounds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, compute in ways.items():
                begun = time.perf_counter()
                compute(images)
                rounds[way].append(time.perf_counter() - begun)
    for way, seconds in rounds.items():
        paces = [theirs / own for theirs, own in zip(rounds["openvino"], seconds, strict=True)]
        wanted = rows["openvino"]["map"]
        apart = np.abs(rows[way]["map"] - wanted).max() / np.abs(wanted).max()
        print(  # noqa: T201
            f"{name}, {way} on {ways[way].info['device']}: {IMAGES / statistics.median(seconds):.1f} images/s, "
            f"{statistics.median(paces):.2f} of OpenVINO's pace ({min(paces):.2f} to {max(paces):.2f}); map apart by "
            f"{apart:.1e} of the largest value"
        )
