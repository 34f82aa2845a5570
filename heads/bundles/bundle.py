"""Bundles: a folder with all that predicts on a new image.

::

    bundle.json              what it is: spec, task, classes, model, scores, versions, and the SHA-256 of each file
    head.safetensors         a head's weights, in Keras' order, or
    model.skops              an sklearn model, or
    model.ubj                an XGBoost model; what stands before it in its pipeline is in model.skops
    network.safetensors      the frozen network that makes the features (not for pixels)
    training.safetensors     row keys (their first 8 bytes) of the images it learnt from
    novelty.safetensors      vectors of at most 5,000 of those, by which to tell an image that is unlike them

A bundle may come from anywhere, so it is proven before anything in it is opened: ``bundle.json`` must be written the
way this module writes it, digest and all, and hold what :mod:`heads.bundles.bundle_schema` says; and the folder must hold just
the files it names, byte for byte, dot-files too. There is no pickle in it, skops loads only the types listed here, and
trees are checked before they are walked. Proven means undamaged and harmless to open; who made it, a digest inside it
cannot tell.

Format 2 added ``calibration``, ``threshold``, ``novelty`` (each null where there is none) and ``warnings``, what must
stand beside every figure of the model; bundles of format 1 open as if they had none.

To change the format: raise VERSION, keep reading the older ones, and keep one of each as a test.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import featcache
from featcache.errors import BundleError, FeatcacheError, StoreError, WeightsError
from featcache.features.loading import Features
from featcache.spec import FeatureSpec
from featcache.store.store import Store
from featcache.system import atomic_files, tensor_files

from ..evaluation.calibration import calibrate, check_calibration
from ..evaluation.metrics import labels_of
from ..evaluation.operating_point import check_threshold
from ..training.epoch_classifier import blocks
from . import serialization
from .integrity import ABOUT, AGAIN, FORMAT, NETWORK, NOVELTY, TRAINING, VERSION, proven
from .integrity import digest as _digest
from .integrity import written as _written
from .out_of_distribution import Novelty, fit_novelty, image_vectors, read_novelty, sample_rows

_log = logging.getLogger(__name__)
_KEY_BYTES = 8


@dataclass(frozen=True)
class Bundle:
    """A bundle that was proven and opened.

    Attributes
    ----------
    folder : where it is.
    about : what ``bundle.json`` says.
    spec : what its features are.
    estimator : the model, fitted; its classes are positions in ``classes``. Its probabilities are not calibrated.
    novelty : how to tell an image that is unlike those it learnt from, or None.
    """

    folder: Path
    about: Mapping[str, Any]
    spec: FeatureSpec
    estimator: Any
    novelty: Novelty | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return tuple(self.about["classes"])

    @property
    def pooling(self) -> str:
        """How a map becomes a row."""
        return str(self.about["pooling"])

    @property
    def network(self) -> Path | None:
        """The frozen network's weights, or None where the bundle has none."""
        return self.folder / NETWORK if NETWORK in self.about["files"] else None

    @property
    def synthetic(self) -> bool:
        """Whether it learnt from the built-in sample."""
        return bool(self.about["synthetic"])

    @property
    def threshold(self) -> float | None:
        """The probability of the second of two classes from which on it is the label, or None."""
        return None if self.about["threshold"] is None else float(self.about["threshold"]["value"])

    @property
    def warnings(self) -> list[str]:
        """What must stand beside every figure of this model."""
        return list(self.about["warnings"])

    def labels(self, probabilities: np.ndarray) -> np.ndarray:
        """The label that the model gives each row of probabilities, int array of shape (n,)."""
        return labels_of(probabilities, self.threshold)

    def predict_proba(self, features: Features) -> np.ndarray:
        """Probabilities of kept features, calibrated where the bundle says how; array of shape (n, n_classes).

        Raises :class:`BundleError` where the features are of another spec or pooling than the model's.
        """
        if features.spec.hex != self.spec.hex or features.pooling != self.pooling:
            raise BundleError(
                f"{self.folder}: made for features of {self.spec.id} ({self.pooling}), given {features.spec.id} "
                f"({features.pooling}); they mean something else to this model"
            )
        found = np.concatenate([self._of_model(block) for block in blocks(features.X)])
        return calibrate(found, self.about["calibration"])

    def _of_model(self, block: np.ndarray) -> np.ndarray:
        """The model's own probabilities; of a file of someone else's, it may be sound in form and yet make no sense."""
        try:
            found = np.asarray(self.estimator.predict_proba(block))
            sound = found.shape == (len(block), len(self.classes)) and bool(np.isfinite(found).all())
        except (FeatcacheError, MemoryError):
            raise
        except Exception as error:
            raise BundleError(f"{self.folder}: its model cannot be used on its features ({error}). {AGAIN}") from error
        if not sound:
            raise BundleError(
                f"{self.folder}: its model gives an array of shape {found.shape}, or numbers that are none; expected "
                f"{len(self.classes)} probabilities a row. {AGAIN}"
            )
        return found

    def trained_on(self, keys: Sequence[bytes]) -> np.ndarray:
        """Which of the images (by row key) the model learnt from, bool array of shape (n,)."""
        kept = tensor_files.read_tensors(self.folder / TRAINING)
        if len(kept) != 1 or kept[0].ndim != 2 or kept[0].dtype != np.uint8 or kept[0].shape[1] != _KEY_BYTES:
            raise BundleError(f"{self.folder / TRAINING}: no list of row keys. {AGAIN}")
        known = {key.tobytes() for key in kept[0]}
        return np.array([key[:_KEY_BYTES] in known for key in keys], dtype=bool)


