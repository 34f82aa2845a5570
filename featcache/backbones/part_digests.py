"""One digest of several parts: what those of networks are built from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def digest_of(parts: Iterable[bytes | str | int]) -> bytes:
    """SHA-256 over parts, each behind its length, so that no two lists of parts read the same."""
    total = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.digest()
