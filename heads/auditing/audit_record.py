"""The record of an audit, kept with the images it looked at, so that later metrics of the same images stand beside it.

``cache/audits/<digest of the row keys>.json``, of several labels or a number with a digest of the task behind it: there
again wherever the images lie and whatever they are called; not where one was added, dropped or changed, since then the
audit says nothing any more.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from featcache.data.tasks import Task, about_task
from featcache.errors import StoreError
from featcache.features.labelled_features import Features
from featcache.system import atomic_files, schema
from featcache.system.schema import Digest
from featcache.system.user_paths import expanded

from .messages import NOT_AUDITED
from .near_duplicates import merged_groups

_log = logging.getLogger(__name__)
_VERSION = 1
_AGAIN = "Delete it and audit again"


class _Version(msgspec.Struct):
    version: int


class _Record(msgspec.Struct):
    """What a record holds at least."""

    warnings: list[str]
    links: list[tuple[Digest, Digest]]
    run: str


@dataclass(frozen=True)
class AuditRecord:
    """What must stand beside the metrics of some images.

    Attributes
    ----------
    warnings : in plain words.
    links : row keys of pairs that show one patient, so that no split may tear them apart.
    run : folder of the audit.
    """

    warnings: list[str]
    links: list[tuple[bytes, bytes]]
    run: str


def write_record(
    cache: str | os.PathLike[str], keys: Sequence[bytes], record: AuditRecord, task: Task | None = None
) -> None:
    """Keep the record of an audit of these images; ``task`` is what it asked for, None being classes."""
    links = [[a.hex(), b.hex()] for a, b in record.links]
    values = {"version": _VERSION, "warnings": record.warnings, "links": links, "run": record.run}
    atomic_files.write_bytes(_place(cache, keys, task), (json.dumps(values, indent=1) + "\n").encode())


def read_record(cache: str | os.PathLike[str], keys: Sequence[bytes], task: Task | None = None) -> AuditRecord | None:
    """The record of the last audit of just these images that asked for this task; None where there was none.

    All tasks of classes have one record, since other classes are other images; with None it is that one.

    Raises :class:`StoreError` where the record is damaged.
    """
    place = _place(cache, keys, task)
    record = _read(place)
    if record is not None and not {key for link in record.links for key in link} <= set(keys):
        raise StoreError(f"{place}: not a readable record of an audit: links images that are not among them. {_AGAIN}")
    return record


def apply_record(features: Features, cache: str | os.PathLike[str]) -> tuple[Features, list[str]]:
    """The features with linked images in one group, and the warnings; one that says so where nothing was audited."""
    record = read_record(cache, features.keys, features.task)
    return join_groups(features, cache), [NOT_AUDITED] if record is None else record.warnings


def join_groups(features: Features, cache: str | os.PathLike[str]) -> Features:
    """The features with images that show one patient in one group, as :func:`joined_groups` says."""
    whole = joined_groups(features.keys, features.groups, cache)
    return features if whole is None else replace(features, groups=whole)


def joined_groups(keys: Sequence[bytes], groups: np.ndarray, cache: str | os.PathLike[str]) -> np.ndarray | None:
    """Groups with images that show one patient in one, array of objects of shape (n,); None where nothing is to join.

    These are copies of a file, audited or not, and the pairs that any audit in this cache has found: of more images
    than these, or of some of them. Records that cannot be read are left out, and named.
    """
    position: dict[bytes, int] = {}
    pairs = [(position.setdefault(key, place), place) for place, key in enumerate(keys)]
    links = [pair for pair in pairs if pair[0] != pair[1]]
    names = [str(group) for group in groups]
    for a, b in (link for record in _records(cache, logging.WARNING) for link in record.links):
        for key in (a, b):
            if key not in position:  # an image that is not here may still link two that are
                position[key] = len(names)
                names.append(f"\uffff{key.hex()}")  # so that the group is named after one that is here
        links.append((position[a], position[b]))
    if not links:
        return None
    whole = merged_groups(names, links)[: len(keys)]
    before, after = len(set(groups)), len(set(whole))
    if after < before:
        _log.info(
            "groups: copies and pairs that an audit found stay together; %d groups of images, not %d", after, before
        )
    return np.array(whole, dtype=object)


def linked_pairs(keys: Sequence[bytes], cache: str | os.PathLike[str]) -> list[tuple[int, int]]:
    """Positions of images that show the same: copies of a file, and the pairs among these that any audit in this cache
    has found. Records that cannot be read are left out, and named."""
    places: dict[bytes, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    pairs = [(same[0], other) for same in places.values() for other in same[1:]]
    for a, b in (link for record in _records(cache, logging.WARNING) for link in record.links):
        if a != b and a in places and b in places:
            pairs.append((places[a][0], places[b][0]))
    return pairs


def audit_runs(cache: str | os.PathLike[str]) -> list[str]:
    """Folders of the audits that this cache has records of, as they were called then."""
    return sorted(record.run for record in _records(cache, logging.DEBUG))  # read_record() says what is wrong with one


def _records(cache: str | os.PathLike[str], level: int) -> Iterator[AuditRecord]:
    """All records of this cache; those that cannot be read are left out, and logged at this level."""
    for place in sorted(_folder(cache).glob("*.json")):
        try:
            record = _read(place)
        except StoreError as error:
            _log.log(level, "%s", error)
            continue
        if record is not None:
            yield record


def _read(place: Path) -> AuditRecord | None:
    """A record; None where there is none, or one of a newer version, which may say other things."""
    where = f"{place}: not a readable record of an audit"
    try:
        text = place.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{where} ({error.strerror}). {_AGAIN}") from error
    if schema.read(text, _Version, where, _AGAIN)["version"] > _VERSION:
        return None
    record = schema.read(text, _Record, where, _AGAIN)
    links = [(bytes.fromhex(a), bytes.fromhex(b)) for a, b in record["links"]]
    return AuditRecord(record["warnings"], links, record["run"])


def _folder(cache: str | os.PathLike[str]) -> Path:
    return expanded(cache).absolute() / "audits"


def _place(cache: str | os.PathLike[str], keys: Sequence[bytes], task: Task | None) -> Path:
    digest = hashlib.sha256(b"".join(sorted(set(keys)))).hexdigest()[:32]
    if task is not None and task.kind != "classes":
        about = json.dumps(about_task(task), sort_keys=True)
        digest += f"-{hashlib.sha256(about.encode()).hexdigest()[:8]}"
    return _folder(cache) / f"{digest}.json"
