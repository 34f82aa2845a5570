"""A network in a file, from images to committed shards, against what its parts need of the whole processor.

    FEATCACHE_REFERENCE=… pytest tests/benchmarks/test_network_speed.py -s

FEATCACHE_COPIES (4) of each of 440 radiographs, each of its own key. The parts are decoding and resizing on all cores,
then ONNX Runtime's forward pass on all cores, at the batch size that is the fastest for it; nothing is written.
Interleaved, five rounds after a warm-up; the ratio of the two in each round.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from surroundings import REFERENCE

import featcache
from featcache.data.dataset import open_dataset
from featcache.data.decoding import decode
from featcache.data.framing import Framing

LITE0, DATA = REFERENCE / "weights" / "efficientnet_lite0.onnx", REFERENCE / "data" / "xray4"
OPTIONS = {"mean": 127 / 255, "std": 128 / 255, "resize": "crop", "crop": 0.875, "interpolation": "bicubic"}
ROUNDS, BATCHES, COPIES = 5, (1, 4, 8, 16, 32), int(os.environ.get("FEATCACHE_COPIES", "4"))


@pytest.mark.real
def test_files_to_shards_against_its_parts(tmp_path):
    if not LITE0.exists():
        pytest.skip("the reference weights are not at hand")
    for number, source in enumerate(open_dataset(DATA).paths * COPIES):
        target = tmp_path / "data" / Path(source).parent.name / f"{number}{Path(source).suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(source).read_bytes() + number.to_bytes(4, "big"))  # behind the picture's end
    paths = open_dataset(tmp_path / "data").paths
    session = onnxruntime.InferenceSession(str(LITE0), providers=["CPUExecutionProvider"])
    framing = Framing("crop", 0.875, "bicubic")

    def decoded() -> tuple[np.ndarray, float]:
        begun = time.perf_counter()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pixels = list(pool.map(lambda path: decode(Path(path).read_bytes(), 224, framing), paths))
        return np.stack(pixels), time.perf_counter() - begun

    def forward(images: np.ndarray, batch: int) -> float:
        begun = time.perf_counter()
        for start in range(0, len(images), batch):
            session.run(["features", "pooled"], {"image": images[start : start + batch]})
        return time.perf_counter() - begun

    def extracted() -> float:
        shutil.rmtree(tmp_path / "cache" / "features", ignore_errors=True)
        begun = time.perf_counter()
        done = featcache.extract(tmp_path / "data", LITE0, cache=tmp_path / "cache", **OPTIONS)
        assert done.computed == len(paths)
        return time.perf_counter() - begun  # planning, loading and compiling the kept network, and committing

    pixels, _ = decoded()
    images = np.ascontiguousarray(((pixels.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2))
    extracted()
    best = min(BATCHES, key=lambda batch: min(forward(images[:96], batch) for _ in range(3)))
    rounds = []
    for _ in range(ROUNDS):
        ours = extracted()
        rounds.append((ours, decoded()[1], forward(images, best)))
    ratios = [(decoding + passing) / ours for ours, decoding, passing in rounds]
    ours, decoding, passing = (statistics.median(part) for part in zip(*rounds, strict=True))
    print(  # noqa: T201
        f"\nlite0, {len(paths)} images: files to shards {ours:.2f} s; decoding {decoding:.2f} s and ONNX Runtime's "
        f"pass {passing:.2f} s (batch {best}) one after the other; {statistics.median(ratios):.2f} of their pace "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
