"""From runs to one worklist: a table of sources, each a function of what is known, and the list that they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import worklist_images, worklist_models
from .worklist_facts import Facts
from .worklist_rows import WorklistRow, ranked

SourceRows = Callable[[Facts], list[WorklistRow] | None]


@dataclass(frozen=True)
class Source:
    """Where rows come from.

    Attributes
    ----------
    name : what it looks for.
    verb : what has to be run for it.
    rows : its rows; None where that was not run.
    """

    name: str
    verb: str
    rows: SourceRows


SOURCES = (
    Source("wrong labels", "label-errors", worklist_images.wrong_labels),
    Source("copies", "audit", worklist_images.copies),
    Source("torn patients", "audit", worklist_images.torn_groups),
    Source("shortcuts", "audit", worklist_models.shortcuts),
    Source("unfit images", "audit", worklist_images.unfit_images),
    Source("weak subgroups", "fit-head --by", worklist_models.weak_subgroups),
    Source("influence", "baselines", worklist_models.influence),
)


@dataclass(frozen=True)
class Worklist:
    """What there is to do.

    Attributes
    ----------
    rows : what has most at stake first.
    not_looked_for : the sources that were not run, by what has to be run.
    unit : what a point is.
    """

    rows: list[WorklistRow]
    not_looked_for: dict[str, list[str]]
    unit: str

    @property
    def unsaid(self) -> str:
        """What was not looked for, in words; empty where all was."""
        return "; ".join(f"{', '.join(names)} ({verb})" for verb, names in self.not_looked_for.items())


def worklist_of(facts: Facts) -> Worklist:
    """All rows that the runs give, in one order."""
    rows: list[WorklistRow] = []
    unsaid: dict[str, list[str]] = {}
    for source in SOURCES:
        found = source.rows(facts)
        if found is None:
            unsaid.setdefault(source.verb, []).append(source.name)
        else:
            rows += found
    return Worklist(ranked(rows), unsaid, facts.counted.unit)
