"""What an audit finds in images it has looked at, as the plain values that ``run.json`` holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featcache.data.dataset import Dataset, label_array

from .audited_images import AuditedImages
from .image_summary import inverted
from .leakage import leak_inflation
from .near_duplicates import Pair, exact_duplicates, merged_groups, near_duplicates
from .shortcut_probes import shortcuts

_FAULTS = ("tiny", "blank", "inverted", "low contrast")
_GRAVE = ("label conflict", "across splits")  # kinds of pairs, what misleads most first


def examine(
    images: AuditedImages, classes: Sequence[str], features: np.ndarray | None, seed: int
) -> tuple[dict[str, Any], list[Pair]]:
    """What is found in one set of images, and the pairs that show one exposure, copies of a file among them.

    Parameters
    ----------
    images : two or more.
    classes : names, in the order of the task.
    features : array of shape (n, d), of which the first rows are those of these images; or None.
    seed : of folds and forests.
    """
    dataset, looks = images.dataset, images.looks
    mine = None if features is None else features[: len(images.keys)]
    squares = np.stack([look.square for look in looks])
    copies = exact_duplicates(images.keys)
    near = _pairs_once(images, copies, squares, mine)
    pairs = near + [Pair(group[0], position, 1.0) for group in copies for position in group[1:]]
    groups = merged_groups(dataset.groups, [(pair.a, pair.b) for pair in pairs])
    y = label_array(dataset.labels, classes)
    rows = np.asarray(squares[:, ::4, ::4].reshape(len(y), -1), np.float32) if mine is None else mine
    described = [_described(dataset, pair) for pair in near]
    findings = {
        "per_split": _per_split(dataset),
        "duplicates": [_copies(dataset, group) for group in copies],
        "near_duplicates": described,
        "split_leaks": {
            "duplicates": sum(len({dataset.splits[i] for i in group}) > 1 for group in copies),
            "near_duplicates": sum(pair["splits"][0] != pair["splits"][1] for pair in described),
        },
        "group_leaks": _group_leaks(dataset),
        "shortcuts": shortcuts(looks, y, classes, groups, seed),
        "leak_inflation": leak_inflation(rows, y, groups, seed),
        "unreadable": [{"path": image.path, "reason": image.reason} for image in images.bad],
        "quality": _quality(images),
        "against": None,
    }
    return findings, pairs


def compare_sets(own: AuditedImages, other: AuditedImages, features: np.ndarray | None, name: str) -> dict[str, Any]:
    """Pairs of one image of each set that show one exposure; ``features`` are of both, one after the other."""
    squares = np.stack([look.square for look in own.looks + other.looks])
    wholes = [look.whole for look in own.looks + other.looks]
    pairs = near_duplicates(squares, wholes, features, first=len(own.looks))
    return {
        "data": name,
        "images": len(other.looks),
        "near_duplicates": [_described(own.dataset, pair, other.dataset) for pair in pairs],
        "shared_images": len({pair.b for pair in pairs}),
    }


def gravest_first(pairs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Near-duplicates, what misleads most first: labels in conflict, across splits, the rest; each by similarity."""

    def rank(pair: Mapping[str, Any]) -> tuple[int, float]:
        kind = pair.get("kind")
        return _GRAVE.index(kind) if kind in _GRAVE else len(_GRAVE), -pair["similarity"]

    return sorted(pairs, key=rank)


def _pairs_once(
    images: AuditedImages, copies: Sequence[Sequence[int]], squares: np.ndarray, features: np.ndarray | None
) -> list[Pair]:
    """Near-duplicates, of copies of one file the first alone: all would pair up else."""
    again = {position for group in copies for position in group[1:]}
    once = np.array([position for position in range(len(images.keys)) if position not in again])
    wholes = [images.looks[position].whole for position in once]
    pairs = near_duplicates(squares[once], wholes, None if features is None else features[once])
    return [Pair(int(once[pair.a]), int(once[pair.b]), pair.similarity) for pair in pairs]


def _quality(images: AuditedImages) -> dict[str, list[str]]:
    """Paths by what is wrong with the image."""
    quality: dict[str, list[str]] = {fault: [] for fault in _FAULTS}
    for path, look, negative in zip(images.dataset.paths, images.looks, inverted(images.looks), strict=True):
        for fault in [*look.faults(), *["inverted"] * negative]:
            quality[fault].append(path)
    return {fault.replace(" ", "_"): paths for fault, paths in quality.items()}


def _copies(dataset: Dataset, group: Sequence[int]) -> dict[str, Any]:
    return {name: [getattr(dataset, name)[i] for i in group] for name in ("paths", "labels", "splits")}


def _described(a: Dataset, pair: Pair, b: Dataset | None = None) -> dict[str, Any]:
    """A pair in words; ``b`` where the second is of another set."""
    within = b is None
    b, second = (a, pair.b) if b is None else (b, pair.b - len(a))
    labels, splits = [a.labels[pair.a], b.labels[second]], [a.splits[pair.a], b.splits[second]]
    apart = "in both sets" if not within else "across splits" if splits[0] != splits[1] else "same class"
    return {
        "a": a.paths[pair.a],
        "b": b.paths[second],
        "similarity": round(pair.similarity, 4),
        "labels": labels,
        "splits": splits,
        "groups": [a.groups[pair.a], b.groups[second]],
        "kind": apart if labels[0] == labels[1] else "label conflict",
    }


def _group_leaks(dataset: Dataset) -> list[dict[str, Any]]:
    """Groups whose images stand in several splits."""
    splits: dict[str, set[str]] = {}
    for group, split in zip(dataset.groups, dataset.splits, strict=True):
        splits.setdefault(group, set()).add(split)
    sizes = Counter(dataset.groups)
    return [
        {"group": group, "splits": sorted(of_group), "images": sizes[group]}
        for group, of_group in splits.items()
        if len(of_group) > 1
    ]


def _per_split(dataset: Dataset) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for (split, label), count in sorted(Counter(zip(dataset.splits, dataset.labels, strict=True)).items()):
        table.setdefault(split or "all", {})[label] = count
    return table
