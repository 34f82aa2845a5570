"""``tsne``: rows of features, or a head's first dense layer, drawn in two dimensions."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

import featcache
from featcache.data import filesystems
from featcache.errors import DataError, UsageError
from featcache.features.labelled_features import Features
from featcache.features.stored_rows import StoredRows
from featcache.system import memory

from ..bundles.bundle import open_bundle
from ..evaluation.canvas import save_figure
from ..evaluation.run_folder import origin_note, require_out, run_folder, write_json, write_table
from ..search.gram_projection import isometric
from . import embedding_plots

_log = logging.getLogger(__name__)
# Threads wait for each other some thousand times in a t-SNE. For few rows they gain little, and where another process
# holds a core, 60 rows took 25 s in place of 0.2.
_FEW = 500
_EXACT = 2000  # rows; up to here the projection keeps every distance
_COPIES = 8  # of the rows that a projection or components take in passing, some of them in float64
_COMPONENTS = 50  # beyond, as van der Maaten & Hinton (2008) do


def embed(X: np.ndarray, perplexity: float = 30.0, seed: int = 0) -> tuple[np.ndarray, str]:
    """t-SNE (van der Maaten & Hinton 2008) in two dimensions.

    Parameters
    ----------
    X : array of shape (n, d)
        The rows.
    perplexity : float, optional
        Lowered to (n - 1) / 3 where there are few rows.
    seed : int, optional
        The same seed gives the same map.

    Returns
    -------
    points : array of shape (n, 2)
        The map.
    before : str
        What was done before: the projection is exact up to 2,000 rows; of more, the first 50 principal components are
        taken.

    Raises
    ------
    DataError
        Fewer than 4 rows.
    """
    count = len(X)
    if count < 4:
        raise DataError(f"found {count} row(s); t-SNE needs at least 4")
    if count <= _EXACT:
        rows, before = isometric(X), "all distances kept"
    else:
        taken = min(_COMPONENTS, X.shape[1])
        rows = PCA(taken, svd_solver="randomized", random_state=seed).fit_transform(X)
        before = f"first {taken} principal components"
    perplexity = min(perplexity, (count - 1) / 3)
    start = np.zeros((count, 2))
    if not (X[:1] == X).all():  # equal rows have no components
        start = PCA(2, svd_solver="full" if count <= _EXACT else "randomized", random_state=seed).fit_transform(rows)
    spread = float(np.std(start[:, 0]))
    start = start * (1e-4 / spread) if spread > 0 else np.random.default_rng(seed).normal(0, 1e-4, (count, 2))
    model = TSNE(2, perplexity=perplexity, init=start.astype(np.float32), random_state=seed)
    with threadpool_limits(1 if count <= _FEW else None, user_api="openmp"):
        return model.fit_transform(rows.astype(np.float32)), before


def tsne(
    bundle: str | os.PathLike[str] | None = None,
    *,
    task: str = "multiclass",
    backbone: str | None = None,
    pooling: str = "flatten",
    classes: Sequence[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    group_regex: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    split: str | None = None,
    limit: int = 10_000,
    perplexity: float = 30.0,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Draw kept features by t-SNE.

    Parameters
    ----------
    bundle : str or path-like, optional
        A head's; its first dense layer's activations are drawn, and what it misclassifies is marked. By default the
        features themselves are drawn.
    task, backbone, pooling : str, optional
        Of the features, without a bundle, as in :func:`featcache.load`.
    classes : sequence of str, optional
        Names of the classes, in place of the task's.
    data : str or path-like, optional
        A folder of images or a manifest; the last extract's by default.
    group_regex : str, optional
        Pattern whose first group, found in a file's name, is its patient or other group.
    cache : str or path-like, optional
        Where the features are.
    split : str, optional
        Only this part of the data.
    limit : int, optional
        Images drawn; of more, a random sample, and of raw features no more than memory allows.
    perplexity : float, optional
        Of t-SNE, more than 0; lowered to (n - 1) / 3 where there are few images.
    seed : int, optional
        Of t-SNE and of the sample.
    out : str or path-like, optional
        Folder for ``tsne.png`` and ``tsne.csv``; by default a new one in ``runs``.

    Returns
    -------
    dict
        ``figures``, ``csv``, ``rows`` (images drawn) ``of`` (images there are), ``misclassified`` (of those drawn, or
        None), ``before`` (what was done before t-SNE), ``feature_set synthetic run``.

    Raises
    ------
    UsageError
        Options out of range, a bundle whose model has no dense layer, or an ``out`` that is not empty.
    DataError
        Features that are not in the cache, or fewer than 4 images.
    BundleError
        The bundle is damaged.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> import featcache, heads
    >>> folder = Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> for name, grey in (("covid", 60), ("normal", 160)):
    ...     (folder / "images" / name).mkdir(parents=True)
    ...     for number in range(12):
    ...         pixels = rng.normal(grey, 20, (64, 64)).clip(0, 255).astype(np.uint8)
    ...         Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    >>> extracted = featcache.extract(folder / "images", backbone="pixels", size=32, cache=folder / "cache")
    >>> result = heads.tsne(task="binary", backbone="pixels", cache=folder / "cache", out=folder / "run")
    >>> result["rows"], result["before"], Path(result["figures"][0]).name
    (24, 'all distances kept', 'tsne.png')
    """
    if not perplexity > 0:
        raise UsageError(f"--perplexity {perplexity}: expected more than 0")
    require_out(out)
    opened = open_bundle(bundle) if bundle is not None else None
    if opened is not None:
        task, classes, pooling = str(opened.about["task"]), opened.classes, opened.pooling
        backbone = opened.spec.backbone if opened.spec.backbone == "pixels" else set_of(opened.spec.hex, cache)
        if not hasattr(opened.estimator, "hidden"):
            raise UsageError(f"{bundle}: a {opened.about['model']['name']} has no dense layer; leave the bundle out")
    features = featcache.load(
        backbone, task=task, classes=classes, pooling=pooling, data=data, group_regex=group_regex, cache=cache
    )
    if split is not None:
        features = features.split(split)
    there = len(features)
    features = _sampled(features, limit, raw=opened is None, seed=seed)
    wrong: np.ndarray | None = None
    predicted: list[str] = [""] * len(features)
    if opened is None:
        rows, what = np.asarray(features.X).reshape(len(features), -1), f"features, {features.pooling}"
    else:
        codes = opened.labels(opened.predict_proba(features))
        wrong = codes != features.y
        predicted = [features.classes[code] for code in codes]
        rows, what = opened.estimator.hidden(features.X), "first dense layer"
    points, before = embed(rows, perplexity, seed)
    with run_folder(out, "tsne", task, features.spec.network) as folder:
        header = ("path", "split", "label", "predicted", "x", "y")
        labels = [features.classes[label] for label in features.y]
        table = list(zip(features.paths, features.splits, labels, predicted, *points.T.tolist(), strict=True))
        write_table(folder / "tsne.csv", header, table)
        shown = f"{_where(features, split, there)}{origin_note(features)}"
        caption = f"t-SNE of {features.feature_set}, {what} ({before}), {shown}"
        names = [Path(filesystems.name_of(path)).stem for path in features.paths]
        drawn = embedding_plots.scatter(points, features.y, features.classes, wrong, names, caption)
        save_figure(drawn, folder / "tsne.png")
        result = {
            "figures": [str(folder / "tsne.png")],
            "csv": str(folder / "tsne.csv"),
            "rows": len(features),
            "of": there,
            "misclassified": None if wrong is None else int(wrong.sum()),
            "before": before,
            "feature_set": features.feature_set,
            "synthetic": features.synthetic,
            "run": str(folder),
        }
        write_json(folder / "run.json", result)
        return result


def set_of(spec_hex: str, cache: str | os.PathLike[str]) -> str:
    """The feature set of a spec, whatever its weights were called."""
    with featcache.Store(cache) as store:
        for name in store.feature_sets():
            if name.endswith(f"-{spec_hex}"):
                return name
    raise DataError("the bundle's features are not in this cache; extract them, or name the cache with --cache")


def _sampled(features: Features, limit: int, raw: bool, seed: int) -> Features:
    """At most ``limit`` rows; of features in the store, which are drawn as they are, no more than memory holds."""
    if limit < 4:
        raise UsageError(f"--limit {limit}: t-SNE needs at least 4 images")
    most = limit
    if raw and isinstance(features.X, StoredRows):
        row = 4 * math.prod(features.X.shape[1:])
        most = min(most, memory.available() // (_COPIES * row))
    if len(features) <= most:
        return features
    _log.warning("tsne: %d of %d images are drawn, a random sample", most, len(features))
    return features.take(np.sort(np.random.default_rng(seed).choice(len(features), most, replace=False)))


def _where(features: Features, split: str | None, there: int) -> str:
    count = f"n = {len(features)}" if there == len(features) else f"{len(features)} of {there}"
    return f"{split or 'all parts'} {count}"
