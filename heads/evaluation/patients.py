"""One answer a patient, of what a model says of each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from featcache.data.tasks import Kind
from featcache.errors import DataError, UsageError

WAYS = ("mean", "max", "noisy-or")


@dataclass(frozen=True)
class Patients:
    """Rows of one patient each, in the order in which patients first stand among the images.

    Attributes
    ----------
    outputs, y : arrays of shape (n_patients, …), otherwise as of images.
    groups : array of shape (n_patients,).
    mixed : patients whose images have different targets, those left out among them.
    left_out : patients who are no row, since of several classes none is theirs.
    """

    outputs: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    mixed: int
    left_out: int


def per_patient(
    outputs: np.ndarray, y: np.ndarray, groups: Sequence[object] | np.ndarray, how: str, kind: Kind
) -> Patients:
    """What a model says of each patient, and what is true of him.

    ``mean`` is the mean of what it says of his images; ``max`` the highest probability; ``noisy-or`` the probability
    that any image shows it, were images independent: ``1 - (1 - p1) (1 - p2) …`` (Pearl 1988), which grows with the
    number of images.

    True of a patient is: of two classes the second, and of labels each one, where any of his images has it. A label
    that none has is known to be absent only where every image is known not to have it. Of several classes, a patient
    with images of different ones is left out. Of numbers it is their mean.

    Parameters
    ----------
    outputs, y : what a model gives and what is true, n rows; see :class:`featcache.Features`.
    groups : n hashable values.
    how : {"mean", "max", "noisy-or"}
        Several classes and numbers take ``mean`` alone.
    kind : {"classes", "labels", "number"}
        Of the task.

    Raises
    ------
    UsageError
        Another way, or one that the kind does not take.
    DataError
        No rows, arrays that do not fit each other, or no patient who can be a row.
    """
    outputs, y = np.asarray(outputs), np.asarray(y)
    if not len(y) or not len(y) == len(outputs) == len(groups):
        raise DataError(
            f"found {len(outputs)} answers, {len(y)} targets and {len(groups)} groups; expected as many, and some"
        )
    check_per_patient(how, kind, 1 if outputs.ndim == 1 else outputs.shape[1])
    names = np.asarray(groups)
    _, start, code = np.unique(names if names.dtype.kind in "iu" else names.astype(str), True, True)
    order = np.argsort(start)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    images = _Images(place[code.ravel()], len(order))
    told, truth, mixed, kept = _KINDS[kind](images, outputs, y, how)
    if not kept.any():
        raise DataError(f"each of the {len(kept)} patients has images of several classes, so none is one row")
    return Patients(told[kept], truth[kept], names[start[order]][kept], int(mixed.sum()), int((~kept).sum()))


def check_per_patient(how: str, kind: Kind, n_outputs: int) -> None:
    """Raise :class:`UsageError` for a way that this kind of task does not take."""
    if how not in WAYS:
        raise UsageError(f"--per-patient {how!r} is unknown; expected one of {', '.join(WAYS)}")
    if how == "mean" or kind == "labels" or (kind == "classes" and n_outputs == 2):
        return
    why = (
        "the images' predicted numbers have a mean, but no highest probability"
        if kind == "number"
        else f"of {n_outputs} classes none is the one looked for"
    )
    raise UsageError(f"--per-patient {how}: {why}; expected mean")


@dataclass(frozen=True)
class _Images:
    """Which patient each image is of."""

    of_patient: np.ndarray
    count: int

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sums over each patient's images, in float64."""
        sums = np.zeros((self.count, *values.shape[1:]))
        np.add.at(sums, self.of_patient, values)
        return sums

    def mean(self, values: np.ndarray) -> np.ndarray:
        images = np.bincount(self.of_patient, minlength=self.count).reshape(-1, *[1] * (values.ndim - 1))
        return np.asarray(self.total(values) / images)

    def highest(self, values: np.ndarray) -> np.ndarray:
        found = np.full((self.count, *values.shape[1:]), -np.inf)
        np.maximum.at(found, self.of_patient, values)
        return found

    def any(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(self.total(values.astype(np.int64)) > 0)

    def noisy_or(self, values: np.ndarray) -> np.ndarray:
        """From sums of logarithms, so that many sure images do not end in exactly 1 before they must."""
        with np.errstate(divide="ignore"):
            return np.asarray(-np.expm1(self.total(np.log1p(-np.clip(values.astype(np.float64), 0, 1)))))

    def probabilities(self, values: np.ndarray, how: str) -> np.ndarray:
        return {"mean": self.mean, "max": self.highest, "noisy-or": self.noisy_or}[how](values)


_Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # outputs, y, which are mixed, which are kept


def _of_classes(images: _Images, outputs: np.ndarray, y: np.ndarray, how: str) -> _Parts:
    n_classes = outputs.shape[1]
    has = images.any(np.eye(n_classes, dtype=np.int64)[y])
    mixed = has.sum(axis=1) > 1
    if n_classes == 2:
        second = images.probabilities(outputs[:, 1], how)
        return np.column_stack([1 - second, second]), has[:, 1].astype(np.int64), mixed, np.ones(images.count, bool)
    told = images.mean(outputs)
    return told / told.sum(axis=1, keepdims=True), has.argmax(axis=1).astype(np.int64), mixed, ~mixed


def _of_labels(images: _Images, outputs: np.ndarray, y: np.ndarray, how: str) -> _Parts:
    positive, negative, unknown = (images.any(there) for there in (y == 1, y == 0, np.isnan(y)))
    truth = np.where(positive, 1, np.where(unknown, np.nan, 0)).astype(np.float32)
    mixed = (positive & negative).any(axis=1)
    return images.probabilities(outputs, how), truth, mixed, np.ones(images.count, bool)


def _of_number(images: _Images, outputs: np.ndarray, y: np.ndarray, how: str) -> _Parts:
    mixed = images.highest(y) > -images.highest(-y)
    return images.mean(outputs), images.mean(y), mixed, np.ones(images.count, bool)


_KINDS: dict[Kind, Callable[[_Images, np.ndarray, np.ndarray, str], _Parts]] = {
    "classes": _of_classes,
    "labels": _of_labels,
    "number": _of_number,
}
