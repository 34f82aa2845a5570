"""What DICOM headers say of a dataset's images, beside what its table says: read once, and kept in the index.

A file's row key finds it again, so that neither a rename nor another verb reads it twice. Of the patient there is but
the pseudonym (:mod:`featcache.system.pseudonyms`).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import msgspec

from ..data.dataset import Dataset
from ..data.dicom_headers import HEADER_COLUMNS, PATIENT, read_header, without_remarks
from ..data.file_types import SUFFIXES, suffix_of
from ..data.metadata import typed
from ..store.index import Index
from ..system.interrupts import reading
from ..system.plain_text import printable
from ..system.pseudonyms import Pseudonyms, pseudonyms

_log = logging.getLogger(__name__)
_DICOM = frozenset([".dcm", ".dicom", ".dic"])
_TOGETHER = 64  # files a task of the pool
# What the index notes of a file: as a type with fields, since a pattern for each of a million keys takes a minute.
_TEXT = Annotated[str, msgspec.Meta(max_length=64)]
_Noted = msgspec.defstruct(
    "_Noted", [(name, _TEXT, "") for name in (*HEADER_COLUMNS, PATIENT)], omit_defaults=True, forbid_unknown_fields=True
)
_decoder = msgspec.json.Decoder(_Noted)
_NOTHING = _Noted()


def dicom_rows(dataset: Dataset) -> list[int]:
    """The images that may be DICOM files: by their suffix, or for want of one that says otherwise."""
    suffixes = [suffix_of(name.lower()) for name in dataset.names]
    return [i for i, suffix in enumerate(suffixes) if suffix in _DICOM or suffix not in SUFFIXES]


def with_headers(index: Index, dataset: Dataset, rows: Sequence[int], keys: Sequence[bytes | None]) -> Dataset:
    """A dataset with what the headers of these images say.

    Each column that its table has not got is added. Where neither table, pattern nor folder tells an image's patient,
    the pseudonym is its group; one patient for all of several images is none, but what a program wrote there that took
    the names out.

    Parameters
    ----------
    index : keeps what was read.
    dataset : the images.
    rows, keys : of those that may be DICOM files, the positions and the row keys, None where a file cannot be read.
    """
    makes = pseudonyms()
    said = _said(index, dataset, rows, keys, makes)
    found = [said.get(key or b"", _NOTHING) for key in keys]
    columns = {name: _spread(dataset, rows, [getattr(one, name) for one in found]) for name in HEADER_COLUMNS}
    patients = _spread(dataset, rows, [getattr(one, PATIENT) for one in found])
    there = {_plain(name) for name in dataset.table}
    table = {name: cells for name, cells in columns.items() if any(cells) and _plain(name) not in there}
    groups = dataset.groups
    named = {patient for patient in patients if patient}
    if len(named) == 1 and len(rows) > 1:
        _log.info("DICOM: all headers name one patient, so they tell no groups")
    elif named and dataset.source is not None and dataset.source.group_regex is None:
        pairs = zip(groups, dataset.names, patients, strict=True)
        groups = [patient if patient and group == name else group for group, name, patient in pairs]
    kept, _ = typed(table, table)
    return replace(dataset, groups=groups, table={**dataset.table, **table}, metadata={**dataset.metadata, **kept})


def _spread(dataset: Dataset, rows: Sequence[int], cells: Sequence[str]) -> list[str]:
    """A column of all images, empty where a header says nothing; cells that hold what steers a terminal say nothing."""
    shown = {cell: cell if cell == printable(cell, lines=False) else "" for cell in set(cells)}
    column = [""] * len(dataset)
    for row, cell in zip(rows, cells, strict=True):
        column[row] = shown[cell]
    return column


def _said(
    index: Index, dataset: Dataset, rows: Sequence[int], keys: Sequence[bytes | None], makes: Pseudonyms
) -> dict[bytes, Any]:
    """What each file says, by row key, from the index where it was read before."""
    noted = index.headers(makes.mark) if makes.kept else {}
    said: dict[bytes, Any] = {}
    fresh: dict[bytes, str] = {}
    for row, key in zip(rows, keys, strict=True):
        if key is None or key in said or key in fresh:
            continue
        known = _decoded(noted.get(key))
        if known is None:
            fresh[key] = dataset.paths[row]
        else:
            said[key] = known
    if fresh:
        read = _read(fresh, makes)
        said |= read
        if makes.kept:
            texts = {key: msgspec.json.encode(about).decode() for key, about in read.items()}
            index.remember_headers(texts, makes.mark)
    return said


def _decoded(text: str | None) -> Any:
    """What the index noted; None where it noted nothing, or another program wrote there."""
    try:
        return None if text is None else _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return None


def _read(files: dict[bytes, str], makes: Pseudonyms) -> dict[bytes, Any]:
    """The headers of files. One that is called a DICOM file and cannot be read is left out, and looked at again."""
    pairs = list(files.items())
    parts = [pairs[start : start + _TOGETHER] for start in range(0, len(pairs), _TOGETHER)]

    def of(part: Sequence[tuple[bytes, str]]) -> list[dict[str, str] | None]:
        return [read_header(path, makes.of) for _, path in part]

    try:
        with without_remarks(), reading(os.cpu_count(), "headers") as pool:
            found = [about for part in pool.map(of, parts) for about in part]
    except ImportError:
        _log.debug("DICOM headers are not read: pydicom is missing")
        return {}
    read = {
        key: _Noted(**(about or {}))
        for about, (key, path) in zip(found, pairs, strict=True)
        if about is not None or suffix_of(path.lower()) not in _DICOM
    }
    if len(read) < len(pairs):
        _log.warning(
            "DICOM: %d of %d headers cannot be read; nothing is known of these images",
            len(pairs) - len(read),
            len(pairs),
        )
    return read


def _plain(name: str) -> str:
    """A column's name without what is a matter of taste: ``PatientSex`` is ``patient_sex``."""
    return re.sub(r"[\W_]+", "", name.lower())
