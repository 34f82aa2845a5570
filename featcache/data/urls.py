"""URLs of places: told from local paths, refused where they carry a password, and written down without what signs them.

Whatever names a place goes through :func:`locate` first. Of a URL with a signature in its query (presigned S3 and
Google URLs, Azure's SAS, tokens) it gives a :class:`Location`: a text that names the object and no more, which every
index, CSV, log and message may hold, and which carries the URL to fetch by beside it. So nothing that prints or stores
a location can print or store a secret, and an object is known again when its URL has been signed anew.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from urllib.parse import unquote, urlsplit

from ..errors import DataError, UsageError

_HOSTS = frozenset(  # schemes after whose :// a host stands
    ["http", "https", "ftp", "ftps", "sftp", "ssh", "smb", "webdav", "webdavs", "dav", "davs", "webhdfs", "hdfs"]
)
_PLACES = frozenset(["abfs", "abfss", "wasb", "wasbs", "az", "github"])  # container@account, owner:repository@branch
_LOCAL = ("file", "local")
# Fast, since a manifest may name a million URLs: one that holds none of these has nothing to hide, and is well formed.
_NOTABLE = re.compile(r"[@?#\[\]%\\\0]|:\d*[^\d/:]|^(?:file|local):|///", re.IGNORECASE)
_USER = re.compile(r"(?<![\w+.-])([A-Za-z][\w+.-]+):/{2,}([^/?#]*)@")
_ONE_SLASH = re.compile(r"[A-Za-z][\w+.-]+:/?[^/]*:[^/]*@")  # a URL that lacks a slash: a password all the same
_IN_TEXT = re.compile(r"[A-Za-z][\w+.-]+://[^\s'\"<>]+")
_CHAIN = re.compile(r"::(?![^\[\]/]*\])")  # not the one within [::1]

_SECRET = re.compile(
    r"x-(?:amz|goog|oss|cos|ms|obs|bz)-.*|.*(?:token|secret|passw|signature|credential|hmac|jwt|(?:api|access|shared|"
    r"subscription|account)[-_]?key).*|auth|auth[-_].*|authorization|sig|sign|pwd|pass|hdnea|hdnts|ticket|googleaccessid|key-pair-id|q-sign.*|q-ak"
)
# Parts of a signature that mean something else where there is none.
_WITH_SIGNATURE = re.compile(
    r"expires?|expiry|exp|policy|response-.*|algorithm|nonce|s[verpst]|srt|spr|sip|sdd|sk(?:oid|tid|[tesv])|s[au]oid|scid|"
    r"rsc[cdelt]"
)
_MAYBE = ("key", "code", "k")  # the object's, or a password: shown as a digest where it reads like a password
_OPAQUE = re.compile(r"[\w~+=-]{16,}")


class Location(str):
    """A URL as it may be written down; ``fetch`` is the one to fetch it by.

    A text operation on it, ``str()`` among them, gives a plain text without ``fetch``.
    """

    fetch: str

    def __new__(cls, shown: str, fetch: str | None = None) -> Location:
        self = super().__new__(cls, shown)
        self.fetch = shown if fetch is None else fetch
        return self


def is_url(location: str | os.PathLike[str]) -> bool:
    """Whether a location is one of fsspec's, and no local path."""
    return "://" in os.fspath(location)


def fetchable(location: str) -> str:
    """What to fetch a location by."""
    return getattr(location, "fetch", location)


def locate(place: str | os.PathLike[str]) -> str:
    """A place as the rest of the library knows it: a local path, a URL, or a :class:`Location`.

    Raises
    ------
    UsageError
        Nothing is named.
    DataError
        A URL with a password or a user's name, or that is malformed. The message holds neither.
    """
    text = place if isinstance(place, Location) else os.fspath(place)
    if isinstance(text, Location):
        return text
    if not text:
        raise UsageError("'' names no place; expected a folder, a CSV/Parquet manifest, an image, or a URL")
    if not is_url(text):
        if "@" in text and _ONE_SLASH.match(text):
            raise _refused(text.partition(":")[0])
        return text
    if not _NOTABLE.search(text) and not text.endswith("://"):
        return text
    if "\0" in text:
        raise DataError(f"{shown(text.partition(chr(0))[0])}…: a NUL stands in the URL")
    parts = split(text)
    for part in parts:
        _check(part)
    if parts[-1].partition("://")[0].lower() in _LOCAL:
        parts[-1] = _local_path(parts[-1])
    text, named = "::".join(parts), "::".join(_named(part) for part in parts)
    return text if named == text else Location(named, text)


