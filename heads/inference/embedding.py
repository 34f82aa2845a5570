"""``tsne``: rows of features, or a head's first dense layer, drawn in two dimensions."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import featcache
from featcache.data import filesystems
from featcache.data.tasks import Task
from featcache.errors import UsageError
from featcache.features.labelled_features import Features

from ..bundles.bundle import open_bundle
from ..evaluation.canvas import save_figure
from ..evaluation.run_folder import origin_note, require_out, run_folder, write_json, write_table
from ..vault.locks import LEAVE_OUT, require_unlocked
from . import embedding_plots
from .bundle_features import set_of
from .feature_map import FeatureMap, write_map
from .map_overlay import bundle_digest
from .neighbour_embedding import embed

_log = logging.getLogger(__name__)


def tsne(
    bundle: str | os.PathLike[str] | None = None,
    *,
    task: str | Task = "multiclass",
    backbone: str | None = None,
    pooling: str = "flatten",
    classes: Sequence[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    group_regex: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    split: str | None = None,
    limit: int = 100_000,
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
    task : str or Task, optional
        Of the features, without a bundle, as in :func:`featcache.load`; of several labels the colour is the rarest one
        that an image has, of a number its fifth.
    backbone, pooling : str, optional
        The same.
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
        Images drawn; of more, a random sample.
    perplexity : float, optional
        Of t-SNE, more than 0; lowered to (n - 1) / 3 where there are few images.
    seed : int, optional
        Of t-SNE and of the sample.
    out : str or path-like, optional
        Folder for ``tsne.png``, ``tsne.csv``, and the map, on which ``predict`` and ``evaluate`` show new images; by
        default a new one in ``runs``.

    Returns
    -------
    dict
        ``figures``, ``csv``, ``rows`` (images drawn) ``of`` (images there are), ``misclassified`` (of those drawn, or
        None), ``before`` (what was done before t-SNE), ``feature_set synthetic run``.

    Raises
    ------
    UsageError
        Options out of range, a bundle whose model has no dense layer, an ``out`` that is not empty, or no openTSNE.
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
        task, classes, pooling = opened.task, None, opened.pooling
        backbone = opened.spec.backbone if opened.spec.backbone == "pixels" else set_of(opened.spec.hex, cache)
        if not hasattr(opened.estimator, "hidden"):
            raise UsageError(f"{bundle}: a {opened.about['model']['name']} has no dense layer; leave the bundle out")
    features = featcache.load(
        backbone, task=task, classes=classes, pooling=pooling, data=data, group_regex=group_regex, cache=cache
    )
    if split is not None:
        features = features.split(split)
    if opened is not None:
        require_unlocked(cache, features.keys, "the map shows which of them the model misjudges", LEAVE_OUT)
    there = len(features)
    features = _sampled(features, limit, seed)
    wrong: np.ndarray | None = None
    predicted: list[str] = [""] * len(features)
    if opened is None:
        rows = features.X
    else:
        answers = opened.labels(opened.predict_proba(features))
        wrong = features.task.wrong(features.y, answers)
        said, called = features.task.as_classes(answers, features.classes)
        predicted = [called[code] for code in said]
        rows = opened.estimator.hidden(features.X)
    codes, shown_as = features.task.as_classes(features.y, features.classes)
    embedding = embed(rows, perplexity, seed)
    points, before = embedding.points, embedding.before
    drawn = FeatureMap(
        embedding,
        features.keys,
        codes,
        shown_as,
        features.feature_set,
        features.spec.hex,
        features.pooling,
        "" if opened is None else bundle_digest(opened),
        origin_note(features),
    )
    with run_folder(out, "tsne", features.task.name, features.spec.network) as folder:
        header = ("path", "split", "label", "predicted", "x", "y")
        labels = [shown_as[code] for code in codes]
        table = list(zip(features.paths, features.splits, labels, predicted, *points.T.tolist(), strict=True))
        write_table(folder / "tsne.csv", header, table)
        shown = f"{_where(features, split, there)}{origin_note(features)}"
        caption = f"t-SNE of {features.feature_set}, {drawn.what} ({before}), {shown}"
        names = [Path(filesystems.name_of(path)).stem for path in features.paths]
        save_figure(embedding_plots.scatter(points, codes, shown_as, wrong, names, caption), folder / "tsne.png")
        write_map(folder, drawn)
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


def _sampled(features: Features, limit: int, seed: int) -> Features:
    """At most ``limit`` rows."""
    if limit < 4:
        raise UsageError(f"--limit {limit}: t-SNE needs at least 4 images")
    if len(features) <= limit:
        return features
    _log.warning("tsne: %d of %d images are drawn, a random sample", limit, len(features))
    return features.take(np.sort(np.random.default_rng(seed).choice(len(features), limit, replace=False)))


def _where(features: Features, split: str | None, there: int) -> str:
    count = f"n = {len(features)}" if there == len(features) else f"{len(features)} of {there}"
    return f"{split or 'all parts'} {count}"
