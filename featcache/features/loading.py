"""Kept features as arrays, with labels, splits and groups beside them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.class_folders import SPLITS
from ..data.dataset import label_array
from ..errors import DataError, StoreError, UsageError
from ..spec import FeatureSpec
from ..store.store import Store
from .feature_request import FeatureRequest, choose_feature_set, choose_images
from .pooled_rows import read_or_stay
from .stored_rows import StoredRows

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Features:
    """Features of a dataset, one row an image, in the dataset's order.

    Attributes
    ----------
    X : numpy.ndarray or StoredRows
        Shape (n, d), or (n, h, w, c) with pooling ``map``; a :class:`featcache.StoredRows` of that shape where they do
        not fit in memory.
    y : numpy.ndarray
        int64 of shape (n,), positions in ``classes``.
    classes : tuple of str
        Class names; of two, the second is the one looked for.
    paths : list of str
        Files, absolute.
    groups : numpy.ndarray
        Objects, shape (n,): patient, or what else must not be torn apart.
    splits : numpy.ndarray
        Objects, shape (n,): ``train``, ``val``, ``test`` or ``""``.
    keys : list of bytes
        Row keys: SHA-256 of each file.
    feature_set : str
        Id of the set they come from.
    spec : FeatureSpec
        All that decides their values.
    pooling : {"flatten", "avg", "max", "map"}
        How a map became a row.
    map_shape : tuple of int
        Shape of a row before pooling.
    synthetic : bool
        Whether the images are the built-in sample.
    data : str
        Folder or manifest that they come from.

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
    feature_set: str
    spec: FeatureSpec
    pooling: str
    map_shape: tuple[int, ...]
    synthetic: bool
    data: str = ""

    def __len__(self) -> int:
        return len(self.y)

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
        """Make a table: path, label, y, split, group, and features ``f0``, ``f1``, … (flattened).

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
                "label": [self.classes[i] for i in self.y],
                "y": self.y,
                "split": self.splits,
                "group": self.groups,
            }
        )
        numbers = pd.DataFrame(flat, columns=[f"f{i}" for i in range(flat.shape[1])])
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
            tf.TensorSpec((None,), tf.int64),
        )
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        return dataset.apply(tf.data.experimental.assert_cardinality(len(starts))).prefetch(tf.data.AUTOTUNE)


def load(
    backbone: str | None = None,
    *,
    task: str = "multiclass",
    classes: Sequence[str] | None = None,
    pooling: str = "flatten",
    data: str | os.PathLike[str] | None = None,
    weights: str | None = None,
    size: int | None = None,
    layer: str | None = None,
    preprocess: str | None = None,
    group_regex: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    stream: bool | None = None,
) -> Features:
    """Read kept features; computes nothing, and needs no TensorFlow.

    Parameters
    ----------
    backbone : str or None, optional
        A backbone's name, or the id of a feature set; None is the one extracted last.
    task : {"multiclass", "binary"}, optional
        See :func:`featcache.data.tasks.task_classes`.
    classes : sequence of str or None, optional
        Two or more class names, in place of the task's own.
    pooling : {"flatten", "avg", "max", "map"}, optional
        How a map becomes a row; ``map`` leaves it as it is.
    data : str, path or None, optional
        The images; None takes those of the last extract.
    weights : str or None, optional
        Short name (``imagenet``, ``random0``, ``file``) that tells feature sets of one backbone apart.
    size : int or None, optional
        The same: side of the square input in pixels.
    layer : str or None, optional
        The same: the layer that is kept.
    preprocess : {"model", "rescale"} or None, optional
        The same.
    group_regex : str or None, optional
        Where in the file name the patient stands.
    cache : str or path, optional
        Folder of the store.
    stream : bool or None, optional
        Leave ``X`` in the store, as a :class:`featcache.StoredRows`; None does so where it would take more than a
        quarter of the free memory, since training holds copies, or of what :func:`featcache.memory_limit` leaves.

    Returns
    -------
    Features
        Rows, labels, groups and splits, in the order of the data.

    Raises
    ------
    DataError
        Images without features, or classes that are not there.
    UsageError
        An unknown name, or several feature sets that fit.
    StoreError
        A shard is damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> import featcache
    >>> from PIL import Image
    >>> for number, label in enumerate(["covid", "normal"] * 2):
    ...     Path("images", label).mkdir(parents=True, exist_ok=True)
    ...     Image.new("L", (16, 16), 40 * number).save(f"images/{label}/{number}.png")
    >>> result = featcache.extract("images", "pixels", size=8)
    >>> features = featcache.load("pixels", task="binary")
    >>> features.X.shape, features.classes
    ((4, 192), ('normal', 'covid'))
    """
    return load_request(
        FeatureRequest(
            backbone=backbone,
            task=task,
            classes=classes,
            pooling=pooling,
            data=data,
            group_regex=group_regex,
            weights=weights,
            size=size,
            layer=layer,
            preprocess=preprocess,
            cache=cache,
            stream=stream,
        )
    )


def load_request(request: FeatureRequest) -> Features:
    """:func:`load` of what a request says; raises what that raises."""
    with Store(request.cache) as store:
        dataset, names, keys = choose_images(store, request)
        feature_set = choose_feature_set(store, request)
        spec = store.spec(feature_set)
        try:
            X = read_or_stay(store, feature_set, keys, request.pooling, request.stream)
        except StoreError:
            present = store.rows(feature_set)
            absent = [path for path, key in zip(dataset.paths, keys, strict=True) if key not in present]
            if not absent:
                raise
            raise DataError(
                f"{len(absent)} of {len(keys)} images have no features in {feature_set}, the first is {absent[0]}; "
                f"run: python cli.py extract --data {dataset.root} --backbone {spec.network} …"
            ) from None
        return Features(
            X=X,
            y=label_array(dataset.labels, names),
            classes=names,
            paths=dataset.paths,
            groups=np.array(dataset.groups, dtype=object),
            splits=np.array(dataset.splits, dtype=object),
            keys=keys,
            feature_set=feature_set,
            spec=spec,
            pooling=request.pooling,
            map_shape=store.shapes(feature_set)[spec.arrays[0]],
            synthetic=dataset.synthetic,
            data=dataset.root,
        )
