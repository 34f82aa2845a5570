"""Labels and splits from folders: ``<class>/*`` or ``{train,val,test}/<class>/*``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import DataError
from . import file_types

_SYNONYMS = {"train": ("training",), "val": ("valid", "validation", "dev"), "test": ("testing",)}
SPLITS = tuple(_SYNONYMS)
#: What folders and manifests call a split, in small letters.
SPLIT_NAMES = {name: split for split, others in _SYNONYMS.items() for name in (split, *others)}


@dataclass(frozen=True)
class Placed:
    """Images with the class and the split that their folders name; ``""`` is no split."""

    names: list[str]
    labels: list[str]
    splits: list[str]


def place(root: str, folders: Sequence[str], images: Sequence[str], ignored: Sequence[str]) -> Placed:
    """Tell class and split of each image.

    Parameters
    ----------
    root : str
        Where it all lies, for messages.
    folders : sequence of str
        Names of the folders in it.
    images, ignored : sequence of str
        Names of the images and of all other files, relative to it, with forward slashes.

    Raises
    ------
    DataError
        There are no images, or they are laid out in neither way.
    """
    split_folders = {name: SPLIT_NAMES[name.lower()] for name in folders if name.lower() in SPLIT_NAMES}
    if split_folders and len(split_folders) < len(folders):
        others = sorted(set(folders) - set(split_folders))
        raise DataError(
            f"{root}: found split folders ({', '.join(split_folders)}) beside others ({', '.join(others)}); "
            "expected either DIR/<class>/* or DIR/{train,val,test}/<class>/*. Move the others away, or "
            "describe the data in a CSV manifest (path,label,split)."
        )
    depth = 2 if split_folders else 1
    names, labels, splits, stray = [], [], [], []
    for name in images:
        parts = name.split("/")
        if len(parts) <= depth:
            stray.append(name)
            continue
        names.append(name)
        labels.append(parts[depth - 1])
        splits.append(split_folders[parts[0]] if split_folders else "")
    if stray:
        raise DataError(
            f"{root}: {len(stray)} image(s) stand outside any class folder, the first is {stray[0]}; expected "
            f"{'DIR/{train,val,test}/<class>/*' if split_folders else 'DIR/<class>/*'}, or a CSV manifest"
        )
    if not names:
        there = file_types.in_words(file_types.kinds(ignored))
        raise DataError(
            f"{root}: no images found ({there or 'no files at all'}); expected "
            "DIR/<class>/* or DIR/{train,val,test}/<class>/* with files such as .png, .jpg, .tif, .dcm …"
        )
    return Placed(names, labels, splits)


def unwrapped(names: list[str]) -> list[str]:
    """Names without the folder that an archive of a folder mostly has around the classes."""
    around = {name.split("/")[0] for name in names}
    if len(around) != 1 or min(name.count("/") for name in names) < 2 or around.pop().lower() in SPLIT_NAMES:
        return names
    return unwrapped([name.split("/", 1)[1] for name in names])
