"""Write a bundle; see :mod:`heads.bundles.bundle` for the format."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import featcache
from featcache.data.tasks import about_task
from featcache.errors import BundleError
from featcache.extraction.table_request import converted_network
from featcache.features.labelled_features import Features
from featcache.spec import FeatureSpec
from featcache.store.store import Store
from featcache.system import atomic_files, tensor_files

from ..evaluation.decision import threshold_value
from ..evaluation.held_out_scores import HeldOutScores
from ..evaluation.task_metrics import TASK_METRICS
from . import serialization
from .answer_error import answer_error
from .integrity import (
    ABOUT,
    CONVERTED,
    FORMAT,
    HELD_OUT,
    KEY_BYTES,
    NOVELTY,
    TRAINING,
    VERSION,
    WEIGHTS,
    digest,
    written,
)
from .out_of_distribution import Novelty, fit_novelty, image_vectors, sample_rows
from .self_test import recorded

_log = logging.getLogger(__name__)


def save_bundle(
    folder: str | os.PathLike[str],
    estimator: Any,
    features: Features,
    train_rows: np.ndarray,
    *,
    task: str | None = None,
    scores: Mapping[str, Any],
    cache: str | os.PathLike[str] = "cache",
    calibration: Any = None,
    threshold: Any = None,
    warnings: Sequence[str] = (),
    look: Mapping[str, Any] | None = None,
    held_out: HeldOutScores | None = None,
) -> Path:
    """Write a bundle; the folder appears whole or not at all.

    Parameters
    ----------
    folder : where to; it must not exist.
    estimator : a fitted head, or an sklearn or XGBoost model or pipeline.
    features : what it was fitted on; ``train_rows`` are the positions of the rows it learnt from.
    task, scores : recorded; the task's name by default is that of the features'.
    cache : where the frozen network is kept, and the features that tell what is unlike them.
    calibration, threshold : as :func:`heads.evaluation.calibration.fit_calibration` and
        :func:`heads.evaluation.operating_point.choose_threshold` give them; of several labels a list, None for a label
        without.
    warnings : what must stand beside every metric of this model.
    look : which look at the test images its scores were, as :func:`heads.vault.looks.look` gives it.
    held_out : scores of patients that it did not learn from, from which its sets are calibrated.

    Raises
    ------
    BundleError
        The folder exists, or the model is of a kind that cannot be kept safely.
    """
    folder = Path(folder)
    if folder.exists():
        raise BundleError(f"{folder} exists; a bundle is never overwritten. Name another folder")
    building = folder.parent / f"{atomic_files.PREFIX}{folder.name}"
    shutil.rmtree(building, ignore_errors=True)  # of a writer that was killed
    building.mkdir(parents=True)
    try:
        about = {
            "task": task or features.task.name,
            "scores": dict(scores),
            "calibration": calibration,
            "threshold": threshold,
            "warnings": ["".join(c if c.isprintable() else "?" for c in text) for text in warnings],
            **({} if look is None else {"look": dict(look)}),
        }
        if held_out is not None:
            tensor_files.write_tensors(building / HELD_OUT, held_out.tensors())
        _fill(building, estimator, features, train_rows, about, cache)
        os.rename(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _fill(
    building: Path,
    estimator: Any,
    features: Features,
    train_rows: np.ndarray,
    given: Mapping[str, Any],
    cache: str | os.PathLike[str],
) -> None:
    model = serialization.write(building, estimator)
    value = threshold_value(given["threshold"])
    precision = answer_error(estimator, features, given["calibration"], value, cache)
    with Store(cache) as store:
        _place_network(store, features.spec, building)
        self_test, digests = _self_test(store, features, building, estimator, model, given["calibration"])
        novelty = _novelty(store, features, train_rows)
    if novelty is not None:
        tensor_files.write_tensors(building / NOVELTY, [novelty.reference])
    prefixes = np.array([np.frombuffer(features.keys[i][:KEY_BYTES], np.uint8) for i in train_rows])
    tensor_files.write_tensors(building / TRAINING, [prefixes])
    about = {
        "format": FORMAT,
        "version": VERSION,
        **given,
        "learns": about_task(features.task),
        "classes": list(features.classes),
        "spec": json.loads(features.spec.to_json()),
        "pooling": features.pooling,
        "synthetic": features.synthetic,
        "model": model,
        "novelty": None if novelty is None else novelty.about(),
        **({} if precision is None else {"precision": precision}),
        "rows": len(train_rows),
        "versions": {
            "featcache": featcache.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("tensorflow", "keras", "scikit-learn", "xgboost", "numpy")},
        },
        "self_test": self_test,
        "files": {
            entry.name: digests.get(entry.name) or atomic_files.sha256_file(entry.path)
            for entry in os.scandir(building)
        },
    }
    atomic_files.write_bytes(building / ABOUT, written({**about, "digest": digest(about)}))


def _place_network(store: Store, spec: FeatureSpec, building: Path) -> None:
    """The network that makes the features: converted where it can be, else its weights."""
    converted = converted_network(spec, store) if spec.of_table else store.converted(spec)
    if converted is not None and converted.exists():
        tensor_files.place(converted, building / CONVERTED)
    elif spec.of_table and spec.precision != "int8" and store.network(spec).exists():
        tensor_files.place(store.network(spec), building / WEIGHTS)


def _self_test(
    store: Store, features: Features, building: Path, estimator: Any, model: Mapping[str, Any], calibration: Any
) -> tuple[dict[str, Any], dict[str, str]]:
    """Write the self-test; what is said of it, and the digest of the network's file, by name."""
    measures = TASK_METRICS[features.task.kind]
    network = next((building / name for name in (CONVERTED, WEIGHTS) if (building / name).exists()), None)
    digests = {} if network is None else {network.name: atomic_files.sha256_file(network)}

    def answers(rows: np.ndarray) -> np.ndarray:
        return measures.mended(measures.outputs(estimator, rows), calibration)

    digest = "" if network is None else digests[network.name]
    made = recorded(features.spec, features.pooling, network, digest, model["kind"], answers, store)
    return made.write(building), digests


def _novelty(store: Store, features: Features, train_rows: np.ndarray) -> Novelty | None:
    """How far apart the training images are; None where they are too few, or not in this store."""
    rows = {features.keys[i]: i for i in train_rows}  # the same bytes twice say nothing of distance
    kept = list(rows)
    rows = {kept[i]: rows[kept[i]] for i in sample_rows(len(kept))}
    if features.feature_set not in store.feature_sets() or not rows.keys() <= store.rows(features.feature_set).keys():
        _log.warning("bundle: its features are not in the cache %s; it cannot tell images unlike them", store.cache)
        return None
    vectors, groups = image_vectors(store, features.feature_set, list(rows)), features.groups[list(rows.values())]
    novelty = fit_novelty(vectors, groups)
    if novelty is None:
        _log.warning(
            "bundle: %d training images are too few, or of too few groups, to tell images unlike them", len(rows)
        )
    return novelty
