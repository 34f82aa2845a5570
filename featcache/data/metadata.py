"""What a table says of its images besides label, split and group: ages, sexes, views; typed, and never a feature.

A column is kept where it is of numbers, or of at most 50 different values, and its name does not say that it is of
people: a name, an identifier, a date of birth. Whoever wants another one names it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

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
    values = [number(cell) for cell in cells]
    if any(value is None for value in values):
        return None
    column = np.array(values, dtype=np.float64)
    return None if np.isnan(column).all() else column


def categories(cells: Sequence[str]) -> np.ndarray:
    """A column as array of objects: text, None where unknown."""
    return np.array([None if is_unknown(cell) else cell.strip() for cell in cells], dtype=object)


def typed(table: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """The columns that are kept: float64 arrays of numbers, or arrays of objects, text and None."""
    kept: dict[str, np.ndarray] = {}
    for name, cells in table.items():
        column = numbers(cells)
        if column is None:
            column = categories(cells)
            if not 1 <= len({value for value in column if value is not None}) <= MOST_CATEGORIES:
                continue
        kept[name] = column
    return kept
