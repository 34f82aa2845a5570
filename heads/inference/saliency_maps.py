"""``saliency``: what speaks for a model's answers, laid over the images."""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featcache.data import filesystems
from featcache.data.dataset import Dataset, find_images
from featcache.data.decoding import decode
from featcache.errors import DataError, UsageError
from featcache.extraction.planning import choose_data
from featcache.features.loading import Features
from featcache.features.stored_rows import StoredRows
from featcache.store.store import Store
from featcache.system.interrupts import reading

from ..bundles.bundle import Bundle, open_bundle
from ..evaluation import plots
from ..evaluation.run_folder import marks, require_out, run_folder, write_json, write_table
from . import saliency_plots
from .class_activation import contributions, require_map
from .prediction import bundle_features, known_images

_log = logging.getLogger(__name__)
_SIDE = 448  # pixels of a drawn image's longer side
_MEAN_SIDE = 224  # pixels of a class's mean image
_BORDER = 7  # the border is a seventh of the map wide: the outer ring of VGG16's 7 x 7


def overlay(image: Image.Image | np.ndarray, evidence: np.ndarray, size: int) -> Image.Image:
    """An image in grey with the evidence for a class laid over it.

    Positive evidence alone is drawn, transparent at none and in full colour at the strongest cell: what speaks against
    one of several classes speaks for no other in particular, and of two classes it is the other's own map.

    Parameters
    ----------
    image : of any size; an array is uint8 of shape (height, width) or (height, width, 3).
    evidence : array of shape (h, w), a map of :func:`heads.inference.class_activation.contributions`; it covers the whole image,
        and is drawn bilinear, with no more detail than it has.
    size : longer side of the result in pixels; the image keeps its aspect.

    Returns
    -------
    RGB image.
    """
    picture = (image if isinstance(image, Image.Image) else Image.fromarray(image)).convert("L")
    scale = size / max(picture.size)
    extent = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    grey = np.asarray(picture.resize(extent, Image.Resampling.BILINEAR), np.float32)[:, :, None] / 255
    positive = np.maximum(evidence, 0).astype(np.float32)
    strongest = positive.max()
    share = positive / strongest if strongest > 0 else positive
    fine = np.asarray(Image.fromarray(share).resize(extent, Image.Resampling.BILINEAR))
    colours = saliency_plots.evidence_colours()(fine)
    blended = grey * (1 - colours[:, :, 3:]) + colours[:, :, :3] * colours[:, :, 3:]
    return Image.fromarray((blended * 255 + 0.5).astype(np.uint8))


def border_share(evidence: np.ndarray) -> np.ndarray:
    """Share of the positive evidence that lies in the border, a seventh of the map wide on each side (at least a cell).

    Much more there than the border's share of the area hints that a model looks at collimation, letters or padding
    rather than lungs. It proves nothing: a cell sees far beyond its square.

    Parameters
    ----------
    evidence : array of shape (n, h, w).

    Returns
    -------
    array of shape (n,); NaN where there is no positive evidence.
    """
    positive = np.maximum(evidence, 0).astype(np.float64)
    down, across = (max(1, round(side / _BORDER)) for side in positive.shape[1:])
    inside = positive[:, down:-down, across:-across].sum(axis=(1, 2))
    total = positive.sum(axis=(1, 2))
    return 1 - np.divide(inside, total, out=np.full(len(total), np.nan), where=total > 0)


