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

import numpy as np

from featcache import durable
from featcache.errors import StoreError
from featcache.features import Features

from .duplicates import units
from .findings import NOT_AUDITED

_log = logging.getLogger(__name__)
_VERSION = 1


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
    durable.write_bytes(_place(cache, keys), (json.dumps(record, indent=1) + "\n").encode())


def recall(cache: str | os.PathLike[str], keys: Sequence[bytes]) -> Cautions | None:
    """What the last audit of just these images found; None where there was none.

    Raises :class:`StoreError` where the record is damaged.
    """
    place = _place(cache, keys)
    try:
        record = json.loads(place.read_text("utf-8"))
        if record["version"] > _VERSION:
            return None
        links = [(bytes.fromhex(a), bytes.fromhex(b)) for a, b in record["links"]]
        return Cautions([str(text) for text in record["warnings"]], links, str(record["run"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{place}: not a readable record of an audit ({error}); delete it and audit again") from error


def audit_runs(cache: str | os.PathLike[str]) -> list[str]:
    """Folders of the audits that this cache has records of, as they were called then."""
    found = []
    for place in (Path(cache).expanduser().absolute() / "audits").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # recall() says what is wrong with a record
            found.append(str(json.loads(place.read_text("utf-8"))["run"]))
    return sorted(found)


def heed(features: Features, cache: str | os.PathLike[str]) -> tuple[Features, list[str]]:
    """The features with linked images in one group, and the warnings; one that says so where nothing was audited."""
    found = recall(cache, features.keys)
    if found is None:
        return features, [NOT_AUDITED]
    position = {key: place for place, key in enumerate(features.keys)}
    linked = [(position[a], position[b]) for a, b in found.links]
    if linked:
        joined = np.array(units([str(group) for group in features.groups], linked), dtype=object)
        _log.info("audit: %d pair(s) of images that show one patient stay together", len(linked))
        features = replace(features, groups=joined)
    return features, found.warnings


def _place(cache: str | os.PathLike[str], keys: Sequence[bytes]) -> Path:
    digest = hashlib.sha256(b"".join(sorted(set(keys)))).hexdigest()
    return Path(cache).expanduser().absolute() / "audits" / f"{digest[:32]}.json"
