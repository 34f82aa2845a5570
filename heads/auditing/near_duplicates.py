"""Images that show the same exposure: copies, and copies that were resized, re-encoded, cropped, mirrored or turned."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from featcache.system import memory

from .image_summary import ImageSummary
from .nearest_rows import EXACT, Pairs, pairs_above, pairs_in_cells
from .picture_alignment import GLANCE, Searchable, details, independent_details
from .sketches import MARGIN, SQUARE, SYMMETRIES, Sketches, frequencies, invariants, normalised, shades, turned

_COPY = 0.75  # correlation of details from which two pictures show one exposure; see near_duplicates
_HOPEFUL = 0.35  # at a third of the scales; of copies the least was 0.41, and 98 in 100 other pairs are below
_GLIMPSED = (
    0.5  # of halved pictures, where there are many: of copies the least was 0.62, 95 in 100 neighbours are below
)
_WORTH_A_LOOK = 0.6  # correlation of details of the squared pictures, without alignment
_ALIKE = 0.6  # correlation of features about their mean
_NEIGHBOURS = 2  # of each image that are looked at
_ALIKE_AT_MOST = 10  # of each image that have the same details: frames of one film would all pair up
_SAME_STRENGTHS = 0.4  # correlation of what no symmetry changes, about the mean of the set
_SAME_TURNED = 0.5  # correlation of details by the best symmetry
_TURNED_AT_MOST = 3  # of each image, that may be it mirrored or turned
_FILM = 30  # images known to be alike, between which no further pair is looked at
_SEARCHED = 3_000_000  # bytes of a picture that is compared at every scale
_FEW_DETAILS = 100  # independent ones, fewer of which prove nothing
_SAME = 0.995  # correlation of squared pictures, which then has to
_AT_ONCE = 1024  # pairs
_MEAN_OF = 20_000  # rows
_Rows = Callable[[np.ndarray], np.ndarray]  # gives rows by their positions


@dataclass(frozen=True)
class Pair:
    """Two images, by position.

    Attributes
    ----------
    a, b : positions.
    similarity : correlation of their details, up to 1.
    how : what makes the second of the first, a name of :data:`heads.auditing.sketches.SYMMETRIES`; turns are clockwise.
    """

    a: int
    b: int
    similarity: float
    how: str = ""


def exact_duplicates(keys: Sequence[bytes]) -> list[list[int]]:
    """Positions of images whose files are equal byte for byte, in groups of two and more."""
    places: dict[bytes, list[int]] = {}
    for position, key in enumerate(keys):
        places.setdefault(key, []).append(position)
    return [group for group in places.values() if len(group) > 1]


def near_duplicates(
    summaries: Sequence[ImageSummary],
    sketches: Sketches,
    features: np.ndarray | None = None,
    first: int | None = None,
    seed: int = 0,
) -> list[Pair]:
    """Pairs that show one exposure, most alike first.

    Two steps. Candidates are pairs whose squared pictures have the same details, and the two nearest neighbours of each
    image by coarse shades and, where there are any, by features of a backbone: these forgive a crop, which moves every
    pixel. Then the middle of one picture is looked for in the other, at 21 scales and every place, by normalised
    cross-correlation of details (:mod:`heads.auditing.picture_alignment`).

    A copy that was mirrored or turned has frequencies of the same strengths (:mod:`heads.auditing.sketches`): images
    that are alike in these are compared by each of the eight symmetries, and the best is looked for in the same way.

    Of up to 10,000 images each is compared with each; of more, each with those in the cells of
    :mod:`heads.auditing.nearest_rows`. Between images that are known to be alike, 30 and more, no further pair is
    looked for: frames of one film are one group all the same.

    On 520 real radiographs, copies (resized, re-encoded, brightened, cropped) reached 0.79 to 1, all other pairs 0.58
    at most, the highest of them two exposures of one patient. Of 30 images that two collections cropped and scaled
    differently, 26 were found; without features, 24.

    Parameters
    ----------
    summaries : n summaries.
    sketches : of the same images.
    features : array of shape (n, d), or None.
    first : where given, only pairs of one image before this position and one from it on.
    seed : of the cells.
    """
    if len(summaries) <= EXACT:
        plain, alike = _each_with_each(summaries, sketches, features, first)
    else:
        plain, alike = _within_cells(sketches, features, first, seed)
    alignment = _Alignment(summaries)
    pairs = list(alignment.pairs([(a, b, "") for a, b in sorted(plain)]))
    found = {(pair.a, pair.b) for pair in pairs}
    others = [(a, b) for a, b in sorted(alike) if (a, b) not in found]
    pairs += alignment.pairs(_mirrored_or_turned(sketches, others))
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
    _, first, of_name = np.unique(joined, return_index=True, return_inverse=True)
    return names[first[of_name]][codes].tolist()


def _each_with_each(
    summaries: Sequence[ImageSummary], sketches: Sketches, features: np.ndarray | None, first: int | None
) -> tuple[Pairs, Pairs]:
    """Candidates, plain ones and those that may be mirrored or turned, of few images."""
    inner = slice(MARGIN, -MARGIN)
    side = SQUARE - 2 * MARGIN
    fine = np.empty((len(summaries), side * side), np.float32)
    for row, summary in zip(fine, summaries, strict=True):
        row[:] = details(summary.square)[inner, inner].ravel()
    plain = pairs_above(normalised(fine), _WORTH_A_LOOK, _ALIKE_AT_MOST, first)
    plain |= pairs_above(_about_the_mean(shades(sketches.cells)), _ALIKE, _NEIGHBOURS, first)
    if features is not None:
        plain |= pairs_above(_about_the_mean(np.asarray(features, np.float32)), _ALIKE, _NEIGHBOURS, first)
    strengths = _about_the_mean(invariants(sketches.details))
    return plain, pairs_above(strengths, _SAME_STRENGTHS, _TURNED_AT_MOST, first)


def _about_the_mean(rows: np.ndarray) -> np.ndarray:
    return normalised(rows - rows.mean(axis=0))


def _within_cells(sketches: Sketches, features: np.ndarray | None, first: int | None, seed: int) -> tuple[Pairs, Pairs]:
    """The same of many images."""
    some = np.unique(np.linspace(0, len(sketches) - 1, _MEAN_OF).astype(int))

    def near(rows: _Rows, least: float, most: int) -> Pairs:
        return pairs_in_cells(len(sketches), rows, least, most, first, seed)

    def about_the_mean(rows: _Rows) -> _Rows:
        mean = rows(some).mean(axis=0)
        return lambda at: normalised(rows(at) - mean)

    plain = near(lambda at: frequencies(sketches.details[at]), _WORTH_A_LOOK, _ALIKE_AT_MOST)
    plain |= near(about_the_mean(lambda at: shades(sketches.cells[at])), _ALIKE, _NEIGHBOURS)
    if features is not None:
        kept = features
        plain |= near(about_the_mean(lambda at: np.asarray(kept[at], np.float32)), _ALIKE, _NEIGHBOURS)
    strengths = about_the_mean(lambda at: invariants(sketches.details[at]))
    return plain, near(strengths, _SAME_STRENGTHS, _TURNED_AT_MOST)


def _mirrored_or_turned(sketches: Sketches, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int, str]]:
    """Of pairs, those whose details are the same by a symmetry, and better so than as they are; with its name."""
    chosen = []
    for start in range(0, len(pairs), _AT_ONCE):
        a, b = np.array(pairs[start : start + _AT_ONCE]).T
        there = frequencies(sketches.details[b])
        products = [(frequencies(sketches.details[a], how) * there).sum(axis=1) for how in SYMMETRIES]
        best, names = np.argmax(products, axis=0), tuple(SYMMETRIES)
        for place in np.flatnonzero((best > 0) & (np.max(products, axis=0) >= _SAME_TURNED)):
            chosen.append((int(a[place]), int(b[place]), names[best[place]]))
    return chosen


class _Alignment:
    """Candidates that prove to be pairs, by the details of the pictures in their own aspect."""

    def __init__(self, summaries: Sequence[ImageSummary]) -> None:
        self._summaries, self._film = summaries, _Film()
        self._many = len(summaries) > EXACT
        room = memory.available() // 4

        def searchable(position: int, how: str, halved: bool) -> Searchable:
            return Searchable(turned(summaries[position].whole, how), halved)

        # Of many images, which come in no order, few are asked for again.
        self._search = functools.lru_cache(max(16, min(64 if self._many else 1024, room // _SEARCHED)))(searchable)

    def pairs(self, candidates: Sequence[tuple[int, int, str]]) -> Iterator[Pair]:
        """Those that show one exposure, in their order."""
        with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="compare") as pool:
            for start in range(0, len(candidates), _AT_ONCE):
                some = [one for one in candidates[start : start + _AT_ONCE] if not self._film.holds(*one[:2])]
                for (a, b, how), value in zip(some, pool.map(self._similarity, some), strict=True):
                    if value >= _COPY and self._proven(a, b, how):
                        self._film.join(a, b)
                        yield Pair(a, b, min(1.0, value), how)

    def _proven(self, a: int, b: int, how: str) -> bool:
        """Whether two pictures have details enough to tell, or else are the same all over."""
        one, other = self._summaries[a], self._summaries[b]
        if min(independent_details(one.whole), independent_details(other.whole)) >= _FEW_DETAILS:
            return True
        rows = normalised(np.stack([turned(one.square, how), other.square]).reshape(2, -1).astype(np.float32))
        return bool(rows[0] @ rows[1] >= _SAME)

    def _similarity(self, candidate: tuple[int, int, str]) -> float:
        first, second, how = candidate
        if self._many:
            glimpse = self._search(first, how, True).find(self._search(second, "", True), GLANCE)
            if glimpse < _GLIMPSED:
                return glimpse
        a, b = self._search(first, how, False), self._search(second, "", False)
        glance = a.find(b, GLANCE)
        return glance if glance < _HOPEFUL else max(a.find(b), b.find(a))


class _Film:
    """Images that are known to be alike, in disjoint sets."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}
        self._size: dict[int, int] = {}

    def holds(self, a: int, b: int) -> bool:
        """Whether both are of one large set."""
        root = self._root(a)
        return self._size.get(root, 1) > _FILM and root == self._root(b)

    def join(self, a: int, b: int) -> None:
        """Note that two are alike."""
        a, b = self._root(a), self._root(b)
        if a != b:
            self._parent[b] = a
            self._size[a] = self._size.get(a, 1) + self._size.get(b, 1)

    def _root(self, one: int) -> int:
        while (above := self._parent.get(one, one)) != one:
            self._parent[one] = one = self._parent.get(above, above)
        return one
