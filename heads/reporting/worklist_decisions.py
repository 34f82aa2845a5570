"""Decisions on a worklist: a table to be filled in, and the same read back, checked against the images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from featcache.data.manifest import read_table
from featcache.errors import DataError
from featcache.system.plain_text import printable

from ..evaluation.run_folder import write_table
from .run_reader import Place
from .worklist_facts import Facts
from .worklist_manifest import Decisions, Manifest
from .worklist_rows import KEEP, LEAVE_OUT, RELABEL, WorklistRow

_HEADER = ("rank", "points", "kind", "reason", "to do", "path", "part", "label", "possible", "decision")
_AS_IT_IS = ("", KEEP, "keep as is", "keep it as it is")
_RELABEL = re.compile(r"relabel\s+as\s+(.+)", re.IGNORECASE | re.DOTALL)
_LISTED = 20
_EXPECTED = "expected nothing, keep, leave out, or relabel as LABEL"


def write_worklist(path: Path, rows: Sequence[WorklistRow], facts: Facts) -> None:
    """Write a line for each image of each row, with an empty column ``decision``; one line for a row without images."""
    lines = []
    for rank, row in enumerate(rows, start=1):
        for image in row.images or ("",):
            possible = [one.decision for one in row.choices if image in one.images]
            told = [rank, row.stake.text, row.kind, row.reason, row.to_do, image]
            about = [facts.part(image), facts.labels.get(image, ""), "; ".join(dict.fromkeys([KEEP, *possible]))]
            lines.append([*told, *(about if image else ["", "", ""]), ""])
    write_table(path, _HEADER, lines)


def read_decisions(path: Place, manifest: Manifest, facts: Facts) -> dict[str, str]:
    """What was decided of each image; those that stay as they are are not named.

    Of an image that several rows speak of, leaving it out counts before a label.

    Raises
    ------
    DataError
        No such table, a path or a label that the data does not have, a decision that is none, or two labels for one
        image.
    """
    table = read_table(str(path))
    missing = [name for name in ("path", "decision") if name not in table]
    if missing:
        raise DataError(
            f"{path}: no column {' or '.join(missing)}; found {', '.join(map(_shown, table)) or 'none'}; expected the "
            "worklist.csv that this verb writes, or the decisions.csv of the page"
        )
    known = {name: whole for whole in manifest.columns["path"] for name in (whole, facts.name(whole))}
    labels = set(manifest.columns.get("label", ()))
    found: dict[str, str] = {}
    for number, (cell, said) in enumerate(zip(table["path"], table["decision"], strict=True), start=1):
        where = f"{path}: row {number}"
        decision = _decision(where, said, labels)
        if decision == KEEP:
            continue
        if cell not in known:
            raise DataError(
                f"{where} decides on {_shown(cell) or 'no image'}, which is not among the {len(known):,} images of "
                f"{facts.collected.data}; give the decisions of this data's own worklist"
            )
        image = known[cell]
        before = found.get(image, decision)
        if before != decision and LEAVE_OUT not in (before, decision):
            raise DataError(
                f"{where}: {_shown(cell)} is to be given two labels ({_shown(before)}, and {_shown(decision)}); keep "
                "one of them"
            )
        found[image] = LEAVE_OUT if LEAVE_OUT in (before, decision) else decision
    return _meant(found, manifest)


def _decision(where: str, said: str, labels: set[str]) -> str:
    """One cell, as one of the three; a label is spelt as the data has it."""
    words = " ".join(said.split())
    if words.lower() in _AS_IT_IS:
        return KEEP
    if words.lower() in (LEAVE_OUT, "leave it out"):
        return LEAVE_OUT
    given = _RELABEL.fullmatch(said.strip())
    if given is None:
        raise DataError(f"{where} has the decision {_shown(said)!r}; {_EXPECTED}")
    label = given[1]
    if not labels:
        raise DataError(f"{where} gives a label, and this data has no one label an image; expected keep or leave out")
    if label not in labels:
        there = sorted(labels)
        listed = ", ".join(map(_shown, there[:_LISTED])) + (" …" if len(there) > _LISTED else "")
        raise DataError(f"{where} gives the label {_shown(label)!r}, which the data does not have; expected {listed}")
    return f"{RELABEL}{label}"


def _meant(found: Decisions, manifest: Manifest) -> dict[str, str]:
    """Without those that give the label which an image has."""
    labels = dict(zip(manifest.columns["path"], manifest.columns.get("label", ()), strict=False))
    return {path: said for path, said in found.items() if said != f"{RELABEL}{labels.get(path, '')}"}


def _shown(text: str) -> str:
    return printable(text, lines=False)[:200]
