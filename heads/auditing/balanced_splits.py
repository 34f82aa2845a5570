"""Splits that keep groups whole and have of everything what is their share: of labels, and of the metadata's values.

Groups are dealt the largest first, each to the part that it brings nearest to its share (as Sechidis et al. 2011 do for
single images), and moved afterwards as long as a move helps; the best of a few random starts is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featcache.data.tasks import Task

from ..evaluation.splits import clean_splits
from .metadata_probes import as_categories
from .questions import ask

PARTS = ("train", "val", "test")
_SHARES = np.array([0.6, 0.2, 0.2])
_STARTS = 8
_MOVES = 2000
_LEAST = 5  # groups of a class, of which a test part can be made
_NOTICED = 0.1  # difference of a share between parts that is worth a word
_METADATA = 0.5  # what all columns together weigh beside the labels


def splits_of(
    given: Sequence[str],
    columns: Mapping[str, np.ndarray],
    task: Task,
    y: np.ndarray,
    names: Sequence[str],
    groups: Sequence[str],
    seed: int = 0,
) -> tuple[list[str], list[dict[str, Any]]]:
    """Splits that tear no group apart, and what they could not balance.

    Given ones stay as :func:`heads.evaluation.splits.clean_splits` says. Else three fifths of the images become the
    training part, a fifth each the validation and the test part, where every class has five groups or more; else all
    are training images.

    Parameters
    ----------
    given : split of each image, or ``""``.
    columns : metadata by name, arrays of shape (n,).
    task, y, names : what is learnt, its targets, and what they are called.
    groups : group of each image.
    seed : of random starts.

    Returns
    -------
    splits : list of str
    unbalanced : ``column value part share overall`` of values whose share in a part is off by a tenth or more, the
        worst of each column; ``label`` stands for the column of a class.
    """
    strata = task.strata(np.asarray(y))
    of_group = np.unique(np.asarray(groups, str), return_inverse=True)[1]
    if any(given):
        splits = clean_splits(strata, given, groups, seed)
    else:
        fewest = min(len(np.unique(of_group[strata == one])) for one in np.unique(strata))
        if len(np.unique(of_group)) < _LEAST or (task.kind == "classes" and fewest < _LEAST):
            return ["train"] * len(y), []
        splits = []
    features, weights = _features(columns, task, y, names, groups)
    if not splits:
        counts = np.zeros((int(of_group.max()) + 1, features.matrix.shape[1]))
        np.add.at(counts, of_group, features.matrix)
        part = _assigned(counts, weights, np.random.default_rng(seed))
        splits = [PARTS[which] for which in part[of_group]]
    return splits, _unbalanced(features, splits)


class _Table:
    """What is to be balanced, a row an image and a column each value of each column: 1 where an image has it."""

    def __init__(self) -> None:
        self.names: list[tuple[str, str]] = []
        self._columns: list[np.ndarray] = []

    def add(self, name: str, codes: np.ndarray, values: Sequence[str]) -> None:
        """The values of one column, -1 where unknown."""
        for code, value in enumerate(values):
            self.names.append((name, value))
            self._columns.append(codes == code)

    @property
    def matrix(self) -> np.ndarray:
        """Array of shape (n, number of values)."""
        return np.stack(self._columns, axis=1).astype(np.float64)


def _features(
    columns: Mapping[str, np.ndarray], task: Task, y: np.ndarray, names: Sequence[str], groups: Sequence[str]
) -> tuple[_Table, np.ndarray]:
    """What is to be balanced, and how much each weighs."""
    table = _Table()
    table.add("images", np.zeros(len(y), int), ("all",))
    for question in ask(task, y, names, groups):
        codes = np.full(len(y), -1)
        codes[question.rows] = question.strata
        values = tuple(names) if task.kind == "classes" else ("no", "yes")
        if task.kind == "number":
            values = tuple(f"fifth {code + 1}" for code in range(5))
        table.add(question.label, codes, values)
    of_labels = len(table.names)
    for name, column in columns.items():
        one = as_categories(name, column)
        unknown = (one.codes < 0).any()
        codes = np.where(one.codes < 0, len(one.values), one.codes)
        if len(one.values) + unknown > 1:
            table.add(name, codes, (*one.values, "unknown") if unknown else one.values)
    weights = np.ones(len(table.names))
    weights[of_labels:] = _METADATA * of_labels / max(1, len(table.names) - of_labels)
    return table, weights


def _assigned(counts: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The part of each group, int array of shape (n_groups,); ``counts`` of shape (n_groups, n_values)."""
    wanted = _SHARES[:, None] * counts.sum(axis=0)
    scale = weights / np.maximum(wanted, 1)  # as chi-square weighs what is off

    best, least = np.zeros(len(counts), int), np.inf
    for start in range(_STARTS):
        size = counts[:, 0] * (1 if start == 0 else rng.uniform(0.5, 2, len(counts)))
        part, cost = _improved(_dealt(counts, wanted, scale, np.argsort(-size, kind="stable")), counts, wanted, scale)
        if cost < least - 1e-9:
            best, least = part, cost
    return best


def _dealt(counts: np.ndarray, wanted: np.ndarray, scale: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Groups in this order, each to the part it brings nearest to what it wants."""
    part, off = np.zeros(len(counts), int), -wanted.copy()
    for group in order:
        gain = (((off + counts[group]) ** 2 - off**2) * scale).sum(axis=1)
        part[group] = int(np.argmin(gain))
        off[part[group]] += counts[group]
    return part


def _improved(part: np.ndarray, counts: np.ndarray, wanted: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, float]:
    """The parts after the moves of single groups that each help most, and what is still off."""
    part = part.copy()
    off = np.stack([counts[part == which].sum(axis=0) for which in range(len(wanted))]) - wanted
    each = np.arange(len(counts))
    for _ in range(_MOVES):
        joins = np.stack(
            [((2 * off[to] + counts) * counts * scale[to]).sum(axis=1) for to in range(len(wanted))], axis=1
        )
        leaves = ((counts - 2 * off[part]) * counts * scale[part]).sum(axis=1)
        gains = joins + leaves[:, None]
        gains[each, part] = 0
        group, to = np.unravel_index(np.argmin(gains), gains.shape)
        if gains[group, to] > -1e-9:
            break
        off[part[group]] -= counts[group]
        off[to] += counts[group]
        part[group] = to
    return part, float((off**2 * scale).sum())


def _unbalanced(table: _Table, splits: Sequence[str]) -> list[dict[str, Any]]:
    """Of each column the value and the part whose share is off most, where that is a tenth or more."""
    matrix, of_image = table.matrix, np.asarray(splits)
    worst: dict[str, dict[str, Any]] = {}
    for column in dict.fromkeys(name for name, _ in table.names[1:]):
        own = [place for place, (name, _) in enumerate(table.names) if name == column]
        known = matrix[:, own].sum(axis=1) > 0
        for part in sorted(set(splits)):
            there = known & (of_image == part)
            if not there.any():
                continue
            for place in own:
                share, overall = float(matrix[there, place].mean()), float(matrix[known, place].mean())
                before = worst.get(column)
                if before is None or abs(share - overall) > abs(before["share"] - before["overall"]):
                    about = {"column": column, "value": table.names[place][1], "part": part}
                    worst[column] = {**about, "share": share, "overall": overall}
    return [one for one in worst.values() if abs(one["share"] - one["overall"]) >= _NOTICED]
