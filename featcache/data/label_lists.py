"""Lists of labels in a cell: as Python writes them, and as this package reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")


def quoted(cell: str) -> list[str]:
    """The texts of a list as Python writes it: ``['a', 'b']``; of a text that is no list, itself."""
    text = cell.strip()
    if not text.startswith("["):
        return [text] if text else []
    return [part for one, other in _QUOTED.findall(text) if (part := (one or other).strip())]


def joined(labels: Sequence[str]) -> str:
    """Labels as one cell, between bars."""
    return "|".join(labels)
