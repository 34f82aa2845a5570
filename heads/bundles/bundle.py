"""Bundles: a folder with all that predicts on a new image.

::

    bundle.json              what it is: spec, task, classes, model, scores, versions, and the SHA-256 of each file
    head.safetensors         a head's weights, in Keras' order, or
    model.skops              an sklearn model, or
    model.ubj                an XGBoost model; what stands before it in its pipeline is in model.skops
    network.openvino         the frozen network that makes the features, converted and whole (not for pixels), or
    network.safetensors      its weights alone: of a network of the table that OpenVINO does not compute
    training.safetensors     row keys (their first 8 bytes) of the images it learnt from
    novelty.safetensors      vectors of at most 5,000 of those, by which to tell an image that is unlike them
    held_out.safetensors     scores of patients it did not learn from, which sets are calibrated by; may be missing
    self-test-0.picture …    drawn pictures, and in self-test.safetensors what each step made of them where the bundle
                             was made (heads.bundles.self_test)

A bundle may come from anywhere, so it is proven before anything in it is opened: ``bundle.json`` must be written the
way this module writes it, digest and all, and hold what :mod:`heads.bundles.bundle_schema` says; and the folder must
hold just the files it names, byte for byte, dot-files too. There is no pickle in it, skops loads only the types listed
here, and trees are checked before they are walked. Proven means undamaged and harmless to open; who made it, a digest
inside it cannot tell.

Format 2 added ``calibration``, ``threshold``, ``novelty`` (each null where there is none) and ``warnings``, what must
stand beside every metric of the model; bundles of format 1 open as if they had none. Of features of a
precision other than float32, ``precision`` says what that may do to answers (:mod:`heads.bundles.answer_error`).
Of format 4 ``look`` may say which look at its test images the scores were, and where that was noted
(:class:`heads.vault.looks.Look`).

Format 4 added ``learns``, the task as :func:`featcache.data.tasks.about_task` writes it down, and models of several
labels and of a number: ``classes`` then names the labels, or the number, and of labels ``calibration`` and
``threshold`` are lists. Models that learnt each label by itself lie in files of their own (``label-000.skops``).
Bundles of earlier formats are of classes. ``self_test``, with its files, may stand there or not.

``held_out.safetensors`` is of format 4, and may be missing: three tensors of one length, the scores (float64), and
whose and of what question each is (int32), numbers counted from 0 in place of names
(:mod:`heads.evaluation.held_out_scores`). Without it a bundle gives no sets.

Format 3 carries the converted network of networks of the table too, where format 2 had their weights: it predicts
without TensorFlow, which takes seconds to load and to build the network, and a machine that only predicts need not have
it. A bundle holds one of the two files, never both: they are of one size (VGG16's 59 MB each), and whoever wants the
weights has them in the cache that the model was made in.

To change the format: raise VERSION (in :mod:`heads.bundles.integrity`), keep reading the older ones, and keep one of
each as a test.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from featcache.data.tasks import Task, task_of
from featcache.errors import BundleError, FeatcacheError, StoreError, WeightsError
from featcache.features.labelled_features import Features
from featcache.spec import FeatureSpec
from featcache.system import schema, tensor_files

from ..evaluation.calibration import check_calibration
from ..evaluation.decision import threshold_value
from ..evaluation.held_out_scores import HeldOutScores
from ..evaluation.operating_point import check_threshold
from ..evaluation.task_metrics import TASK_METRICS
from ..training.checked_rows import blocks
from . import serialization
from .answer_error import close_calls
from .answer_sets import answer_sets, read_held_out, require_sets
from .bundle_schema import TESTS
from .drawn_pictures import NAMES
from .integrity import AGAIN, CONVERTED, HELD_OUT, KEY_BYTES, NOVELTY, SELF_TEST, TRAINING, WEIGHTS, proven
from .live_network import LiveNetwork
from .out_of_distribution import Novelty, read_novelty


@dataclass(frozen=True)
class Bundle:
    """A bundle that was proven and opened, as :func:`open_bundle` gives it.

    Attributes
    ----------
    folder : pathlib.Path
        Where it is.
    about : mapping
        What ``bundle.json`` says, see :mod:`heads.bundles.bundle`.
    spec : featcache.FeatureSpec
        What its features are.
    estimator : estimator
        The model, fitted; its classes are positions in ``classes``. Its probabilities are not calibrated.
    novelty : Novelty or None
        How to tell an image that is unlike those it learnt from.
    held_out : HeldOutScores or None
        Of patients it did not learn from, what ``sets`` are calibrated by.
    """

    folder: Path
    about: Mapping[str, Any]
    spec: FeatureSpec
    estimator: Any
    novelty: Novelty | None
    held_out: HeldOutScores | None = None

    @property
    def task(self) -> Task:
        """What it learnt, with the names that it settled on."""
        return task_of(self.about["learns"]).settled(self.classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities; or names of labels, or of the number."""
        return tuple(self.about["classes"])

    @property
    def pooling(self) -> str:
        """How a map becomes a row."""
        return str(self.about["pooling"])

    @property
    def network(self) -> Path | None:
        """The frozen network, converted, or its weights (``.openvino``, ``.safetensors``); None where it has none."""
        held = [name for name in (CONVERTED, WEIGHTS) if name in self.about["files"]]
        return self.folder / held[0] if held else None

    @property
    def synthetic(self) -> bool:
        """Whether it learnt from the built-in sample."""
        return bool(self.about["synthetic"])

    @property
    def threshold(self) -> Any:
        """From which probability of the second of two classes on it is the label, of labels one for each; or None."""
        return threshold_value(self.about["threshold"])

    @property
    def warnings(self) -> list[str]:
        """What must stand beside every metric of this model."""
        return list(self.about["warnings"])

    def labels(self, probabilities: np.ndarray) -> np.ndarray:
        """What the model says of each row.

        The position of its class, int array of shape (n,); of several labels 1 or 0 for each, (n, n_labels); a number
        is what it is.
        """
        return TASK_METRICS[self.task.kind].answers(probabilities, self.threshold)

    def sets(self, probabilities: np.ndarray, coverage: float = 0.9) -> np.ndarray:
        """Sets of answers that hold the truth with a probability, in place of single ones.

        The truth of a random image of a random patient is in its set so often, where the patients are drawn as those
        were that calibrate, and in the mean over which these are. That is said of the images of each class where each
        has patients enough, else of all together; of several labels of each by itself, and of those that have it and
        have it not by themselves.

        Parameters
        ----------
        probabilities : numpy.ndarray
            As ``predict_proba`` or ``predict_images`` give them.
        coverage : float, optional
            How often, 0.5 to 0.99.

        Returns
        -------
        numpy.ndarray
            Which classes are in the set, bool array of shape (n, n_classes); of several labels whether no and yes are,
            (n, n_labels, 2); of a number the ends of its interval, (n, 2). What ``labels`` gives is always in it.

        Raises
        ------
        UsageError
            Another coverage, a bundle without held-out scores, or scores of too few patients, 9 for 0.9.
        """
        kind = self.task.kind
        require_sets(self.held_out, kind, self.classes, coverage)
        assert self.held_out is not None
        return answer_sets(self.held_out, kind, probabilities, self.labels(probabilities), coverage)

    def close_calls(self, probabilities: np.ndarray) -> np.ndarray | None:
        """Which answers float32 might give otherwise, bool array of shape (n,); None where that is not known."""
        return close_calls(self.about["precision"], self.task.kind, probabilities, self.threshold)

    @property
    def in_float32(self) -> Bundle:
        """The same model for features of float32; the network of it, too, where the bundle holds that."""
        files = dict(self.about["files"])
        if self.spec.precision == "int8":
            files.pop(CONVERTED, None)
        return replace(self, spec=self.spec.in_float32, about={**self.about, "files": files})

    def predict_proba(self, features: Features) -> np.ndarray:
        """Probabilities of kept features, calibrated where the bundle says how.

        An array of shape (n, n_classes), of several labels (n, n_labels); of a number the numbers, (n,).

        Raises :class:`BundleError` where the features are of another spec or pooling than the model's.
        """
        if features.spec.hex != self.spec.hex or features.pooling != self.pooling:
            raise BundleError(
                f"{self.folder}: made for features of {self.spec.id} ({self.pooling}), given {features.spec.id} "
                f"({features.pooling}); they mean something else to this model"
            )
        probabilities = np.concatenate([self._of_model(block) for block in blocks(features.X)])
        return TASK_METRICS[self.task.kind].mended(probabilities, self.about["calibration"])

    def predict_images(self, images: Sequence[str | os.PathLike[str]] | np.ndarray) -> np.ndarray:
        """Probabilities of images, in memory alone: for programs that open a bundle once and answer image by image.

        The network is loaded by the first call. What an image gives is what :func:`heads.predict` says of it.

        Parameters
        ----------
        images : sequence of str or path-like, or numpy.ndarray
            Files, or uint8 RGB pixels of shape (n, size, size, 3), ``size`` being that of ``spec``, resized as its
            ``framing`` says.

        Returns
        -------
        numpy.ndarray
            As of :meth:`predict_proba`; ``labels`` makes labels of it.

        Raises
        ------
        BundleError
            The bundle holds no network.
        DataError
            An image cannot be used, or there is none.
        """
        return self.answer_rows(self._network_at_work.rows(images))

    def answer_rows(self, rows: np.ndarray) -> np.ndarray:
        """Probabilities of rows as its features are, as of :meth:`predict_proba`; nobody checks whose they are."""
        return TASK_METRICS[self.task.kind].mended(self._of_model(rows), self.about["calibration"])

    @functools.cached_property
    def _network_at_work(self) -> LiveNetwork:
        network = self.network
        digest = "" if network is None else str(self.about["files"][network.name])
        return LiveNetwork(self.spec, self.pooling, network, digest)

    def _of_model(self, block: np.ndarray) -> np.ndarray:
        """The model's own probabilities; of a file of someone else's, it may be sound in form and yet make no sense."""
        try:
            given = TASK_METRICS[self.task.kind].outputs(self.estimator, block)
            wanted = (len(block),) if self.task.kind == "number" else (len(block), len(self.classes))
            sound = given.shape == wanted and bool(np.isfinite(given).all())
        except (FeatcacheError, MemoryError):
            raise
        except Exception as error:
            raise BundleError(f"{self.folder}: its model cannot be used on its features ({error}). {AGAIN}") from error
        if not sound:
            raise BundleError(
                f"{self.folder}: its model gives an array of shape {given.shape}, or numbers that are none; expected "
                f"{wanted}. {AGAIN}"
            )
        return given

    def trained_on(self, keys: Sequence[bytes]) -> np.ndarray:
        """Which of the images (by row key) the model learnt from, bool array of shape (n,)."""
        kept = tensor_files.read_tensors(self.folder / TRAINING)
        if len(kept) != 1 or kept[0].ndim != 2 or kept[0].dtype != np.uint8 or kept[0].shape[1] != KEY_BYTES:
            raise BundleError(f"{self.folder / TRAINING}: no list of row keys. {AGAIN}")
        known = {key.tobytes() for key in kept[0]}
        return np.array([key[:KEY_BYTES] in known for key in keys], dtype=bool)


