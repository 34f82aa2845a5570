"""Which feature sets a cache folder holds, what each is of, and where all that belongs to it lies."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from ..errors import StoreError
from ..spec import FeatureSpec
from ..system import schema
from ..system.user_paths import expanded
from .index import Index
from .maintenance_lock import alone
from .set_folder import is_set, read_spec, size_in_bytes


class FeatureSets:
    """The sets of one cache folder, without their rows; :class:`featcache.Store` adds these.

    Parameters
    ----------
    cache : str or path
        The folder; it is made when something is first written to it.
    """

    def __init__(self, cache: str | os.PathLike[str]) -> None:
        self.cache = expanded(cache).absolute()
        if self.cache.exists() and not self.cache.is_dir():
            raise StoreError(f"{self.cache} is a file; expected a folder for the cache")
        self.features = self.cache / "features"
        self.index = Index(self.cache / "index.sqlite")

    def feature_sets(self) -> list[str]:
        """List the ids of the sets that are there: folders named like one that hold a spec or a shard.

        Returns
        -------
        list of str
            Sorted.
        """
        return sorted(name for name in self._entries() if is_set(self.features / name))

    def strangers(self) -> list[str]:
        """List what else lies among the sets: folders and files of others, and those that a writer has just begun.

        Returns
        -------
        list of str
            Their names, sorted.
        """
        return sorted(name for name in self._entries() if not is_set(self.features / name))

    def _entries(self) -> list[str]:
        if not self.features.is_dir():
            return []
        return [entry.name for entry in os.scandir(self.features) if not entry.name.startswith(".")]

    def find(self, spec: FeatureSpec) -> str:
        """Find the id under which rows of a spec are kept.

        Equal features share a set, whatever the weights were called when it was made.

        Parameters
        ----------
        spec : FeatureSpec
            The spec.

        Returns
        -------
        str
            The id of the set that is there, or of the one to be made.
        """
        for name in self.feature_sets():
            if name.startswith(f"{spec.backbone}-") and name.endswith(f"-{spec.size}-{spec.hex}"):
                return name
        return spec.id

    def spec(self, feature_set: str) -> FeatureSpec:
        """Read the spec of a set: from ``spec.json``, else from its first readable shard.

        Parameters
        ----------
        feature_set : str
            Id of the set.

        Returns
        -------
        FeatureSpec
            The spec.

        Raises
        ------
        StoreError
            There is no such set, or none of its files says what it holds.
        """
        return read_spec(self._folder(feature_set))

    def network(self, spec: FeatureSpec) -> Path:
        """Say where the weights of a spec's network are kept (:mod:`featcache.system.tensor_files`).

        Parameters
        ----------
        spec : FeatureSpec
            The spec.

        Returns
        -------
        Path
            A file, which need not be there.
        """
        return schema.inside(self.cache / "networks", f"{spec.weights_digest}.safetensors")

    def converted(self, spec: FeatureSpec) -> Path:
        """Say where a spec's network is kept as :mod:`featcache.backbones.openvino_runtime` runs it.

        Parameters
        ----------
        spec : FeatureSpec
            The spec.

        Returns
        -------
        Path
            A file, which need not be there. One of float32 serves bfloat16 and float16 too, which are matters of how it
            is run; a quantised one is a network of its own.
        """
        held = spec if spec.precision == "int8" else spec.in_float32
        return schema.inside(self.cache / "networks", f"{spec.weights_digest}-{held.hex}.openvino")

    def kept(self, spec: FeatureSpec) -> Path:
        """Say which file of a spec's network all else can be made of.

        Parameters
        ----------
        spec : FeatureSpec
            The spec.

        Returns
        -------
        Path
            :meth:`network` for networks of the table, :meth:`converted` for all others and for quantised ones; it need
            not be there.
        """
        return self.network(spec) if spec.of_table and spec.precision != "int8" else self.converted(spec)

    def remove(self, feature_set: str) -> int:
        """Delete a set.

        Parameters
        ----------
        feature_set : str
            Id of the set.

        Returns
        -------
        int
            Bytes that were freed.

        Raises
        ------
        StoreError
            There is none, its folder is a link, or the disk refuses.
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
        """Find the folder of a set that :meth:`remove` would delete.

        Parameters
        ----------
        feature_set : str
            Id of the set.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        StoreError
            There is none, or it is a link.
        """
        folder = self._folder(feature_set)
        if folder.is_symlink():
            raise StoreError(
                f"{folder} is a link to {os.path.realpath(folder)}, and nothing behind a link is deleted; delete that "
                "folder yourself, then the link"
            )
        return folder

    def chosen(self, names: Sequence[str] | None) -> list[str]:
        """Name these sets, or all.

        Parameters
        ----------
        names : sequence of str or None
            Ids; none at all stand for every set.

        Returns
        -------
        list of str
            Ids of sets that are there.

        Raises
        ------
        StoreError
            One is not there.
        """
        known = self.feature_sets()
        for name in names or ():
            if name not in known:
                raise StoreError(f"no feature set {name!r} in {self.cache}; there are: {', '.join(known) or 'none'}")
        return list(names) if names else known

    def _folder(self, feature_set: str) -> Path:
        return self.features / self.chosen([feature_set])[0]
