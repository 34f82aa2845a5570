"""Tables in which several readers judge an image, as VinDr-CXR's: what most of them say counts."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import DataError
from ..system.plain_text import printable

# Boxes, a row each; or a row a reader and image, a column a finding.
VOTED = (("image_id", "class_name", "rad_id"), ("image_id", "No finding", "Aortic enlargement"))
_NOTHING = "No finding"
_NO_FINDINGS = frozenset(["image_id", "rad_id", _NOTHING])
_YES, _NO = ("1", "1.0"), ("0", "0.0", "")


def votes(root: str, table: Mapping[str, list[str]]) -> tuple[list[str], dict[str, list[str]]]:
    """What most readers of each image say of each finding.

    Parameters
    ----------
    root : the table, for messages.
    table : ``image_id,class_name,rad_id`` with a row a box, or ``image_id[,rad_id]`` and a column of 0 and 1 a finding.

    Returns
    -------
    images : their ids, each once, in the table's order.
    labels : by finding a cell an image: 1 where more than half of its readers saw it, 0 where fewer, -1 (uncertain)
        where as many did as did not. That nothing was found is no finding of its own.

    Raises
    ------
    DataError
        A cell is neither 0 nor 1.
    """
    seen = _boxes(table) if "class_name" in table else _marks(root, table)
    readers, findings, yes = seen
    labels = {}
    for finding in findings:
        cells = []
        for image, those in readers.items():
            twice = 2 * len(yes.get((image, finding), ()))
            cells.append("1" if twice > len(those) else "0" if twice < len(those) else "-1")
        labels[finding] = cells
    return list(readers), labels


_Seen = tuple[dict[str, set[str]], list[str], dict[tuple[str, str], set[str]]]


def _boxes(table: Mapping[str, list[str]]) -> _Seen:
    readers: dict[str, set[str]] = {}
    yes: dict[tuple[str, str], set[str]] = {}
    for image, finding, reader in zip(table["image_id"], table["class_name"], table["rad_id"], strict=True):
        readers.setdefault(image, set()).add(reader)
        if finding != _NOTHING:
            yes.setdefault((image, finding), set()).add(reader)
    return readers, sorted({finding for _, finding in yes if finding}), yes


def _marks(root: str, table: Mapping[str, list[str]]) -> _Seen:
    images = table["image_id"]
    # Without a column of readers each row is one, as in the test part, whose labels are agreed on.
    names = table.get("rad_id") or [str(row) for row in range(len(images))]
    readers: dict[str, set[str]] = {}
    yes: dict[tuple[str, str], set[str]] = {}
    for image, reader in zip(images, names, strict=True):
        readers.setdefault(image, set()).add(reader)
    findings = [name for name in table if name and name not in _NO_FINDINGS]
    for finding in findings:
        for row, cell in enumerate(table[finding]):
            if cell in _YES:
                yes.setdefault((images[row], finding), set()).add(names[row])
            elif cell not in _NO:
                raise DataError(
                    f"{root}: column {finding!r} holds {printable(cell, lines=False)!r} in row {row + 1}; expected 0 "
                    "or 1, as each reader says"
                )
    return readers, findings, yes
