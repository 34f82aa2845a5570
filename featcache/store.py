"""The store: one folder a feature set, filled with immutable shards.

::

    cache/features/<feature set>/spec.json          the spec, for people and for repair
    cache/features/<feature set>/<sha256>.h5        shards; the name is the commit
    cache/networks/<digest>.safetensors             frozen networks, for bundles
    cache/networks/<digest>-<spec>.openvino         the same, converted: made again where it is gone
    cache/index.sqlite                              derived
    cache/last-extract.json                         what was extracted last: the default of other verbs

Writers only ever add shards, so any number of processes may write and read at once. The same row in two
shards is harmless.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from . import durable, schema, shard
from .errors import StoreError
from .gather import MovedError, Opened, gather, learn
from .index import Index
from .shard import Rows, Shard
from .spec import FeatureSpec

_log = logging.getLogger(__name__)


class _LastExtract(msgspec.Struct):
    """What ``last-extract.json`` holds at least."""

    data: str
    synthetic: bool
    feature_sets: dict[schema.Name, schema.FileName]
    group_regex: str | None = None
    skipped: list[str] = []


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
        self._said: set[str] = set()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.index.close()

    # -- feature sets --------------------------------------------------------------------------

    def feature_sets(self) -> list[str]:
        """Ids of the sets that are there, sorted."""
        if not self.features.is_dir():
            return []
        return sorted(e.name for e in os.scandir(self.features) if e.is_dir() and not e.name.startswith("."))

    def find(self, spec: FeatureSpec) -> str:
        """The id under which rows of this spec are kept: equal features share a set, whatever the
        weights were called when it was made."""
        for name in self.feature_sets():
            if name.startswith(f"{spec.backbone}-") and name.endswith(f"-{spec.size}-{spec.hex}"):
                return name
        return spec.id

    def spec(self, feature_set: str) -> FeatureSpec:
        """The spec of a set: from ``spec.json``, else from its first readable shard."""
        folder = self._folder(feature_set)
        candidates: list[Callable[[], FeatureSpec]] = [
            lambda: FeatureSpec.from_json((folder / "spec.json").read_text("utf-8"))
        ]
        for name in self.on_disk(feature_set):
            candidates.append(lambda name=name: self._spec_of(folder / name))  # type: ignore[misc]
        for candidate in candidates:
            try:
                spec = candidate()
            except (StoreError, OSError, UnicodeDecodeError):
                continue
            if feature_set.endswith(f"-{spec.hex}"):
                return spec
        raise StoreError(f"{feature_set}: no readable spec; remove the set with 'cache rm {feature_set}'")

    @staticmethod
    def _spec_of(path: Path) -> FeatureSpec:
        with Shard(path) as opened:
            return opened.spec

    def network(self, spec: FeatureSpec) -> Path:
        """Where the weights of the spec's network are kept (:mod:`featcache.frozen`)."""
        return schema.inside(self.cache / "networks", f"{spec.weights_digest}.safetensors")

    def converted(self, spec: FeatureSpec) -> Path:
        """Where the spec's network is kept as :mod:`featcache.openvino_runtime` runs it."""
        return schema.inside(self.cache / "networks", f"{spec.weights_digest}-{spec.hex}.openvino")

    def remove(self, feature_set: str) -> int:
        """Delete a set; returns the bytes that were freed."""
        folder = self._folder(feature_set)
        freed = sum(entry.stat().st_size for entry in os.scandir(folder))
        trash = self.features / f".trash-{uuid.uuid4().hex}"
        os.rename(folder, trash)  # at once, so that no reader finds half a set
        shutil.rmtree(trash)
        self.index.drop_shards(feature_set, list(self.index.shards(feature_set)))
        return freed

    def _folder(self, feature_set: str) -> Path:
        known = self.feature_sets()
        if feature_set not in known:
            raise StoreError(f"no feature set {feature_set!r} in {self.cache}; there are: {', '.join(known) or 'none'}")
        return self.features / feature_set

    # -- writing -------------------------------------------------------------------------------

    def commit(self, spec: FeatureSpec, rows: Rows, compression: str = "none") -> str:
        """Keep rows durably; returns the shard's name. When this returns, no kill can lose them."""
        data = shard.encode(spec, rows, compression)
        name = shard.shard_name(data)
        feature_set = self.find(spec)
        folder = schema.inside(self.features, feature_set)
        if not (folder / "spec.json").exists():
            durable.write_bytes(folder / "spec.json", spec.to_json().encode())
        durable.write_bytes(folder / name, data, digest=Path(name).stem)
        self.index.add_shard(feature_set, name, len(data), rows.seconds, rows.keys)
        return name

    def adopt(self, spec: FeatureSpec, name: str, data: bytes) -> None:
        """Keep a shard that another process encoded.

        Raises :class:`StoreError` where the bytes are not what the name says, or belong to another spec.
        """
        if not shard.is_shard_name(name) or shard.shard_name(data) != name:
            raise StoreError(f"shard {name[:12]}… arrived damaged; extract again")
        feature_set = self.find(spec)
        folder = schema.inside(self.features, feature_set)
        if not (folder / "spec.json").exists():
            durable.write_bytes(folder / "spec.json", spec.to_json().encode())
        durable.write_bytes(folder / name, data, digest=Path(name).stem)
        self.shards(feature_set)  # reads its spec and keys

    def discard(self, feature_set: str, name: str) -> None:
        """Delete one shard."""
        (self._folder(feature_set) / name).unlink(missing_ok=True)
        self.index.drop_shards(feature_set, [name])

    # -- reading -------------------------------------------------------------------------------

    def shards(self, feature_set: str) -> dict[str, tuple[int, int, float]]:
        """``name -> (bytes, rows, seconds)``, the index brought up to date with the folder first."""
        on_disk = self.on_disk(feature_set)
        indexed = self.index.shards(feature_set)
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
        return self.index.shards(feature_set)

    def on_disk(self, feature_set: str) -> dict[str, int]:
        """``name -> bytes`` of the committed shards, as the folder has them."""
        folder = self.features / feature_set
        if not folder.is_dir():
            return {}
        found = {}
        for entry in os.scandir(folder):
            if shard.is_shard_name(entry.name):
                try:
                    found[entry.name] = entry.stat().st_size
                except FileNotFoundError:
                    continue
        return dict(sorted(found.items()))

    def rows(self, feature_set: str) -> dict[bytes, tuple[str, int]]:
        """``row key -> (shard, position)`` of every row there is."""
        self.shards(feature_set)
        return self.index.rows(feature_set)

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
        where = self.rows(feature_set)
        folder = self.features / feature_set
        missing = sum(key not in where for key in keys)
        if missing:
            raise StoreError(f"{feature_set}: {missing} of {len(keys)} rows are not there; extract them first")
        for start in range(0, len(keys), rows):
            block = keys[start : start + rows]
            try:
                yield gather(folder, array, block, where, self._opened)
            except MovedError as stale:
                # Compacted in between, or an index that is not this folder's: forget it and look again.
                _log.debug("%s: index out of date (%s)", feature_set, stale)
                self.index.drop_shards(feature_set, list(self.index.shards(feature_set)))
                where = self.rows(feature_set)
                self._opened.clear()
                try:
                    yield gather(folder, array, block, where, self._opened)
                except (MovedError, KeyError) as again:
                    raise StoreError(
                        f"{feature_set}: shard {again} changed under the reader, or is damaged: run 'cache verify'"
                    ) from again

    # -- the last extract ----------------------------------------------------------------------

    def remember_extract(self, record: Mapping[str, Any]) -> None:
        """Keep what was extracted last."""
        durable.write_bytes(self.cache / "last-extract.json", json.dumps(dict(record), indent=1).encode())

    def last_extract(self) -> dict[str, Any]:
        """What :meth:`remember_extract` kept; empty where there is nothing, or nothing that can be used."""
        path = self.cache / "last-extract.json"
        advice = "Going on as if nothing had been extracted last; the next extract writes it anew"
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            return self._no_last_extract(f"{path}: cannot be read ({error.strerror}). {advice}")
        try:
            return dict(schema.read(text, _LastExtract, str(path), advice))
        except StoreError as error:
            return self._no_last_extract(str(error))

    def _no_last_extract(self, why: str) -> dict[str, Any]:
        if why not in self._said:  # verbs ask several times
            _log.warning("%s", why)
            self._said.add(why)
        return {}
