"""Cells of CSV files as a spreadsheet may safely open them, and back.

A cell that begins with ``= + - @`` is a formula to Excel and LibreOffice, and a formula can run a program; an
apostrophe before it makes it text (OWASP, "CSV Injection"). Spaces at a cell's ends are lost where readers of CSV take
them off. Both kinds of cell are written between apostrophes, and :func:`plain` gives back just what :func:`guarded` was
given, apostrophes of its own and all. Numbers stay as they are.
"""

from __future__ import annotations

import re
from typing import Any

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf|nan)")
_FORMULA = "=+-@＝＋－＠"


def guarded(cell: Any) -> Any:
    """The cell as it is to be written; what is no string stays as it is."""
    if not isinstance(cell, str) or _NUMBER.fullmatch(cell) or not _dangerous(cell):
        return cell
    return f"'{cell}'"


def plain(cell: str) -> str:
    """What was given to :func:`guarded`, from what was written; any other cell as it is."""
    return cell[1:-1] if _quoted(cell) and _dangerous(cell) else cell


def _dangerous(cell: str) -> bool:
    """Whether it is a formula or has spaces at its ends, within any number of pairs of apostrophes."""
    while _quoted(cell):
        cell = cell[1:-1]
    return cell.startswith(tuple(_FORMULA)) or cell != cell.strip()


def _quoted(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == "'"