def saliency(
    bundle: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]] | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    split: str | None = None,
    group_regex: str | None = None,
    weights: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    out: str | os.PathLike[str] | None = None,
    limit: int = 50,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """Draw what speaks for a kept model's answers.

    Parameters
    ----------
    bundle, weights, cache, skip_bad : as in :func:`heads.predict`.
    images : image files, folders or manifests, without labels; None takes ``data``.
    data, split, group_regex : labelled images, as in :func:`heads.inference.prediction.evaluate_bundle`; None is the last extract's.
    out : folder for the results; None makes one in ``runs``.
    limit : so many images are drawn one by one, misclassified ones first. The rest counts all the same.

    Returns
    -------
    ``images``, ``drawn``, ``map`` (its rows and columns), ``border`` (mean share of the positive evidence in the border
    of the map, by predicted class), ``border_area`` (that share where evidence is spread evenly), ``warnings`` of the
    model, ``figures``, ``csv``. In the folder: ``class_means.png`` (each class's mean map of the evidence for it, over
    its mean image; classes are the predicted ones where there are no labels), ``saliency.csv`` (a row for each image:
    the peak, its contribution to the logit, and the border's share, in the map of the predicted class) and
    ``overlays/``.

    Raises
    ------
    UsageError
        A model that has no such map.
    DataError
        Features without maps, no images, or bad ones without ``skip_bad``.
    BundleError
    """
    opened = open_bundle(bundle)
    require_out(out)
    require_map(opened.estimator, opened.pooling)
    if "map" not in opened.spec.arrays:
        raise DataError(
            f"{opened.folder}: its features are averages alone (--keep avg), which no longer say where in the image. "
            f"Run: python cli.py extract --backbone {opened.spec.backbone} --keep map …, and fit again"
        )
    if limit < 0:
        raise UsageError(f"--limit {limit}: expected 0 or more images to draw")
    dataset = _unlabelled(opened, images) if images else _labelled(opened, data, split, group_regex, cache)
    features, bad = bundle_features(opened, dataset, weights, cache, skip_bad)
    if not len(features):
        raise DataError(f"none of {len(dataset)} images can be used", bad)
    probabilities = opened.predict_proba(features)
    predicted = opened.labels(probabilities)
    shown = predicted if images else features.y
    with Store(cache) as store:
        maps = StoredRows(store, features.feature_set, features.keys, "map", "map")
    evidence = contributions(opened.estimator, maps, opened.pooling, predicted)
    of_class = evidence.copy()
    wrong = np.flatnonzero(predicted != shown)
    if len(wrong):
        of_class[wrong] = contributions(opened.estimator, maps.take(wrong), opened.pooling, shown[wrong])
    border = border_share(evidence)
    with run_folder(out, "saliency", str(opened.about["task"]), opened.spec.backbone) as folder:
        _log.info("drawing %d of %d images", min(limit, len(features)), len(features))
        order = _order(predicted, shown)[:limit]
        answers = _answers(features, predicted, probabilities, labelled=not images)
        drawn = _draw_overlays(folder / "overlays", features, evidence, predicted, answers, order)
        plots.save(_class_means(features, of_class, shown, labelled=not images), folder / "class_means.png")
        height, width = evidence.shape[1:]
        table = [
            (features.paths[i], "" if images else features.classes[features.y[i]], features.classes[predicted[i]],
             f"{probabilities[i, predicted[i]]:.6g}", *_where(evidence[i], border[i]), drawn.get(i, ""))
            for i in range(len(features))
        ]  # fmt: skip
        header = ("path", "label", "predicted", "probability", "peak_row", "peak_column", "peak_logit", "border_share",
                  "overlay")  # fmt: skip
        write_table(folder / "saliency.csv", header, table)
        result = {
            "verb": "saliency", "bundle": str(Path(bundle)), "data": "" if images else dataset.root,
            "classes": list(features.classes), "feature_set": features.feature_set, "images": len(features),
            "drawn": len(drawn), "misclassified": None if images else len(wrong), "map": [height, width],
            "border": {
                name: float(np.nanmean(values)) if np.isfinite(values).any() else None
                for name, values in ((name, border[predicted == code]) for code, name in enumerate(features.classes))
            },
            "border_area": float(border_share(np.ones((1, height, width)))[0]),
            "figures": [str(folder / "class_means.png")], "csv": str(folder / "saliency.csv"), "skipped": len(bad),
            "warnings": opened.warnings, "synthetic": features.synthetic, "run": str(folder),
        }  # fmt: skip
        write_json(folder / "run.json", result)
        return result


def _where(evidence: np.ndarray, border: float) -> tuple[Any, ...]:
    """Row, column (from 0) and logit of the strongest cell, and the border's share; empty where no cell is positive."""
    if np.isnan(border):
        return "", "", "", ""
    return (*divmod(int(evidence.argmax()), evidence.shape[1]), f"{evidence.max():.6g}", f"{border:.4f}")


