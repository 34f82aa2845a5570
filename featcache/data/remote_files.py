"""Files that fsspec reaches: behind a URL, or in an archive."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from ..errors import DataError
from . import urls
from .local_files import MOST_BYTES
from .urls import fetchable, is_url, locate

_log = logging.getLogger(__name__)
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
_CONNECT, _ANSWER = 10, 30  # seconds
_PART = 1 << 20  # bytes of a download that are taken at a time

_lock = threading.Lock()
_opened: dict[tuple[str, int], tuple[Any, threading.Lock | None]] = {}


def fetch(url: str) -> bytes:
    """The bytes of a file.

    Raises :class:`OSError` for whatever keeps it from being read; more than :data:`MOST_BYTES` among it.
    """
    with _asking():
        files, path, one_by_one = _open(url)
        if "http" in files.protocol:
            return bytes(_waited(files, _download, path))
        if one_by_one is None:
            return bytes(files.cat_file(path))
        with one_by_one:
            return _member(files, path)


def first_bytes(url: str, count: int) -> bytes:
    """The first ``count`` bytes of a file; raises as :func:`fetch` does."""
    with _asking():
        files, path, one_by_one = _open(url)
        with one_by_one or contextlib.nullcontext(), files.open(path, "rb") as member:
            return bytes(member.read(count))


def _member(files: Any, path: str) -> bytes:
    """What an archive holds under a name, once it is known to promise no flood."""
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


def size_and_version(url: str) -> tuple[int, int | None]:
    """Bytes of a file, and a number that stands for its content.

    The number is made of what the store says of the object: its ETag, checksum or date; None where it says nothing.
    Raises as :func:`fetch` does.
    """
    with _asking():
        files, path, one_by_one = _open(url)
        signed = one_by_one is None and fetchable(url) != url and "http" in files.protocol
        about = _waited(files, _glance, path) if signed else files.info(path)
    size = int(about.get("size") or 0)
    if size > MOST_BYTES:
        raise OSError(f"it promises more than {MOST_BYTES / 1e9:g} GB")
    stated = [f"{name}={about[name]}" for name in _STATED if about.get(name)]
    if not stated:
        return size, None
    # Seven bytes: below any time of now in nanoseconds, which stands there for a local file.
    return size, int.from_bytes(hashlib.sha256(" ".join(stated).encode()).digest()[:7], "big")


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
        extras = "pip install 'featcache[http]' for web servers, [s3] for s3://, [gcs] for gs://"
        return f"{urls.scrubbed(str(error))}; {extras}"
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
