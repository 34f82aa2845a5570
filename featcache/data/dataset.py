"""Datasets: which image files there are, with their labels, splits and groups.

Three layouts are understood: ``DIR/<class>/*``, ``DIR/{train,val,test}/<class>/*`` (both searched to
any depth below the class), and a CSV or Parquet manifest ``path,label[,split][,group]`` with paths
relative to the manifest. All three may stand behind a URL, and the folders in an archive
(:mod:`featcache.data.filesystems`).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from . import file_types, filesystems
from .class_folders import SPLIT_NAMES, Placed, place, unwrapped
from .folder_tree import walk
from .manifest import MANIFESTS, read_table
from .metadata import typed
from .patient_groups import group_patterns, groups_of
from .urls import Location

_log = logging.getLogger(__name__)
_OWN = ("path", "label", "split", "group")


@dataclass(frozen=True)
class Dataset:
    """A table of image files, one entry per list for each image.

    Attributes
    ----------
    root : where it was read from (a folder or a manifest).
    paths : absolute paths of the files, or URLs.
    names : the same relative to the root, with forward slashes.
    labels : class names; all empty where the table has no column of that name, as those of several labels have none.
    splits : ``train``, ``val``, ``test``, or ``""`` where the data names none.
    groups : patient or other unit that must not be torn apart; an image of unknown group is its own.
    ignored : files below the root that are left out, being no images or hidden; a hidden folder once, with a slash at
        its end.
    synthetic : whether this is the built-in sample.
    table : the columns of a manifest besides those, as text; what tasks of several labels or of a number learn.
    metadata : those of them that are kept beside features, typed (:mod:`featcache.data.metadata`).
    label_columns : of a collection that is known by its columns, those that hold its labels: several of 0 and 1, or
        one that lists them.
    """

    root: str
    paths: list[str]
    names: list[str]
    labels: list[str]
    splits: list[str]
    groups: list[str]
    ignored: list[str] = field(default_factory=list)
    synthetic: bool = False
    table: Mapping[str, list[str]] = field(default_factory=dict)
    metadata: Mapping[str, np.ndarray] = field(default_factory=dict)
    label_columns: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def classes(self) -> list[str]:
        """Class names, sorted."""
        return sorted(set(self.labels))

    @property
    def ignored_kinds(self) -> dict[str, int]:
        """How many files are left out, by kind: ``{".txt": 3, "hidden": 1}``."""
        return file_types.kinds(self.ignored)

    def take(self, rows: Iterable[int]) -> Dataset:
        """The same dataset with only these rows, in this order."""
        index = list(rows)
        picked: dict[str, Any] = {
            name: [getattr(self, name)[i] for i in index] for name in ("paths", "names", "labels", "splits", "groups")
        }
        picked["table"] = {name: [cells[i] for i in index] for name, cells in self.table.items()}
        picked["metadata"] = {name: column[index] for name, column in self.metadata.items()}
        return replace(self, **picked)


def open_dataset(data: str | os.PathLike[str], group_regex: str | None = None) -> Dataset:
    """Read a folder or a manifest.

    Parameters
    ----------
    data : a folder in one of the two layouts, a ``.csv`` or ``.parquet`` manifest, a URL of either, or a ``.zip`` or
        ``.tar`` of a folder.
    group_regex : pattern searched in each file's stem, or with a ``/`` in it, in its path below the root; its group
        ``group``, else its first group, else the whole match, is the image's group. Without it, a ``group`` column
        counts, else the patterns of well-known collections.

    Raises
    ------
    DataError
        There is no such place, it holds no images, or its layout is none of the three.
    """
    url = filesystems.as_url(data)
    if url is not None:
        patterns = group_patterns(group_regex)
        if filesystems.suffix_of(url) in MANIFESTS:
            return _from_manifest(url, patterns, forced=group_regex is not None)
        return _from_listing(url, patterns)
    root = Path(filesystems.locate(data)).expanduser()
    if not root.exists():
        raise DataError(f"{root}: no such file or folder; expected a folder of images or a CSV/Parquet manifest")
    patterns = group_patterns(group_regex)
    if root.is_dir():
        return _from_folder(root.absolute(), patterns)
    return _from_manifest(str(root.absolute()), patterns, forced=group_regex is not None)


def find_images(place: str | os.PathLike[str]) -> list[str]:
    """Image files, absolute or as URLs: the file itself, all below a folder, or those that a manifest names.

    Raises :class:`DataError` where there is no such place, or a folder without images.
    """
    url = filesystems.as_url(place)
    if url is not None:
        if filesystems.suffix_of(url) in file_types.SUFFIXES:
            return [url]
        if filesystems.suffix_of(url) in MANIFESTS:
            return _named_in(url)
        listed, ignored = _listed(url)
        return _some([path for _, path in listed], url, ignored)
    path = Path(filesystems.locate(place)).expanduser().absolute()
    if path.is_dir():
        images, ignored = walk(path)
        return _some([os.path.join(path, name) for name in images], str(path), ignored)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    return _named_in(str(path)) if path.suffix.lower() in MANIFESTS else [str(path)]


def _some(paths: list[str], place: str, ignored: Sequence[str]) -> list[str]:
    left_out = file_types.in_words(file_types.kinds(ignored))
    if not paths:
        raise DataError(f"{place}: no images found ({left_out or 'no files at all'})")
    if ignored:
        _log.info("%s: left out, being no images or hidden: %s", place, left_out)
    return paths


def _named_in(manifest: str) -> list[str]:
    table = read_table(manifest)
    if "path" not in table:
        raise DataError(f"{manifest}: no column 'path'; found {', '.join(table) or 'none'}")
    return _placed(manifest, table["path"])


def _placed(manifest: str, names: Sequence[str]) -> list[str]:
    """Where the files are that a manifest names."""
    paths = []
    for row, name in enumerate(names):
        try:
            paths.append(filesystems.beside(manifest, name))
        except DataError as error:
            raise DataError(f"{manifest}: row {row + 1}: {error}") from None
    return paths


def _from_folder(root: Path, patterns: Sequence[re.Pattern[str]]) -> Dataset:
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    images, ignored = walk(root)
    placed = place(str(root), folders, images, ignored)
    inside = os.path.join(root, "")
    paths = [inside + name for name in images]
    return _of_folders(str(root), paths, placed, ignored, patterns)


def _from_listing(url: str, patterns: Sequence[re.Pattern[str]]) -> Dataset:
    listed, ignored = _listed(url)
    names, paths = [name for name, _ in listed], [path for _, path in listed]
    if "::" in url:
        names = unwrapped(names)
    folders = sorted({name.split("/")[0] for name in names if "/" in name})
    return _of_folders(url, paths, place(url, folders, names, ignored), ignored, patterns)


def _of_folders(
    root: str, paths: list[str], placed: Placed, ignored: list[str], patterns: Sequence[re.Pattern[str]]
) -> Dataset:
    groups = groups_of(placed.names, patterns)
    return Dataset(root, paths, placed.names, placed.labels, placed.splits, groups, ignored)


def _listed(url: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Name and URL of the images below a URL, and the names of other files.

    A look into each file whose suffix is not known would cost a request: only archives on a local disk are looked into.
    """
    near = "::" in url and not filesystems.is_url(url.rpartition("::")[2])
    images, ignored = [], []
    for name, path in filesystems.listing(url):
        known = False if file_types.is_hidden(name) else file_types.by_suffix(name)
        if known is None and near:
            known = file_types.begins_like_image(filesystems.head(path, file_types.HEAD))
        if known:
            images.append((name, path))
        else:
            ignored.append(name)
    return images, ignored


