"""Rows of a worklist: each one thing to do about the data, with what is at stake, and what may be decided."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

KEEP, LEAVE_OUT, RELABEL = "keep", "leave out", "relabel as "


@dataclass(frozen=True)
class Stake:
    """How much of the headline value hangs on a row.

    Attributes
    ----------
    points : percentage points, 0 to 100; None where nobody has measured it.
    how : ``estimate``, ``at most`` (a bound), or ``not known``.
    """

    points: float | None
    how: str

    @property
    def text(self) -> str:
        """In words, without the unit."""
        if self.points is None:
            return "not known"
        digits = 1 if self.points >= 0.095 or not self.points else 2
        return f"{'at most ' if self.how == 'at most' else ''}{self.points:.{digits}f}"


NOT_KNOWN = Stake(None, "not known")


@dataclass(frozen=True)
class Choice:
    """What may be decided on a row.

    Attributes
    ----------
    said : as a page offers it.
    decision : ``leave out``, or ``relabel as`` and a label.
    images : paths that it is decided on.
    """

    said: str
    decision: str
    images: tuple[str, ...]


@dataclass(frozen=True)
class WorklistRow:
    """One thing to do.

    Attributes
    ----------
    key : tells the row again in a later list.
    source : which of the sources it is from, as :data:`heads.reporting.worklist_sources.SOURCES` names them.
    kind : what it is, in a few words.
    stake : what hangs on it.
    reason, to_do : a sentence each.
    images : paths of the images concerned.
    choices : besides keeping them as they are; none where no image can be blamed.
    pictured : paths worth a picture, those that tell most first.
    doubt : by which rows of one stake are put in order, the greater first.
    """

    key: str
    source: str
    kind: str
    stake: Stake
    reason: str
    to_do: str
    images: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    pictured: tuple[str, ...] = field(default=())
    doubt: float = 0.0


def ranked(rows: Iterable[WorklistRow]) -> list[WorklistRow]:
    """The rows, what has most at stake first; those about the same images made one."""
    by_images: dict[object, WorklistRow] = {}
    for row in rows:
        images: object = frozenset(row.images) or row.key
        other = by_images.get(images)
        by_images[images] = row if other is None else _joined(other, row)
    return sorted(by_images.values(), key=_order)


def _order(row: WorklistRow) -> tuple[float, float]:
    """What nobody has measured stands among what has nothing at stake, by how much it is doubted."""
    return -(row.stake.points or 0.0), -row.doubt


def _joined(one: WorklistRow, other: WorklistRow) -> WorklistRow:
    """Two rows about the same images: what hangs on the graver one, and all that is said of both."""
    first, second = sorted((one, other), key=_order)
    offered = {(choice.decision, choice.images) for choice in first.choices}
    more = tuple(choice for choice in second.choices if (choice.decision, choice.images) not in offered)
    kind = first.kind if first.kind == second.kind else f"{first.kind}; {second.kind[0].lower()}{second.kind[1:]}"
    return replace(
        first,
        kind=kind,
        reason=f"{first.reason} {second.reason}",
        choices=first.choices + more,
        pictured=tuple(dict.fromkeys(first.pictured + second.pictured)),
    )
