"""What a DICOM file's header says of the image besides its pixels, and a pseudonym of the patient; by pydicom.

Headers alone are read, up to the tag behind the last one that is wanted, and of the file no more than 8 MB. Values are
taken as the bytes that stand there: nothing of pydicom's converts them, so none of its warnings can quote them. The
patient's ID leaves this module as a pseudonym only.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from ..system.plain_text import printable
from . import filesystems

_TAGS = {
    "modality": 0x00080060,
    "manufacturer": 0x00080070,
    "station_name": 0x00081010,
    "patient_sex": 0x00100040,
    "patient_age": 0x00101010,
    "view_position": 0x00185101,
    "pixel_spacing": 0x00280030,
}
#: The columns that headers give; text, but for the age (in years) and the distance of two rows in mm.
HEADER_COLUMNS = tuple(_TAGS)
PATIENT = "patient"  # key of the pseudonym
_PATIENT_ID = 0x00100020
_LAST = max(_TAGS.values())
_FIRST_LOOK, _MOST = 65_536, 8_000_000  # bytes
_LONGEST = 64  # characters of a value, as the standard allows


def read_header(path: str, pseudonym: Callable[[str], str]) -> dict[str, str] | None:
    """What a file's header says, by column, and a pseudonym of its patient; None where it is no readable DICOM file.

    Parameters
    ----------
    path : a local path or a URL.
    pseudonym : makes one of a patient's ID.

    Raises
    ------
    ImportError
        pydicom is missing.
    """
    import pydicom  # noqa: F401 - said before any file is opened

    for most in (_FIRST_LOOK, _MOST):
        head = filesystems.head(path, most)
        try:
            found, whole = _values(head)
        except Exception:  # noqa: BLE001 - whatever pydicom stumbles over in a damaged file; its text may quote the file
            found, whole = None, False
        if whole or len(head) < most:
            break
    if found is None:
        return None
    said = {name: text for name, tag in _TAGS.items() if (text := _text(found.get(tag)))}
    if "pixel_spacing" in said:
        said["pixel_spacing"] = said["pixel_spacing"].partition("\\")[0].strip()
    patient = _decoded(found.get(_PATIENT_ID) or b"")
    return {**said, PATIENT: pseudonym(patient)} if patient else said


def _values(head: bytes) -> tuple[dict[int, bytes] | None, bool]:
    """The bytes of each tag that is wanted, and whether the header was read to behind the last of them.

    None of a file that is not DICOM's.
    """
    from pydicom.filereader import _read_file_meta_info, read_dataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

    if head[128:132] != b"DICM":
        return None, True
    file = io.BytesIO(head)
    file.seek(132)
    syntax = _read_file_meta_info(file).get("TransferSyntaxUID")
    whole = False

    def behind(tag: Any, vr: str | None, length: int) -> bool:
        nonlocal whole
        whole = whole or int(tag) > _LAST
        return whole

    if syntax == DeflatedExplicitVRLittleEndian:
        file = io.BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), _MOST))
    wanted: list[Any] = [*_TAGS.values(), _PATIENT_ID]
    implicit = syntax is None or syntax == ImplicitVRLittleEndian
    dataset = read_dataset(file, implicit, syntax != ExplicitVRBigEndian, stop_when=behind, specific_tags=wanted)
    found: dict[int, bytes] = {}
    for tag in wanted:
        value = dataset.get_item(tag).value if tag in dataset else None
        if isinstance(value, bytes):
            found[tag] = value
    return found, whole


@contextlib.contextmanager
def without_remarks() -> Iterator[None]:
    """Let pydicom say nothing in between, in any thread: it would speak of each odd file, and may quote it."""
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _text(value: bytes | None) -> str:
    """A value as text, nothing where it is empty, too long, or holds what no such value may."""
    text = _decoded(value or b"")
    return text if len(text) <= _LONGEST and text == printable(text, lines=False) else ""


def _decoded(value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return text.strip(" \0")
