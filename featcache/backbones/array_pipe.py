"""Arrays between two processes, over the pipes of one of them: no pickle, so that nothing that comes is run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, Any

import numpy as np


def send(stream: IO[bytes], said: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a message: what is said, as JSON, and arrays by name."""
    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    shapes = [(name, array.dtype.str, array.shape) for name, array in plain.items()]
    head = json.dumps({"said": dict(said), "arrays": shapes}).encode()
    stream.write(len(head).to_bytes(8, "little") + head)
    for array in plain.values():
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what :func:`send` wrote; :class:`EOFError` where the other side has ended."""
    head = json.loads(_whole(stream, int.from_bytes(_whole(stream, 8), "little")))
    arrays = {}
    for name, kind, shape in head["arrays"]:
        dtype = np.dtype(kind)
        content = _whole(stream, math.prod(shape) * dtype.itemsize)
        arrays[name] = np.frombuffer(content, dtype).reshape(shape)
    return head["said"], arrays


def _whole(stream: IO[bytes], size: int) -> bytearray:
    content = bytearray(size)
    view, got = memoryview(content), 0
    while got < size:
        read = stream.readinto(view[got:])  # type: ignore[attr-defined]
        if not read:
            raise EOFError("the other process has ended")
        got += read
    return content
