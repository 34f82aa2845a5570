"""Feature sets made up for tests: rows with a signal, committed as an extract does, and files that stand for images."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import numpy as np

from featcache import Store
from featcache.data.decoding import RECIPE
from featcache.spec import FeatureSpec
from featcache.store.shard import Rows

VGG16 = FeatureSpec("vgg16", "", "random0", "00" * 32, 224, RECIPE, "caffe", "map", "float32", "float32")
_SIGNAL = 24  # directions in which images differ, besides noise
_BLOCK = 256


def write_set(place: Path, count: int, shape: tuple[int, int, int] = (7, 7, 512), spec: FeatureSpec = VGG16) -> str:
    """``place/data`` with ``count`` files of two classes in three parts, and ``place/cache`` with a map of this
    shape of each, as if VGG16 had made it; returns the feature set's name.

    A map is the positive part of a few directions that all share, in four of which the classes differ, and noise.
    """
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, count)
    hour_ago = time.time() - 3600
    keys = np.empty((count, 32), np.uint8)
    for number, label in enumerate(labels):
        part = ("train", "train", "train", "val", "test")[number % 5]
        path = place / "data" / part / ("covid", "normal")[label] / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = b"stands for image %d" % number
        path.write_bytes(content)
        os.utime(path, (hour_ago, hour_ago))
        keys[number] = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
    columns = int(np.prod(shape))
    directions = rng.normal(size=(_SIGNAL, columns)).astype(np.float32)
    noise = rng.normal(size=(200, columns)).astype(np.float32)
    with Store(place / "cache") as store:
        for start in range(0, count, _BLOCK):
            own = labels[start : start + _BLOCK]
            along = rng.normal(size=(len(own), _SIGNAL)).astype(np.float32)
            along[:, :4] += 0.9 * (2 * own[:, None] - 1)
            rows = along @ directions * 0.3 + noise[rng.integers(0, len(noise), len(own))]
            maps = np.maximum(rows, 0).reshape(-1, *shape)
            arrays = {"map": maps, "avg": maps.mean(axis=(1, 2))}
            store.commit(spec, Rows(keys[start : start + _BLOCK], arrays, 1.0, {"name": "made up"}))
        store.remember_extract(
            {
                "data": str(place / "data"),
                "synthetic": False,
                "group_regex": None,
                "skipped": [],
                "feature_sets": {spec.backbone: spec.id},
            }
        )
    return spec.id