def save_bundle(
    folder: str | os.PathLike[str],
    estimator: Any,
    features: Features,
    train_rows: np.ndarray,
    *,
    task: str,
    scores: Mapping[str, Any],
    cache: str | os.PathLike[str] = "cache",
    calibration: Mapping[str, Any] | None = None,
    threshold: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
) -> Path:
    """Write a bundle; the folder appears whole or not at all.

    Parameters
    ----------
    folder : where to; it must not exist.
    estimator : a fitted head, or an sklearn or XGBoost model or pipeline.
    features : what it was fitted on; ``train_rows`` are the positions of the rows it learnt from.
    task, scores : recorded.
    cache : where the frozen network is kept, and the features that tell what is unlike them.
    calibration, threshold : as :func:`heads.evaluation.calibration.fit_calibration` and :func:`heads.evaluation.operating_point.choose_threshold`
        give them.
    warnings : what must stand beside every figure of this model.

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
            "task": task,
            "scores": dict(scores),
            "calibration": calibration,
            "threshold": threshold,
            "warnings": ["".join(c if c.isprintable() else "?" for c in text) for text in warnings],
        }
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
    with Store(cache) as store:
        network = store.network(features.spec)
        if network.exists():
            tensor_files.place(network, building / NETWORK)
        novelty = _novelty(store, features, train_rows)
    if novelty is not None:
        tensor_files.write_tensors(building / NOVELTY, [novelty.reference])
    prefixes = np.array([np.frombuffer(features.keys[i][:_KEY_BYTES], np.uint8) for i in train_rows])
    tensor_files.write_tensors(building / TRAINING, [prefixes])
    about = {
        "format": FORMAT,
        "version": VERSION,
        **given,
        "classes": list(features.classes),
        "spec": json.loads(features.spec.to_json()),
        "pooling": features.pooling,
        "synthetic": features.synthetic,
        "model": model,
        "novelty": None if novelty is None else novelty.about(),
        "rows": len(train_rows),
        "versions": {
            "featcache": featcache.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("tensorflow", "keras", "scikit-learn", "xgboost", "numpy")},
        },
        "files": {entry.name: atomic_files.sha256_file(entry.path) for entry in os.scandir(building)},
    }
    atomic_files.write_bytes(building / ABOUT, _written({**about, "digest": _digest(about)}))


def _novelty(store: Store, features: Features, train_rows: np.ndarray) -> Novelty | None:
    """How far apart the training images are; None where they are too few, or not in this store."""
    rows = {features.keys[i]: i for i in train_rows}  # the same bytes twice say nothing of distance
    kept = list(rows)
    rows = {kept[i]: rows[kept[i]] for i in sample_rows(len(kept))}
    if features.feature_set not in store.feature_sets() or not rows.keys() <= store.rows(features.feature_set).keys():
        _log.warning("bundle: its features are not in the cache %s; it cannot tell images unlike them", store.cache)
        return None
    found = fit_novelty(image_vectors(store, features.feature_set, list(rows)), features.groups[list(rows.values())])
    if found is None:
        _log.warning(
            "bundle: %d training images are too few, or of too few groups, to tell images unlike them", len(rows)
        )
    return found


def open_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """Prove a bundle, then open it.

    Raises
    ------
    BundleError
        It is not there, damaged, not all there, holds something it should not, or was written by a later version.
    """
    folder = Path(folder)
    about = proven(folder)
    try:
        spec = FeatureSpec.from_json(json.dumps(about["spec"]))
        novelty = _checked(folder, about)
        estimator = serialization.read(folder, about["model"], len(about["classes"]), about["files"])
    except (StoreError, WeightsError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise BundleError(f"{folder}: {error}") from error
    return Bundle(folder, about, spec, estimator, novelty)


def _checked(folder: Path, about: Mapping[str, Any]) -> Novelty | None:
    """What tells images unlike training, once all that format 2 added is known to be sound."""
    check_calibration(about["calibration"], len(about["classes"]))
    check_threshold(about["threshold"], len(about["classes"]))
    if len(set(about["classes"])) != len(about["classes"]):
        raise ValueError("two of its classes have one name")
    if TRAINING not in about["files"]:
        raise ValueError(f"{TRAINING} is missing")
    if (about["novelty"] is None) != (NOVELTY not in about["files"]):
        raise ValueError(f"{NOVELTY} is there and not described, or described and not there")
    return (
        None
        if about["novelty"] is None
        else read_novelty(about["novelty"], tensor_files.read_tensors(folder / NOVELTY))
    )