def _unlabelled(bundle: Bundle, images: Sequence[str | os.PathLike[str]]) -> Dataset:
    paths = [path for entry in images for path in find_images(entry)]
    return Dataset("", paths, paths, [bundle.classes[0]] * len(paths), [""] * len(paths), paths)


def _labelled(
    bundle: Bundle, data: str | os.PathLike[str] | None, split: str | None, group_regex: str | None,
    cache: str | os.PathLike[str],
) -> Dataset:  # fmt: skip
    with Store(cache) as store:
        dataset = choose_data(store, data, group_regex)
    return known_images(dataset, bundle.classes, split)[0]


def _order(predicted: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Rows in the order in which they are drawn: misclassified ones first, then the classes in turn."""
    turn = np.empty(len(shown), np.int64)
    for code in np.unique(shown):
        own = shown == code
        turn[own] = np.arange(own.sum())
    return np.lexsort((turn, predicted == shown))


def _answers(features: Features, predicted: np.ndarray, probabilities: np.ndarray, labelled: bool) -> list[str]:
    answers = []
    for i, code in enumerate(predicted):
        label = f"labelled {features.classes[features.y[i]]}, " if labelled else ""
        answers.append(f"{label}predicted {features.classes[code]}, {probabilities[i, code]:.3f}")
    return answers


def _title(name: str, evidence: np.ndarray) -> str:
    """Colours are relative, so that this must stand beside them: how much the strongest cell adds to the logit."""
    most = float(evidence.max())
    return f"evidence for {name}, up to {most:+.2g}" if most > 0 else f"no cell speaks for {name}"


def _draw_overlays(
    folder: Path, features: Features, evidence: np.ndarray, predicted: np.ndarray, answers: Sequence[str],
    order: np.ndarray,
) -> dict[int, str]:  # fmt: skip
    """Draw some images one by one; returns the file's name for each of them, which no other shares."""
    folder.mkdir()
    names: dict[int, str] = {}
    used: set[str] = set()
    for i in order.tolist():
        path = features.paths[i]
        name_of = filesystems.name_of(path)
        stem = _plain(f"{Path(name_of).stem[:80]}-{features.classes[predicted[i]][:40]}")
        candidates = itertools.chain([f"{stem}.png"], (f"{stem}-{n}.png" for n in itertools.count(2)))
        name = next(candidate for candidate in candidates if candidate.lower() not in used)
        used.add(name.lower())  # file systems need not tell A from a
        picture = Image.fromarray(decode(filesystems.read(path)))
        picture.thumbnail((_SIDE, _SIDE))
        pair = (picture.convert("L"), overlay(picture, evidence[i], max(picture.size)))
        titles = ("", _title(features.classes[predicted[i]], evidence[i]))
        caption = f"{name_of}: {answers[i]}\n{features.feature_set}{marks(features)}"
        plots.save(saliency_plots.evidence([pair], [titles], evidence.shape[1:], caption), folder / name)
        names[i] = name
    return names


def _plain(name: str) -> str:
    """A name that any file system takes."""
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "image"


def _class_means(features: Features, evidence: np.ndarray, shown: np.ndarray, labelled: bool) -> Any:
    """Mean map of each class's images over their mean image."""
    sums = np.zeros((len(features.classes), _MEAN_SIDE, _MEAN_SIDE))
    with reading(os.cpu_count(), "grey") as pool:
        for code, grey in zip(shown, pool.map(_grey, features.paths), strict=True):
            sums[code] += grey
    pictures, titles = [], []
    for code in np.unique(shown):
        count = int((shown == code).sum())
        mean = (sums[code] / count + 0.5).astype(np.uint8)
        mean_map = evidence[shown == code].mean(axis=0)
        pictures.append((mean, overlay(mean, mean_map, _MEAN_SIDE)))
        name = features.classes[code]
        titles.append((f"{name if labelled else 'predicted ' + name}, mean of {count}", _title(name, mean_map)))
    caption = f"Mean evidence for each class, {features.feature_set}{marks(features)}"
    return saliency_plots.evidence(pictures, titles, evidence.shape[1:], caption)


def _grey(path: str) -> np.ndarray:
    return np.asarray(Image.fromarray(decode(filesystems.read(path), _MEAN_SIDE)).convert("L"))
