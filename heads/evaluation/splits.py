"""Which rows a model learns from, is watched on, and is judged on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from featcache.data.tasks import Task
from featcache.errors import DataError, UsageError
from featcache.features.labelled_features import Features
from featcache.features.stored_rows import StoredRows

_log = logging.getLogger(__name__)
Fold = tuple[np.ndarray, np.ndarray]


class Labelled(Protocol):
    """What rows need to be divided; :class:`featcache.Features` has it."""

    @property
    def y(self) -> np.ndarray:
        """Targets, array of shape (n, ...)."""

    @property
    def strata(self) -> np.ndarray:
        """What is kept in proportion, int array of shape (n,): of classes, ``y`` itself."""

    @property
    def task(self) -> Task:
        """What the targets are of."""

    @property
    def groups(self) -> np.ndarray:
        """Group of each row, array of shape (n,)."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels."""


@dataclass(frozen=True)
class Partition:
    """Positions of the rows of each part, int arrays; ``made`` names the parts that the data did not give."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    made: tuple[str, ...] = ()

    def parts(self) -> dict[str, np.ndarray]:
        """The parts by name."""
        return {"train": self.train, "val": self.val, "test": self.test}


def partition(features: Features, fraction: float = 0.2, seed: int = 0) -> Partition:
    """The data's own train, val and test parts; what is missing is set aside, stratified, with groups kept whole.

    Parameters
    ----------
    features : rows with their splits and groups; rows of no split count as training rows.
    fraction : share of the training rows that a missing test part takes, and then a missing validation part.
    seed : the same seed gives the same parts.

    Raises
    ------
    DataError
        A class is missing from a part, or cannot be divided: too few images, or all of one group. Or features are not
        finite.
    """
    _require_finite(features)
    splits = np.where(features.splits == "", "train", features.splits)
    rows = {name: np.flatnonzero(splits == name) for name in ("train", "val", "test")}
    if not len(rows["train"]):
        raise DataError("the data has no train split; expected DIR/train/<class>/*, or 'train' in the split column")
    made = []
    for name in ("test", "val"):
        if not len(rows[name]):
            rows["train"], rows[name] = set_aside(features, rows["train"], fraction, seed, name)
            made.append(name)
            _log.info("split: no %s part is given; %d of the training rows are set aside for it", name, len(rows[name]))
    _require_every_class(features, rows)
    torn = set(features.groups[rows["test"]]) & set(features.groups[np.concatenate([rows["train"], rows["val"]])])
    if torn:
        _log.warning(
            "split: %d group(s) stand in test and in training too, such as %s: the test metrics overestimate",
            len(torn),
            min(torn),
        )
    return Partition(rows["train"], rows["val"], rows["test"], tuple(made))


def set_aside(
    features: Labelled, rows: np.ndarray, fraction: float, seed: int, part: str = "validation"
) -> tuple[np.ndarray, np.ndarray]:
    """Divide rows in two, classes in proportion and groups whole; returns (kept, set aside)."""
    y, groups = features.strata[rows], features.groups[rows]
    if features.task.kind == "classes":
        check_divisible(y, groups, features.classes, 2, part)
    else:
        y = merged(y, groups, 2)
    folds = max(2, round(1 / fraction))
    # Fewer groups than folds in a class would leave that class out of some fold, so look for one that has it.
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    present = len(np.unique(y))
    fewest = min(len(set(groups[y == label])) for label in np.unique(y))
    if fewest < folds:
        splitter = StratifiedGroupKFold(max(2, fewest), shuffle=True, random_state=seed)
    for kept, aside in splitter.split(y, y, groups):
        if len(np.unique(y[kept])) == present == len(np.unique(y[aside])):
            return rows[kept], rows[aside]
    raise DataError(
        f"the groups cannot be divided so that the {part} part and the rest both have every class; give the split "
        "yourself: DIR/{train,val,test}/<class>/*, or a manifest with a split column"
    )


def training_folds(features: Features, parts: Partition, cv: int, seed: int) -> tuple[np.ndarray, list[Fold]]:
    """What cross-validation learns from: positions of the train and val rows, and ``cv`` folds of those.

    A fold is (learnt from, held out), positions within the rows; classes in proportion and groups whole.

    Raises :class:`UsageError` for fewer than two folds, :class:`DataError` where a class has fewer groups than folds.
    """
    rows = np.sort(np.concatenate([parts.train, parts.val]))
    classes = features.classes if features.task.kind == "classes" else None
    return rows, group_folds(features.strata[rows], features.groups[rows], classes, cv, seed)


def group_folds(
    y: np.ndarray, groups: np.ndarray, classes: Sequence[str] | None, cv: int, seed: int, purpose: str = "folds (--cv)"
) -> list[Fold]:
    """The folds of some rows, as :func:`training_folds` cuts them; strata that are no classes (None) are merged where
    they have fewer groups than folds."""
    if cv < 2:
        raise UsageError(f"--cv {cv}: expected at least 2 folds")
    if classes is None:
        y = merged(y, groups, cv)
    check_divisible(y, groups, classes or (), cv, f"{cv} {purpose}")
    return list(StratifiedGroupKFold(cv, shuffle=True, random_state=seed).split(y, y, groups))


def merged(strata: np.ndarray, groups: np.ndarray, parts: int) -> np.ndarray:
    """Strata, int array of shape (n,), those of fewer groups than parts joined to the most frequent one."""
    names, codes, counts = np.unique(strata, return_inverse=True, return_counts=True)
    number = len(set(groups))
    if number < parts:
        raise DataError(
            f"the images are of {number} group(s), and {parts} parts are to be made of them with groups whole; check "
            "--group-regex or the group column, or give more groups"
        )
    few = [code for code in range(len(names)) if len(set(groups[codes == code])) < parts]
    return np.where(np.isin(codes, few), counts.argmax(), codes)


def check_divisible(y: np.ndarray, groups: np.ndarray, classes: Sequence[str], parts: int, purpose: str) -> None:
    """Raise :class:`DataError` unless every class has images of at least ``parts`` groups."""
    if len(y) > 1 and len(set(groups)) == 1:
        raise DataError(
            f"all {len(y)} images belong to one group, {groups[0]!r}, so none can be held back for {purpose} without "
            "tearing it apart; check --group-regex or the group column, or give more groups"
        )
    for label, name in enumerate(classes):
        images = int((y == label).sum())
        independent = len(set(groups[y == label]))
        if independent < parts:
            grouped = images > independent
            there = f"{images} image{'s' if images != 1 else ''}" + (f" of {independent} group" if grouped else "")
            raise DataError(
                f"class {name!r} has {there} to learn from; {purpose} needs at least {parts} "
                f"{'groups' if grouped else 'images'} of each class. Add some, or leave the class out: --classes "
                + ",".join(other for other in classes if other != name)
            )


def _require_finite(features: Features) -> None:
    if isinstance(features.X, StoredRows):
        return  # the store takes none that are not, and training looks at each block it reads
    flat = features.X.reshape(len(features), -1)
    bad = [path for path, row in zip(features.paths, flat, strict=True) if not np.isfinite(row).all()]
    if bad:
        raise DataError(
            f"the features of {len(bad)} image(s) hold NaN or infinite values, the first is {bad[0]}; run "
            "'cache verify', 'cache repair', and extract again"
        )


def _require_every_class(features: Features, rows: dict[str, np.ndarray]) -> None:
    if features.task.kind != "classes":
        return
    for part, index in rows.items():
        counts = np.bincount(features.y[index], minlength=len(features.classes))
        missing = [name for name, count in zip(features.classes, counts, strict=True) if not count]
        if missing:
            there = ", ".join(f"{name} {count}" for name, count in zip(features.classes, counts, strict=True) if count)
            raise DataError(
                f"the {part} part has no images of {', '.join(missing)} (it has {there}); add some, name the classes "
                f"to tell apart with --classes, or remove the {part} split so that one is made"
            )


def clean_splits(y: np.ndarray, splits: Sequence[str], groups: Sequence[str], seed: int = 0) -> list[str]:
    """Splits that tear no group apart.

    Given ones stay, but for groups in several: their images go together where most of them stood, else to train.
    Without given ones, a fifth of the groups becomes the test part and a fifth the validation part, classes in
    proportion, where there are enough.
    """
    given = np.array(splits, dtype=object)
    of_group = np.unique(np.asarray(groups, str), return_inverse=True)[1]
    if (given != "").any():
        whole = np.where(given == "", "train", given)
        for group in np.flatnonzero(np.bincount(of_group) > 1):
            rows = np.flatnonzero(of_group == group)
            names, counts = np.unique(whole[rows].astype(str), return_counts=True)
            if len(names) > 1:
                most = names[counts == counts.max()]
                whole[rows] = "train" if "train" in most else most[0]
        return [str(name) for name in whole]
    fewest = min(len(np.unique(of_group[y == label])) for label in np.unique(y))
    whole = np.full(len(y), "train", dtype=object)
    if fewest >= 5:
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(y, y, of_group)
        for name, (_, rows) in zip(("test", "val"), folds, strict=False):
            whole[rows] = name
    return [str(name) for name in whole]
