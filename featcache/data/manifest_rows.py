"""What a manifest says, row by row: where each image is, its label, split and group, and what is known besides."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DataError
from ..system.plain_text import printable
from . import image_places
from .class_folders import SPLIT_NAMES
from .collections import Shipped, known_collections, shipped
from .data_source import DataSource
from .manifest import read_table
from .metadata import typed
from .patient_groups import groups_of
from .urls import Location

_OWN = ("path", "label", "split", "group")


@dataclass(frozen=True)
class ManifestRows:
    """The rows of a manifest; as of :class:`featcache.data.dataset.Dataset`, whose attributes they become."""

    paths: list[str]
    names: list[str]
    labels: list[str]
    splits: list[str]
    groups: list[str]
    table: Mapping[str, list[str]]
    metadata: Mapping[str, np.ndarray]
    label_columns: tuple[str, ...]
    left_out: Mapping[str, str]


def read_manifest(root: str, source: DataSource, patterns: Sequence[re.Pattern[str]]) -> ManifestRows:
    """Read a manifest, or the table of a known collection.

    Parameters
    ----------
    root : the file, absolute, or its URL.
    source : how it is read.
    patterns : of groups in names.

    Raises
    ------
    DataError
        It is none, lacks what it needs, or says of an image two things.
    """
    collection, table = _ordinary(root)
    count = len(table["path"])
    labels = table.get("label", [""] * count)
    empty = [i for i in range(count) if not table["path"][i] or (not labels[i] and "label" in table)]
    if empty:
        raise DataError(f"{root}: {len(empty)} row(s) lack a path or a label, the first is row {empty[0] + 1}")
    splits = _splits(root, table.get("split", [""] * count))
    paths, names = _places(root, table["path"], source, collection)
    _require_once(root, paths, labels)
    if "group" in table and source.group_regex is None:
        groups = [given or name for given, name in zip(table["group"], names, strict=True)]
    else:
        groups = groups_of(names, patterns)
    others = {name: cells for name, cells in table.items() if name and name not in _OWN}
    passed = () if collection is None else (*collection.label_columns, *collection.passed)
    metadata, left_out = typed(others, source.metadata, passed)
    label_columns = () if collection is None else collection.label_columns
    return ManifestRows(paths, names, labels, splits, groups, others, metadata, label_columns, left_out)


def named_images(root: str) -> list[str]:
    """The files that a manifest names; raises :class:`DataError` where it names none."""
    collection, table = _ordinary(root, labelled=False)
    return _places(root, table["path"], DataSource(root), collection)[0]


def _ordinary(root: str, labelled: bool = True) -> tuple[Shipped | None, Mapping[str, list[str]]]:
    """The table, in ordinary columns, and which collection it is of."""
    table = read_table(root)
    collection = shipped(root, table)
    if collection is not None:
        table = collection.table
    elif "path" not in table or (labelled and len(table) == 1):
        column = "path" if "path" not in table else "label"
        raise DataError(
            f"{root}: no column {column!r}; found {', '.join(table) or 'none'}; "
            "expected path,label and optionally split,group, or a table as one of these collections ships it: "
            f"{', '.join(known_collections())}"
        )
    if not table["path"] and labelled:
        raise DataError(f"{root}: the manifest has no rows")
    return collection, table


def _places(
    root: str, named: Sequence[str], source: DataSource, collection: Shipped | None
) -> tuple[list[str], list[str]]:
    """Where the images are, and what they are called."""
    if source.images is not None or collection is not None:
        return image_places.below(root, named, image_places.folder_of(root) if source.images is None else source.images)
    paths = image_places.beside(root, named)
    # What signs a URL is no part of a name, and so of no group.
    return paths, [str(path) if isinstance(path, Location) else name for name, path in zip(named, paths, strict=True)]


def _splits(root: str, cells: Sequence[str]) -> list[str]:
    for row, value in enumerate(cells):
        if value and value.lower() not in SPLIT_NAMES:
            raise DataError(f"{root}: row {row + 1} has the split {value!r}; expected train, val, test or nothing")
    return [SPLIT_NAMES[value.lower()] if value else "" for value in cells]


def _require_once(root: str, paths: Sequence[str], labels: Sequence[str]) -> None:
    """Raise :class:`DataError` where an image is named twice; above all where two different things are said of it."""
    twice = len(paths) - len(set(paths))
    if not twice:
        return
    first: dict[str, int] = {}
    again = [(first[path], row) for row, path in enumerate(paths) if first.setdefault(path, row) != row]
    torn = next(((one, other) for one, other in again if labels[one] != labels[other]), None)
    if torn is not None:
        one, other = torn
        said = " and ".join(printable(labels[row], lines=False) for row in torn)
        raise DataError(
            f"{root}: {twice} path(s) are listed more than once, rows {one + 1} and {other + 1} with different labels "
            f"({said}): {paths[one]}; keep the row that is right"
        )
    raise DataError(f"{root}: {twice} path(s) are listed more than once, the first is {paths[again[0][0]]}")
