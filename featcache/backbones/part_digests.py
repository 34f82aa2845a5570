"""One digest of several parts: what those of networks are built from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np


def digest_of(parts: Iterable[bytes | str | int]) -> bytes:
    """SHA-256 over parts, each behind its length, so that no two lists of parts read the same."""
    total = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.digest()


def operation(op: Any) -> list[bytes | str]:
    """What an operation of OpenVINO's is, whatever goes in: its type, then a constant's values, or its attributes."""
    if op.get_type_name() == "Constant":
        port, value = op.output(0), np.ascontiguousarray(op.data).tobytes()
        return ["Constant", port.get_element_type().get_type_name(), str(list(port.get_shape())), value]
    return [op.get_type_name(), repr(sorted((name, str(value)) for name, value in op.get_attributes().items()))]
