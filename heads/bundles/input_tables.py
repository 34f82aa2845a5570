"""What a network is given of pictures, kept small: scaling mostly is a table, from a channel's level to a number.

Kept whole, three pictures of 224 x 224 would take 1.8 MB; as a table beside the squares they take 3 kB, and are the
same to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featcache.errors import BundleError

_LEVELS = 256


def packed(scaled: np.ndarray, squares: np.ndarray) -> list[np.ndarray]:
    """A table (c, 256), which channel of the square each is of (c,), and the shape of one picture; else ``scaled``.

    Parameters
    ----------
    scaled : array of n rows.
    squares : uint8 of shape (n, size, size, 3), of which it was made.
    """
    channels = _channels_last(scaled, squares)
    tables, origins = [], []
    for wanted in [] if channels is None else np.moveaxis(channels, -1, 0):
        for origin in range(3):
            table = np.zeros(_LEVELS, scaled.dtype)
            table[squares[..., origin]] = wanted
            if np.array_equal(table[squares[..., origin]], wanted):
                tables.append(table)
                origins.append(origin)
                break
        else:
            return [scaled]  # a luminance, say, of all three
    if not tables:
        return [scaled]
    return [np.stack(tables), np.array(origins, np.uint8), np.array(scaled.shape[1:], np.int64)]


def unpacked(parts: Sequence[np.ndarray], squares: np.ndarray) -> np.ndarray:
    """What :func:`packed` was given; :class:`BundleError` where the parts are of anything else."""
    size = squares.shape[1]
    if len(parts) == 1:
        scaled = parts[0]
        if scaled.ndim == 4 and len(scaled) == len(squares) and scaled[0].size <= 4 * size * size:
            return _sound(scaled)
    elif len(parts) == 3:
        table, origins, shape = parts
        count = len(origins) if origins.ndim == 1 else 0
        layouts = [[size, size, count], [count, size, size]]
        if (
            1 <= count <= 4
            and (table.shape, origins.dtype) == ((count, _LEVELS), np.dtype(np.uint8))
            and int(origins.max()) < 3
            and shape.tolist() in layouts
        ):
            channels = [_sound(table)[place][squares[..., origin]] for place, origin in enumerate(origins.tolist())]
            return np.stack(channels, axis=-1 if shape.tolist() == layouts[0] else 1)
    raise BundleError("what the network was given there is of a shape that it cannot have")


def _channels_last(scaled: np.ndarray, squares: np.ndarray) -> np.ndarray | None:
    if scaled.ndim != 4 or len(scaled) != len(squares):
        return None
    if scaled.shape[1:3] == squares.shape[1:3]:
        return scaled
    return np.moveaxis(scaled, 1, -1) if scaled.shape[2:] == squares.shape[1:3] else None


def _sound(values: np.ndarray) -> np.ndarray:
    if values.dtype not in (np.float32, np.float16, np.uint8) or not np.isfinite(values).all():
        raise BundleError("what the network was given there holds what are no numbers")
    return values
