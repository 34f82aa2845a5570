"""Metadata as probes: what one column of a table tells alone, and what it tells that a cell of it is empty."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from featcache.data.dataset import Dataset
from featcache.data.tasks import Multilabel, Regression, Task

from ..evaluation.association import is_known
from .questions import Measure, Question, held_out

_FEW = 8  # different numbers, each a category of its own; more are cut at their fifths
MISSING = " missing"


@dataclass(frozen=True)
class Column:
    """A column as categories.

    Attributes
    ----------
    name : of the column; with ``missing`` behind it, whether a cell is empty.
    codes : int array of shape (n,), -1 where it is not known.
    values : what the codes stand for, as text.
    counted : whether it holds numbers that were cut.
    """

    name: str
    codes: np.ndarray
    values: tuple[str, ...]
    counted: bool = False


def of_interest(dataset: Dataset, task: Task, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The metadata that is no part of the task: not its labels, nor other labels of a known collection.

    Parameters
    ----------
    dataset : whose ``metadata`` it is.
    task : what is learnt.
    names : of its classes, labels or number.
    """
    own = {*dataset.label_columns, *names}
    if isinstance(task, Multilabel):
        own.add(task.column or "")
    if isinstance(task, Regression):
        own.add(task.target)
    return {name: column for name, column in dataset.metadata.items() if name not in own}


def with_missing(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns, and behind each with empty cells another that says which these are."""
    every = {}
    for name, column in columns.items():
        every[name] = column
        known = is_known(column)
        if known.any() and not known.all():
            every[f"{name}{MISSING}"] = np.array(["no" if there else "yes" for there in known], object)
    return every


def as_categories(name: str, column: np.ndarray) -> Column:
    """A column as categories: text as it is, few different numbers each by itself, many in fifths."""
    known = is_known(column)
    codes = np.full(len(column), -1)
    counted = column.dtype.kind == "f"
    there = column[known] if counted else column[known].astype(str)
    different, of_value = np.unique(there, return_inverse=True)
    if not counted or len(different) <= _FEW:
        codes[known] = of_value
        return Column(name, codes, tuple(f"{value:g}" if counted else str(value) for value in different))
    edges = np.unique(np.quantile(there, (0.2, 0.4, 0.6, 0.8)))
    codes[known] = np.searchsorted(edges, there, side="left")
    texts = [f"up to {edges[0]:g}", *(f"{a:g} to {b:g}" for a, b in itertools.pairwise(edges))]
    return Column(name, codes, (*texts, f"above {edges[-1]:g}"), counted=True)


def told_by(column: Column, question: Question, measure: Measure) -> tuple[Question, np.ndarray] | None:
    """What a category says of each row, from the rows of the other folds alone.

    Parameters
    ----------
    column : of all images.
    question : what is asked, of the rows in which the column is known.
    measure : how it is learnt.

    Returns
    -------
    The question of those rows, and what is given for each; None where that leaves a stratum one group, or the column
    one value.
    """
    known = column.codes >= 0
    asked = question if known[question.rows].all() else question.among(known)
    if asked is None:
        return None
    y, codes = asked.y, column.codes[asked.rows]
    if len(np.unique(codes)) < 2:
        return None
    return asked, held_out(
        asked.folds,
        lambda learnt, held: measure.shares(y[learnt], codes[learnt], len(column.values), asked.n_classes)[codes[held]],
    )


def follows(column: Column, y: np.ndarray, codes: np.ndarray, exact: bool) -> bool:
    """Whether the class follows from the column: each category has but one, and most categories several rows.

    Parameters
    ----------
    column, codes : the column, and its categories of these rows.
    y : int array of shape (m,); of floats nothing follows.
    exact : whether what was held out was told without an error.
    """
    if y.dtype.kind not in "iu":
        return False
    if column.counted:
        return exact
    pure = len(np.unique(codes * (int(y.max()) + 1) + y)) == len(np.unique(codes))
    return pure and len(np.unique(codes)) <= len(y) / 2


def worth_asking(columns: dict[str, np.ndarray]) -> Iterator[Column]:
    """The columns as categories, of those that have two or more."""
    for name, column in with_missing(columns).items():
        one = as_categories(name, column)
        if len(one.values) > 1:
            yield one
