"""The table of all images that decisions are applied to: every row and column of the data, as a manifest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from featcache.data import filesystems
from featcache.data.dataset import Dataset

from .worklist_facts import Facts
from .worklist_rows import KEEP, LEAVE_OUT, RELABEL

Decisions = Mapping[str, str]  # by path: keep, leave out, or relabel as a label


@dataclass(frozen=True)
class Manifest:
    """All images.

    Attributes
    ----------
    columns : of text by name, ``path`` first, one cell an image.
    private : names of those that may be of people, which belong in nothing that is passed on.
    note : what the columns say that the data does not; empty where that is nothing.
    """

    columns: dict[str, list[str]]
    private: tuple[str, ...] = ()
    note: str = ""

    def decided(self, decisions: Decisions) -> Manifest:
        """The manifest without the images that are left out, others with the label that they are given."""
        taken = [decisions.get(path, KEEP) for path in self.columns["path"]]
        kept = [row for row, decision in enumerate(taken) if decision != LEAVE_OUT]
        columns = {name: [cells[row] for row in kept] for name, cells in self.columns.items()}
        if "label" in columns:
            given = [taken[row] for row in kept]
            columns["label"] = [
                decision.removeprefix(RELABEL) if decision.startswith(RELABEL) else label
                for label, decision in zip(columns["label"], given, strict=True)
            ]
        return Manifest(columns, self.private, self.note)

    @property
    def rows(self) -> list[Sequence[str]]:
        """Row after row, in the order of the columns."""
        return list(zip(*self.columns.values(), strict=True))


def manifest_of(facts: Facts) -> Manifest | None:
    """The manifest of a worklist's images; None where they cannot be read.

    Paths are absolute, so that it may lie anywhere. An image of unknown group has none. Data without splits is given
    those of the run that was judged, where it says of every image which part it was in: else other images would be
    tested the next time, and nothing could be compared. Its validation images are learnt from.
    """
    dataset = facts.dataset
    if dataset is None:
        return None
    columns = {"path": [_whole(path) for path in dataset.paths]}
    if any(dataset.labels):
        columns["label"] = list(dataset.labels)
    note = ""
    if any(dataset.splits):
        columns["split"] = list(dataset.splits)
    elif facts.parts and all(facts.parts.get(path) in ("train", "val", "test") for path in dataset.paths):
        columns["split"] = ["test" if facts.parts[path] == "test" else "train" for path in dataset.paths]
        note = f"the data has no splits; these are those of {facts.main.folder.name}, so that the test images stay"
    groups = [_known_group(dataset, row) for row in range(len(dataset))]
    if any(groups):
        columns["group"] = groups
    others = {name: list(cells) for name, cells in dataset.table.items() if name not in columns}
    learns = facts.main.about.get("learns") or {}
    named = {*dataset.metadata, *dataset.label_columns, *facts.main.classes, learns.get("column"), learns.get("target")}
    private = tuple(name for name in others if name not in named)
    return Manifest(columns | others, private, note)


def _whole(path: str) -> str:
    return path if filesystems.is_url(path) else os.path.abspath(path)


def _known_group(dataset: Dataset, row: int) -> str:
    group = dataset.groups[row]
    return "" if group in (dataset.names[row], dataset.paths[row]) else group
