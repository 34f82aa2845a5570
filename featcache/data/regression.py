"""A task of a number."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import DataError, UsageError
from ..system.plain_text import printable
from .dataset import Dataset
from .metadata import is_unknown, number
from .private_columns import are_dates
from .task import Kind, Targets, Task, check_name

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Regression(Task):
    """A number, such as an age.

    Parameters
    ----------
    target : str
        The column that holds it.

    Raises
    ------
    UsageError
        No column is named.

    Examples
    --------
    >>> from pathlib import Path
    >>> import featcache
    >>> from PIL import Image
    >>> for number in range(3):
    ...     Image.new("L", (16, 16), 40 * number).save(f"{number}.png")
    >>> rows = ["path,age", "0.png,30", "1.png,061Y", "2.png,18M"]
    >>> written = Path("table.csv").write_text(chr(10).join(rows))
    >>> result = featcache.extract("table.csv", "pixels", size=8)
    >>> featcache.load("pixels", task=featcache.Regression("age")).y
    array([30. , 61. ,  1.5])
    """

    target: str = ""
    kind: ClassVar[Kind] = "number"

    def __post_init__(self) -> None:
        if not self.target:
            raise UsageError("task regression learns a number: name its column with --target COLUMN")

    @property
    def name(self) -> str:
        """``regression``."""
        return "regression"

    def targets(self, dataset: Dataset) -> Targets:
        """What it finds in a dataset.

        Parameters
        ----------
        dataset : Dataset
            Images and their table.

        Returns
        -------
        Targets
            The images of which the number is known, and it.

        Raises
        ------
        DataError
            There is nothing of it to learn, or a cell that it cannot be.
        """
        check_name(self.target, "column", "Rename it")
        y = self._numbers(dataset)
        rows = np.flatnonzero(~np.isnan(y))
        if len(np.unique(y[rows])) < 2:
            raise DataError(f"{dataset.root}: column {self.target!r} has fewer than two different numbers to learn")
        return Targets(rows, y[rows], (self.target,))

    def judged(self, dataset: Dataset) -> Targets:
        """What there is to judge a model of it by; not all that it learnt has to be there.

        Parameters
        ----------
        dataset : Dataset
            Images and their table.

        Returns
        -------
        Targets
            The images of which the number is known.

        Raises
        ------
        DataError
            Nothing of it is there.
        """
        y = self._numbers(dataset)
        rows = np.flatnonzero(~np.isnan(y))
        if not len(rows):
            raise DataError(f"{dataset.root}: column {self.target!r} holds no number")
        return Targets(rows, y[rows], (self.target,))

    def settled(self, names: Sequence[str]) -> Task:
        """The same task with the names that a dataset gave it.

        Parameters
        ----------
        names : sequence of str
            As of :class:`featcache.Features`' ``classes``.

        Returns
        -------
        Task
            Itself.
        """
        return self

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
            NaN.
        """
        return np.full(count, np.nan)

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
            Fifths of the numbers, called by their ends.
        called : tuple of str
            What the codes are called.
        """
        codes = self.strata(y)
        there = np.unique(codes)
        called = tuple(f"{names[0]} {y[codes == code].min():.4g} to {y[codes == code].max():.4g}" for code in there)
        return np.searchsorted(there, codes), called

    def _numbers(self, dataset: Dataset) -> np.ndarray:
        """The numbers, NaN where unknown."""
        if self.target not in dataset.table:
            there = ", ".join(dataset.table) or "none besides path, label, split and group"
            raise DataError(f"{dataset.root}: no column {self.target!r}; found {there}")
        cells = dataset.table[self.target]
        if are_dates({cell for cell in cells if not is_unknown(cell)}):
            raise DataError(
                f"{dataset.root}: column {self.target!r} holds dates; expected numbers. No age is made of a date: "
                "write the age at the time of the image, in years, into a column of its own"
            )
        values = [number(cell) for cell in cells]
        odd = [i for i, value in enumerate(values) if value is None]
        if odd:
            cell = printable(cells[odd[0]], lines=False)
            raise DataError(
                f"{dataset.root}: column {self.target!r} holds {len(odd)} cell(s) that are no numbers, the first is "
                f"{cell!r} in row {odd[0] + 1}; expected numbers (an age in years), or nothing where it is unknown"
            )
        y = np.array(values, dtype=np.float64)
        unknown = int(np.isnan(y).sum())
        if unknown:
            _log.warning("%d of %d images are left out: their %s is not known", unknown, len(y), self.target)
        return y

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
            None: numbers are more or less far off.
        """
        return None

    def strata(self, y: np.ndarray) -> np.ndarray:
        """What is kept in proportion where rows are divided.

        Parameters
        ----------
        y : numpy.ndarray
            Targets.

        Returns
        -------
        int array of shape (n,)
            Fifths of the numbers.
        """
        return np.searchsorted(np.quantile(y, (0.2, 0.4, 0.6, 0.8)), y, side="left")

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
            Images.
        """
        return {names[0]: len(y)}

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
            ``y``.
        """
        return {"y": y}
