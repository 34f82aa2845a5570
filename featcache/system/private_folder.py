"""Folders of the user's own on this machine, for what must come from nobody else, or be seen by nobody else."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import platformdirs

_log = logging.getLogger(__name__)
PLACE = "FEATCACHE_PROGRAMS"  # environment variable: another folder, or "off"
KEYS = "FEATCACHE_KEYS"  # the same, of keys


def private_folder() -> Path | None:
    """The folder of compiled programs, made where it was not.

    It is the user's cache folder (``~/.cache/featcache`` on Linux), unless the environment variable
    ``FEATCACHE_PROGRAMS`` names another. Features are never looked for there: their cache may have been written by
    others.

    Returns
    -------
    The folder; None where it is switched off, cannot be written, or is open to others.
    """
    return _private(PLACE, "compiled programs are", lambda: platformdirs.user_cache_path("featcache") / "programs")


def key_folder() -> Path | None:
    """The folder of keys, which is no cache: what they made is other without them. Else as :func:`private_folder`.

    It is the user's folder of data (``~/.local/share/featcache`` on Linux), or what ``FEATCACHE_KEYS`` names.
    """
    return _private(KEYS, "keys are", lambda: platformdirs.user_data_path("featcache") / "keys")


def _private(variable: str, what: str, usual: Callable[[], Path]) -> Path | None:
    asked = os.environ.get(variable, "")
    if asked == "off":
        return None
    try:
        folder = Path(asked).absolute() if asked else usual()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.lstat()
    except (OSError, RuntimeError) as error:  # the second where there is no home
        _log.debug("%s not kept: %s", what, error)
        return None
    others = hasattr(os, "getuid") and (about.st_uid != os.getuid() or about.st_mode & 0o077)
    if others or not stat.S_ISDIR(about.st_mode):
        _log.warning("%s: not a folder of yours alone (mode 0700); %s not kept there", folder, what)
        return None
    return folder