def _from_manifest(root: str, patterns: Sequence[re.Pattern[str]], forced: bool) -> Dataset:
    table = read_table(root)
    if "path" not in table or len(table) == 1:
        column = "path" if "path" not in table else "label"
        raise DataError(
            f"{root}: no column {column!r}; found {', '.join(table) or 'none'}; "
            "expected path,label and optionally split,group"
        )
    if not table["path"]:
        raise DataError(f"{root}: the manifest has no rows")
    names, count = table["path"], len(table["path"])
    labels = table.get("label", [""] * count)
    empty = [i for i in range(count) if not names[i] or (not labels[i] and "label" in table)]
    if empty:
        raise DataError(f"{root}: {len(empty)} row(s) lack a path or a label, the first is row {empty[0] + 1}")
    splits = []
    for row, value in enumerate(table.get("split", [""] * count)):
        if value and value.lower() not in SPLIT_NAMES:
            raise DataError(f"{root}: row {row + 1} has the split {value!r}; expected train, val, test or nothing")
        splits.append(SPLIT_NAMES[value.lower()] if value else "")
    paths = _placed(root, names)
    # What signs a URL is no part of a name, and so of no group.
    names = [str(path) if isinstance(path, Location) else name for name, path in zip(names, paths, strict=True)]
    twice = count - len(set(paths))
    if twice:
        seen: set[str] = set()
        first = next(p for p in paths if p in seen or seen.add(p))  # type: ignore[func-returns-value]
        raise DataError(f"{root}: {twice} path(s) are listed more than once, the first is {first}")
    groups = groups_of(names, patterns)
    if "group" in table and not forced:
        groups = [given or name for given, name in zip(table["group"], names, strict=True)]
    others = {name: cells for name, cells in table.items() if name and name not in _OWN}
    return Dataset(root, paths, names, labels, splits, groups, table=others, metadata=typed(others))


def label_array(labels: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Labels as int64 array of shape (n,): the position of each in ``classes``."""
    position = {name: i for i, name in enumerate(classes)}
    return np.fromiter((position[name] for name in labels), dtype=np.int64, count=len(labels))
