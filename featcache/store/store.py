"""The store: one folder a feature set, filled with immutable shards.

::

    cache/features/<feature set>/spec.json          the spec, for people and for repair
    cache/features/<feature set>/precision.json     how far it is from float32; derived
    cache/features/<feature set>/<sha256>.h5        shards; the name is the commit
    cache/features/<feature set>/.damaged/          shards that 'cache repair' could save nothing from
    cache/networks/<digest>.safetensors             frozen networks, for bundles
    cache/networks/<digest>-<spec>.openvino         the same, converted: made again where it is gone
    cache/networks/<digest>-<spec>.….self-test      what it makes of the pictures that bundles carry; likewise
    cache/index.sqlite                              derived
    cache/maintenance.lock                          held by whatever takes shards away
    cache/last-extract.json                         what was extracted last: the default of other verbs

Writers only ever add shards, so any number of processes may write and read at once. The same row in two
shards is harmless.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import StoreError
from ..spec import FeatureSpec
from ..system import atomic_files, schema
from . import shard
from .feature_sets import FeatureSets
from .last_extract import LastExtract
from .row_reader import MovedError, Opened, gather_moving, learn
from .set_folder import shard_sizes
from .shard import Rows, Shard
from .vouching import note_of, open_shards

_T = TypeVar("_T")
ASIDE = ".damaged"
_TRIES = 5


class Store(FeatureSets):
    """One cache folder.

    Close it, or use it in a ``with``; open one in each process. Any number of processes may write and read at once.

    Parameters
    ----------
    cache : str or path, optional
        The folder; it is made when something is first written to it.

    Attributes
    ----------
    cache : Path
        The folder, absolute.
    features : Path
        Where its feature sets lie, a folder each.
    index : Index
        What is derived from them.

    Raises
    ------
    StoreError
        ``cache`` is a file.

    Examples
    --------
    >>> import featcache
    >>> from PIL import Image
    >>> for number in range(3):
    ...     Image.new("L", (16, 16), 40 * number).save(f"{number}.png")
    >>> backbone = featcache.FrozenBackbone("pixels", pooling="flatten", size=8)
    >>> _ = backbone.fit(["0.png", "1.png", "2.png"])
    >>> with featcache.Store() as store:
    ...     (name,) = store.feature_sets()
    ...     len(store.rows(name)), store.shapes(name)
    (3, {'map': (8, 8, 3)})
    """

    def __init__(self, cache: str | os.PathLike[str] = "cache") -> None:
        super().__init__(cache)
        self._opened: dict[str, Opened] = {}
        self._shapes: dict[str, dict[str, tuple[int, ...]]] = {}
        self._last_extract = LastExtract(self.cache / "last-extract.json")

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.index.close()

    # -- writing -------------------------------------------------------------------------------

    def commit(self, spec: FeatureSpec, rows: Rows, compression: str = "none") -> str:
        """Keep rows durably: when this returns, no kill can lose them.

        Parameters
        ----------
        spec : FeatureSpec
            What the rows are.
        rows : Rows
            Keys and arrays.
        compression : {"none", "gzip", "zstd"}, optional
            Of the shard.

        Returns
        -------
        str
            The shard's name.

        Raises
        ------
        StoreError
            The rows are not what the spec says, hold NaN or infinite values, or the disk is full or refuses.
        """
        data = shard.encode(spec, rows, compression)
        name = shard.shard_name(data)
        feature_set = self._keep(spec, name, data)
        self._indexed(feature_set, name, len(data), rows.seconds, rows.keys)
        return name

    def adopt(self, spec: FeatureSpec, name: str, data: bytes) -> None:
        """Keep a shard that another process encoded.

        Parameters
        ----------
        spec : FeatureSpec
            What its rows must be.
        name : str
            Its name, which tells its bytes.
        data : bytes
            The shard.

        Raises
        ------
        StoreError
            The bytes are not what the name says, or belong to another spec.
        """
        if not shard.is_shard_name(name) or shard.shard_name(data) != name:
            raise StoreError(f"shard {name[:12]}… arrived damaged; extract again")
        with Shard(data) as arrived:
            if arrived.spec.hex != spec.hex:
                raise StoreError(f"shard {name[:12]}… belongs to {arrived.spec.id}, not to {spec.id}")
            keys, seconds = arrived.keys(), arrived.seconds
        self._indexed(self._keep(spec, name, data), name, len(data), seconds, keys)

    def _indexed(self, feature_set: str, name: str, size: int, seconds: float, keys: np.ndarray) -> None:
        """Index a shard that was proven while it was committed."""
        note = note_of(self.features / feature_set / name)
        self.index.add_shard(feature_set, name, size, seconds, keys, note)

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
        """Delete one shard.

        Parameters
        ----------
        feature_set : str
            Id of the set.
        name : str
            The shard's name.
        """
        (self._folder(feature_set) / name).unlink(missing_ok=True)
        self.index.drop_shards(feature_set, [name])

    def set_aside(self, feature_set: str, name: str) -> Path:
        """Move a shard out of the set, where nobody reads it.

        Parameters
        ----------
        feature_set : str
            Id of the set.
        name : str
            The shard's name.

        Returns
        -------
        Path
            Its new place.

        Raises
        ------
        StoreError
            The disk refuses.
        """
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
        """List the shards of a set, the index brought up to date with the folder first.

        Parameters
        ----------
        feature_set : str
            Id of the set.

        Returns
        -------
        dict of str to tuple
            ``name -> (bytes, rows, seconds)``.

        Raises
        ------
        StoreError
            A shard has another size than it was committed with, or is damaged.
        """
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
        """List the committed shards of a set as its folder has them.

        Parameters
        ----------
        feature_set : str
            Id of the set.

        Returns
        -------
        dict of str to int
            ``name -> bytes``.
        """
        return shard_sizes(self.features / feature_set)

    def rows(self, feature_set: str, doubt: bool = False) -> dict[bytes, tuple[str, int]]:
        """Say where every row of a set stands.

        Parameters
        ----------
        feature_set : str
            Id of the set.
        doubt : bool, optional
            Read the shards again, whatever the index says.

        Returns
        -------
        dict of bytes to tuple
            ``row key -> (shard, position)``.

        Raises
        ------
        StoreError
            A shard has another size than it was committed with, or is damaged.
        """
        if doubt:
            self.index.drop_shards(feature_set, list(self.index.shards(feature_set)))
        return self._current(feature_set, self.index.rows)

    def shapes(self, feature_set: str) -> dict[str, tuple[int, ...]]:
        """Give the shape of one row of each array.

        Parameters
        ----------
        feature_set : str
            Id of the set.

        Returns
        -------
        dict of str to tuple of int
            ``array -> shape``; empty for a set without rows.
        """
        for name in self.on_disk(feature_set):
            if name not in self._shapes:
                try:
                    known = self._opened.get(name) or learn(self.features / feature_set / name)
                except MovedError:  # compacted away between the listing and now
                    continue
                self._shapes[name] = known.shapes
            return self._shapes[name]
        return {}

    def read(self, feature_set: str, keys: Sequence[bytes], array: str) -> np.ndarray:
        """Read rows of one array.

        Parameters
        ----------
        feature_set : str
            Id of the set.
        keys : sequence of bytes
            The rows, in the wanted order.
        array : {"map", "avg"}
            Which of the set's arrays.

        Returns
        -------
        numpy.ndarray
            Shape (len(keys), …), in the set's dtype.

        Raises
        ------
        StoreError
            A row is not there, or a shard is damaged.
        """
        return next(self.blocks(feature_set, keys, array, max(1, len(keys))), np.empty(0))

    def blocks(self, feature_set: str, keys: Sequence[bytes], array: str, rows: int) -> Iterator[np.ndarray]:
        """Read rows of one array, some at a time.

        Parameters
        ----------
        feature_set : str
            Id of the set.
        keys : sequence of bytes
            The rows, in the wanted order.
        array : {"map", "avg"}
            Which of the set's arrays.
        rows : int
            How many a block.

        Yields
        ------
        numpy.ndarray
            Shape (rows, …), the last block what is left.

        Raises
        ------
        StoreError
            A row is not there, or a shard is damaged.
        """
        where: Mapping[bytes, tuple[str, int]] = self.rows(feature_set)
        folder = self.features / feature_set
        missing = sum(key not in where for key in keys)
        if missing:
            raise StoreError(f"{feature_set}: {missing} of {len(keys)} rows are not there; extract them first")

        def look_again(doubt: bool) -> Mapping[bytes, tuple[str, int]]:
            found = self.rows(feature_set, doubt)
            self._open(feature_set, keys, found)
            return found

        self._open(feature_set, keys, where)
        for start in range(0, len(keys), rows):
            block, where = gather_moving(folder, array, keys[start : start + rows], where, self._opened, look_again)
            yield block

    def _open(self, feature_set: str, keys: Sequence[bytes], where: Mapping[bytes, tuple[str, int]]) -> None:
        """Have the shards at hand in which these rows stand, as far as they are there."""
        wanted = {where[key][0] for key in keys if key in where} - self._opened.keys()
        self._opened |= open_shards(self.index, self.features / feature_set, wanted)

    # -- the last extract ----------------------------------------------------------------------

    def remember_extract(self, record: Mapping[str, Any]) -> None:
        """Keep what was extracted last, as the default of other verbs.

        Parameters
        ----------
        record : mapping
            ``data``, ``synthetic``, ``feature_sets``, ``skipped``, and how the data is read: ``group_regex``,
            ``images``, ``metadata`` and ``headers``.
        """
        self._last_extract.write(record)

    def last_extract(self) -> dict[str, Any]:
        """Read what :meth:`remember_extract` kept.

        Returns
        -------
        dict
            The record; empty where there is nothing, or nothing that can be used.
        """
        return self._last_extract.read()
