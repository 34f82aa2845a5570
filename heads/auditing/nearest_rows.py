"""Which rows of many have the highest products: each with each where they are few, within cells where they are many.

A cell holds the rows that have the same pivot as their nearest; a row is compared with the cells of its nearest pivots
(an inverted file: Sivic & Zisserman 2003). The same rows and seed give the same pairs.

Libraries of approximate neighbours do the same and were left: faiss' inverted file found as many in no less time, and
brings 19 MB, a BLAS and an OpenMP of its own beside TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

EXACT = 10_000  # rows, of which each is compared with each
_BLOCK = 2048
_PRODUCTS = 50_000_000  # between rows, held at a time where each is compared with each
_HELD = 8_000_000  # the same, within cells
_TIES = 40  # rows that are exactly as near as the last that counts, and count too
_PIVOTS = 4  # times the root of the number of rows
_LEARNT_FROM = 20  # times as many rows, from which pivots learn where rows are
_MOVES = 4
_PROBES = 32  # cells that a row is compared with
_WAITING = 4_000_000  # neighbours, from which the nearest of each row are chosen now and then

Pairs = set[tuple[int, int]]


def pairs_above(rows: np.ndarray, least: float, most: int, first: int | None = None) -> Pairs:
    """Pairs of rows of unit length whose product is ``least`` or more; of each row, the ``most`` highest.

    Parameters
    ----------
    rows : float32 array of shape (n, d).
    least, most : which pairs.
    first : where given, only pairs of one row before this position and one from it on.
    """
    pairs: Pairs = set()
    block = max(64, min(_BLOCK, _PRODUCTS // max(1, len(rows))))
    every = np.arange(len(rows))
    for start in range(0, len(rows), block):
        products = rows[start : start + block] @ rows.T
        products[~_allowed(every[start : start + block], every, first)] = -1
        near = products >= least
        if most < products.shape[1]:
            near &= products >= np.partition(products, -most, axis=1)[:, -most, None]
            for row in np.flatnonzero(near.sum(axis=1) > most + _TIES):
                near[row, np.flatnonzero(near[row])[most + _TIES :]] = False
        for a, b in zip(*np.nonzero(near), strict=True):
            a = int(a) + start
            pairs.add((min(a, int(b)), max(a, int(b))))
    return pairs


def pairs_in_cells(
    count: int,
    rows: Callable[[np.ndarray], np.ndarray],
    least: float,
    most: int,
    first: int | None = None,
    seed: int = 0,
) -> Pairs:
    """Nearly all pairs that :func:`pairs_above` gives, in time that grows by the power of 1.5 of the number of rows.

    Of rows that are the same the first is compared with others, and makes a pair with each of the same.

    Parameters
    ----------
    count : n.
    rows : gives rows by their positions: float32 array of shape (m, d), of unit length or all zero.
    least, most, first : as there.
    seed : of pivots.
    """
    some, pairs = _different(count, rows) if first is None else (np.arange(count), set())
    pivots = _pivots(some, rows, seed)
    near = _nearest_pivots(some, rows, pivots)
    inside, asking = _by_cell(near[:, :1], len(pivots)), _by_cell(near, len(pivots))
    nearest = _Nearest(most)
    for members, askers in zip(inside, asking, strict=True):
        held = some[members]
        there = rows(held)
        step = max(64, _HELD // max(1, len(held)))
        for start in range(0, len(askers) if len(held) else 0, step):
            part = some[askers[start : start + step]]
            products = rows(part) @ there.T
            products[~_allowed(part, held, first)] = -1
            nearest.add(part, held, products, least)
    return pairs | nearest.pairs()


def _allowed(a: np.ndarray, b: np.ndarray, first: int | None) -> np.ndarray:
    """Which rows may make pairs with which, bool array of shape (len(a), len(b))."""
    other = a[:, None] != b[None]
    return other if first is None else other & ((a[:, None] < first) != (b[None] < first))


def _different(count: int, rows: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, Pairs]:
    """Positions of rows that differ from all before them, and the others as pairs with the row that they are like."""
    seen: dict[int, int] = {}
    kept, pairs = [], set()
    for start in range(0, count, _BLOCK):
        for position, row in enumerate(rows(np.arange(start, min(count, start + _BLOCK))), start):
            like = seen.setdefault(hash(row.tobytes()), position)
            if like == position:
                kept.append(position)
            else:
                pairs.add((like, position))
    return np.array(kept), pairs


def _pivots(some: np.ndarray, rows: Callable[[np.ndarray], np.ndarray], seed: int) -> np.ndarray:
    """Some rows drawn at random, and moved a few times to the middle of those that are nearest to them (k-means)."""
    count = min(len(some), max(_PROBES, int(_PIVOTS * len(some) ** 0.5)))
    drawn = some[np.random.default_rng(seed).permutation(len(some))[: count * _LEARNT_FROM]]
    pivots = rows(drawn[:count])
    for _ in range(_MOVES):
        sums = np.zeros_like(pivots)
        for start in range(0, len(drawn), _BLOCK):
            block = rows(drawn[start : start + _BLOCK])
            nearest = (block @ pivots.T).argmax(axis=1)
            members = csr_array(
                (np.ones(len(block), np.float32), (nearest, np.arange(len(block)))), (count, len(block))
            )
            sums += members @ block
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        pivots = np.where(lengths > 0, sums / np.maximum(lengths, 1e-9), pivots)
    return pivots


def _nearest_pivots(some: np.ndarray, rows: Callable[[np.ndarray], np.ndarray], pivots: np.ndarray) -> np.ndarray:
    """The pivots that each row is nearest to, the nearest first: int32 array of shape (len(some), 32)."""
    probes = min(_PROBES, len(pivots))
    near = np.empty((len(some), probes), np.int32)
    for start in range(0, len(some), _BLOCK):
        products = rows(some[start : start + _BLOCK]) @ pivots.T
        chosen = np.argpartition(-products, probes - 1, axis=1)[:, :probes]
        order = np.argsort(-np.take_along_axis(products, chosen, axis=1), axis=1, kind="stable")
        near[start : start + _BLOCK] = np.take_along_axis(chosen, order, axis=1)
    return near


def _by_cell(near: np.ndarray, cells: int) -> list[np.ndarray]:
    """The rows that name each cell, in their order."""
    order = np.argsort(near, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(near.ravel(), minlength=cells))[:-1]
    return np.split((order // near.shape[1]).astype(np.int32), ends)


class _Nearest:
    """The nearest of each row, from what is found cell by cell."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._waiting = 0

    def add(self, a: np.ndarray, b: np.ndarray, products: np.ndarray, least: float) -> None:
        """Take in products of shape (len(a), len(b))."""
        near = products >= least
        if self._most < products.shape[1]:
            rows = np.flatnonzero(near.sum(axis=1) > self._most)
            if len(rows):
                nearest = np.argpartition(-products[rows], self._most - 1, axis=1)[:, : self._most]
                near[rows] = False
                near[rows[:, None], nearest] = True
        row, column = np.nonzero(near)
        self._found.append((a[row], b[column], products[row, column]))
        self._waiting += len(row)
        if self._waiting > _WAITING:
            self._choose()

    def pairs(self) -> Pairs:
        """The pairs, each of two positions in order."""
        self._choose()
        a, b, _ = self._found[0]
        return set(zip(np.minimum(a, b).tolist(), np.maximum(a, b).tolist(), strict=True))

    def _choose(self) -> None:
        empty = np.empty(0, np.int64)
        a, b, product = (np.concatenate(parts) for parts in zip((empty, empty, empty), *self._found, strict=True))
        order = np.lexsort((b, -product, a))
        a, b, product = a[order], b[order], product[order]
        starts = np.flatnonzero(np.r_[True, a[1:] != a[:-1]]) if len(a) else empty
        rank = np.arange(len(a)) - np.repeat(starts, np.diff(np.r_[starts, len(a)]))
        kept = rank < self._most
        self._found = [(a[kept], b[kept], product[kept])]
        self._waiting = int(kept.sum())
