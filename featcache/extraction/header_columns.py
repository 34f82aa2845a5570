"""What DICOM headers say of a dataset's images, beside what its table says: read once, and kept in the index.

A file's row key finds it again, so that neither a rename nor another verb reads it twice. Of the patient there is but
the pseudonym (:mod:`featcache.system.pseudonyms`).
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import msgspec

from ..data.dataset import Dataset
from ..data.dicom_headers import HEADER_COLUMNS, PATIENT, read_header, without_remarks
from ..data.file_types import SUFFIXES, suffix_of
from ..data.metadata import typed
from ..store.index import Index
from ..system import schema
from ..system.interrupts import reading
from ..system.pseudonyms import Pseudonyms, pseudonyms

_log = logging.getLogger(__name__)
_DICOM = frozenset([".dcm", ".dicom", ".dic"])
_TOGETHER = 64  # files a task of the pool
_Said = dict[schema.Name, Annotated[str, msgspec.Meta(max_length=256)]]
_decoder = msgspec.json.Decoder(_Said)


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
    columns = {name: [""] * len(dataset) for name in HEADER_COLUMNS}
    patients = [""] * len(dataset)
    for row, key in zip(rows, keys, strict=True):
        about = said.get(key or b"", {})
        patients[row] = about.get(PATIENT, "")
        for name in about.keys() & columns.keys():
            columns[name][row] = about[name]
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


def _said(
    index: Index, dataset: Dataset, rows: Sequence[int], keys: Sequence[bytes | None], makes: Pseudonyms
) -> dict[bytes, dict[str, str]]:
    """What each file says, by row key, from the index where it was read before."""
    noted = index.headers(makes.mark) if makes.kept else {}
    said: dict[bytes, dict[str, str]] = {}
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
            index.remember_headers({key: json.dumps(about) for key, about in read.items()}, makes.mark)
    return said


def _decoded(text: str | None) -> dict[str, str] | None:
    """What the index noted; None where it noted nothing, or another program wrote there."""
    try:
        return None if text is None else dict(_decoder.decode(text))
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return None


def _read(files: dict[bytes, str], makes: Pseudonyms) -> dict[bytes, dict[str, str]]:
    """The headers of files; of those that are none, nothing."""
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
    odd = sum(
        about is None and suffix_of(path.lower()) in _DICOM for about, (_, path) in zip(found, pairs, strict=True)
    )
    if odd:
        _log.warning("DICOM: %d of %d headers cannot be read; nothing is known of these images", odd, len(pairs))
    return {key: about or {} for about, (key, _) in zip(found, pairs, strict=True)}


def _plain(name: str) -> str:
    """A column's name without what is a matter of taste: ``PatientSex`` is ``patient_sex``."""
    return re.sub(r"[\W_]+", "", name.lower())
