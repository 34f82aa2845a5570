"""What a table says of its images besides label, split and group: ages, sexes, views; typed, and never a feature.

A column is kept where it is of numbers, or of at most 50 different texts, and neither its name nor its cells say that
it is of people (:mod:`featcache.data.private_columns`). Whoever wants another one names it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from .private_columns import are_dates, name_tells, nearly_all_differ

MOST_CATEGORIES = 50
_AGE = re.compile(r"\A0*(\d{1,3})([YMWD])\Z", re.IGNORECASE)  # as DICOM writes ages, and some tables after it
_A_YEAR = {"Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}
_UNKNOWN = frozenset(["", "nan", "na", "n/a", "none", "null", "unknown"])


def is_unknown(cell: str) -> bool:
    """Whether a cell says that nothing is known."""
    return cell.strip().lower() in _UNKNOWN


def number(cell: str) -> float | None:
    """A cell as a number, ages such as ``058Y`` in years; NaN where it is unknown, None where it is none."""
    if is_unknown(cell):
        return math.nan
    age = _AGE.match(cell.strip())
    if age:
        return float(age[1]) / _A_YEAR[age[2].upper()]
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def numbers(cells: Sequence[str]) -> np.ndarray | None:
    """A column as float64 array, NaN where unknown; None where a cell is no number, or all are unknown."""
    values: dict[str, float] = {}  # of the different cells: most columns have few
    for cell in cells:
        if cell not in values:
            value = number(cell)
            if value is None:
                return None
            values[cell] = value
    column = np.fromiter((values[cell] for cell in cells), np.float64, len(cells))
    return None if np.isnan(column).all() else column


def categories(cells: Sequence[str]) -> np.ndarray:
    """A column as array of objects: text, None where unknown."""
    values = {cell: None if is_unknown(cell) else cell.strip() for cell in set(cells)}
    return np.array([values[cell] for cell in cells], dtype=object)


def typed(
    table: Mapping[str, Sequence[str]], named: Collection[str] = (), passed: Collection[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The columns that are kept, and why others are not.

    Parameters
    ----------
    table : columns of text.
    named : columns that are kept whatever they hold.
    passed : columns that are neither kept nor spoken of, such as labels, unless they are named.

    Returns
    -------
    kept : float64 arrays of numbers, NaN where unknown, or arrays of objects, text and None.
    left_out : why, by the column's name.
    """
    kept: dict[str, np.ndarray] = {}
    left_out: dict[str, str] = {}
    for name, cells in table.items():
        if name in named:
            column = None if _dates(cells) else numbers(cells)
            kept[name] = categories(cells) if column is None else column
        elif name not in passed:
            found = name_tells(name) or _typed(cells)
            if isinstance(found, str):
                left_out[name] = found
            else:
                kept[name] = found
    return kept, left_out


def said_of(left_out: Mapping[str, str]) -> str:
    """What is left out and why, in a line."""
    reasons = Counter(left_out.values())
    return "; ".join(
        f"{', '.join(name for name, why in left_out.items() if why == reason)} ({reason})" for reason in reasons
    )


def _typed(cells: Sequence[str]) -> np.ndarray | str:
    """A column, or why it is left out."""
    column = numbers(cells)
    if column is not None:
        return "a date" if _dates(cells) else column
    counts = Counter(cells)
    known = {cell.strip() for cell in counts if not is_unknown(cell)}
    if not known:
        return "nothing known"
    if are_dates(known):
        return "a date"
    if nearly_all_differ(len(known), sum(count for cell, count in counts.items() if not is_unknown(cell))):
        return "another text in nearly every row"
    return f"more than {MOST_CATEGORIES} different texts" if len(known) > MOST_CATEGORIES else categories(cells)


def _dates(cells: Sequence[str]) -> bool:
    """Whether all that is known of a column are dates; seldom looks at more than its first cells."""
    first = next((cell for cell in cells if not is_unknown(cell)), None)
    return first is not None and are_dates([first]) and are_dates([cell for cell in set(cells) if not is_unknown(cell)])
