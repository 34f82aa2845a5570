"""Subgroups of images by what is known of them: ``sex,view,age:0-40-65-`` as masks of rows."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

import numpy as np

from featcache.data.metadata import MOST_CATEGORIES
from featcache.errors import DataError, UsageError
from featcache.system.plain_text import printable

NOT_KNOWN = "not known"
Masks = dict[str, dict[str, np.ndarray]]
_FEW_NUMBERS = 5  # different ones up to which a column of numbers is one of categories, such as 0 and 1
_EDGES = re.compile(r"\A-?\d+(\.\d+)?(-\d+(\.\d+)?)*-?\Z")
_EXAMPLE = "sex,view,age:0-40-65-"


def subgroups(columns: Mapping[str, np.ndarray], spec: str) -> Masks:
    """The subgroups of each column that is named.

    Text makes a subgroup of each value. Numbers make one between each two edges, the lower one in it, the upper one
    not: ``0-40-65-`` is 0 to 40, 40 to 65, and 65 and more; ``-40-`` is below 40, and 40 and more; rows beyond the
    edges are in none, and told as ``outside``. Without edges, up to 5 different numbers are a subgroup each, and more
    are cut into quarters of the rows. Rows of which nothing is known are a subgroup, ``not known``, of every column
    that has some.

    Parameters
    ----------
    columns : arrays of shape (n,) by name: float64, NaN where not known, or objects, text and None.
    spec : names between commas, edges behind a colon.

    Returns
    -------
    Of each column, in the order given, bool masks of shape (n,) by name, in the order of their values.

    Raises
    ------
    UsageError
        An empty or unreadable spec, a column named twice, edges that do not rise, or of a column of text.
    DataError
        A column that is not there, of which nothing is known, or of so many values that they tell single images apart.
    """
    found: Masks = {}
    for part in spec.split(","):
        name, edges = _named(part.strip(), columns)
        if name in found:
            raise UsageError(f"--by names the column {name!r} twice")
        column = columns[name]
        unknown = np.isnan(column) if column.dtype.kind == "f" else np.array([cell is None for cell in column], bool)
        if unknown.all():
            raise DataError(f"--by {name}: of no image is it known; name another column")
        masks = (_between if column.dtype.kind == "f" else _of_text)(column, unknown, name, edges)
        unknown = unknown | masks.pop(NOT_KNOWN, np.zeros(len(column), bool))  # where a cell says so in words
        found[name] = {label: mask for label, mask in (masks | {NOT_KNOWN: unknown}).items() if mask.any()}
    return found


def _named(part: str, columns: Mapping[str, np.ndarray]) -> tuple[str, list[float] | None]:
    """A column's name and its edges, the ends of a range that is open being infinite."""
    if not part:
        raise UsageError(f"--by names no column, or ends in a comma; expected names between commas, as {_EXAMPLE}")
    if part in columns:
        return part, None
    name, colon, text = part.rpartition(":")
    name = name if colon else part
    if name not in columns:
        there = ", ".join(columns) or "none besides path, label, split and group"
        raise DataError(f"--by {printable(name, lines=False)}: no such column; there are: {there}")
    if not _EDGES.match(text) or text.strip("-") == "":
        raise UsageError(
            f"--by {name}:{printable(text, lines=False)}: expected edges between dashes, as {name}:0-40-65- for 0 to "
            "40, 40 to 65, and 65 and more"
        )
    edges = [float(edge) for edge in text.strip("-").split("-")]
    edges = [-np.inf] * text.startswith("-") + edges + [np.inf] * text.endswith("-")
    if len(edges) < 2 or any(low >= high for low, high in itertools.pairwise(edges)):
        raise UsageError(f"--by {name}:{text}: expected two or more edges that rise, as {name}:0-40-65-")
    return name, edges


def _of_text(column: np.ndarray, unknown: np.ndarray, name: str, edges: list[float] | None) -> dict[str, np.ndarray]:
    if edges is not None:
        raise UsageError(f"--by {name}: edges are for a column of numbers, and this one is of text; name it alone")
    values = sorted({str(cell) for cell in column[~unknown]})
    if len(values) > MOST_CATEGORIES:
        raise DataError(
            f"--by {name}: {len(values):,} different values; expected at most {MOST_CATEGORIES}, each a subgroup of "
            "images. Name a column of fewer, or one of numbers with edges, as age:0-40-65-"
        )
    return {value: np.array([cell == value for cell in column], bool) for value in values}


def _between(column: np.ndarray, unknown: np.ndarray, name: str, edges: list[float] | None) -> dict[str, np.ndarray]:
    known = column[~unknown]
    if edges is None:
        values = np.unique(known)
        if len(values) <= _FEW_NUMBERS:
            return {f"{value:.10g}": column == value for value in values}
        if len(values) > max(MOST_CATEGORIES, 0.9 * len(known)) and (known == np.round(known)).all():
            raise DataError(
                f"--by {name}: {len(values):,} different whole numbers on {len(known):,} images, as identifiers are; "
                f"if they are none, give edges, as {name}:{_middle(known)}"
            )
        inner = np.unique(np.quantile(known, (0.25, 0.5, 0.75), method="higher"))
        edges = [-np.inf, *(edge for edge in inner.tolist() if edge > values[0]), np.inf]
    masks = {_range(low, high): (column >= low) & (column < high) for low, high in itertools.pairwise(edges)}
    outside = ~unknown & ~np.any(list(masks.values()), axis=0)
    return masks | {"outside": outside}


def _middle(known: np.ndarray) -> str:
    return f"-{max(0.0, float(np.median(known))):.10g}-"


def _range(low: float, high: float) -> str:
    if np.isneginf(low):
        return f"below {high:.10g}"
    return f"{low:.10g} and more" if np.isposinf(high) else f"{low:.10g} to {high:.10g}"
