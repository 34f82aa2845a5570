"""What an audit found, kept with the images it looked at, so that later figures of the same images stand beside it.

``cache/audits/<digest of the row keys>.json``: found again wherever the images lie and whatever they are called; not
found where one was added, dropped or changed, since then the audit says nothing any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from featcache.errors import StoreError
from featcache.features.loading import Features
from featcache.system import atomic_files, schema
from featcache.system.schema import Digest

from .messages import NOT_AUDITED
from .near_duplicates import units

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
class Cautions:
    """What must stand beside figures of some images.

    Attributes
    ----------
    warnings : in plain words.
    links : row keys of pairs that show one patient, so that no split may tear them apart.
    run : folder of the audit.
    """

    warnings: list[str]
    links: list[tuple[bytes, bytes]]
    run: str


def keep(cache: str | os.PathLike[str], keys: Sequence[bytes], cautions: Cautions) -> None:
    """Keep what an audit of these images found."""
    links = [[a.hex(), b.hex()] for a, b in cautions.links]
    record = {"version": _VERSION, "warnings": cautions.warnings, "links": links, "run": cautions.run}
    atomic_files.write_bytes(_place(cache, keys), (json.dumps(record, indent=1) + "\n").encode())


def recall(cache: str | os.PathLike[str], keys: Sequence[bytes]) -> Cautions | None:
    """What the last audit of just these images found; None where there was none.

    Raises :class:`StoreError` where the record is damaged.
    """
    place = _place(cache, keys)
    found = _read(place)
    if found is not None and not {key for link in found.links for key in link} <= set(keys):
        raise StoreError(f"{place}: not a readable record of an audit: links images that are not among them. {_AGAIN}")
    return found


def heed(features: Features, cache: str | os.PathLike[str]) -> tuple[Features, list[str]]:
    """The features with linked images in one group, and the warnings; one that says so where nothing was audited."""
    found = recall(cache, features.keys)
    return joined(features, cache), [NOT_AUDITED] if found is None else found.warnings


def joined(features: Features, cache: str | os.PathLike[str]) -> Features:
    """The features with images that show one patient in one group.

    These are copies of a file, audited or not, and the pairs that any audit in this cache has found: of more images than
    these, or of some of them.
    """
    position: dict[bytes, int] = {}
    pairs = [(position.setdefault(key, place), place) for place, key in enumerate(features.keys)]
    links = [pair for pair in pairs if pair[0] != pair[1]]
    groups = [str(group) for group in features.groups]
    for a, b in _links(cache):
        for key in (a, b):
            if key not in position:  # an image that is not here may still link two that are
                position[key] = len(groups)
                groups.append(f"\uffff{key.hex()}")  # so that the group is named after one that is here
        links.append((position[a], position[b]))
    if not links:
        return features
    whole = units(groups, links)[: len(features)]
    before, after = len(set(features.groups)), len(set(whole))
    if after < before:
        _log.info(
            "groups: copies and pairs that an audit found stay together; %d groups of images, not %d", after, before
        )
    return replace(features, groups=np.array(whole, dtype=object))


def _links(cache: str | os.PathLike[str]) -> list[tuple[bytes, bytes]]:
    """What all audits of this cache have found; records that cannot be read are left out, and named."""
    found: list[tuple[bytes, bytes]] = []
    for place in sorted(_folder(cache).glob("*.json")):
        try:
            record = _read(place)
            found += [] if record is None else record.links
        except StoreError as error:
            _log.warning("%s", error)
    return found


def _read(place: Path) -> Cautions | None:
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
    return Cautions(record["warnings"], links, record["run"])


def audit_runs(cache: str | os.PathLike[str]) -> list[str]:
    """Folders of the audits that this cache has records of, as they were called then."""
    found = []
    for place in _folder(cache).glob("*.json"):
        with contextlib.suppress(StoreError):  # recall() says what is wrong with a record
            record = _read(place)
            found += [] if record is None else [record.run]
    return sorted(found)


def _folder(cache: str | os.PathLike[str]) -> Path:
    return Path(cache).expanduser().absolute() / "audits"


def _place(cache: str | os.PathLike[str], keys: Sequence[bytes]) -> Path:
    digest = hashlib.sha256(b"".join(sorted(set(keys)))).hexdigest()
    return _folder(cache) / f"{digest[:32]}.json"