def split(url: str) -> list[str]:
    """The parts of a chain such as ``zip://a.png::https://host/x.zip``, the innermost place first."""
    return _CHAIN.split(url)


def shown(url: str) -> str:
    """A URL as it may be printed, also where it would be refused: neither user, password nor signature."""
    hidden = _USER.sub(lambda user: f"{user[1]}://…@", url)
    return "::".join(_named(part) for part in split(hidden))


def scrubbed(text: str) -> str:
    """A message of somebody else's with the URLs in it as they may be printed."""
    return _IN_TEXT.sub(lambda url: shown(url[0]), text)


def name_of(location: str) -> str:
    """The file's name, without folders."""
    return posixpath.basename(_path_of(location)) if is_url(location) else os.path.basename(location)


def suffix_of(location: str) -> str:
    """``.png`` and the like, in small letters, whatever follows as a query."""
    return posixpath.splitext(_path_of(location) if is_url(location) else location)[1].lower()


def beside(location: str, name: str) -> str:
    """The location of a file that is named relative to another; of a URL or an absolute path, itself.

    Raises as :func:`locate` does.
    """
    if is_url(name) or "@" in name:
        name = locate(name)
    if is_url(name):
        return name
    if not is_url(location):
        return os.path.normpath(os.path.join(os.path.dirname(location), name))
    head, *rest = split(fetchable(location))
    scheme, _, path = re.split(r"[?#]", head, maxsplit=1)[0].partition("://")
    host, slash, path = path.partition("/") if scheme in _HOSTS else ("", "", path)
    joined = posixpath.normpath(posixpath.join("/" if slash else "", posixpath.dirname(path), name))
    return locate("::".join([f"{scheme}://{host}{joined}", *rest]))


def _path_of(url: str) -> str:
    head = split(url)[0]
    return re.split(r"[?#]", head, maxsplit=1)[0] if head.startswith(("http", "ftp")) else head.partition("?")[0]


def _check(part: str) -> None:
    """Refuse a part of a chain that carries a user's name, or whose host cannot be told."""
    for user in (user for text in (part, unquote(part)) for user in _USER.finditer(text.replace("\\", "/"))):
        if user[1].lower() not in _PLACES or (user[1].lower() != "github" and ":" in user[2]):
            raise _refused(user[1])
    scheme = part.partition("://")[0].lower()
    if scheme not in _HOSTS:
        return
    try:
        parsed = urlsplit(part)
        whole = bool(parsed.hostname) and (parsed.port is None or parsed.port >= 0)
    except ValueError:
        whole = False
    if not whole:  # a slash in a password ends up here, too, so nothing behind the :// is repeated
        raise DataError(
            f"{scheme}://…: no host and port can be read there; expected {scheme}://HOST[:PORT]/PATH, with an IPv6 "
            f"address in brackets: {scheme}://[::1]:8000/PATH"
        )


def _refused(scheme: str) -> DataError:
    return DataError(
        f"{scheme}://…@…: a URL with a password or a user's name would be written down with the data; give "
        "credentials in fsspec's configuration (~/.config/fsspec) or the environment"
    )


def _local_path(url: str) -> str:
    """The path that a ``file://`` URL names; it may be quoted."""
    path = url.partition("://")[2]
    if path.startswith("localhost/"):
        path = path.removeprefix("localhost")
    if not path.startswith("/"):
        raise DataError(f"{url}: a file URL holds an absolute path behind three slashes: file:///{path}")
    return path if "%" not in path or os.path.lexists(path) else unquote(path)


def _named(part: str) -> str:
    """A part of a chain without what signs it."""
    if part.startswith(("http://", "https://")):
        part = part.partition("#")[0]  # never sent to the server, so no part of the object's name
    place, mark, query = part.partition("?")
    if not mark:
        return part
    pieces = [(piece, *piece.partition("=")[::2]) for piece in re.split("[&;]", query)]
    names = [unquote(name).lower() for _, name, _ in pieces]
    signed = [
        bool(_SECRET.fullmatch(name)) or value.startswith("eyJ")
        for name, (_, _, value) in zip(names, pieces, strict=True)
    ]
    kept = []
    for name, secret, (piece, written, value) in zip(names, signed, pieces, strict=True):
        if secret or (any(signed) and _WITH_SIGNATURE.fullmatch(name)):
            continue
        if name in _MAYBE and _OPAQUE.fullmatch(value):
            piece = f"{written}=~{hashlib.sha256(value.encode()).hexdigest()[:12]}"
        kept.append(piece)
    return f"{place}?{'&'.join(kept)}" if any(kept) else place
