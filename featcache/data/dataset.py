"""Datasets: which image files there are, with their labels, splits and groups.

Three layouts are understood: ``DIR/<class>/*``, ``DIR/{train,val,test}/<class>/*`` (both searched to
any depth below the class), and a CSV or Parquet manifest ``path,label[,split][,group]`` with paths
relative to the manifest, or the table of a known collection. All three may stand behind a URL, and the
folders in an archive (:mod:`featcache.data.filesystems`).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, UsageError
from ..system.user_paths import expanded
from . import file_types, filesystems
from .class_folders import Placed, place, unwrapped
from .data_source import DataSource, as_source
from .dicom_headers import HEADER_COLUMNS
from .folder_tree import walk
from .manifest import is_manifest
from .manifest_rows import named_images, read_manifest
from .patient_groups import group_patterns, groups_of

_log = logging.getLogger(__name__)


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
    left_out : why other columns are no metadata, by their names.
    source : how it was read.
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
    left_out: Mapping[str, str] = field(default_factory=dict)
    source: DataSource | None = field(default=None, compare=False)

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
    data : a folder in one of the two layouts, a ``.csv`` or ``.parquet`` manifest, the table of a known collection
        (:mod:`featcache.data.collections`), a URL of these, or a ``.zip`` or ``.tar`` of a folder; or one of them with
        what says how it is read (:class:`featcache.data.data_source.DataSource`).
    group_regex : pattern searched in each file's stem, or with a ``/`` in it, in its path below the root; its group
        ``group``, else its first group, else the whole match, is the image's group. Without it, a ``group`` column
        counts, else the patterns of well-known collections.

    Raises
    ------
    DataError
        There is no such place, it holds no images, its layout is none of the three, or a column that is to be kept is
        not there.
    """
    source = as_source(data, group_regex)
    dataset = _read(source)
    absent = [name for name in source.metadata if name not in dataset.table and name not in HEADER_COLUMNS]
    if absent:
        raise no_column(dataset, absent)
    return replace(dataset, source=source)


def _read(source: DataSource) -> Dataset:
    url = filesystems.as_url(source.data)
    if url is not None:
        patterns = group_patterns(source.group_regex)
        return _from_table(url, source, patterns) if is_manifest(url) else _from_listing(url, patterns)
    root = expanded(filesystems.locate(source.data))
    if not _is_there(root):
        raise DataError(f"{root}: no such file or folder; expected a folder of images or a CSV/Parquet manifest")
    patterns = group_patterns(source.group_regex)
    if not root.is_dir():
        return _from_table(str(root.absolute()), source, patterns)
    if source.images is not None:
        raise UsageError(f"--images says where the images of a table lie, and {root} is a folder; leave it out")
    return _from_folder(root.absolute(), patterns)


def _is_there(path: Path) -> bool:
    """Whether something is there; :class:`DataError` where that cannot be told, as of names that are too long."""
    try:
        return path.exists()
    except OSError as error:
        raise DataError(f"{str(path)[:200]}: cannot be looked for ({error.strerror}); expected a path") from error


def _from_table(root: str, source: DataSource, patterns: Sequence[re.Pattern[str]]) -> Dataset:
    rows = read_manifest(root, source, patterns)
    return Dataset(root, **{field.name: getattr(rows, field.name) for field in fields(rows)})


def no_column(dataset: Dataset, names: Sequence[str]) -> DataError:
    """What to raise where ``--metadata`` names a column that is not there."""
    there = ", ".join(dataset.table) or "none besides path, label, split and group"
    return DataError(f"{dataset.root}: --metadata names {', '.join(names)}, and there is no such column; found {there}")


def find_images(place: str | os.PathLike[str]) -> list[str]:
    """Image files, absolute or as URLs: the file itself, all below a folder, or those that a manifest names.

    Raises :class:`DataError` where there is no such place, or a folder without images.
    """
    url = filesystems.as_url(place)
    if url is not None:
        if filesystems.suffix_of(url) in file_types.SUFFIXES:
            return [url]
        if is_manifest(url):
            return named_images(url)
        listed, ignored = _listed(url)
        return _some([path for _, path in listed], url, ignored)
    path = expanded(filesystems.locate(place)).absolute()
    if not _is_there(path):
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir():
        images, ignored = walk(path)
        return _some([os.path.join(path, name) for name in images], str(path), ignored)
    return named_images(str(path)) if is_manifest(str(path)) else [str(path)]


def _some(paths: list[str], place: str, ignored: Sequence[str]) -> list[str]:
    left_out = file_types.in_words(file_types.kinds(ignored))
    if not paths:
        raise DataError(f"{place}: no images found ({left_out or 'no files at all'})")
    if ignored:
        _log.info("%s: left out, being no images or hidden: %s", place, left_out)
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


def label_array(labels: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Labels as int64 array of shape (n,): the position of each in ``classes``."""
    position = {name: i for i, name in enumerate(classes)}
    return np.fromiter((position[name] for name in labels), dtype=np.int64, count=len(labels))
