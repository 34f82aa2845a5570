"""Where image files are: on a local disk, in an archive, or wherever fsspec reaches.

A location is a local path or a URL of fsspec's: ``s3://bucket/xrays/a.png``, ``https://host/a.png``, and for a member of an
archive ``zip://covid/a.png::/data/xrays.zip``. Local paths never pass through fsspec: a plan asks the disk about a
million of them. Credentials are fsspec's own matter (its configuration, or the environment); a URL that carries some is
refused, since URLs are written down.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from . import stamps
from .errors import DataError
from .spool import Spool

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
_MOST_BYTES = 2_000_000_000  # of one file: a member of an archive may promise anything
_CONNECT, _ANSWER = 10, 30  # seconds
_NEVER = 1 << 62  # no version of an object

_NEAR = ("memory", "file", "local")  # protocols that cost nothing to ask again

_NEAR = ("memory", "file", "local")  # protocols that cost nothing to ask again

_spool = Spool(4_000_000_000)
_lock = threading.Lock()
_opened: dict[tuple[str, int], tuple[Any, threading.Lock | None]] = {}


def is_url(location: str | os.PathLike[str]) -> bool:
    """Whether a location is one of fsspec's, and no local path."""
    return "://" in os.fspath(location)


def as_url(place: str | os.PathLike[str]) -> str | None:
    """The URL of a place that fsspec has to open: one already, or an archive, local or not; None for local ones.

    Raises
    ------
    DataError
        Credentials in the URL, or an archive that can only be read from its beginning.
    """
    text = os.fspath(place)
    lower = text.lower()
    if lower.endswith(_SQUEEZED):
        raise DataError(
            f"{text}: a compressed tar can only be read from its beginning; unpack it, or make it a .zip or .tar"
        )
    kind = next((kind for suffix, kind in ARCHIVES.items() if lower.endswith(suffix)), None)
    if not is_url(text):
        archive = os.path.abspath(os.path.expanduser(text))
        return f"{kind}://::{archive}" if kind and os.path.isfile(archive) else None
    for part in text.split("::"):
        if "@" in urlsplit(part).netloc and urlsplit(part).scheme in ("http", "https", "ftp", "sftp"):
            raise DataError(
                f"{urlsplit(part).scheme}://…@{urlsplit(part).hostname}: a URL with credentials would be written down with "
                "the data; give them in fsspec's configuration (~/.config/fsspec) or the environment"
            )
    return f"{kind}://::{text}" if kind and not text.startswith(f"{kind}://") else text


def name_of(location: str) -> str:
    """The file's name, without folders."""
    return posixpath.basename(location.split("::")[0]) if is_url(location) else os.path.basename(location)


def suffix_of(location: str) -> str:
    """``.png`` and the like, in small letters, whatever follows as a query."""
    path = urlsplit(location.split("::")[0]).path if is_url(location) else location
    return posixpath.splitext(path)[1].lower()


def beside(location: str, name: str) -> str:
    """The location of a file that is named relative to another; of a URL or an absolute path, itself."""
    if is_url(name):
        return name
    if not is_url(location):
        return os.path.normpath(os.path.join(os.path.dirname(location), name))
    head, *rest = location.split("::")
    scheme, _, path = head.partition("://")
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
    return "::".join([f"{scheme}://{joined}", *rest])


def read(location: str | os.PathLike[str], again: bool = False) -> bytes:
    """The bytes of a file.

    Parameters
    ----------
    location : a local path or a URL.
    again : whether they will be asked for once more: what comes from afar is then kept on disk until it is, 4 GB at most.

    Raises
    ------
    OSError
        For whatever keeps it from being read.
    """
    text = os.fspath(location)
    if not is_url(text):
        with open(text, "rb") as file:
            return file.read()
    kept = _spool.take(text)
    if kept is not None:
        return kept
    try:
        data = _fetch(text)
    except Exception as error:  # each protocol has errors of its own
        raise OSError(_reason(error)) from error
    if again and text.split("://")[0] not in _NEAR and (is_url(text.split("::")[-1])):
        _spool.keep(text, data)
    return data


def _fetch(url: str) -> bytes:
    files, path, one_by_one = _open(url)
    if one_by_one is None:
        return bytes(files.cat_file(path))
    with one_by_one:
        if files.info(path)["size"] > _MOST_BYTES:
            raise OSError(f"promises more than {_MOST_BYTES / 1e9:.0f} GB")
        return bytes(files.cat_file(path))


