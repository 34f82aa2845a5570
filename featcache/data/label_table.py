"""The labels of images that may have several: from columns of 0 and 1, or from one that lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..errors import DataError, UsageError
from ..system.plain_text import printable
from .dataset import Dataset
from .metadata import is_unknown

UNCERTAIN = ("ignore", "zeros", "ones")
_SEPARATORS = "|;,"
_NOTHING = frozenset(["no finding", "no findings", "normal", "healthy"])  # in a list: that there is none of the others
_YES, _NO = frozenset(["1", "1.0", "true", "yes", "y"]), frozenset(["0", "0.0", "false", "no", "n"])
_DOUBT = frozenset(["-1", "-1.0", "u", "uncertain", "?"])
_MOST = 1000  # labels: more are no labels


def label_table(
    dataset: Dataset,
    labels: tuple[str, ...] | Literal["all"] | None,
    column: str | None,
    uncertain: str,
    *,
    all_there: bool = True,
) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of labels, and what is known of each image.

    Parameters
    ----------
    dataset : its ``table`` holds them.
    labels, column, uncertain : as of :class:`featcache.data.tasks.Multilabel`.
    all_there : whether each of the labels has to be listed by some image.

    Returns
    -------
    names : tuple of str
    known : float32 array of shape (n, n_labels): 1, 0, or NaN where it is not known.

    Raises
    ------
    UsageError
        Nothing says which columns hold labels.
    DataError
        A column is not there, or holds something else.
    """
    known = dataset.label_columns
    if column is None and len(known) == 1 and (labels is None or labels == "all" or known[0] not in labels):
        column = known[0]
    if column is not None:
        return _listed(dataset, labels, column, all_there)
    names = labels
    if names is None or names == "all":
        names = known or _all_columns(dataset) if labels == "all" else known
        if not names:
            found = _all_columns(dataset)
            raise UsageError(
                "task multilabel: name the columns of 0 and 1 with --labels A,B or --labels all"
                + (f" ({', '.join(found)})" if found else "")
                + ", or the one that lists labels with --label-column COLUMN; the table has "
                + (", ".join(dataset.table) or "none besides path, label, split and group")
            )
    missing = [name for name in names if name not in dataset.table]
    if missing:
        raise DataError(
            f"{dataset.root}: no column {', '.join(missing)}; found "
            + (", ".join(dataset.table) or "none besides path, label, split and group")
        )
    doubt = {"ignore": np.nan, "zeros": 0.0, "ones": 1.0}[uncertain]
    columns = [_column(dataset, name, doubt) for name in names]
    return tuple(names), np.stack(columns, axis=1)


def _all_columns(dataset: Dataset) -> tuple[str, ...]:
    """The columns that hold nothing but 0 and 1, the uncertain and the unknown, and either of the first two."""
    return tuple(name for name, cells in dataset.table.items() if _is_label(cells))


def _is_label(cells: Sequence[str]) -> bool:
    values = {cell.strip().lower() for cell in set(cells)}
    sure = {value for value in values if not is_unknown(value)}
    return bool(sure & (_YES | _NO)) and sure <= _YES | _NO | _DOUBT


def _column(dataset: Dataset, name: str, doubt: float) -> np.ndarray:
    means = {**dict.fromkeys(_YES, 1.0), **dict.fromkeys(_NO, 0.0), **dict.fromkeys(_DOUBT, doubt)}
    cells = dataset.table[name]
    values: dict[str, float] = {}  # of the different cells, which are few
    for cell in dict.fromkeys(cells):
        said = cell.strip().lower()
        value = np.nan if is_unknown(said) else means.get(said)
        if value is None:
            row = cells.index(cell)
            raise DataError(
                f"{dataset.root}: column {name!r} holds {printable(cell, lines=False)!r} in row {row + 1}; expected 1, "
                "0, -1 for uncertain, or nothing for unknown. A column that lists labels is named with --label-column"
            )
        values[cell] = value
    return np.fromiter((values[cell] for cell in cells), np.float32, len(cells))


def _listed(
    dataset: Dataset, labels: tuple[str, ...] | Literal["all"] | None, column: str, all_there: bool
) -> tuple[tuple[str, ...], np.ndarray]:
    if column not in dataset.table:
        there = ", ".join(dataset.table) or "none besides path, label, split and group"
        raise DataError(f"{dataset.root}: no column {column!r}; found {there}")
    cells = dataset.table[column]
    separator = next((mark for mark in _SEPARATORS if any(mark in cell for cell in cells)), None)
    lists = [
        {part.strip() for part in (cell.split(separator) if separator else [cell]) if part.strip()} for cell in cells
    ]
    found = sorted(set().union(*lists))
    if labels is None or labels == "all":
        names = tuple(name for name in found if name.lower() not in _NOTHING)
        if not names or len(names) > _MOST:
            raise DataError(
                f"{dataset.root}: column {column!r} lists {len(names):,} labels; expected 1 to {_MOST:,}. "
                "Name some with --labels A,B, or another column"
            )
    else:
        names = labels
        missing = [name for name in names if name not in found]
        if missing and all_there:
            raise DataError(
                f"{dataset.root}: column {column!r} lists no {', '.join(missing)}; it lists {', '.join(found[:30])}"
                + (" …" if len(found) > 30 else "")
            )
    known = np.array([[name in one for name in names] for one in lists], dtype=np.float32).reshape(-1, len(names))
    known[[not one or all(is_unknown(part) for part in one) for one in lists]] = np.nan
    return names, known
