"""Images that show the same exposure: copies, and copies that were resized, re-encoded, brightened or cropped."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import fft
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from featcache.system import memory

from .image_summary import SQUARE

_COPY = 0.75  # correlation of details from which two pictures show one exposure; see near_duplicates
_HOPEFUL = 0.35  # at every third scale; of copies the least was 0.41, and 98 in 100 other pairs are below
_WORTH_A_LOOK = 0.6  # correlation of details of the squared pictures, without alignment
_ALIKE = 0.6  # correlation of features about their mean
_NEIGHBOURS = 2  # of each image that are looked at
_ALIKE_AT_MOST = 10  # of each image that have the same details: frames of one film would all pair up
_BLUR = 1.4  # pixels; coarser is build and pose, which all chests share
_MARGIN = 3
_PAD = 128  # holds the longest picture: windows that lie wholly in it need no more
_SCALES = tuple(np.geomspace(0.7, 1.43, 21))
_WINDOW = 0.7  # share of a picture's sides that is looked for in the other
_BLOCK = 2048
_PRODUCTS = 50_000_000  # between rows, held at a time
_SEARCHED = 3_000_000  # bytes of a picture that is compared at every scale


@dataclass(frozen=True)
class Pair:
    """Two images, by position, and the correlation of their details, up to 1."""

    a: int
    b: int
    similarity: float


def exact_duplicates(keys: Sequence[bytes]) -> list[list[int]]:
    """Positions of images whose files are equal byte for byte, in groups of two and more."""
    places: dict[bytes, list[int]] = {}
    for position, key in enumerate(keys):
        places.setdefault(key, []).append(position)
    return [group for group in places.values() if len(group) > 1]


def near_duplicates(
    squares: np.ndarray, wholes: Sequence[np.ndarray], features: np.ndarray | None = None, first: int | None = None
) -> list[Pair]:
    """Pairs that show one exposure, most alike first.

    Two steps. Candidates are pairs whose squared pictures have the same details, and the two nearest neighbours of each
    image by coarse shades and, where there are any, by features of a backbone: these forgive a crop, which moves every
    pixel. Then the middle of one picture is
    looked for in the other, at 21 scales and every place, by normalised cross-correlation (Lewis 1995) of details:
    what is left of a picture without its coarse shades, which all chests share.

    On 520 real radiographs, copies (resized, re-encoded, brightened, cropped) reached 0.79 to 1, all other pairs 0.58
    at most, the highest of them two exposures of one patient. Of 30 images that two collections cropped and scaled
    differently, 26 were found; without features, 24. Mirrored copies are not.

    Parameters
    ----------
    squares : uint8 array of shape (n, 64, 64).
    wholes : n uint8 arrays, the same pictures in their own aspect.
    features : array of shape (n, d), or None.
    first : where given, only pairs of one image before this position and one from it on.
    """
    candidates = _same_details(squares, first) | _neighbours(_shades(squares), first)
    if features is not None:
        candidates |= _neighbours(features, first)
    kept = max(16, min(1024, memory.available() // 4 // _SEARCHED))
    search = functools.lru_cache(maxsize=kept)(lambda position: _Searchable(wholes[position]))

    def similarity(pair: tuple[int, int]) -> float:
        a, b = (search(position) for position in pair)
        glance = a.find(b, _SCALES[::3])
        return glance if glance < _HOPEFUL else max(a.find(b), b.find(a))

    ordered = sorted(candidates)
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="compare") as pool:
        similarities = list(pool.map(similarity, ordered))
    pairs = [Pair(a, b, min(1.0, value)) for (a, b), value in zip(ordered, similarities, strict=True) if value >= _COPY]
    return sorted(pairs, key=lambda pair: -pair.similarity)


def merged_groups(groups: Sequence[str], links: Sequence[tuple[int, int]]) -> list[str]:
    """The group of each image, one for all that linked images join; it is named after its first.

    Parameters
    ----------
    groups : group of each image.
    links : pairs of positions of images that belong together.
    """
    names, codes = np.unique(np.asarray(groups, str), return_inverse=True)
    ends = np.array(links, dtype=int).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (codes[ends[:, 0]], codes[ends[:, 1]])), shape=(len(names), len(names)))
    _, joined = connected_components(graph, directed=False)
    first = {label: names[np.flatnonzero(joined == label)[0]] for label in np.unique(joined[codes])}
    return [str(first[joined[code]]) for code in codes]


def _same_details(squares: np.ndarray, first: int | None) -> set[tuple[int, int]]:
    inner = slice(_MARGIN, -_MARGIN)
    side = SQUARE - 2 * _MARGIN
    rows = np.empty((len(squares), side * side), np.float32)
    for row, square in zip(rows, squares, strict=True):
        row[:] = _details(square)[inner, inner].ravel()
    return _pairs_above(_normalised(rows), _WORTH_A_LOOK, first, most=_ALIKE_AT_MOST)


def _shades(squares: np.ndarray) -> np.ndarray:
    """Pictures as 8 x 8 shades, whatever their brightness and contrast."""
    cells = squares.reshape(len(squares), 8, SQUARE // 8, 8, SQUARE // 8).mean(axis=(2, 4), dtype=np.float32)
    return _normalised(cells.reshape(len(squares), -1))


def _neighbours(features: np.ndarray, first: int | None) -> set[tuple[int, int]]:
    rows = np.asarray(features, np.float32)
    return _pairs_above(_normalised(rows - rows.mean(axis=0)), _ALIKE, first, most=_NEIGHBOURS)


def _pairs_above(rows: np.ndarray, least: float, first: int | None, most: int) -> set[tuple[int, int]]:
    """Pairs of rows of unit length whose product is ``least`` or more; of each row, the ``most`` highest."""
    pairs: set[tuple[int, int]] = set()
    block = max(64, min(_BLOCK, _PRODUCTS // max(1, len(rows))))
    for start in range(0, len(rows), block):
        products = rows[start : start + block] @ rows.T
        number, other = np.arange(start, start + len(products))[:, None], np.arange(len(rows))[None]
        allowed = other != number
        if first is not None:
            allowed &= (number < first) != (other < first)
        products[~allowed] = -1
        if most < products.shape[1]:
            kth = np.partition(products, -most, axis=1)[:, -most, None]
            products[products < kth] = -1
        for a, b in zip(*np.nonzero(products >= least), strict=True):
            a = int(a) + start
            pairs.add((min(a, int(b)), max(a, int(b))))
    return pairs


def _details(picture: np.ndarray) -> np.ndarray:
    """What is left without the coarse shades; the brightest letters count no more than three deviations."""
    fine = picture.astype(np.float32) - gaussian_filter(picture.astype(np.float32), _BLUR)
    limit = 3 * fine.std()
    return np.clip(fine, -limit, limit)


def _normalised(rows: np.ndarray) -> np.ndarray:
    """Rows minus their mean, of unit length; in place."""
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return rows


class _Searchable:
    """A picture's details, ready to be searched for the middle of another."""

    def __init__(self, whole: np.ndarray) -> None:
        self._whole = Image.fromarray(whole)
        self._fine = _details(whole)
        self.window = functools.lru_cache(maxsize=None)(self._window)
        self._spectrum = fft.rfft2(self._fine, (_PAD, _PAD))
        # Sums over windows from cumulative sums, for the deviation under the window.
        self._sums = [
            np.pad(values.astype(np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
            for values in (self._fine, self._fine**2)
        ]

    def _window(self, scale: float) -> tuple[np.ndarray, tuple[int, int]]:
        """Spectrum and shape of the middle of the picture at a scale, of unit length."""
        size = max(8, round(self._whole.width * scale)), max(8, round(self._whole.height * scale))
        fine = _details(np.asarray(self._whole.resize(size, Image.Resampling.BILINEAR)))
        height, width = (round(side * _WINDOW / max(scale, 1)) for side in fine.shape)
        top, left = (fine.shape[0] - height) // 2, (fine.shape[1] - width) // 2
        middle = fine[top : top + height, left : left + width]
        middle = middle - middle.mean()
        middle = middle / max(float(np.linalg.norm(middle)), 1e-9)
        return np.conj(fft.rfft2(middle, (_PAD, _PAD))), (height, width)

    def find(self, other: _Searchable, scales: Sequence[float] = _SCALES) -> float:
        """The highest normalised correlation of the other's middle, at any scale and place, in this picture."""
        best = -1.0
        for scale in scales:
            spectrum, (height, width) = other.window(scale)
            rows, columns = self._fine.shape[0] - height + 1, self._fine.shape[1] - width + 1
            if rows < 1 or columns < 1:
                continue
            products = fft.irfft2(self._spectrum * spectrum, (_PAD, _PAD))[:rows, :columns]
            total, squared = (self._window_sums(sums, height, width) for sums in self._sums)
            deviation = np.sqrt(np.maximum(squared - total**2 / (height * width), 1e-6))
            best = max(best, float((products / deviation).max()))
        return best

    @staticmethod
    def _window_sums(sums: np.ndarray, height: int, width: int) -> np.ndarray:
        return sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
