"""Features as arrays, with labels, splits and groups beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.class_folders import SPLITS
from ..data.tasks import Classification, Task
from ..errors import DataError, UsageError
from ..spec import FeatureSpec
from .stored_rows import StoredRows

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FeatureSource:
    """Where columns of features come from.

    Attributes
    ----------
    feature_set : str
        Id of the set.
    spec : FeatureSpec
        All that decides their values.
    pooling : {"flatten", "avg", "max", "map", "cls"}
        How a map became a row.
    map_shape : tuple of int
        Shape of a row before pooling.
    columns : int
        How many they are; of maps, their channels.

    Examples
    --------
    >>> from pathlib import Path
    >>> import featcache
    >>> from PIL import Image
    >>> for number, label in enumerate(["covid", "normal"] * 2):
    ...     Path("images", label).mkdir(parents=True, exist_ok=True)
    ...     Image.new("L", (16, 16), 40 * number).save(f"images/{label}/{number}.png")
    >>> sets = [featcache.extract("images", "pixels", size=size).feature_set for size in (4, 8)]
    >>> features = featcache.load(sets)
    >>> [(source.label, source.spec.size, source.columns) for source in features.sources]
    [('pixels', 4, 48), ('pixels', 8, 192)]
    """

    feature_set: str
    spec: FeatureSpec
    pooling: str
    map_shape: tuple[int, ...]
    columns: int

    @property
    def label(self) -> str:
        """The network and, where it is not the last, the layer: what people call the columns."""
        return f"{self.spec.network}/{self.spec.layer}" if self.spec.layer else self.spec.network


@dataclass(frozen=True)
class Features:
    """Features of a dataset, one row an image, in the dataset's order.

    Attributes
    ----------
    X : numpy.ndarray or StoredRows
        Shape (n, d), or (n, h, w, c) with pooling ``map``; a :class:`featcache.StoredRows` of that shape where they do
        not fit in memory.
    y : numpy.ndarray
        Of classes int64 of shape (n,), positions in ``classes``; of several labels float32 of shape (n, n_labels), 1, 0
        or NaN where it is not known; of a number float64 of shape (n,).
    classes : tuple of str
        Class names, of two the second being the one looked for; or names of the labels, or of the number.
    paths : list of str
        Files, absolute.
    groups : numpy.ndarray
        Objects, shape (n,): patient, or what else must not be torn apart.
    splits : numpy.ndarray
        Objects, shape (n,): ``train``, ``val``, ``test`` or ``""``.
    keys : list of bytes
        Row keys: SHA-256 of each file.
    sources : tuple of FeatureSource
        The sets whose columns stand side by side in ``X``, in their order; mostly one. Of one, ``feature_set``,
        ``spec``, ``pooling`` and ``map_shape`` are attributes of the features as well.
    synthetic : bool
        Whether the images are the built-in sample.
    data : str
        Folder or manifest that they come from.
    task : Task
        What ``y`` is of.
    metadata_columns : mapping of str to numpy.ndarray
        What the manifest says of the images besides; ``metadata`` is the same as a table.

    Examples
    --------
    >>> from pathlib import Path
    >>> import featcache
    >>> from PIL import Image
    >>> for number, label in enumerate(["covid", "normal"] * 2):
    ...     Path("images", label).mkdir(parents=True, exist_ok=True)
    ...     Image.new("L", (16, 16), 40 * number).save(f"images/{label}/{number}.png")
    >>> result = featcache.extract("images", "pixels", size=8)
    >>> features = featcache.load("pixels")
    >>> features.X.shape, features.classes, features.y
    ((4, 192), ('covid', 'normal'), array([0, 0, 1, 1]))
    >>> features.take(features.y == 1).X.shape
    (2, 192)
    """

    X: np.ndarray | StoredRows
    y: np.ndarray
    classes: tuple[str, ...]
    paths: list[str]
    groups: np.ndarray
    splits: np.ndarray
    keys: list[bytes]
    sources: tuple[FeatureSource, ...]
    synthetic: bool
    data: str = ""
    task: Task = field(default_factory=Classification)
    metadata_columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def _source(self) -> FeatureSource:
        if len(self.sources) > 1:
            raise UsageError(
                f"these are columns of {len(self.sources)} feature sets side by side; what is asked is of one: see "
                ".sources, or load one set"
            )
        return self.sources[0]

    @property
    def feature_set(self) -> str:
        """Id of the set they come from."""
        return self._source.feature_set

    @property
    def spec(self) -> FeatureSpec:
        """All that decides their values."""
        return self._source.spec

    @property
    def pooling(self) -> str:
        """How a map became a row."""
        return self._source.pooling

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Shape of a row before pooling."""
        return self._source.map_shape

    @property
    def metadata(self) -> pd.DataFrame:
        """What the manifest says of the images besides label, split and group, one row an image.

        Numbers are float64, NaN where unknown; all else is text, None where unknown.
        """
        import pandas as pd

        return pd.DataFrame(dict(self.metadata_columns), index=pd.RangeIndex(len(self)))

    @property
    def strata(self) -> np.ndarray:
        """What is kept in proportion where rows are divided, int array of shape (n,)."""
        return self.task.strata(self.y)

    @property
    def columns(self) -> list[str]:
        """Names of the columns of ``X``: of one set ``f0``, ``f1``, …; of several, each behind what its set is called.

        A set is called by its network and layer, or by its id where that tells it from no other.
        """
        if len(self.sources) == 1:
            width = math.prod(self.X.shape[1:])
            return [f"f{i}" for i in range(width)]
        labels = [source.label for source in self.sources]
        called = [source.label if labels.count(source.label) == 1 else source.feature_set for source in self.sources]
        return [
            f"{name}:f{i}" for name, source in zip(called, self.sources, strict=True) for i in range(source.columns)
        ]

    def take(self, rows: np.ndarray | Sequence[int]) -> Features:
        """Select rows.

        Parameters
        ----------
        rows : array of int or bool
            Positions, or a mask of shape (n,).

        Returns
        -------
        Features
            Only these rows.
        """
        index = np.asarray(rows)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        whole = len(index) == len(self) and (index == np.arange(len(self))).all()
        return replace(
            self,
            X=self.X if whole else self.X.take(index) if isinstance(self.X, StoredRows) else self.X[index],
            y=self.y[index],
            groups=self.groups[index],
            splits=self.splits[index],
            paths=[self.paths[i] for i in index],
            keys=[self.keys[i] for i in index],
            metadata_columns={name: column[index] for name, column in self.metadata_columns.items()},
        )

    def split(self, name: str) -> Features:
        """Select the rows of one split.

        Parameters
        ----------
        name : {"train", "val", "test"}
            Of the data's own splits.

        Returns
        -------
        Features
            Its rows.

        Raises
        ------
        DataError
            The data has no such split.
        UsageError
            An unknown name.
        """
        if name not in SPLITS:
            raise UsageError(f"split {name!r} is unknown; expected one of {', '.join(SPLITS)}")
        mask = self.splits == name
        if not mask.any():
            there = sorted({s for s in self.splits if s}) or ["none at all"]
            raise DataError(
                f"the data has no {name} split (found: {', '.join(there)}); lay it out as DIR/{name}/<class>/*, "
                "give a manifest with a split column, or split it yourself with groups, for instance with "
                "sklearn's StratifiedGroupKFold"
            )
        return self.take(mask)

    def to_frame(self) -> pd.DataFrame:
        """Make a table: path, targets, split, group, metadata, and the features (flattened).

        Of classes the targets are ``label`` and ``y``, of several labels a column each, of a number ``y``; features are
        named as ``columns`` says.

        Returns
        -------
        pandas.DataFrame
            One row an image.
        """
        import pandas as pd

        flat = np.asarray(self.X).reshape(len(self), -1)
        about = pd.DataFrame(
            {
                "path": self.paths,
                **self.task.columns(self.y, self.classes),
                "split": self.splits,
                "group": self.groups,
                **{f"metadata:{name}": column for name, column in self.metadata_columns.items()},
            }
        )
        numbers = pd.DataFrame(flat, columns=self.columns)
        return pd.concat([about, numbers], axis=1)

    def to_tf_dataset(self, batch_size: int = 32, shuffle: bool = False, seed: int | None = None) -> Any:
        """Make a ``tf.data.Dataset`` of batches ``(X, y)``.

        Parameters
        ----------
        batch_size : int, optional
            Rows a batch.
        shuffle : bool, optional
            Shuffle anew in each epoch.
        seed : int or None, optional
            Of the shuffling.

        Returns
        -------
        tf.data.Dataset
            Of known length.
        """
        from ..backbones.tensorflow_setup import load_tensorflow

        tf, _ = load_tensorflow()
        # Batches are cut in NumPy: from_tensor_slices would put a second copy of X into the graph.
        starts = range(0, len(self), batch_size)
        rng = np.random.default_rng(seed)

        def batches() -> Any:
            order = rng.permutation(len(self)) if shuffle else np.arange(len(self))
            for start in starts:
                rows = order[start : start + batch_size]
                yield self.X[rows], self.y[rows]

        signature = (
            tf.TensorSpec((None, *self.X.shape[1:]), self.X.dtype),
            tf.TensorSpec((None, *self.y.shape[1:]), self.y.dtype),
        )
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        return dataset.apply(tf.data.experimental.assert_cardinality(len(starts))).prefetch(tf.data.AUTOTUNE)
