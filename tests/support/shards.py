"""Rows and shards that follow from a number each, and flipped bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from featcache.data.framing import Framing
from featcache.spec import FeatureSpec, Scaling
from featcache.store.shard import Rows

SPEC = FeatureSpec("vgg16", "", "random0", "00" * 32, 32, "decode-1", "caffe", "map", "float32", "float32")


# Says all that version 2 of the format added.
EXTENDED = FeatureSpec(
    "net-0123456789ab", "", "small", "01" * 32, 32, "decode-1", "scaled", "map", "float32", "float32",
    Framing("crop", 0.875, "bicubic", "floor"), Scaling((0.5, 0.4, 0.3), (0.25,), 3, "bgr"), True,
)  # fmt: skip


def pixels(size: int) -> FeatureSpec:
    """The spec of decoded pixels."""
    return FeatureSpec("pixels", "", "none", "", size, "decode-1", "none", "map", "uint8", "float32")


def rows(*numbers: int, spec: FeatureSpec = SPEC, seconds: float = 1.0) -> Rows:
    """Rows whose keys and values follow from a number each."""
    keys = np.zeros((len(numbers), 32), np.uint8)
    keys[:, 0], keys[:, 31] = numbers, 7
    kind = np.dtype(spec.dtype)
    maps = np.stack([np.full((2, 2, 4), n, kind) + np.arange(4, dtype=kind) for n in numbers])
    arrays = {"map": maps, "avg": maps.mean(axis=(1, 2)).astype(kind), "cls": maps[:, 0, 0] + kind.type(0.5)}
    return Rows(keys, {name: arrays[name] for name in spec.arrays}, seconds, {"name": "test"})


def key(number: int) -> bytes:
    return rows(number).keys[0].tobytes()


def flip(path: Path, position: int, bit: int = 0) -> None:
    """Flip one bit of a file in place."""
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1 << bit
    path.write_bytes(data)
