"""``saliency``: what speaks for a model's answers, laid over the images."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featcache.data import filesystems
from featcache.data.decoding import decode
from featcache.data.framing import Framing
from featcache.errors import DataError, UsageError
from featcache.extraction.planning import choose_data
from featcache.features.labelled_features import Features
from featcache.features.stored_rows import StoredRows
from featcache.store.store import Store
from featcache.system.interrupts import reading

from ..bundles.bundle import Bundle, open_bundle
from ..evaluation.canvas import save_figure
from ..evaluation.run_folder import origin_note, require_out, run_folder, write_json, write_table
from ..vault.locks import LEAVE_OUT, require_unlocked
from . import saliency_plots
from .bundle_features import Images, bundle_features, known_images, rows_cache, unlabelled_images
from .class_activation import contributions, require_map
from .overlays import border_share, overlay
from .saliency_targets import SALIENCY_TARGETS, Explained, about_label, require_label

_log = logging.getLogger(__name__)
_SIDE = 448  # pixels of a drawn image's longer side
_MEAN_SIDE = 224  # pixels of a mean image
_MEANS = {
    "classes": "Mean evidence for each class",
    "labels": "Mean evidence for labels",
    "number": "Mean of what raises the number",
}
_UNITS = {"classes": "logit", "labels": "logit"}  # of evidence; of a number it is the number's own


def saliency(
    bundle: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]] | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    split: str | None = None,
    group_regex: str | None = None,
    label: str | None = None,
    weights: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    out: str | os.PathLike[str] | None = None,
    limit: int = 50,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """Draw what speaks for a kept model's answers.

    Parameters
    ----------
    bundle : str or path-like
        A bundle's folder.
    images : sequence of str or path-like, optional
        Image files, folders or manifests, without labels; by default ``data`` is taken.
    data : str or path-like, optional
        Labelled images, a folder or manifest; the last extract's by default.
    split : str, optional
        Only this part of the data.
    group_regex : str, optional
        Pattern whose first group, found in a file's name, is its patient or other group.
    label : str, optional
        Of a model of several labels, the one that is explained in all images. By default it is each labelled image's
        rarest true label, or the most probable one where it has none; of other images the most probable one that the
        model says.
    weights : str, optional
        The network's weights, where the bundle holds none: ``imagenet`` or a file.
    cache : str or path-like, optional
        The features are kept here; what is there already is not computed again.
    out : str or path-like, optional
        Folder for the results; by default a new one in ``runs``.
    limit : int, optional
        So many images are drawn one by one, misclassified ones first. The rest counts all the same.
    skip_bad : bool, optional
        Go on without images that cannot be decoded.

    Returns
    -------
    dict
        ``images``, ``drawn``, ``misclassified`` (None where nothing can be), ``map`` (its rows and columns), ``border``
        (mean share of the positive evidence in the border of the map, by the class or label it is of, or of the
        number), ``border_area`` (that share where evidence is spread evenly), ``warnings`` of the model, ``figures``,
        ``csv``. In the folder: ``class_means.png`` (mean maps over mean images: of each class, or each label explained,
        the evidence for it; with ``label``, of the images that have it, and of those that have not; of a number, of
        its fifths; all of them the predicted ones where nothing is known), ``saliency.csv`` (a row for each image: the
        peak, its contribution, and the border's share, in the map of the predicted class, the explained label, or the
        number) and ``overlays/``. Only what speaks for a class or label, or raises a number, is drawn; what speaks
        against it, or lowers it, is not.

    Raises
    ------
    UsageError
        A model that has no such map, or no such label, or an ``out`` that is not empty.
    DataError
        Features without maps, no images, or bad ones without ``skip_bad``.
    BundleError
        The bundle is damaged.

    See Also
    --------
    heads.inference.class_activation.contributions : The maps, and what they are.

    Examples
    --------
    The classes differ in the upper left quarter; that is where the evidence is:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> import featcache, heads
    >>> from heads.bundles.saving import save_bundle
    >>> folder = Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> for name, grey in (("covid", 60), ("normal", 160)):
    ...     (folder / "images" / name).mkdir(parents=True)
    ...     for number in range(12):
    ...         pixels = rng.normal(110, 20, (64, 64))
    ...         pixels[:32, :32] += grey - 110
    ...         image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    ...         image.save(folder / "images" / name / f"{number}.png")
    >>> cache = folder / "cache"
    >>> extracted = featcache.extract(folder / "images", backbone="pixels", size=16, cache=cache)
    >>> f = featcache.load("pixels", task="binary", cache=cache)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression()).fit(f.X, f.y)
    >>> rows = np.arange(len(f))
    >>> bundle = save_bundle(folder / "bundle", model, f, rows, task="binary", scores={}, cache=cache)
    >>> result = heads.saliency(bundle, cache=cache, limit=1, out=folder / "run")
    >>> result["images"], result["drawn"], result["map"]
    (24, 1, [16, 16])
    """
    opened = open_bundle(bundle)
    require_out(out)
    require_map(opened.estimator, opened.pooling)
    if "map" not in opened.spec.arrays:
        raise DataError(
            f"{opened.folder}: its features are averages alone (--keep avg), which no longer say where in the image. "
            f"Run: python cli.py extract --backbone {opened.spec.network} --keep map …, and fit again"
        )
    if label is not None:
        require_label(opened.task, opened.classes, label)
    if limit < 0:
        raise UsageError(f"--limit {limit}: expected 0 or more images to draw")
    given = unlabelled_images(opened, images) if images else _labelled(opened, data, split, group_regex, cache)
    features, bad = bundle_features(opened, given, weights, cache, skip_bad)
    if not len(features):
        raise DataError(f"none of {len(given.y)} images can be used", bad)
    if not images:
        require_unlocked(cache, features.keys, "saliency shows which of them the model misjudges", LEAVE_OUT)
    outputs = opened.predict_proba(features)
    answers = opened.labels(outputs)
    y = None if images else features.y
    explained = _explained(features, y, outputs, answers, label)
    with Store(rows_cache(opened, cache)) as store:
        maps = StoredRows(store, features.feature_set, features.keys, "map", "map")
    evidence = contributions(opened.estimator, maps, opened.pooling, explained.target)
    of_group = evidence.copy()
    others = np.flatnonzero(explained.target != explained.group_target)
    if len(others):
        of_others = explained.group_target[others]
        of_group[others] = contributions(opened.estimator, maps.take(others), opened.pooling, of_others)
    wrong = None if y is None else features.task.wrong(y, answers)
    border = border_share(evidence)
    targets, names = SALIENCY_TARGETS[features.task.kind], features.classes

    def about(row: int) -> tuple[Any, ...]:
        return names, None if y is None else y[row], outputs[row], answers[row], int(explained.target[row])

    with run_folder(out, "saliency", features.task.name, opened.spec.network) as folder:
        _log.info("drawing %d of %d images", min(limit, len(features)), len(features))
        chosen = _order(wrong, explained.grouped)[:limit]
        captions = {row: targets.caption(*about(row)) for row in chosen.tolist()}
        drawn = _draw_overlays(folder / "overlays", features, evidence, explained, captions)
        save_figure(_means(features, of_group, explained), folder / "class_means.png")
        height, width = evidence.shape[1:]
        table = [
            (features.paths[row], *targets.cells(*about(row)), *_where(evidence[row], border[row]), drawn.get(row, ""))
            for row in range(len(features))
        ]
        unit = _UNITS.get(features.task.kind, "value")
        header = ("path", *targets.columns, "peak_row", "peak_column", f"peak_{unit}", "border_share", "overlay")
        write_table(folder / "saliency.csv", header, table)
        result = {
            "verb": "saliency",
            "bundle": str(Path(bundle)),
            "data": "" if images else given.dataset.root,
            "task": features.task.name,
            "classes": list(features.classes),
            "feature_set": features.feature_set,
            "images": len(features),
            "drawn": len(drawn),
            "misclassified": None if wrong is None else int(wrong.sum()),
            "label": label,
            "map": [height, width],
            "border": {
                name: float(np.nanmean(values)) if np.isfinite(values).any() else None
                for name, values in ((name, border[explained.target == code]) for code, name in enumerate(names))
            },
            "border_area": float(border_share(np.ones((1, height, width)))[0]),
            "figures": [str(folder / "class_means.png")],
            "csv": str(folder / "saliency.csv"),
            "skipped": len(bad),
            "warnings": opened.warnings,
            "synthetic": features.synthetic,
            "run": str(folder),
        }
        write_json(folder / "run.json", result)
        return result


def _where(evidence: np.ndarray, border: float) -> tuple[Any, ...]:
    """Row, column (from 0) and logit of the strongest cell, and the border's share; empty where no cell is positive."""
    if np.isnan(border):
        return "", "", "", ""
    return (*divmod(int(evidence.argmax()), evidence.shape[1]), f"{evidence.max():.6g}", f"{border:.4f}")


