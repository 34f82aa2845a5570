"""Which images a scouting may look at: labelled ones to learn from, and never those that a model is judged by later."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featcache.data.dataset import label_array
from featcache.data.tasks import Classification, Task, check_task, task_classes
from featcache.errors import DataError
from featcache.extraction.planning import choose_data, row_keys
from featcache.store.store import Store

from ..auditing.audit_record import joined_groups, read_record
from ..auditing.messages import NOT_AUDITED
from ..evaluation.clusters import group_codes
from ..evaluation.splits import check_divisible, set_aside
from ..vault.locks import require_division

_log = logging.getLogger(__name__)
_MOST = 20_000  # images: more tell no more networks apart that differ enough to matter
_TEST = 0.2  # of the rows, as the verbs that train set aside


@dataclass(frozen=True)
class ScoutedImages:
    """Images with labels and groups.

    Attributes
    ----------
    paths, keys : files and their row keys, n each.
    y : int array of shape (n,), positions in ``classes``.
    groups : array of objects of shape (n,).
    classes : names.
    data : folder or manifest that they come from.
    synthetic : whether they are the built-in sample.
    warnings : what an audit had to say of the data.
    """

    paths: list[str]
    keys: list[bytes]
    y: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...]
    data: str
    synthetic: bool
    warnings: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def strata(self) -> np.ndarray:
        """The classes: what is kept in proportion."""
        return self.y

    @property
    def task(self) -> Task:
        """Its classes told apart."""
        return Classification("multiclass", self.classes)

    @property
    def of_group(self) -> np.ndarray:
        """Groups counted from 0, int array of shape (n,)."""
        return group_codes(self.groups, len(self))

    def take(self, rows: np.ndarray) -> ScoutedImages:
        """Only these rows, in this order."""
        paths, keys = [self.paths[i] for i in rows], [self.keys[i] for i in rows]
        about = (self.classes, self.data, self.synthetic, self.warnings)
        return ScoutedImages(paths, keys, self.y[rows], self.groups[rows], *about)


def scouted_images(
    store: Store,
    data: str | os.PathLike[str] | None,
    task: str,
    classes: Sequence[str] | None,
    group_regex: str | None,
    skip_bad: bool,
    seed: int,
) -> ScoutedImages:
    """The training images; of data without a test part, those that no verb with this seed would judge by.

    Of more than 20,000, a random part with whole groups.

    Raises :class:`DataError` where a class has too few groups, or images cannot be read and must not be skipped.
    """
    check_task(task, classes)
    dataset = choose_data(store, data, group_regex)
    names = task_classes(task, dataset.labels, classes)
    dataset = dataset.take(i for i, label in enumerate(dataset.labels) if label in names)
    found, bad = row_keys(store, dataset.paths)
    if bad and not skip_bad:
        raise DataError(f"{len(bad)} of {len(found)} images cannot be read; go on without them with --skip-bad", bad)
    dataset = dataset.take(i for i, key in enumerate(found) if key is not None)
    keys = [key for key in found if key is not None]
    groups = np.array(dataset.groups, dtype=object)
    joined = joined_groups(keys, groups, store.cache)
    record = read_record(store.cache, keys)
    images = ScoutedImages(
        dataset.paths,
        keys,
        label_array(dataset.labels, names),
        groups if joined is None else joined,
        names,
        dataset.root,
        dataset.synthetic,
        (NOT_AUDITED,) if record is None else tuple(record.warnings),
    )
    splits = np.array(dataset.splits, dtype=object)
    rows = np.flatnonzero((splits == "") | (splits == "train"))
    if not len(rows):
        raise DataError(
            f"{dataset.root} has no training images to scout on; expected DIR/train/<class>/*, or 'train' or nothing "
            "in the split column"
        )
    if not (splits == "test").any():
        rows, _ = set_aside(images, rows, _TEST, seed, "test")
    images = images.take(_some(rows, images.of_group, seed))
    require_division(store.cache, images.keys)
    check_divisible(images.y, images.groups, names, 2, "scouting")
    return images


def _some(rows: np.ndarray, of_group: np.ndarray, seed: int) -> np.ndarray:
    if len(rows) <= _MOST:
        return rows
    _log.info("scout: of %d training images, patients with %d take part", len(rows), _MOST)
    place = np.random.default_rng(seed).permutation(int(of_group.max()) + 1)[of_group[rows]]
    return np.sort(rows[np.argsort(place, kind="stable")[:_MOST]])  # the last group may lose images
