"""Where image files are, and their bytes: on a local disk, in an archive, or wherever fsspec reaches.

A location is a local path or a URL of fsspec's (:mod:`featcache.data.urls`): ``s3://bucket/xrays/a.png``, ``https://host/a.png``,
and for a member of an archive ``zip://covid/a.png::/data/xrays.zip``. Local paths never pass through fsspec: a plan asks the
disk about a million of them. Credentials are fsspec's own matter (its configuration, or the environment).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from ..errors import DataError
from ..system import file_stamps
from ..system.interrupts import at_leaving, reading
from . import urls
from .download_buffer import Spool
from .local_files import MOST_BYTES, open_file, unfit
from .urls import beside, fetchable, is_url, locate, name_of, suffix_of

__all__ = [
    "MOST_BYTES", "as_url", "beside", "head", "is_url", "listing", "locate", "name_of", "open_file", "read", "stat", "suffix_of",
]  # fmt: skip

_log = logging.getLogger(__name__)
ARCHIVES = {".zip": "zip", ".tar": "tar"}
_SQUEEZED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_STATED = (
    "ETag",
    "etag",
    "md5Hash",
    "Content-MD5",
    "CRC",
    "LastModified",
    "Last-Modified",
    "mtime",
    "updated",
    "created",
)
_AT_ONCE = 32  # requests; a server's answer takes far longer than its way through this process
_CONNECT, _ANSWER = 10, 30  # seconds
_NEVER = 1 << 62  # no version of an object
_PART = 1 << 20  # bytes of a download that are taken at a time
_NEAR = ("memory", "file", "local")  # protocols that cost nothing to ask again

_spool = Spool(4_000_000_000)
at_leaving(_spool.clear)
_lock = threading.Lock()
_opened: dict[tuple[str, int], tuple[Any, threading.Lock | None]] = {}


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
    again : whether they will be asked for once more: what comes from afar is then kept on disk until it is, 4 GB at most.

    Raises
    ------
    OSError
        For whatever keeps it from being read; more than :data:`MOST_BYTES` among it.
    """
    text = location if isinstance(location, str) else os.fspath(location)
    if not is_url(text):
        with open_file(text) as file:
            return file.read()
    kept = _spool.take(text)
    if kept is not None:
        return kept
    with _asking():
        data = _fetch(text)
    if again and text.split("://")[0] not in _NEAR and is_url(urls.split(text)[-1]):
        _spool.keep(text, data)
    return data


def head(location: str | os.PathLike[str], count: int) -> bytes:
    """The first bytes of a local file, or of a member of an archive; none where it cannot be read."""
    text = location if isinstance(location, str) else os.fspath(location)
    with contextlib.suppress(OSError):
        if not is_url(text):
            with open_file(text) as file:
                return file.read(count)
        with _asking():
            files, path, one_by_one = _open(text)
            with one_by_one or contextlib.nullcontext(), files.open(path, "rb") as member:
                return bytes(member.read(count))
    return b""


def _fetch(url: str) -> bytes:
    files, path, one_by_one = _open(url)
    if "http" in files.protocol:
        return bytes(_waited(files, _download, path))
    if one_by_one is None:
        return bytes(files.cat_file(path))
    with one_by_one:
        about = files.info(path)
        if about["type"] != "file":
            raise OSError("it is no file")
        if about["size"] > MOST_BYTES:
            raise OSError(f"it promises more than {MOST_BYTES / 1e9:g} GB")
        return bytes(files.cat_file(path))


async def _download(files: Any, url: str) -> bytes:
    """As ``cat_file`` of fsspec's web servers does, but never more than is wanted of any file."""
    session = await files.set_session()
    parts, size = [], 0
    async with session.get(files.encode_url(url), **files.kwargs) as answer:
        answer.raise_for_status()
        async for part in answer.content.iter_chunked(_PART):
            size += len(part)
            if size > MOST_BYTES:
                raise OSError(f"it has more than {MOST_BYTES / 1e9:g} GB")
            parts.append(part)
    return b"".join(parts)


async def _glance(files: Any, url: str) -> dict[str, Any]:
    """What a web server says of a file, asked for its first byte: a signature holds for GET alone, and not for HEAD."""
    session = await files.set_session()
    headers = {**files.kwargs.get("headers", {}), "Range": "bytes=0-0"}
    async with session.get(files.encode_url(url), **{**files.kwargs, "headers": headers}) as answer:
        if answer.status != 416:  # it is empty, and has no first byte
            answer.raise_for_status()
        size = answer.headers.get("Content-Range", "").rpartition("/")[2]
        if answer.status == 200:  # it gives files only whole
            size = answer.headers.get("Content-Length", "")
        # Asked one by one: a header's name may be written in any case.
        stated = {name: answer.headers[name] for name in _STATED if name in answer.headers}
        return {**stated, "size": int(size) if size.isdigit() else 0}


def _waited(files: Any, work: Callable[[Any, str], Coroutine[Any, Any, Any]], url: str) -> Any:
    from fsspec.asyn import sync

    return sync(files.loop, work, files, url)