def _labelled(
    bundle: Bundle,
    data: str | os.PathLike[str] | None,
    split: str | None,
    group_regex: str | None,
    cache: str | os.PathLike[str],
) -> Images:
    with Store(cache) as store:
        dataset = choose_data(store, data, group_regex)
    return known_images(bundle, dataset, split)[0]


def _explained(
    features: Features, y: np.ndarray | None, outputs: np.ndarray, answers: np.ndarray, label: str | None
) -> Explained:
    """What is drawn of each image: one label, or what the task's kind has it."""
    if label is not None:
        return about_label(features.task, features.classes, label, y, answers)
    return SALIENCY_TARGETS[features.task.kind].explained(features.task, features.classes, y, outputs, answers)


def _order(wrong: np.ndarray | None, grouped: np.ndarray) -> np.ndarray:
    """Rows in the order in which they are drawn: misclassified ones first, then the groups in turn."""
    turn = np.empty(len(grouped), np.int64)
    for code in np.unique(grouped):
        own = grouped == code
        turn[own] = np.arange(own.sum())
    return np.lexsort((turn, np.zeros(len(grouped), bool) if wrong is None else ~wrong))


def _title(features: Features, target: int, evidence: np.ndarray) -> str:
    """Colours are relative, so that this must stand beside them: how much the strongest cell adds."""
    targets, name, most = SALIENCY_TARGETS[features.task.kind], features.classes[target], float(evidence.max())
    return f"{targets.evidence(name)}, up to {most:+.2g}" if most > 0 else targets.nothing(name)


