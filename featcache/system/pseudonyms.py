"""Pseudonyms of people: the same for the same person on this machine, and leading back to nobody.

An identifier of a hospital has few possible values, so its plain digest is found by trying them all. This one is keyed
(HMAC-SHA256), by 32 random bytes that are made once a user, lie in a folder of the user's own
(:func:`featcache.system.private_folder.key_folder`), and never travel with features, runs or bundles.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import logging
import os
import secrets
import stat
from pathlib import Path

from .private_folder import KEYS, key_folder

_log = logging.getLogger(__name__)
_FILE, _BYTES = "patients.key", 32
_DIGITS = 32  # of the pseudonym: 128 bits, so that no two people share one


class Pseudonyms:
    """Makes them.

    Parameters
    ----------
    key : bytes
        What they are made with.
    kept : bool
        Whether it is there again in the next process.
    """

    def __init__(self, key: bytes, kept: bool) -> None:
        self._key, self.kept = key, kept

    def of(self, identifier: str) -> str:
        """The pseudonym of an identifier, 32 hexadecimal digits."""
        return hmac.new(self._key, identifier.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:_DIGITS]

    @property
    def mark(self) -> bytes:
        """What tells pseudonyms of this key from those of another one, 8 bytes that do not give it away."""
        return hmac.new(self._key, b"\0which key", hashlib.sha256).digest()[:8]


def pseudonyms() -> Pseudonyms:
    """Those of this user: by the key that is there, or one made now; of this process alone where none can be kept."""
    folder = key_folder()
    key = None if folder is None else _key_in(folder)
    if key is None:
        _log.warning("no folder of keys (%s): patients have other pseudonyms in each process", KEYS)
        return Pseudonyms(_passing(), kept=False)
    return Pseudonyms(key, kept=True)


def _key_in(folder: Path) -> bytes | None:
    path = folder / _FILE
    try:
        if not os.path.lexists(path):
            _make(path)
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode) or (hasattr(os, "getuid") and about.st_uid != os.getuid()):
            raise OSError("it is no file of yours")
        if hasattr(os, "getuid") and about.st_mode & 0o077:
            raise OSError("others may read it; chmod 600 makes it yours alone")
        key = path.read_bytes()
        if len(key) != _BYTES:
            raise OSError(f"it has {len(key)} bytes, not {_BYTES}; remove it to have a new one made")
    except OSError as error:
        _log.warning("%s: not usable as a key: %s", path, error.strerror or error)
        return None
    return key


def _make(path: Path) -> None:
    """A new key, there whole or not at all; of two processes at once one makes it, and the other takes that."""
    building = path.with_name(f".{secrets.token_hex(8)}")
    file = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(secrets.token_bytes(_BYTES))
            out.flush()
            os.fsync(out.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(building, path)
    finally:
        os.unlink(building)


@functools.cache
def _passing() -> bytes:
    return secrets.token_bytes(_BYTES)