def stat(locations: Sequence[str]) -> tuple[list[bytes], dict[int, str]]:
    """A stamp of each file (:mod:`featcache.system.file_stamps`), and why some cannot be had, by position.

    Of a URL, what the store says of the object's content stands for the time: its ETag, checksum or date as a number
    below any time of now. Where it says nothing the stamp is unknown: nobody can tell whether it changed.
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
            for i, known in zip(far, pool.map(_stat, [locations[i] for i in far]), strict=True):
                if isinstance(known, str):
                    failed[i] = f"cannot be read: {known}"
                elif known[1] != _NEVER:
                    stamps[i] = file_stamps.of_object(*known)
    return stamps, failed


def listing(url: str) -> Iterator[tuple[str, str]]:
    """All files below a URL: name relative to it, and URL.

    Raises
    ------
    DataError
        It cannot be opened, or there is no such place.
    """
    try:
        with _asking():
            files, root, _ = _open(url)
            files.invalidate_cache()
            files.info(root)  # find() passes over what cannot be reached
            paths = sorted(files.find(root))
    except OSError as error:
        raise DataError(f"{url}: cannot be listed: {error}") from None
    head, *rest = urls.split(fetchable(url))
    scheme = head.partition("://")[0]
    root = root.rstrip("/")
    for path in paths:
        name = path[len(root) :].lstrip("/") if path.startswith(root) else path.lstrip("/")
        if name:
            yield name, locate("::".join([path if is_url(path) else f"{scheme}://{path.lstrip('/')}", *rest]))


def _stat(url: str) -> tuple[int, int] | str:
    try:
        with _asking():
            files, path, one_by_one = _open(url)
            signed = one_by_one is None and fetchable(url) != url and "http" in files.protocol
            about = _waited(files, _glance, path) if signed else files.info(path)
    except OSError as error:
        return str(error)
    size = int(about.get("size") or 0)
    if size > MOST_BYTES:
        return f"it promises more than {MOST_BYTES / 1e9:g} GB"
    stated = [f"{name}={about[name]}" for name in _STATED if about.get(name)]
    number = int.from_bytes(hashlib.sha256(" ".join(stated).encode()).digest()[:7], "big") if stated else _NEVER
    return size, number


def _open(url: str) -> tuple[Any, str, threading.Lock | None]:
    """The file system, the path in it, and a lock where it can be used by one thread at a time."""
    url = fetchable(url)
    head, *rest = urls.split(url)
    scheme, _, path = head.partition("://")
    if not rest:
        return (*_filesystem(url), None)
    container = "::".join(rest)
    changed = os.stat(container).st_mtime_ns if not is_url(container) else 0
    key = (f"{scheme}::{container}", changed)
    with _lock:
        if key not in _opened:
            import fsspec

            _opened[key] = (fsspec.filesystem(scheme, fo=container, skip_instance_cache=True), threading.Lock())
        files, one_by_one = _opened[key]
    return files, path, one_by_one


def _filesystem(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    options: dict[str, Any] = {}
    if url.startswith(("http://", "https://")):
        import aiohttp

        options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(sock_connect=_CONNECT, sock_read=_ANSWER)}
    files, path = url_to_fs(url, **options)
    return files, path


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    """Whatever a protocol raises becomes an :class:`OSError` with a reason in words.

    The cause is not kept: it names the URL with its signature.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - each protocol has errors of its own
        _log.debug("%s: %s", type(error).__name__, urls.scrubbed(str(error)))
        raise OSError(_reason(error)) from None


def _reason(error: BaseException) -> str:
    """What went wrong, in words."""
    if isinstance(error, ImportError):
        return f"{urls.scrubbed(str(error))}; pip install 'featcache[http]' for web servers, [s3] for s3://, [gcs] for gs://"
    status = next((e for e in (error, error.__cause__) if isinstance(getattr(e, "status", None), int)), None)
    if status is not None and status.status not in (404, 410):  # type: ignore[attr-defined]
        hint = "; a signature in a URL expires, and is not kept: give one anew" if status.status in (401, 403) else ""  # type: ignore[attr-defined]
        return f"the server answers {status.status} {getattr(status, 'message', '')}{hint}"  # type: ignore[attr-defined]
    if isinstance(error, FileNotFoundError) or status is not None:
        return "no such file or folder" + (f" ({urls.scrubbed(str(error.__cause__))})" if error.__cause__ else "")
    if isinstance(error, PermissionError):
        return "permission denied; credentials are taken from fsspec's configuration or the environment"
    if isinstance(error, TimeoutError):
        return f"no answer within {_ANSWER} s"
    if "range requests" in str(error):
        return "its server gives files only whole, and an archive is read in pieces; download it"
    if str(error).startswith("Protocol not known"):
        return f"{error}; expected s3://, gs://, https://, or another that fsspec knows"
    return urls.scrubbed(str(getattr(error, "strerror", None) or error)) or type(error).__name__