def open_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """Prove a bundle, then open it.

    Parameters
    ----------
    folder : str or path-like
        The bundle; whoever made it, nothing in it is run.

    Returns
    -------
    Bundle
        Its ``classes``, ``pooling``, ``network``, ``threshold`` and ``warnings``, the ``estimator``,
        ``predict_proba`` for features that :func:`featcache.load` gives, ``predict_images`` for files and arrays, and
        ``sets`` of answers that hold the truth as often as asked for.

    Raises
    ------
    BundleError
        It is not there, damaged, not all there, holds something it should not, or was written by a later version.

    See Also
    --------
    predict : Labels images by a bundle.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from sklearn.linear_model import LogisticRegression
    >>> import featcache, heads
    >>> from heads.bundles.saving import save_bundle
    >>> folder = Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> for name, grey in (("covid", 60), ("normal", 160)):
    ...     (folder / "images" / name).mkdir(parents=True)
    ...     for number in range(12):
    ...         pixels = rng.normal(grey, 20, (64, 64)).clip(0, 255).astype(np.uint8)
    ...         Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    >>> cache = folder / "cache"
    >>> extracted = featcache.extract(folder / "images", backbone="pixels", size=32, cache=cache)
    >>> f = featcache.load("pixels", task="binary", cache=cache)
    >>> model = LogisticRegression().fit(f.X, f.y)
    >>> rows = np.arange(len(f))
    >>> saved = save_bundle(folder / "bundle", model, f, rows, task="binary", scores={}, cache=cache)
    >>> bundle = heads.open_bundle(folder / "bundle")
    >>> bundle.classes, bundle.pooling, bundle.predict_proba(f).shape
    (('normal', 'covid'), 'flatten', (24, 2))
    >>> bundle.labels(bundle.predict_images(f.paths[:2]))
    array([1, 1])
    """
    folder = Path(folder)
    about = proven(folder)
    try:
        spec = FeatureSpec.from_json(json.dumps(about["spec"]))
        novelty = _checked(folder, about, spec)
        kind = about["learns"]["kind"]
        estimator = serialization.read(folder, about["model"], len(about["classes"]), about["files"], kind)
        held_out = read_held_out(folder / HELD_OUT, kind, about["classes"])
    except (StoreError, WeightsError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise BundleError(f"{folder}: {error}") from error
    return Bundle(folder, about, spec, estimator, novelty, held_out)


def _checked(folder: Path, about: Mapping[str, Any], spec: FeatureSpec) -> Novelty | None:
    """What tells images unlike training, once all that formats 2 and 3 added is known to be sound."""
    kind, names = about["learns"]["kind"], about["classes"]
    if kind == "labels":
        for settled, check in (("calibration", check_calibration), ("threshold", check_threshold)):
            if about[settled] is not None:
                for _, one in zip(names, about[settled], strict=True):
                    check(one, 2)
    elif kind == "number":
        if len(names) != 1 or about["calibration"] is not None or about["threshold"] is not None:
            raise ValueError("a number has one name, and neither calibration nor threshold")
    elif len(names) < 2:
        raise ValueError("it has one class, and two are the least")
    else:
        check_calibration(about["calibration"], len(names))
        check_threshold(about["threshold"], len(names))
    if about["scores"].get("test") is not None:
        schema.check(about["scores"]["test"], TESTS[kind], f"{folder}: its test", AGAIN, BundleError)
    if len(set(about["classes"])) != len(about["classes"]):
        raise ValueError("two of its classes have one name")
    if TRAINING not in about["files"]:
        raise ValueError(f"{TRAINING} is missing")
    if {WEIGHTS, CONVERTED} <= set(about["files"]):
        raise ValueError(f"it holds both {CONVERTED} and {WEIGHTS}, of which a bundle has one")
    if WEIGHTS in about["files"] and not spec.of_table:
        raise ValueError(f"{WEIGHTS} are of no network that is not of the table; expected {CONVERTED}")
    if (about["novelty"] is None) != (NOVELTY not in about["files"]):
        raise ValueError(f"{NOVELTY} is there and not described, or described and not there")
    pictures = () if about["self_test"] is None else (*about["self_test"]["pictures"], SELF_TEST)
    if len(set(pictures)) != len(pictures) or set(pictures) != {SELF_TEST, *NAMES} & set(about["files"]):
        raise ValueError("a self-test is there and not described, or described and not there")
    if about["novelty"] is None:
        return None
    return read_novelty(about["novelty"], tensor_files.read_tensors(folder / NOVELTY))