def stat(locations: Sequence[str]) -> tuple[list[bytes], dict[int, str]]:
    """A stamp of each file (:mod:`featcache.stamps`), and why some cannot be had, by position.

    Of a URL, what the store says of the object's content stands for the time: its ETag, checksum or date as a number
    below any time of now. Where it says nothing the stamp is unknown: nobody can tell whether it changed.
    """
    found_stamps = [stamps.UNKNOWN] * len(locations)
    failed: dict[int, str] = {}
    stamp = stamps.Stamper().stamp
    far = []
    for i, location in enumerate(locations):
        if is_url(location):
            far.append(i)
            continue
        try:
            status = os.stat(location)
        except OSError as error:
            failed[i] = f"cannot be read: {error.strerror}"
        else:
            found_stamps[i] = stamp(location, status)
    if far:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="stat") as pool:
            for i, found in zip(far, pool.map(_stat, [locations[i] for i in far]), strict=True):
                if isinstance(found, str):
                    failed[i] = f"cannot be read: {found}"
                elif found[1] != _NEVER:
                    found_stamps[i] = stamps.of_object(*found)
    return found_stamps, failed


def listing(url: str) -> Iterator[tuple[str, str]]:
    """All files below a URL: name relative to it, and URL; hidden ones are passed over.

    Raises
    ------
    DataError
        It cannot be opened, or there is no such place.
    """
    try:
        files, root, _ = _open(url)
        files.invalidate_cache()
        files.info(root)  # find() passes over what cannot be reached
        found = sorted(files.find(root))
    except Exception as error:
        raise DataError(f"{url}: cannot be listed: {_reason(error)}") from error
    head, *rest = url.split("::")
    scheme = head.partition("://")[0]
    root = root.rstrip("/")
    for path in found:
        name = path[len(root) :].lstrip("/") if path.startswith(root) else path.lstrip("/")
        if name and not any(part.startswith(".") for part in name.split("/")):
            yield name, "::".join([path if is_url(path) else f"{scheme}://{path.lstrip('/')}", *rest])


def _stat(url: str) -> tuple[int, int] | str:
    try:
        files, path, _ = _open(url)
        about = files.info(path)
    except Exception as error:  # noqa: BLE001 - each protocol has errors of its own
        return _reason(error)
    stated = [f"{name}={about[name]}" for name in _STATED if about.get(name)]
    number = int.from_bytes(hashlib.sha256(" ".join(stated).encode()).digest()[:7], "big") if stated else _NEVER
    return int(about.get("size") or 0), number


def _open(url: str) -> tuple[Any, str, threading.Lock | None]:
    """The file system, the path in it, and a lock where it can be used by one thread at a time."""
    head, *rest = url.split("::")
    scheme, _, path = head.partition("://")
    if not rest:
        files = _filesystem(url)
        return files, files._strip_protocol(url), None
    container = "::".join(rest)
    changed = os.stat(container).st_mtime_ns if not is_url(container) else 0
    key = (f"{scheme}::{container}", changed)
    with _lock:
        if key not in _opened:
            import fsspec

            _opened[key] = (fsspec.filesystem(scheme, fo=container, skip_instance_cache=True), threading.Lock())
        files, one_by_one = _opened[key]
    return files, path, one_by_one


def _filesystem(url: str) -> Any:
    import fsspec

    scheme = url.partition("://")[0]
    options: dict[str, Any] = {}
    if scheme in ("http", "https"):
        import aiohttp

        options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(sock_connect=_CONNECT, sock_read=_ANSWER)}
    return fsspec.filesystem(scheme, **options)


def _reason(error: BaseException) -> str:
    """What went wrong, in words."""
    if isinstance(error, ImportError):
        return f"{error}; pip install 'featcache[http]' for web servers, [s3] for s3://, [gcs] for gs://"
    if isinstance(error, FileNotFoundError):
        return "no such file or folder" + (f" ({error.__cause__})" if error.__cause__ else "")
    if isinstance(error, PermissionError):
        return "permission denied; credentials are taken from fsspec's configuration or the environment"
    if isinstance(error, TimeoutError):
        return f"no answer within {_ANSWER} s"
    if "range requests" in str(error):
        return "its server gives files only whole, and an archive is read in pieces; download it"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
