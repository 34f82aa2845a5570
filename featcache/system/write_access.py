"""Whether something can be written at a place, asked before the work that fills it."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from ..errors import StoreError, UsageError
from .atomic_files import PREFIX
from .foreign_errors import translated
from .user_paths import expanded

_TRIES = 3  # another process may take away a folder that it found empty, as this one does


def require_writable(folder: str | os.PathLike[str], option: str = "--cache") -> None:
    """Raise unless files can be written in ``folder``, which need not be there yet and is left as it was.

    Raises
    ------
    StoreError
        Writing is refused, or there is no room.
    UsageError
        There can be no such folder.
    """
    path = expanded(folder).absolute()
    if os.path.isfile(path):  # Path.is_file() raises for a name that is too long
        raise StoreError(f"{path} is a file; expected a folder. Choose another place with {option}.")
    for attempt in range(_TRIES):
        try:
            _try(path)
            return
        except FileNotFoundError as error:
            if attempt + 1 == _TRIES:
                raise _refusal(path, option, error) from error
        except (OSError, ValueError) as error:
            raise _refusal(path, option, error) from error


def _try(folder: Path) -> None:
    """Make the folder, write a file into it, and take both away again."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    made: list[Path] = []
    try:
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            made.append(path)
        trial = folder / f"{PREFIX}{os.getpid()}-{uuid.uuid4().hex}"
        with trial.open("xb") as file:
            file.write(b"\0")
        trial.unlink()
    finally:
        for path in reversed(made):
            with contextlib.suppress(OSError):  # not empty: someone else is at work in it
                path.rmdir()


def _refusal(path: Path, option: str, error: OSError | ValueError) -> StoreError | UsageError:
    ours = translated(error)
    kind = StoreError if isinstance(ours, StoreError) else UsageError
    what = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    shown = os.fspath(path).encode("utf-8", "backslashreplace").decode()
    shown = shown if len(shown) <= 120 else f"{shown[:80]}…{shown[-30:]}"
    return kind(f"{shown}: nothing can be written here ({what}). Choose another place with {option}.")
