"""Kept features as arrays, with labels, splits and groups beside them."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backbones import registry
from ..data.dataset import SPLITS, Dataset, label_array
from ..data.tasks import task_classes
from ..errors import DataError, UsageError
from ..extraction.extract import choose_data, row_keys
from ..spec import FeatureSpec
from ..store.store import Store
from ..system import memory
from .pooling import POOLINGS, pool, pooled
from .stored_rows import StoredRows

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)
_LIBRARIES = 1_000_000_000  # bytes that TensorFlow and a compiled training of one head take, at most


@dataclass(frozen=True)
class Features:
    """Features of a dataset, one row an image, in the dataset's order.

    Attributes
    ----------
    X : array of shape (n, d), or (n, h, w, c) with pooling ``map``; a :class:`featcache.StoredRows` of that shape
        where they do not fit in memory.
    y : int64 array of shape (n,), positions in ``classes``.
    classes : class names; of two, the second is the one looked for.
    paths : files, absolute.
    groups : object array of shape (n,): patient or other unit.
    splits : object array of shape (n,): ``train``, ``val``, ``test`` or ``""``.
    keys : row keys.
    feature_set : id of the set they come from.
    spec : its spec.
    pooling : how a map became a row.
    map_shape : shape of a row before pooling.
    synthetic : whether the images are the built-in sample.
    data : folder or manifest that they come from.
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
        """Only these rows, given as positions or as a bool mask of shape (n,)."""
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
        """The rows of one split.

        Raises :class:`DataError` where the data has no such split.
        """
        if name not in SPLITS:
            raise UsageError(f"split {name!r} is unknown; expected one of {', '.join(SPLITS)}")
        mask = self.splits == name
        if not mask.any():
            found = sorted({s for s in self.splits if s}) or ["none at all"]
            raise DataError(
                f"the data has no {name} split (found: {', '.join(found)}); lay it out as DIR/{name}/<class>/*, "
                "give a manifest with a split column, or split it yourself with groups, for instance with "
                "sklearn's StratifiedGroupKFold"
            )
        return self.take(mask)

    def to_frame(self) -> pd.DataFrame:
        """A table: path, label, y, split, group, and features ``f0``, ``f1``, … (flattened)."""
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
        """A ``tf.data.Dataset`` of batches ``(X, y)``; shuffled anew in each epoch where asked."""
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
    backbone : a backbone's name, or the id of a feature set; None is the one extracted last.
    task : ``binary`` or ``multiclass``; see :func:`featcache.data.tasks.task_classes`.
    classes : two or more class names, in place of the task's own.
    pooling : ``flatten``, ``avg``, ``max``, or ``map`` (as it is).
    data : the images; None takes those of the last extract.
    weights, size, layer, preprocess : tell feature sets of one backbone apart; ``weights`` is their short name
        (``imagenet``, ``random0``, ``file``), ``preprocess`` is ``model`` or ``rescale``.
    group_regex : where in the file name the patient stands.
    cache : folder of the store.
    stream : leave ``X`` in the store, as a :class:`featcache.StoredRows`; None does so where it would take more than a
        quarter of the free memory, since training holds copies, or of what :func:`featcache.memory_limit` leaves.

    Raises
    ------
    DataError
        Images without features, or classes that are not there.
    UsageError
        An unknown name, or several feature sets that fit.
    StoreError
    """
    if pooling not in POOLINGS:
        raise UsageError(f"pooling {pooling!r} is unknown; expected one of {', '.join(POOLINGS)}")
    with Store(cache) as store:
        dataset, names, keys = select(store, data, task, classes, group_regex)
        feature_set = choose_feature_set(store, backbone, pooling, weights, size, layer, preprocess)
        spec = store.spec(feature_set)
        present = store.rows(feature_set)
        absent = [path for path, key in zip(dataset.paths, keys, strict=True) if key not in present]
        if absent:
            raise DataError(
                f"{len(absent)} of {len(keys)} images have no features in {feature_set}, the first is {absent[0]}; "
                f"run: python cli.py extract --data {dataset.root} --backbone {spec.backbone} …"
            )
        return Features(
            X=read_or_stay(store, feature_set, keys, pooling, stream),
            y=label_array(dataset.labels, names),
            classes=names,
            paths=dataset.paths,
            groups=np.array(dataset.groups, dtype=object),
            splits=np.array(dataset.splits, dtype=object),
            keys=keys,
            feature_set=feature_set,
            spec=spec,
            pooling=pooling,
            map_shape=store.shapes(feature_set)[spec.arrays[0]],
            synthetic=dataset.synthetic,
            data=dataset.root,
        )


def choose_feature_set(
    store: Store,
    backbone: str | None,
    pooling: str,
    weights: str | None = None,
    size: int | None = None,
    layer: str | None = None,
    preprocess: str | None = None,
) -> str:
    """The one set that fits; of several, the one extracted last.

    Raises :class:`DataError` where there is none, :class:`UsageError` where there are several.
    """
    known = store.feature_sets()
    if backbone is None:
        extracted = [name for name in store.last_extract().get("feature_sets", {}) if name != "pixels"]
        if not extracted:
            raise DataError("no features have been extracted here yet; run: python cli.py extract --backbone vgg16")
        backbone = str(extracted[-1])
    if backbone in known:
        return backbone
    name = registry.get(backbone).name
    specs = {feature_set: store.spec(feature_set) for feature_set in known if feature_set.startswith(f"{name}-")}
    fits = [
        feature_set
        for feature_set, spec in specs.items()
        if spec.backbone == name
        and (weights is None or spec.weights == weights)
        and (size is None or spec.size == size)
        and (layer is None or spec.layer == layer)
        and (preprocess is None or (spec.preprocess == "rescale") == (preprocess == "rescale"))
        and (("map" in spec.arrays) or (pooling == "avg"))
    ]
    if not fits:
        there = ", ".join(known) or "none"
        maps = " with maps (not --keep avg)" if pooling != "avg" else ""
        raise DataError(
            f"no features of {name}{maps} as asked; there are: {there}. Run: python cli.py extract --backbone {name}"
        )
    if len(fits) > 1:
        last = store.last_extract().get("feature_sets", {}).get(name)
        if last not in fits:
            raise UsageError(f"several feature sets fit: {', '.join(fits)}; name one of them as the backbone")
        return str(last)
    return fits[0]


def read_or_stay(
    store: Store, feature_set: str, keys: Sequence[bytes], pooling: str, stream: bool | None = None
) -> np.ndarray | StoredRows:
    """Rows of a set in the order of ``keys``, pooled: read, or where memory is short (or ``stream`` says so) in the store."""
    array = _array_for(store, feature_set, pooling)
    if stream is None and keys:
        like = pooled(store.shapes(feature_set)[array], store.spec(feature_set).dtype, pooling)
        need, free = len(keys) * math.prod(like.shape[1:]) * like.itemsize, memory.available()
        # Within a limit, TensorFlow and the programs it compiles have to fit as well.
        stream = need > (free if memory.limit() is None else free - _LIBRARIES) / 4
        if stream:
            _log.warning(
                "%s: %d rows take %.1f GB, and %.1f GB are free: they are read from the store as they are used",
                feature_set, len(keys), need / 1e9, free / 1e9,
            )  # fmt: skip
    if stream and keys:
        return StoredRows(store, feature_set, keys, array, pooling)
    return read_pooled(store, feature_set, keys, pooling)


def read_pooled(store: Store, feature_set: str, keys: Sequence[bytes], pooling: str) -> np.ndarray:
    """Rows of a set in the order of ``keys``, pooled; array of shape (n, d), or of maps."""
    if pooling == "max":  # block by block: maps are some 50 times the rows that are wanted
        return np.concatenate(list(pooled_blocks(store, feature_set, keys, pooling, 1024)))
    return next(pooled_blocks(store, feature_set, keys, pooling, max(1, len(keys))))


def pooled_blocks(
    store: Store, feature_set: str, keys: Sequence[bytes], pooling: str, rows: int
) -> Iterator[np.ndarray]:
    """The same, ``rows`` rows at a time."""
    for block in store.blocks(feature_set, keys, _array_for(store, feature_set, pooling), rows):
        yield pool(block, pooling)


def _array_for(store: Store, feature_set: str, pooling: str) -> str:
    """Which of a set's arrays a pooling starts from.

    Raises :class:`DataError` where the set keeps averages alone and more is asked for.
    """
    spec = store.spec(feature_set)
    if "map" not in spec.arrays and pooling != "avg" and not spec.layer:
        raise DataError(f"{feature_set} keeps only the average; for pooling {pooling!r} extract again with --keep map")
    return "avg" if "avg" in spec.arrays and (pooling == "avg" or "map" not in spec.arrays) else "map"


def select(
    store: Store,
    data: str | os.PathLike[str] | None,
    task: str,
    classes: Sequence[str] | None,
    group_regex: str | None,
) -> tuple[Dataset, tuple[str, ...], list[bytes]]:
    """The images of a task, its classes in the order of their labels, and the row keys."""
    dataset = _without_skipped(store, choose_data(store, data, group_regex))
    names = task_classes(task, dataset.labels, classes)
    dataset = dataset.take(i for i, label in enumerate(dataset.labels) if label in names)
    return dataset, names, _keys(store, dataset)


def _without_skipped(store: Store, dataset: Dataset) -> Dataset:
    """Leave out what the last extract of this data was told to skip, and say so."""
    last = store.last_extract()
    if last.get("data") != dataset.root or not last.get("skipped"):
        return dataset
    skipped = set(last["skipped"])
    kept = [i for i, path in enumerate(dataset.paths) if path not in skipped]
    if len(kept) < len(dataset):
        _log.warning("%d image(s) are left out, as --skip-bad said at the last extract", len(dataset) - len(kept))
    return dataset.take(kept)


def _keys(store: Store, dataset: Dataset) -> list[bytes]:
    keys, bad = row_keys(store, dataset.paths)
    if bad:
        raise DataError(f"{len(bad)} of {len(keys)} images cannot be read", bad)
    return [key for key in keys if key is not None]
