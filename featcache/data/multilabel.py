"""A task of several labels at once, some of which are not known."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ..errors import DataError, UsageError
from .dataset import Dataset
from .label_table import UNCERTAIN, label_table
from .task import Kind, Targets, Task, check_name, listed

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Multilabel(Task):
    """Several labels at once, each of which an image has, has not, or is not known to have.

    Parameters
    ----------
    labels : tuple of str, "all" or None
        Columns of 0 and 1, or of ``column``'s labels, some; ``all`` are all that there are. None is all of a known
        collection, or of ``column``.
    column : str or None
        A column that lists an image's labels, between ``|``, ``;`` or commas.
    uncertain : {"ignore", "zeros", "ones"}
        What a cell of -1 counts as: not known, no, or yes.

    Raises
    ------
    UsageError
        No data whatever could have such labels.

    Examples
    --------
    >>> from pathlib import Path
    >>> import featcache
    >>> from PIL import Image
    >>> for number in range(3):
    ...     Image.new("L", (16, 16), 40 * number).save(f"{number}.png")
    >>> rows = ["path,findings", "0.png,Edema|Mass", "1.png,No Finding", "2.png,Mass"]
    >>> written = Path("table.csv").write_text(chr(10).join(rows))
    >>> result = featcache.extract("table.csv", "pixels", size=8)
    >>> features = featcache.load("pixels", task=featcache.Multilabel(column="findings"))
    >>> features.classes, features.y.tolist()
    (('Edema', 'Mass'), [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    """

    labels: tuple[str, ...] | Literal["all"] | None = None
    column: str | None = None
    uncertain: str = "ignore"
    kind: ClassVar[Kind] = "labels"

    def __post_init__(self) -> None:
        if self.uncertain not in UNCERTAIN:
            raise UsageError(f"--uncertain {self.uncertain!r} is unknown; expected one of {', '.join(UNCERTAIN)}")
        if self.labels is not None and self.labels != "all":
            object.__setattr__(self, "labels", tuple(self.labels))
            if len(set(self.labels)) != len(self.labels) or not all(self.labels):
                raise UsageError(f"--labels needs different names, got {listed(self.labels)}")

    @property
    def name(self) -> str:
        """``multilabel``."""
        return "multilabel"

    def targets(self, dataset: Dataset) -> Targets:
        """What it finds in a dataset.

        Parameters
        ----------
        dataset : Dataset
            Images and their table.

        Returns
        -------
        Targets
            The images of which any label is known, and what is known.

        Raises
        ------
        DataError
            There is nothing of it to learn, or a cell that it cannot be.
        """
        names, known = label_table(dataset, self.labels, self.column, self.uncertain)
        for name in names:
            check_name(name, "label", "Rename it, or name others with --labels A,B")
        rows = np.flatnonzero(~np.isnan(known).all(axis=1))
        if not len(rows):
            raise DataError(f"{dataset.root}: of no image is any of the labels {listed(names)} known")
        if len(rows) < len(known):
            _log.warning(
                "%d of %d images are left out: none of their labels is known", len(known) - len(rows), len(known)
            )
        nobody = [name for name, column in zip(names, known.T, strict=True) if not (column == 1).any()]
        if self.labels in (None, "all") and len(nobody) < len(names):
            kept = [label for label, name in enumerate(names) if name not in nobody]
            if nobody:
                _log.warning("labels that no image is known to have are left out: %s", ", ".join(nobody))
            names, known, nobody = tuple(names[label] for label in kept), known[:, kept], []
        if nobody:
            raise DataError(
                f"{dataset.root}: no image is known to have {listed(nobody)}; leave it out: --labels "
                + (",".join(name for name in names if name not in nobody) or "A,B")
            )
        return Targets(rows, known[rows], names)

    def judged(self, dataset: Dataset) -> Targets:
        """What there is to judge a model of it by; not all that it learnt has to be there.

        Parameters
        ----------
        dataset : Dataset
            Images and their table.

        Returns
        -------
        Targets
            The images of which any of its labels is known; one that the data does not have is known of
            none.

        Raises
        ------
        DataError
            Nothing of it is there.
        """
        assert isinstance(self.labels, tuple)
        column = self.column if self.column in dataset.table else None
        of_list = column is not None or len(dataset.label_columns) == 1
        there = self.labels if of_list else tuple(name for name in self.labels if name in dataset.table)
        if not there:
            raise DataError(
                f"{dataset.root}: no column {listed([*([self.column] if self.column else []), *self.labels])}; found "
                + (", ".join(dataset.table) or "none besides path, label, split and group")
            )
        _, found = label_table(dataset, there, column, self.uncertain, all_there=False)
        known = np.full((len(dataset), len(self.labels)), np.nan, np.float32)
        known[:, [self.labels.index(name) for name in there]] = found
        rows = self._known(dataset, self.labels, known)
        return Targets(rows, known[rows], self.labels)

    def settled(self, names: Sequence[str]) -> Task:
        """The same task with the names that a dataset gave it.

        Parameters
        ----------
        names : sequence of str
            As of :class:`featcache.Features`' ``classes``.

        Returns
        -------
        Task
            With these labels.
        """
        return Multilabel(tuple(names), self.column, self.uncertain)

    def unknown(self, count: int, names: Sequence[str]) -> np.ndarray:
        """Targets of images of which nothing is known.

        Parameters
        ----------
        count : int
            How many images.
        names : sequence of str
            What targets are of.

        Returns
        -------
        numpy.ndarray
            NaN for each label.
        """
        return np.full((count, len(names)), np.nan, np.float32)

    def as_classes(self, y: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
        """One class for each row, to be drawn in one colour.

        Parameters
        ----------
        y : numpy.ndarray
            Targets.
        names : sequence of str
            What they are of.

        Returns
        -------
        codes : int array of shape (n,)
            The rarest label that each image has.
        called : tuple of str
            What the codes are called.
        """
        return self.strata(y), ("none of them", *names)

    def _known(self, dataset: Dataset, names: Sequence[str], known: np.ndarray) -> np.ndarray:
        """Rows of which any label is known."""
        rows = np.flatnonzero(~np.isnan(known).all(axis=1))
        if not len(rows):
            raise DataError(f"{dataset.root}: of no image is any of the labels {listed(names)} known")
        if len(rows) < len(known):
            count = len(known) - len(rows)
            _log.warning("%d of %d images are left out: none of their labels is known", count, len(known))
        return rows

    def wrong(self, y: np.ndarray, answers: np.ndarray) -> np.ndarray | None:
        """Which rows have an answer that is not true.

        Parameters
        ----------
        y : numpy.ndarray
            Targets.
        answers : numpy.ndarray
            What a model says, of the same shape.

        Returns
        -------
        bool array of shape (n,), or None
            Those of which a label that is known is said to be otherwise.
        """
        return ((answers != y) & ~np.isnan(y)).any(axis=1)

    def strata(self, y: np.ndarray) -> np.ndarray:
        """What is kept in proportion where rows are divided.

        Parameters
        ----------
        y : numpy.ndarray
            Targets.

        Returns
        -------
        int array of shape (n,)
            The rarest label that each image has, counted from 1; 0 where it has none.
        """
        often = np.where((y == 1).any(axis=0), (y == 1).sum(axis=0), len(y) + 1)
        order = np.argsort(often, kind="stable")
        has = (y == 1)[:, order]
        return np.where(has.any(axis=1), order[has.argmax(axis=1)] + 1, 0)

    def counts(self, y: np.ndarray, names: Sequence[str]) -> dict[str, int]:
        """How many rows there are of what.

        Parameters
        ----------
        y : numpy.ndarray
            Targets.
        names : sequence of str
            What they are of.

        Returns
        -------
        dict of str to int
            Images that are known to have each label.
        """
        return dict(zip(names, map(int, (y == 1).sum(axis=0)), strict=True))

    def columns(self, y: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """The targets as columns of a table.

        Parameters
        ----------
        y : numpy.ndarray
            Targets.
        names : sequence of str
            What they are of.

        Returns
        -------
        dict of str to array
            One a label: 1, 0, or NaN.
        """
        return {f"label:{name}": column for name, column in zip(names, y.T, strict=True)}
