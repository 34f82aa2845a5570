"""Where image files are, and their bytes: on a local disk, in an archive, or wherever fsspec reaches.

A location is a local path or a URL of fsspec's (:mod:`featcache.data.urls`): ``s3://bucket/xrays/a.png``,
``https://host/a.png``, and for a member of an archive ``zip://covid/a.png::/data/xrays.zip``. Local paths never pass
through fsspec: a plan asks the disk about a million of them. Credentials are fsspec's own matter (its configuration, or
the environment).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from ..errors import DataError
from ..system import file_stamps
from ..system.interrupts import at_leaving, reading
from . import remote_files, urls
from .download_buffer import DownloadBuffer
from .local_files import MOST_BYTES, open_file, unfit
from .remote_files import listing
from .urls import beside, fetchable, is_url, locate, name_of, suffix_of

__all__ = [
    "MOST_BYTES",
    "as_url",
    "beside",
    "head",
    "is_url",
    "listing",
    "locate",
    "name_of",
    "open_file",
    "read",
    "stat",
    "suffix_of",
]

ARCHIVES = {".zip": "zip", ".tar": "tar"}
_SQUEEZED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_AT_ONCE = 32  # requests; a server's answer takes far longer than its way through this process
_NEAR = ("memory", "file", "local")  # protocols that cost nothing to ask again

_buffer = DownloadBuffer(4_000_000_000)
at_leaving(_buffer.clear)


def as_url(place: str | os.PathLike[str]) -> str | None:
    """The URL of a place that fsspec has to open: one already, or an archive, local or not; None for local ones.

    Raises
    ------
    UsageError
        Nothing is named.
    DataError
        Credentials in the URL, a malformed one, or an archive that can only be read from its beginning.
    """
    text = locate(place)
    path = (urls.split(text)[0].partition("?")[0] if is_url(text) else text).lower()
    if path.endswith(_SQUEEZED):
        raise DataError(
            f"{text}: a compressed tar can only be read from its beginning; unpack it, or make it a .zip or .tar"
        )
    kind = next((kind for suffix, kind in ARCHIVES.items() if path.endswith(suffix)), None)
    if not is_url(text):
        archive = os.path.abspath(os.path.expanduser(text))
        return f"{kind}://::{archive}" if kind and os.path.isfile(archive) else None
    first = urls.split(text)[0]
    if first in ARCHIVES.values():  # zip::https://host/x.zip
        return locate(f"{first}://::{fetchable(text).partition('::')[2]}")
    return locate(f"{kind}://::{fetchable(text)}") if kind and not text.startswith(f"{kind}://") else text


def read(location: str | os.PathLike[str], again: bool = False) -> bytes:
    """The bytes of a file.

    Parameters
    ----------
    location : a local path or a URL.
    again : whether they will be asked for once more: what comes from afar is then kept on disk until it is, 4 GB at
        most.

    Raises
    ------
    OSError
        For whatever keeps it from being read; more than :data:`MOST_BYTES` among it.
    """
    text = location if isinstance(location, str) else os.fspath(location)
    if not is_url(text):
        with open_file(text) as file:
            return file.read()
    kept = _buffer.take(text)
    if kept is not None:
        return kept
    data = remote_files.fetch(text)
    if again and text.split("://")[0] not in _NEAR and is_url(urls.split(text)[-1]):
        _buffer.keep(text, data)
    return data


def head(location: str | os.PathLike[str], count: int) -> bytes:
    """The first bytes of a local file, or of a member of an archive; none where it cannot be read."""
    text = location if isinstance(location, str) else os.fspath(location)
    with contextlib.suppress(OSError):
        if not is_url(text):
            with open_file(text) as file:
                return file.read(count)
        return remote_files.first_bytes(text, count)
    return b""


def stat(locations: Sequence[str]) -> tuple[list[bytes], dict[int, str]]:
    """A stamp of each file (:mod:`featcache.system.file_stamps`), and why some cannot be had, by position.

    Of a URL, what its store says of the object's content stands for the time. Where it says nothing the stamp is
    unknown: nobody can tell whether the file changed.
    """
    stamps = [file_stamps.UNKNOWN] * len(locations)
    failed: dict[int, str] = {}
    stamp = file_stamps.Stamper().stamp
    far = []
    for i, location in enumerate(locations):
        if is_url(location):
            far.append(i)
            continue
        try:
            status = os.stat(location)
        except OSError as error:
            failed[i] = f"cannot be read: {error.strerror}"
            continue
        reason = unfit(status)
        if reason:
            failed[i] = f"cannot be read: {reason}"
        else:
            stamps[i] = stamp(location, status)
    if far:
        with reading(_AT_ONCE, "stat") as pool:
            for i, known in zip(far, pool.map(_asked, [locations[i] for i in far]), strict=True):
                if isinstance(known, OSError):
                    failed[i] = f"cannot be read: {known}"
                elif known[1] is not None:
                    stamps[i] = file_stamps.of_object(known[0], known[1])
    return stamps, failed


def _asked(url: str) -> tuple[int, int | None] | OSError:
    try:
        return remote_files.size_and_version(url)
    except OSError as error:
        return error
