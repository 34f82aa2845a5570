"""Where the files lie that a table names: beside it, or below a folder, an archive or a URL of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import DataError
from ..system.plain_text import printable
from ..system.user_paths import expanded
from . import file_types, filesystems
from .folder_tree import every_file

# What a name without a suffix may end in, the likeliest first: some tables name images and not files.
_SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff")


def beside(table: str, names: Sequence[str]) -> list[str]:
    """The files that a table names relative to itself, whether they are there or not."""
    paths = []
    for row, name in enumerate(names):
        try:
            paths.append(filesystems.beside(table, name))
        except DataError as error:
            raise DataError(f"{table}: row {row + 1}: {error}") from None
    return paths


def below(table: str, names: Sequence[str], folder: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """The files that a table names below a folder, an archive, or a URL.

    A path counts from the folder, or, where the folder is the one that the paths begin with, from the one above it. A
    bare name is looked for at any depth. What has no suffix of an image may end in one.

    Parameters
    ----------
    table : where the names are from, for messages.
    names : paths or bare names.
    folder : a local folder, an archive, or a URL.

    Returns
    -------
    paths : where each file is; where it would be, of those that are not there.
    relative : the same, relative to the folder.

    Raises
    ------
    DataError
        There is no such folder, none of the files is below it, or a bare name stands there more than once.
    """
    place = _place(folder)
    bare = {name for name in names if "/" not in name}
    found = _anywhere(table, bare, place) if bare else {}
    rest = [name for name in dict.fromkeys(names) if "/" in name]
    shape = _shape(rest, place) if rest else None
    if not found and shape is None:
        example = printable(names[0], lines=False)
        raise DataError(
            f"{table}: none of the {len(names):,} images that it names lies below {place.root}, such as {example}; say "
            "where they are: --images FOLDER"
        )
    relative = [found.get(name, name) if name in bare else shape(name) if shape else name for name in names]
    return [place.path(name) for name in relative], relative


class _Place:
    """A folder: what is in it, and where."""

    def __init__(self, root: str, has: Callable[[str], bool], path: Callable[[str], str], files: list[str] | None):
        self.root, self.has, self.path, self._files = root, has, path, files

    def files(self) -> list[str]:
        """All files below it, relative."""
        if self._files is None:
            self._files = every_file(Path(self.root))
        return self._files


def _place(folder: str | os.PathLike[str]) -> _Place:
    url = filesystems.as_url(folder)
    if url is not None:
        listed = dict(filesystems.listing(url))
        inside = url if url.endswith("/") else f"{url}/"
        return _Place(url, listed.__contains__, lambda name: listed.get(name, inside + name), list(listed))
    root = str(expanded(filesystems.locate(folder)).absolute())
    if not os.path.isdir(root):
        raise DataError(f"--images {root}: no such folder; expected the folder that a table's images lie in")

    def path(name: str) -> str:
        return os.path.normpath(os.path.join(root, name))

    return _Place(root, lambda name: os.path.isfile(path(name)), path, None)


def _anywhere(table: str, names: set[str], place: _Place) -> dict[str, str]:
    """Of bare names, the file of each that there is."""
    found: dict[str, str] = {}
    twice: dict[str, tuple[str, str]] = {}
    for file in place.files():
        base = file.rpartition("/")[2]
        stem, dot, suffix = base.rpartition(".")
        image = f".{suffix.lower()}" in file_types.SUFFIXES
        name = base if base in names else stem if dot and image and stem in names else None
        if name is None:
            continue
        was, direct = found.get(name), "/" not in file
        if was is not None and direct == ("/" not in was):
            twice.setdefault(name, (was, file))
        elif was is None or direct:  # one that lies in the folder itself is the one that is meant
            found[name] = file
            twice.pop(name, None)
    if twice:
        name, (first, second) = next(iter(twice.items()))
        raise DataError(
            f"{table}: {len(twice):,} name(s) stand for more than one file below {place.root}, the first is "
            f"{printable(name, lines=False)}: {printable(first, lines=False)} and {printable(second, lines=False)}. "
            "Name a folder in --images in which each is there once, or write paths into the table"
        )
    return found


def _shape(names: Sequence[str], place: _Place) -> Callable[[str], str] | None:
    """How the table's paths become paths below the folder: the first way in which any file is there, else None."""
    bare = all(file_types.by_suffix(name) is None for name in names)
    for cut in (False, True):
        for suffix in _SUFFIXES if bare else ("",):

            def shaped(name: str, cut: bool = cut, suffix: str = suffix) -> str:
                return (name.partition("/")[2] if cut else name) + suffix

            if any(place.has(shaped(name)) for name in names):
                return shaped
    return None


def folder_of(table: str) -> str:
    """The folder that a table lies in, or its URL."""
    return os.path.dirname(table) if not filesystems.is_url(table) else filesystems.beside(table, ".")
