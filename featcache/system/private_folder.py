"""A folder of the user's own on this machine, for what may be run as it stands and so must come from nobody else."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import platformdirs

_log = logging.getLogger(__name__)
PLACE = "FEATCACHE_PROGRAMS"  # environment variable: another folder, or "off"


def private_folder() -> Path | None:
    """The folder, made where it was not; None where it is switched off, cannot be written, or is open to others.

    It is the user's cache folder (``~/.cache/featcache`` on Linux), unless the environment variable
    ``FEATCACHE_PROGRAMS`` names another. Features are never looked for there: their cache may have been written by
    others.
    """
    asked = os.environ.get(PLACE, "")
    if asked == "off":
        return None
    try:
        folder = Path(asked).absolute() if asked else platformdirs.user_cache_path("featcache") / "programs"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.lstat()
    except (OSError, RuntimeError) as error:  # the second where there is no home
        _log.debug("compiled programs are not kept: %s", error)
        return None
    others = hasattr(os, "getuid") and (about.st_uid != os.getuid() or about.st_mode & 0o077)
    if others or not stat.S_ISDIR(about.st_mode):
        _log.warning("%s: not a folder of yours alone (mode 0700); compiled programs are not kept there", folder)
        return None
    return folder
