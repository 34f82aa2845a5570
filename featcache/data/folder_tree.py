"""What there is below a folder: images, and all else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from . import file_types, filesystems


def walk(root: Path) -> tuple[list[str], list[str]]:
    """Image files and other files below ``root``, relative, sorted; hidden ones are other files."""
    images: list[str] = []
    ignored: list[str] = []
    for prefix, names in _folders(root, "", set(), ignored):
        for name in names:
            known = file_types.by_suffix(name)
            if known is None:
                known = file_types.begins_like_image(filesystems.head(root / prefix / name, file_types.HEAD))
            (images if known else ignored).append(prefix + name)
    return sorted(images), sorted(ignored)


def every_file(root: Path) -> list[str]:
    """All files below ``root`` that are not hidden, relative, sorted; none is opened."""
    return sorted(prefix + name for prefix, names in _folders(root, "", set(), []) for name in names)


def _folders(
    root: Path, prefix: str, ancestors: set[tuple[int, int]], hidden: list[str]
) -> Iterator[tuple[str, list[str]]]:
    """Each folder and the files in it; links are followed, but never into a folder that contains the link itself."""
    status = os.stat(root / prefix)
    here = (status.st_dev, status.st_ino)
    if here in ancestors:
        return
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(root / prefix) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                hidden.append(f"{prefix}{entry.name}{'/' if entry.is_dir() else ''}")
            else:
                (folders if entry.is_dir() else files).append(entry.name)
    yield prefix, files
    for name in folders:
        yield from _folders(root, f"{prefix}{name}/", ancestors | {here}, hidden)