def _unit(features: Features) -> str:
    return _UNITS.get(features.task.kind, features.classes[0])


def _draw_overlays(
    folder: Path, features: Features, evidence: np.ndarray, explained: Explained, captions: Mapping[int, str]
) -> dict[int, str]:
    """Draw some images one by one; returns the file's name for each of them, which no other shares."""
    folder.mkdir()
    names: dict[int, str] = {}
    used: set[str] = set()
    for i, said in captions.items():
        path, target = features.paths[i], int(explained.target[i])
        name_of = filesystems.name_of(path)
        stem = _plain(f"{Path(name_of).stem[:80]}-{features.classes[target][:40]}")
        candidates = itertools.chain([f"{stem}.png"], (f"{stem}-{n}.png" for n in itertools.count(2)))
        name = next(candidate for candidate in candidates if candidate.lower() not in used)
        used.add(name.lower())  # file systems need not tell A from a
        picture = _picture(path, features.spec.framing)
        pair = (picture.convert("L"), overlay(picture, evidence[i], max(picture.size)))
        titles = ("", _title(features, target, evidence[i]))
        caption = f"{name_of}: {said}\n{features.feature_set}{origin_note(features)}"
        figure = saliency_plots.evidence([pair], [titles], evidence.shape[1:], caption, _unit(features))
        save_figure(figure, folder / name)
        names[i] = name
    return names


def _picture(path: str, framing: Framing) -> Image.Image:
    """What the map lies over: the whole picture where all of it was squashed into the square, else that square."""
    if framing.resize == "squash" and framing.crop == 1:
        picture = Image.fromarray(decode(filesystems.read(path)))
        picture.thumbnail((_SIDE, _SIDE))
        return picture
    return Image.fromarray(decode(filesystems.read(path), _SIDE, framing))


def _plain(name: str) -> str:
    """A name that any file system takes."""
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "image"


def _means(features: Features, evidence: np.ndarray, explained: Explained) -> Any:
    """Mean map of each group's images over their mean image."""
    sums = np.zeros((len(explained.groups), _MEAN_SIDE, _MEAN_SIDE))
    with reading(os.cpu_count(), "grey") as pool:
        framed = functools.partial(_grey, framing=features.spec.framing)
        for code, grey in zip(explained.grouped, pool.map(framed, features.paths), strict=True):
            sums[code] += grey
    pictures, titles = [], []
    for code in np.unique(explained.grouped):
        own = explained.grouped == code
        count = int(own.sum())
        mean = (sums[code] / count + 0.5).astype(np.uint8)
        mean_map = evidence[own].mean(axis=0)
        pictures.append((mean, overlay(mean, mean_map, _MEAN_SIDE)))
        target = int(explained.group_target[own][0])
        titles.append((f"{explained.groups[code]}, mean of {count}", _title(features, target, mean_map)))
    caption = f"{_MEANS[features.task.kind]}, {features.feature_set}{origin_note(features)}"
    return saliency_plots.evidence(pictures, titles, evidence.shape[1:], caption, _unit(features))


def _grey(path: str, framing: Framing) -> np.ndarray:
    return np.asarray(Image.fromarray(decode(filesystems.read(path), _MEAN_SIDE, framing)).convert("L"))
