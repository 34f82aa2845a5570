"""The store: one folder a feature set, filled with immutable shards.

::

    cache/features/<feature set>/spec.json          the spec, for people and for repair
    cache/features/<feature set>/<sha256>.h5        shards; the name is the commit
    cache/features/<feature set>/.damaged/          shards that 'cache repair' could save nothing from
    cache/networks/<digest>.safetensors             frozen networks, for bundles
    cache/networks/<digest>-<spec>.openvino         the same, converted: made again where it is gone
    cache/index.sqlite                              derived
    cache/maintenance.lock                          held by whatever takes shards away
    cache/last-extract.json                         what was extracted last: the default of other verbs

Writers only ever add shards, so any number of processes may write and read at once. The same row in two
shards is harmless.
"""

from __future__ import annotations

import functools
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import StoreError
from ..spec import FeatureSpec
from ..system import atomic_files, schema
from . import shard
from .index import Index
from .last_extract import LastExtract
from .maintenance_lock import alone
from .row_reader import MovedError, Opened, gather_moving, learn
from .set_folder import is_set, read_spec, shard_sizes, size_in_bytes
from .shard import Rows, Shard

_T = TypeVar("_T")
ASIDE = ".damaged"
_TRIES = 5


class Store:
    """One cache folder. Close it, or use it in a ``with``; open one in each process.

    Parameters
    ----------
    cache : the folder; it is made when something is first written to it.
    """

    def __init__(self, cache: str | os.PathLike[str] = "cache") -> None:
        self.cache = Path(cache).expanduser().absolute()
        if self.cache.exists() and not self.cache.is_dir():
            raise StoreError(f"{self.cache} is a file; expected a folder for the cache")
        self.features = self.cache / "features"
        self.index = Index(self.cache / "index.sqlite")
        self._opened: dict[str, Opened] = {}
        self._last_extract = LastExtract(self.cache / "last-extract.json")

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.index.close()

    # -- feature sets --------------------------------------------------------------------------

    def feature_sets(self) -> list[str]:
        """Ids of the sets that are there, sorted: folders named like one that hold a spec or a shard."""
        return sorted(name for name in self._entries() if is_set(self.features / name))

    def strangers(self) -> list[str]:
        """What else lies among the sets: folders and files of others, and those that a writer has just begun."""
        return sorted(name for name in self._entries() if not is_set(self.features / name))

    def _entries(self) -> list[str]:
        if not self.features.is_dir():
            return []
        return [entry.name for entry in os.scandir(self.features) if not entry.name.startswith(".")]

    def find(self, spec: FeatureSpec) -> str:
        """The id under which rows of this spec are kept: equal features share a set, whatever the
        weights were called when it was made.
        """
        for name in self.feature_sets():
            if name.startswith(f"{spec.backbone}-") and name.endswith(f"-{spec.size}-{spec.hex}"):
                return name
        return spec.id

    def spec(self, feature_set: str) -> FeatureSpec:
        """The spec of a set: from ``spec.json``, else from its first readable shard."""
        return read_spec(self._folder(feature_set))

    def network(self, spec: FeatureSpec) -> Path:
        """Where the weights of the spec's network are kept (:mod:`featcache.system.tensor_files`)."""
        return schema.inside(self.cache / "networks", f"{spec.weights_digest}.safetensors")

    def converted(self, spec: FeatureSpec) -> Path:
        """Where the spec's network is kept as :mod:`featcache.backbones.openvino_runtime` runs it."""
        return schema.inside(self.cache / "networks", f"{spec.weights_digest}-{spec.hex}.openvino")

    def remove(self, feature_set: str) -> int:
        """Delete a set; returns the bytes that were freed.

        Raises :class:`StoreError` where there is none, where its folder is a link, and where the disk refuses.
        """
        with alone(self.cache, "cache rm"):
            folder = self.removable(feature_set)
            freed = size_in_bytes(folder)
            trash = self.features / f".trash-{uuid.uuid4().hex}"
            try:
                os.rename(folder, trash)  # at once, so that no reader finds half a set
            except OSError as error:
                raise StoreError(f"{folder}: not removed ({error.strerror}); all of it is still there") from error
            self.index.drop_shards(feature_set, list(self.index.shards(feature_set)))
            try:
                shutil.rmtree(trash)
            except OSError as error:
                raise StoreError(
                    f"{feature_set} is removed, but not all of its files could be deleted ({error.strerror}); "
                    f"delete {trash}"
                ) from error
        return freed

    def removable(self, feature_set: str) -> Path:
        """The folder of a set that :meth:`remove` would delete, or :class:`StoreError`."""
        folder = self._folder(feature_set)
        if folder.is_symlink():
            raise StoreError(
                f"{folder} is a link to {os.path.realpath(folder)}, and nothing behind a link is deleted; delete that "
                "folder yourself, then the link"
            )
        return folder

    def chosen(self, names: Sequence[str] | None) -> list[str]:
        """These sets, or all; :class:`StoreError` where one is not there."""
        known = self.feature_sets()
        for name in names or ():
            if name not in known:
                raise StoreError(f"no feature set {name!r} in {self.cache}; there are: {', '.join(known) or 'none'}")
        return list(names) if names else known

    def _folder(self, feature_set: str) -> Path:
        return self.features / self.chosen([feature_set])[0]

    # -- writing -------------------------------------------------------------------------------

    def commit(self, spec: FeatureSpec, rows: Rows, compression: str = "none") -> str:
        """Keep rows durably; returns the shard's name. When this returns, no kill can lose them."""
        data = shard.encode(spec, rows, compression)
        name = shard.shard_name(data)
        feature_set = self._keep(spec, name, data)
        self.index.add_shard(feature_set, name, len(data), rows.seconds, rows.keys)
        return name

    def adopt(self, spec: FeatureSpec, name: str, data: bytes) -> None:
        """Keep a shard that another process encoded.

        Raises :class:`StoreError` where the bytes are not what the name says, or belong to another spec.
        """
        if not shard.is_shard_name(name) or shard.shard_name(data) != name:
            raise StoreError(f"shard {name[:12]}… arrived damaged; extract again")
        with Shard(data) as arrived:
            if arrived.spec.hex != spec.hex:
                raise StoreError(f"shard {name[:12]}… belongs to {arrived.spec.id}, not to {spec.id}")
            keys, seconds = arrived.keys(), arrived.seconds
        self.index.add_shard(self._keep(spec, name, data), name, len(data), seconds, keys)

    def _keep(self, spec: FeatureSpec, name: str, data: bytes | memoryview) -> str:
        """Write a shard into the folder of its set, which 'cache rm' may take away at any moment."""
        for tries_left in reversed(range(_TRIES)):
            feature_set = self.find(spec)
            folder = schema.inside(self.features, feature_set)
            try:
                if not (folder / "spec.json").exists():
                    atomic_files.write_bytes(folder / "spec.json", spec.to_json().encode())
                atomic_files.write_bytes(folder / name, data, digest=Path(name).stem)
                break
            except StoreError as error:
                if not tries_left or not isinstance(error.__cause__, FileNotFoundError):
                    raise
        return feature_set

    def discard(self, feature_set: str, name: str) -> None:
        """Delete one shard."""
        (self._folder(feature_set) / name).unlink(missing_ok=True)
        self.index.drop_shards(feature_set, [name])

    def set_aside(self, feature_set: str, name: str) -> Path:
        """Move a shard out of the set, where nobody reads it; returns its new place."""
        folder = self._folder(feature_set)
        place = folder / ASIDE / name
        try:
            place.parent.mkdir(exist_ok=True)
            os.replace(folder / name, place)
        except OSError as error:
            raise StoreError(f"{folder / name}: cannot be moved aside ({error.strerror})") from error
        self.index.drop_shards(feature_set, [name])
        return place

    # -- reading -------------------------------------------------------------------------------

    def shards(self, feature_set: str) -> dict[str, tuple[int, int, float]]:
        """``name -> (bytes, rows, seconds)``, the index brought up to date with the folder first."""
        return self._current(feature_set, self.index.shards)

    def _current(self, feature_set: str, ask: Callable[[str], _T]) -> _T:
        """What the index says of a set once it is up to date; again, where it had to begin anew in between."""
        while True:
            lives = self.index.lives
            self._update(feature_set)
            answer = ask(feature_set)
            if self.index.lives == lives:
                return answer

    def _update(self, feature_set: str) -> None:
        # The index is asked before the folder: of what another process merges in between, either is then seen.
        indexed = self.index.shards(feature_set)
        on_disk = self.on_disk(feature_set)
        gone = [name for name in indexed if name not in on_disk]
        if gone:
            self.index.drop_shards(feature_set, gone)
        for name, size in on_disk.items():
            if name in indexed:
                if indexed[name][0] != size:
                    raise StoreError(
                        f"{feature_set}: shard {name[:12]}… has {size:,} bytes, it was committed with "
                        f"{indexed[name][0]:,}. Run 'cache verify', then 'cache repair', and extract again."
                    )
                continue
            try:
                with Shard(self.features / feature_set / name) as opened:
                    if not feature_set.endswith(f"-{opened.spec.hex}"):
                        raise StoreError(f"shard {name[:12]}… belongs to {opened.spec.id}, not to {feature_set}")
                    self.index.add_shard(feature_set, name, size, opened.seconds, opened.keys())
            except FileNotFoundError:  # compacted away between the listing and now
                continue

    def on_disk(self, feature_set: str) -> dict[str, int]:
        """``name -> bytes`` of the committed shards, as the folder has them."""
        return shard_sizes(self.features / feature_set)

    def rows(self, feature_set: str, doubt: bool = False) -> dict[bytes, tuple[str, int]]:
        """``row key -> (shard, position)`` of every row there is; with ``doubt``, whatever the index says."""
        if doubt:
            self.index.drop_shards(feature_set, list(self.index.shards(feature_set)))
        return self._current(feature_set, self.index.rows)

    def shapes(self, feature_set: str) -> dict[str, tuple[int, ...]]:
        """Shape of one row of each array; empty for a set without rows."""
        for name in self.on_disk(feature_set):
            if name not in self._opened:
                try:
                    self._opened[name] = learn(self.features / feature_set / name)
                except MovedError:  # compacted away between the listing and now
                    continue
            return self._opened[name].shapes
        return {}

    def read(self, feature_set: str, keys: Sequence[bytes], array: str) -> np.ndarray:
        """Rows of one array in the order of ``keys``, array of shape (len(keys), …).

        Raises
        ------
        StoreError
            A row is not there, or a shard is damaged.
        """
        return next(self.blocks(feature_set, keys, array, max(1, len(keys))), np.empty(0))

    def blocks(self, feature_set: str, keys: Sequence[bytes], array: str, rows: int) -> Iterator[np.ndarray]:
        """The same, ``rows`` rows at a time."""
        where: Mapping[bytes, tuple[str, int]] = self.rows(feature_set)
        folder = self.features / feature_set
        missing = sum(key not in where for key in keys)
        if missing:
            raise StoreError(f"{feature_set}: {missing} of {len(keys)} rows are not there; extract them first")

        for start in range(0, len(keys), rows):
            block, where = gather_moving(
                folder,
                array,
                keys[start : start + rows],
                where,
                self._opened,
                functools.partial(self.rows, feature_set),
            )
            yield block

    # -- the last extract ----------------------------------------------------------------------

    def remember_extract(self, record: Mapping[str, Any]) -> None:
        """Keep what was extracted last."""
        self._last_extract.write(record)

    def last_extract(self) -> dict[str, Any]:
        """What :meth:`remember_extract` kept; empty where there is nothing, or nothing that can be used."""
        return self._last_extract.read()
