"""Letters that a machine wrote into a picture: bright strokes of one height in a line."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import find_objects, label

_LONGEST = 1024  # pixels of the longer side; of larger pictures a smaller one is read
_BRIGHT = 0.8  # of the brightest level, that letters have at least
_LOWEST, _HIGHEST = 6, 0.08  # of letters: pixels, and a share of the picture's height
_APART = 60  # grey levels between a letter and what is around it
_MOST = 4000  # parts; of a picture of more nothing is said
_EIGHT = np.ones((3, 3), int)


def letters(grey: Image.Image) -> int:
    """Most letters that stand in one line: 0 of a picture without text, and 1 or 2 by chance."""
    shrink = -(-max(grey.size) // _LONGEST)
    levels = np.asarray(grey if shrink < 2 else grey.reduce(shrink))
    bright = levels >= _BRIGHT * max(float(levels.max()), 200)
    return _longest_line(levels, bright)


def _longest_line(levels: np.ndarray, mask: np.ndarray) -> int:
    parts, count = label(mask, _EIGHT)
    if not 2 < count <= _MOST:
        return 0
    boxes = []
    most = max(2 * _LOWEST, _HIGHEST * levels.shape[0])
    for number, (rows, columns) in enumerate(find_objects(parts), 1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if not _LOWEST <= height <= most or width > 1.6 * height:
            continue
        top, left = max(0, rows.start - 1), max(0, columns.start - 1)
        around = parts[top : rows.stop + 1, left : columns.stop + 1] == number
        there = levels[top : rows.stop + 1, left : columns.stop + 1]
        if around.all() or there[around].mean() - there[~around].mean() < _APART:
            continue
        boxes.append((rows.stop, columns.start, columns.stop, height))
    return _chained(np.array(sorted(boxes, key=lambda box: box[1]), float).reshape(-1, 4))


def _chained(boxes: np.ndarray) -> int:
    """The longest chain of boxes, from left to right, each beside the one before: bottom, left, right, height."""
    length = np.ones(len(boxes), int)
    for place, (bottom, left, _, height) in enumerate(boxes):
        before = boxes[:place]
        gap = left - before[:, 2]
        beside = (gap >= -0.1 * height) & (gap <= height) & (np.abs(bottom - before[:, 0]) <= 0.2 * height)
        beside &= np.abs(before[:, 3] - height) <= 0.25 * height
        if beside.any():
            length[place] += length[:place][beside].max()
    return int(length.max()) if len(boxes) else 0
