"""New images on a map that ``tsne`` drew before: placed, drawn over it, and written down."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from featcache.data import filesystems
from featcache.errors import DataError, StoreError, UsageError
from featcache.features.labelled_features import Features
from featcache.features.pooled_rows import read_or_stay
from featcache.store.store import Store
from featcache.system.atomic_files import sha256_file

from ..bundles.bundle import Bundle
from ..evaluation.canvas import save_figure
from ..evaluation.run_folder import origin_note, require_out, write_table
from . import embedding_plots
from .bundle_features import set_of
from .feature_map import FeatureMap, read_map
from .neighbour_embedding import place


def bundle_digest(bundle: Bundle) -> str:
    """What tells a bundle from every other: its ``bundle.json`` holds the digests of all else."""
    return sha256_file(bundle.folder / "bundle.json")


def fitting_map(run: str | os.PathLike[str], bundle: Bundle) -> FeatureMap:
    """The map in a run folder, for images as this bundle sees them.

    Raises
    ------
    DataError
        There is no map, or it is damaged.
    UsageError
        It shows other features than the bundle's, or another head's first dense layer.
    """
    drawn = read_map(Path(run))
    if (drawn.spec, drawn.pooling) != (bundle.spec.hex, bundle.pooling):
        raise UsageError(
            f"{run}: a map of {drawn.feature_set} ({drawn.pooling}), and the bundle sees {bundle.spec.id} "
            f"({bundle.pooling}); draw one with: tsne {bundle.folder}"
        )
    if drawn.bundle and (drawn.bundle != bundle_digest(bundle) or not hasattr(bundle.estimator, "hidden")):
        raise UsageError(
            f"{run}: a map of another head's first dense layer; draw this one's with: tsne {bundle.folder}"
        )
    return drawn


def map_to_draw_on(
    on_map: str | os.PathLike[str] | None, bundle: Bundle, out: str | os.PathLike[str] | None
) -> FeatureMap | None:
    """The map that is asked for, and a place for the results, before any work is done."""
    require_out(out)
    return None if on_map is None else fitting_map(on_map, bundle)


def write_overlay(
    folder: Path,
    drawn: FeatureMap,
    bundle: Bundle,
    features: Features,
    predicted: np.ndarray,
    cache: str | os.PathLike[str],
    labelled: bool,
) -> dict[str, Any]:
    """Draw images over a map.

    Parameters
    ----------
    folder : where ``map.png`` and ``map.csv`` are written.
    drawn : the map.
    bundle : sees the images.
    features : theirs.
    predicted : what the bundle says of them, as :meth:`heads.bundles.bundle.Bundle.labels` does.
    cache : holds the features of the map's own images.
    labelled : whether the images have labels of their own; else those predicted take their place.

    Returns
    -------
    ``figures`` and ``csv``, paths.

    Raises
    ------
    DataError
        Features of the map's images are not in the cache.
    """
    new, there = _placed(drawn, bundle, features, cache)
    true, names_true = features.task.as_classes(features.y, features.classes) if labelled else (None, ())
    said, names_said = features.task.as_classes(predicted, features.classes)
    classes = tuple(dict.fromkeys([*drawn.classes, *names_true, *names_said]))
    labels = [names_true[code] for code in true] if true is not None else [""] * len(new)
    answers = [names_said[code] for code in said]
    y = np.array([classes.index(name) for name in (labels if labelled else answers)], int)
    wrong = features.task.wrong(features.y, predicted) if labelled else None
    names = [Path(filesystems.name_of(path)).stem for path in features.paths]
    note = origin_note(features) or drawn.note
    by = "colour is the label" if labelled else "colour is the predicted class"
    before = f", {there.sum()} on it before" if there.any() else ""
    caption = (
        f"{len(new)} image{'s' * (len(new) != 1)} ({by}{before}) on the map of {len(drawn.keys)},\n"
        f"t-SNE of {drawn.feature_set}, {drawn.what} ({drawn.embedding.before}){note}"
    )
    figure = embedding_plots.overlay(
        drawn.embedding.points, drawn.labels, new, y, classes, wrong=wrong, names=names, caption=caption
    )
    save_figure(figure, folder / "map.png")
    header = ("path", "label", "predicted", "x", "y", "on_the_map_before")
    known = ["yes" if known else "no" for known in there]
    write_table(
        folder / "map.csv",
        header,
        list(zip(features.paths, labels, answers, *new.T.tolist(), known, strict=True)),
    )
    return {"figures": [str(folder / "map.png")], "csv": str(folder / "map.csv")}


def _placed(
    drawn: FeatureMap, bundle: Bundle, features: Features, cache: str | os.PathLike[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Where the images stand, array of shape (m, 2), and which are the map's own, which stay where they are."""
    place_of = {key: row for row, key in enumerate(drawn.keys)}
    own = np.array([place_of.get(key, -1) for key in features.keys], int)
    points = drawn.embedding.points[own]
    fresh = np.flatnonzero(own < 0)
    if len(fresh):
        rows = _rows(drawn, bundle, _of_map(drawn, cache))
        new = _rows(drawn, bundle, features.take(fresh).X)
        if rows.shape[1] != new.shape[1]:
            raise DataError(f"the map's rows have {rows.shape[1]} columns, the new ones {new.shape[1]}; draw it again")
        points[fresh] = place(new, rows, drawn.embedding.points)
    return points, own >= 0


def _rows(drawn: FeatureMap, bundle: Bundle, X: Any) -> np.ndarray:
    """Features as they went into the map."""
    rows = bundle.estimator.hidden(X) if drawn.bundle else X
    projection = drawn.embedding.projection
    if projection is None:
        return np.asarray(rows, dtype=np.float32).reshape(len(rows), -1)
    if int(np.prod(rows.shape[1:])) != len(projection.mean):
        raise DataError(
            f"the map is of rows with {len(projection.mean)} columns, found {rows.shape[1:]}; draw it again"
        )
    return projection(rows)


def _of_map(drawn: FeatureMap, cache: str | os.PathLike[str]) -> Any:
    """Features of the map's own images."""
    name = set_of(drawn.spec, cache)
    with Store(cache) as store:
        try:
            return read_or_stay(store, name, drawn.keys, drawn.pooling)
        except StoreError as error:
            missing = len(set(drawn.keys) - store.rows(name).keys())
            if not missing:
                raise
            raise DataError(
                f"the features of {missing} of the map's {len(drawn.keys)} images are not in this cache; extract them, "
                "name the cache with --cache, or draw the map again"
            ) from error
