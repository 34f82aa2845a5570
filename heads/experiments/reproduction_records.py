"""Rows of ``reproduce`` that are done: each in a record of its own, so that what was cut off goes on where it was."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from featcache.errors import StoreError
from featcache.system import atomic_files, schema

_log = logging.getLogger(__name__)
_Number = int | float | None


class _Ours(msgspec.Struct):
    """What a network trained here gave."""

    total: int
    trainable: int
    test_ci: tuple[float, float]
    train_accuracy: float
    val_accuracy: float
    test_accuracy: float
    seconds: float


class _Fit(msgspec.Struct, tag_field="kind", tag="fit"):
    id: str
    reference: dict[str, _Number]
    ours: _Ours
    remarks: str


class _Tsne(msgspec.Struct, tag_field="kind", tag="tsne"):
    id: str
    reference: dict[str, _Number]
    ours: dict[str, _Number]
    remarks: str


class _Speed(_Tsne, tag_field="kind", tag="speed"):
    pass


class _Done(msgspec.Struct):
    """What the record of a row that is done holds at least."""

    mark: str
    row: _Fit | _Tsne | _Speed


def once(
    folder: Path, name: str, settings: Mapping[str, Any], work: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    """The row that was made with these settings before, or a new one.

    Parameters
    ----------
    folder : Path
        Of all rows.
    name : str
        The row's id.
    settings : mapping of str to object
        Plain values, all that decides the row.
    work : callable
        Makes the row, its files in the folder that it is given, which is not there yet.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    record = folder / f"{name}.json"
    done = _read_record(record)
    if done is not None and done["mark"] == digest:
        _log.info("%s: done before", name)
        return dict(done["row"])
    target = folder / name
    shutil.rmtree(target, ignore_errors=True)  # of a run that was cut off, or had other settings
    row = work(target)
    atomic_files.write_bytes(record, json.dumps({"mark": digest, "row": row}, indent=1).encode())
    return row


def rows_done(folder: Path, ids: Iterable[str]) -> list[dict[str, Any]]:
    """Those of these rows that are done in the folder, by this call or an earlier one."""
    records = [_read_record(folder / f"{name}.json") for name in ids]
    return [dict(record["row"]) for record in records if record is not None]


def _read_record(record: Path) -> dict[str, Any] | None:
    """A row that was made before, and the digest of its settings; None where there is none that can be read."""
    try:
        return schema.read(record.read_bytes(), _Done, str(record), "It is made anew")
    except (OSError, StoreError):
        return None
