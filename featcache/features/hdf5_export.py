"""Write features and labels to one plain HDF5 file that h5py, R (rhdf5) and MATLAB (h5read) open."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from ..data.tasks import Task
from ..errors import UsageError
from ..store.store import Store
from ..system import atomic_files
from ..system.user_paths import expanded
from .feature_request import FeatureRequest, choose_feature_set, choose_images
from .pooled_rows import pooled_blocks

_BLOCK = 256


def export(
    out: str | os.PathLike[str],
    backbone: str | None = None,
    *,
    task: str | Task = "multiclass",
    classes: Sequence[str] | None = None,
    pooling: str = "flatten",
    data: str | os.PathLike[str] | None = None,
    group_regex: str | None = None,
    cache: str | os.PathLike[str] = "cache",
) -> dict[str, Any]:
    """Write features and labels to one HDF5 file, whole or not at all, some rows at a time.

    Parameters
    ----------
    out : str or path
        The file to write.
    backbone : str or None, optional
        A backbone's name, or the id of a feature set; None is the one extracted last.
    task : {"multiclass", "binary"} or Task, optional
        As of :func:`featcache.load`.
    classes : sequence of str or None, optional
        Two or more class names, in place of the task's own.
    pooling : {"flatten", "avg", "max", "map"}, optional
        How a map becomes a row; ``map`` leaves it as it is.
    data : str, path or None, optional
        The images; None takes those of the last extract.
    group_regex : str or None, optional
        Where in the file name the patient stands.
    cache : str or path, optional
        Folder of the store.

    Returns
    -------
    dict
        ``file``, ``feature_set``, and how many ``rows`` and ``bytes``.

    Raises
    ------
    UsageError
        A folder for a file, an unknown name, or several feature sets that fit.
    DataError
        Images without features, or classes that are not there.
    StoreError
        The disk is full or refuses, or a row is not there.

    Notes
    -----
    The file holds ``features`` (n, d), ``labels`` as the ``y`` of :class:`featcache.Features`, ``classes``, ``paths``,
    ``splits`` and ``groups`` as UTF-8 strings, ``metadata/NAME`` for each column of metadata (numbers, NaN where
    unknown, or strings, empty there), and the attributes ``spec`` (JSON), ``feature_set`` and ``pooling``.

    Examples
    --------
    >>> from pathlib import Path
    >>> import featcache
    >>> from PIL import Image
    >>> for number, label in enumerate(["covid", "normal"] * 2):
    ...     Path("images", label).mkdir(parents=True, exist_ok=True)
    ...     Image.new("L", (16, 16), 40 * number).save(f"images/{label}/{number}.png")
    >>> result = featcache.extract("images", "pixels", size=8)
    >>> done = featcache.export("features.h5", "pixels")
    >>> import h5py
    >>> with h5py.File(done["file"]) as file:
    ...     file["features"].shape, file["classes"].asstr()[:].tolist()
    ((4, 192), ['covid', 'normal'])
    """
    path = expanded(out).absolute()
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name the file to write, such as features.h5")
    request = FeatureRequest(
        backbone=backbone,
        task=task,
        classes=classes,
        pooling=pooling,
        data=data,
        group_regex=group_regex,
        cache=cache,
    )
    with Store(cache) as store:
        dataset, targets, keys = choose_images(store, request)
        feature_set = choose_feature_set(store, request)
        text = h5py.string_dtype("utf-8")
        # Through a Python file: on a full disk HDF5's own driver reports success and crashes at exit.
        with atomic_files.writing(path) as raw, h5py.File(raw, "w") as file:
            file.attrs["feature_set"] = feature_set
            file.attrs["spec"] = store.spec(feature_set).to_json()
            file.attrs["pooling"] = pooling
            start = 0
            for block in pooled_blocks(store, feature_set, keys, pooling, _BLOCK):
                if "features" not in file:
                    file.create_dataset("features", shape=(len(keys), *block.shape[1:]), dtype=block.dtype)
                file["features"][start : start + len(block)] = block
                start += len(block)
            file.create_dataset("labels", data=targets.y)
            strings: dict[str, Sequence[str]] = {
                "classes": targets.names,
                "paths": dataset.paths,
                "splits": dataset.splits,
                "groups": dataset.groups,
            }
            for name, column in dataset.metadata.items():
                # In HDF5 a slash parts groups from what stands in them.
                place = f"metadata/{name.replace('/', '_')}"
                if column.dtype == object:
                    strings[place] = ["" if value is None else value for value in column]
                else:
                    file.create_dataset(place, data=column)
            for name, values in strings.items():
                # A file name need not be UTF-8: it is written as the bytes that it is.
                raw_bytes = [value.encode("utf-8", sys.getfilesystemencodeerrors()) for value in values]
                file.create_dataset(name, data=np.array(raw_bytes, dtype=object), dtype=text)
        return {
            "file": str(path),
            "feature_set": feature_set,
            "rows": len(keys),
            "bytes": path.stat().st_size,
        }
