"""The folder of one feature set: whether it is one, its spec, and its shards as the disk has them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..errors import StoreError
from ..spec import FeatureSpec
from .shard import Shard, is_shard_name

_NAME = re.compile(r".+-[1-9]\d*-[0-9a-f]{8}")  # backbone, weights, size, and the first digits of the spec's digest
_LISTINGS = 100


def is_set(folder: Path) -> bool:
    """Whether it is named like a feature set, and holds a spec or a shard."""
    if _NAME.fullmatch(folder.name) is None:
        return False
    return (folder / "spec.json").is_file() or bool(_shards_in(folder))


def read_spec(folder: Path) -> FeatureSpec:
    """The spec: from ``spec.json``, else from the first readable shard.

    Raises :class:`StoreError` where there is none that belongs to the folder's name.
    """
    candidates: list[Callable[[], FeatureSpec]] = [partial(_stated_spec, folder)]
    candidates += [partial(_spec_of_shard, folder / name) for name in shard_sizes(folder)]
    for candidate in candidates:
        try:
            spec = candidate()
        except (StoreError, OSError, UnicodeDecodeError):
            continue
        if folder.name.endswith(f"-{spec.hex}"):
            return spec
    raise StoreError(f"{folder.name}: no readable spec; remove the set with 'cache rm {folder.name}'")


def shard_sizes(folder: Path) -> dict[str, int]:
    """``name -> bytes`` of the committed shards, sorted by name."""
    names = _shards_in(folder)
    for _ in range(_LISTINGS):
        # One listing may miss both a shard that is merged away and the one that takes its place: two agree.
        before, names = names, _shards_in(folder)
        if names == before:
            break
    sizes = {}
    inside = os.path.join(folder, "")
    for name in sorted(names):
        with contextlib.suppress(FileNotFoundError):
            sizes[name] = os.stat(inside + name).st_size
    return sizes


def size_in_bytes(folder: Path) -> int:
    """Bytes of all that lies in a folder, as far as it can be asked."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _stated_spec(folder: Path) -> FeatureSpec:
    return FeatureSpec.from_json((folder / "spec.json").read_text("utf-8"))


def _spec_of_shard(path: Path) -> FeatureSpec:
    with Shard(path) as opened:
        return opened.spec


def _shards_in(folder: Path) -> set[str]:
    """Names of the committed shards in a folder; a folder or a pipe that is named like one is none."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if is_shard_name(entry.name) and entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()
