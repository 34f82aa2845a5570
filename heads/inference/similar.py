"""``similar``: the kept images that look most like others to a frozen network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

import featcache
from featcache.data.dataset import find_images
from featcache.data.tasks import Task
from featcache.errors import DataError, UsageError
from featcache.extraction.extract_paths import extract_paths
from featcache.extraction.planning import row_keys
from featcache.extraction.resolution import resolve_spec
from featcache.features.labelled_features import Features
from featcache.store.store import Store

from ..bundles.bundle import Bundle, open_bundle
from ..bundles.out_of_distribution import image_vectors
from ..evaluation.run_folder import data_title, origin_note, require_out, run_folder, write_json
from .bundle_features import bundle_features, rows_cache, set_of, unlabelled_images
from .nearest_images import Query, nearest_images, query_of
from .neighbour_files import neighbour_rows, write_neighbours


def similar(
    images: Sequence[str | os.PathLike[str]],
    *,
    bundle: str | os.PathLike[str] | None = None,
    backbone: str | None = None,
    neighbours: int = 5,
    task: str | Task = "multiclass",
    classes: Sequence[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    group_regex: str | None = None,
    weights: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    skip_bad: bool = False,
    out: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Find the kept images that are nearest to some.

    Parameters
    ----------
    images : sequence of str or path-like
        Image files, folders (searched to any depth), or manifests; they need not be among the kept ones.
    bundle : str or path-like, optional
        A bundle's folder: its features and task, and of each neighbour whether the model learnt from it.
    backbone : str, optional
        A backbone's name or the id of a feature set, without a bundle; the one extracted last by default.
    neighbours : int, optional
        Of each image, how many.
    task, classes : optional
        What labels mean, without a bundle, as in :func:`featcache.load`.
    data, group_regex : optional
        The images to find them among, whose features are in the cache, as in :func:`featcache.load`.
    weights : str, optional
        The network's weights, where the bundle holds none: ``imagenet`` or a file.
    cache : str or path-like, optional
        Where the features are; those of the images asked about are kept there, too.
    skip_bad : bool, optional
        Go on without images that cannot be decoded.
    out : str or path-like, optional
        Folder for ``neighbours.png``, ``neighbours.csv`` and ``run.json``; by default a new one in ``runs``.

    Returns
    -------
    dict
        ``rows``: ``image rank path label distance group part learnt``, the nearest first. ``distance`` is between
        averages of the features, of unit length: 0 for a copy, 2 at most. The image itself is none of them, a copy of
        it is. ``learnt`` is None without a bundle. ``feature_set``; ``searched``, how many images; ``skipped``, paths;
        ``figures csv run``.

    Raises
    ------
    DataError
        No images, bad ones without ``skip_bad``, or features that are not in the cache.
    UsageError
        A bundle and a backbone together, fewer than one neighbour, or an ``out`` that is not empty.
    WeightsError
        The network's weights are not to be had.
    BundleError
        The bundle is damaged.

    See Also
    --------
    predict : With ``neighbours``, the nearest training images beside each answer, and who taught it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> import featcache, heads
    >>> folder = Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> for name, rows in (("covid", slice(0, 32)), ("normal", slice(32, 64))):
    ...     (folder / "images" / name).mkdir(parents=True)
    ...     for number in range(12):
    ...         pixels = rng.integers(0, 120, (64, 64), dtype=np.uint8)
    ...         pixels[rows] += 100
    ...         Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    >>> extracted = featcache.extract(folder / "images", backbone="pixels", size=32, cache=folder / "cache")
    >>> image = folder / "images" / "covid" / "0.png"
    >>> given = {"backbone": "pixels", "task": "binary", "cache": folder / "cache"}
    >>> found = heads.similar([image], neighbours=3, out=folder / "run", **given)
    >>> [(row["rank"], row["label"]) for row in found["rows"]]
    [(1, 'covid'), (2, 'covid'), (3, 'covid')]
    """
    if bundle is not None and backbone is not None:
        raise UsageError("--bundle and --backbone each say which features; give one of them")
    if weights is not None and bundle is None:
        raise UsageError("--weights says whose network a bundle without one takes; give --bundle with it")
    if neighbours < 1:
        raise UsageError(f"--neighbours {neighbours}: expected 1 or more")
    require_out(out)
    opened = None if bundle is None else open_bundle(bundle)
    if opened is not None:
        task, classes, backbone = opened.task, None, set_of(opened.spec.hex, cache)
    among = featcache.load(
        backbone,
        task=task,
        classes=classes,
        pooling="map" if backbone == "pixels" else "avg",
        data=data,
        group_regex=group_regex,
        cache=cache,
        stream=True,
    )
    query, skipped = (
        _seen_by_set(among, images, cache, skip_bad)
        if opened is None
        else _seen_by_bundle(opened, images, weights, cache, skip_bad)
    )
    found = nearest_images(query, among, np.arange(len(among)), neighbours, cache)
    rows = neighbour_rows(query.paths, found)
    places = [one.row for nearest in found for one in nearest]
    learnt = [None] * len(rows) if opened is None else opened.trained_on([among.keys[row] for row in places]).tolist()
    result: dict[str, Any] = {
        "verb": "similar",
        "rows": [{**row, "learnt": flag} for row, flag in zip(rows, learnt, strict=True)],
        "feature_set": among.feature_set,
        "data": among.data,
        "searched": len(among),
        "skipped": skipped,
        "synthetic": among.synthetic,
    }
    with run_folder(out, "similar", among.spec.network) as folder:
        caption = f"nearest in {data_title(among.data, among.synthetic)}, {among.feature_set}{origin_note(among)}"
        names = [os.path.basename(path) for path in query.paths]
        result |= write_neighbours(folder, query.paths, names, found, caption)
        result["run"] = str(folder)
        write_json(folder / "run.json", result)
    return result


def _seen_by_bundle(
    opened: Bundle,
    images: Sequence[str | os.PathLike[str]],
    weights: str | None,
    cache: str | os.PathLike[str],
    skip_bad: bool,
) -> tuple[Query, list[str]]:
    """Some images as a bundle's network sees them, and those that cannot be decoded."""
    features, bad = bundle_features(opened, unlabelled_images(opened, images), weights, cache, skip_bad)
    _require_some(features.paths)
    return query_of(features, rows_cache(opened, cache)), [image.path for image in bad]


def _seen_by_set(
    among: Features, images: Sequence[str | os.PathLike[str]], cache: str | os.PathLike[str], skip_bad: bool
) -> tuple[Query, list[str]]:
    """Some images as the network of a feature set sees them, and those that cannot be decoded."""
    paths = [path for entry in images for path in find_images(entry)]
    _require_some(paths)
    with Store(cache) as store:
        kept = store.kept(among.spec)
        resolved = resolve_spec(among.spec, kept if kept.exists() else None, store)
        done = extract_paths(store, resolved, paths)
        if done.bad and not skip_bad:
            raise DataError(
                f"{len(done.bad)} of {len(paths)} images cannot be used; go on without them with --skip-bad", done.bad
            )
        bad = {image.path for image in done.bad}
        good = [path for path in paths if path not in bad]
        _require_some(good)
        keys = [key for key in row_keys(store, good)[0] if key is not None]
        return Query(good, keys, image_vectors(store, done.feature_set, keys)), sorted(bad)


def _require_some(paths: Sequence[str]) -> None:
    if not paths:
        raise DataError("no images to find neighbours of")
