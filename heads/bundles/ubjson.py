"""Read UBJSON, as XGBoost writes it: enough to look at a model before XGBoost does.

Universal Binary JSON, draft 12 (ubjson.org): a letter for the type, numbers big-endian, lengths as numbers before what
they count. Whatever XGBoost does not write is refused, so that both understand a file alike: no-ops, counted objects,
and a key that stands twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_LENGTHS = (b"i", b"U", b"I", b"l", b"L")
_CONSTANTS = {b"T": True, b"F": False, b"Z": None}
_DEEPEST = 32


def parse(data: bytes) -> Any:
    """The value that the bytes hold; arrays of one type of number as NumPy arrays.

    Raises ValueError for anything else.
    """
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise ValueError("it goes on after its end")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def value(self, depth: int, kind: bytes | None = None) -> Any:
        if depth > _DEEPEST:
            raise ValueError("values in values too deep")
        kind = kind or self._take(1)
        if kind in _NUMBERS:
            return self._numbers(kind, 1)[0].item()
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind == b"S":
            return self._text()
        if kind == b"{":
            return self._object(depth)
        if kind == b"[":
            return self._array(depth)
        raise ValueError(f"type {kind!r} at byte {self.at - 1}, which XGBoost does not write")

    def _object(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while self._data[self.at : self.at + 1] != b"}":
            key = self._text()
            if key in values:
                raise ValueError(f"the key {key[:40]!r} stands twice")
            values[key] = self.value(depth + 1)
        self.at += 1
        return values

    def _array(self, depth: int) -> Any:
        ahead = self._data[self.at : self.at + 1]
        if ahead == b"$":
            self.at += 1
            kind = self._take(1)
            if kind not in _NUMBERS or self._take(1) != b"#":
                raise ValueError("an array of one type that is no number")
            return self._numbers(kind, self._length())
        if ahead == b"#":
            self.at += 1
            return [self.value(depth + 1) for _ in range(self._length())]
        items = []
        while self._data[self.at : self.at + 1] != b"]":
            items.append(self.value(depth + 1))
        self.at += 1
        return items

    def _text(self) -> str:
        return self._take(self._length()).decode("utf-8")

    def _length(self) -> int:
        kind = self._take(1)
        if kind not in _LENGTHS:
            raise ValueError(f"a length of type {kind!r}")
        length = int(self._numbers(kind, 1)[0])
        if not 0 <= length <= len(self._data) - self.at:  # whatever it counts takes a byte at least
            raise ValueError(f"a length of {length:,} where {len(self._data) - self.at:,} bytes are left")
        return length

    def _numbers(self, kind: bytes, count: int) -> np.ndarray:
        dtype = np.dtype(_NUMBERS[kind])
        return np.frombuffer(self._take(count * dtype.itemsize), dtype)

    def _take(self, count: int) -> bytes:
        taken = self._data[self.at : self.at + count]
        if len(taken) != count:
            raise ValueError("it ends too early")
        self.at += count
        return taken
