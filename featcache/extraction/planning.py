"""What there is to extract: the images that are meant, their row keys, and which of them have no features yet."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..data import filesystems
from ..data.data_source import DataSource, as_source
from ..data.dataset import Dataset, no_column, open_dataset
from ..data.manifest import is_manifest
from ..data.metadata import said_of
from ..data.patient_groups import group_patterns, groups_of
from ..data.synthetic import of_sample, sample_folder, write_sample
from ..errors import BadImage
from ..spec import FeatureSpec
from ..store.store import Store
from ..system.interrupts import reading
from .header_columns import dicom_rows, with_headers

_log = logging.getLogger(__name__)
_said: set[str] = set()
_HASHED_TOGETHER = 64  # files a task of the pool; a task for each costs as much as hashing a small file


@dataclass(frozen=True)
class PlannedImage:
    """One image to compute: its path and the row key that it had when the plan was made."""

    path: str
    key: bytes


@dataclass(frozen=True)
class Plan:
    """What there is to do; making it computes nothing and writes no feature.

    Attributes
    ----------
    to_compute : list of PlannedImage
        Each content once.
    reused : int
        Images whose features are there.
    copies : list of PlannedImage
        Images whose bytes equal those of another one to compute.
    unreadable : list of BadImage
        Files that could not be read at all.
    keys : list of bytes or None
        Row key of each image in order, None for those that could not be read.
    """

    to_compute: list[PlannedImage]
    reused: int
    copies: list[PlannedImage]
    unreadable: list[BadImage]
    keys: list[bytes | None] = field(default_factory=list)


def choose_data(store: Store, data: str | os.PathLike[str] | None, group_regex: str | None = None) -> Dataset:
    """The dataset a command works on: the one named, else that of the last extract, else the built-in sample.

    What the last extract was told of how its data is read counts whenever that data is read, unless it is told anew.
    DICOM headers are read where the data's source does not say otherwise.

    Raises :class:`DataError` as :func:`featcache.data.dataset.open_dataset` does.
    """
    last = store.last_extract()
    if data is not None:
        source = _as_before(as_source(data, group_regex), last)
        return _marked(store, _complete(store, open_dataset(source)))
    if last.get("data") and (not last.get("synthetic") or is_manifest(last["data"])):
        _log.info("data: %s (the last extract's)", last["data"])
        source = _as_before(DataSource(last["data"], group_regex or last.get("group_regex")), last)
        return _marked(store, _complete(store, open_dataset(source)))
    folder = write_sample(sample_folder(store.cache))
    _log.warning("data: the built-in SYNTHETIC sample (drawn by code; nothing it gives is a medical result)")
    return replace(open_dataset(folder, group_regex), synthetic=True)


def _marked(store: Store, dataset: Dataset) -> Dataset:
    """The dataset, said to be synthetic where it is the sample, or a table of some of its images."""
    return replace(dataset, synthetic=True) if of_sample(store.cache, dataset.paths) else dataset


def of_patients(store: Store, paths: Sequence[str], group_regex: str | None = None) -> list[str]:
    """The patient of each of some images, as far as their names or DICOM headers tell; else the image itself.

    Raises :class:`UsageError` for what is no pattern.
    """
    names = list(paths)
    nothing = [""] * len(names)
    groups = groups_of(names, group_patterns(group_regex))
    source = DataSource("", group_regex)
    dataset = Dataset("", names, names, nothing, nothing, groups, source=source)
    rows = dicom_rows(dataset)
    if rows:
        dataset = with_headers(store.index, dataset, rows, row_keys(store, [names[i] for i in rows])[0])
    return dataset.groups


def _as_before(source: DataSource, last: Mapping[str, Any]) -> DataSource:
    """A source as the last extract of the same data read it, where nothing else is said."""
    if not source.is_plain or last.get("data") != source.root:
        return source
    return replace(
        source, images=last.get("images"), metadata=last.get("metadata", ()), headers=last.get("headers", True)
    )


def _complete(store: Store, dataset: Dataset) -> Dataset:
    """With what DICOM headers say; says what is left out, and raises for a column that is named and not there."""
    source = dataset.source
    assert source is not None
    rows = dicom_rows(dataset) if source.headers else []
    if rows:
        keys, _ = row_keys(store, [dataset.paths[i] for i in rows])
        dataset = with_headers(store.index, dataset, rows, keys)
    absent = [name for name in source.metadata if name not in dataset.table]
    if absent:
        raise no_column(dataset, absent)
    if dataset.left_out:
        _say_once(f"{dataset.root}: no metadata: {said_of(dataset.left_out)}. To keep one, name it: --metadata A,B")
    return dataset


def _say_once(text: str) -> None:
    if text not in _said:  # a verb asks several times
        _said.add(text)
        _log.info("%s", text)


def row_keys(store: Store, paths: Sequence[str]) -> tuple[list[bytes | None], list[BadImage]]:
    """SHA-256 of each file, from the index where its stamp is unchanged (:mod:`featcache.system.file_stamps`).

    Returns
    -------
    keys : list of bytes or None
        One a path; None where the file cannot be read.
    bad : list of BadImage
        The unreadable files, with reasons.
    """
    looked = time.time_ns()  # before the first look: what changes afterwards is younger than what is believed
    stamps, failed = filesystems.stat(paths)
    bad = [BadImage(paths[i], reason) for i, reason in failed.items()]
    keys = store.index.known_keys(paths, stamps)
    fresh = [i for i, key in enumerate(keys) if key is None and i not in failed]

    def sha256(part: Sequence[int]) -> list[bytes | str]:
        return [_file_key(paths[i]) for i in part]

    if not fresh:
        return keys, bad
    parts = [fresh[start : start + _HASHED_TOGETHER] for start in range(0, len(fresh), _HASHED_TOGETHER)]
    with reading(os.cpu_count(), "hash") as pool:
        for part, results in zip(parts, pool.map(sha256, parts), strict=True):
            for i, result in zip(part, results, strict=True):
                if isinstance(result, str):
                    bad.append(BadImage(paths[i], result))
                else:
                    keys[i] = result
    store.index.remember_files(((paths[i], stamps[i], key) for i in fresh if (key := keys[i]) is not None), looked)
    return keys, bad


def _file_key(path: str) -> bytes | str:
    """SHA-256 of a file, or why there is none."""
    try:
        if filesystems.is_url(path):
            return hashlib.sha256(filesystems.read(path, again=True)).digest()
        with filesystems.open_file(path) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def plan(store: Store, spec: FeatureSpec, paths: Sequence[str]) -> Plan:
    """Compare the images with what the store holds."""
    return plan_layers(store, [spec], paths)[0]


def plan_layers(store: Store, specs: Sequence[FeatureSpec], paths: Sequence[str]) -> list[Plan]:
    """The same for several sets: a plan for each, and one more for a pass that serves them all."""
    keys, bad = row_keys(store, paths)
    present = [store.rows(store.find(spec)) for spec in specs]
    plans = [_plan(paths, keys, bad, there) for there in present]
    in_all = present[0].keys() if len(present) == 1 else set(present[0]).intersection(*present[1:])
    return [*plans, plans[0] if len(plans) == 1 else _plan(paths, keys, bad, in_all)]


def _plan(paths: Sequence[str], keys: list[bytes | None], bad: list[BadImage], present: Container[bytes]) -> Plan:
    to_compute: dict[bytes, PlannedImage] = {}
    copies: list[PlannedImage] = []
    reused = 0
    for path, key in zip(paths, keys, strict=True):
        if key is None:
            continue
        if key in present:
            reused += 1
        elif key in to_compute:
            copies.append(PlannedImage(path, key))
        else:
            to_compute[key] = PlannedImage(path, key)
    return Plan(list(to_compute.values()), reused, copies, bad, keys)
