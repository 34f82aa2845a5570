"""What the answers to a checklist are about: the runs, and the model that stands first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .run_reader import Collected, Run
from .verdict import Verdict

LISTED = 12  # names in a sentence, at most


@dataclass(frozen=True)
class Subject:
    """What sentences are made of: the runs, the first table's first model, and the run it is of."""

    collected: Collected
    board: Mapping[str, Any]
    row: Mapping[str, Any]
    run: Run
    verdict: Verdict
    elsewhere: Sequence[Mapping[str, Any]]
    explained: bool

    @property
    def test(self) -> Mapping[str, Any]:
        return self.row["test"]

    @property
    def audit(self) -> Mapping[str, Any] | None:
        return self.collected.audit.about if self.collected.audit else None

    @property
    def judged(self) -> str:
        """The images that it is judged on."""
        return f"{self.test['n']:,} {'images, each kept out in turn' if self.row.get('by_folds') else 'test images'}"

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return self.run.about.get("hyperparameters") or {}


def several(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
