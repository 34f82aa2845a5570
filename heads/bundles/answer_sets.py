"""Sets that a bundle gives in place of single answers: what it takes, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featcache.data.tasks import Kind
from featcache.errors import UsageError
from featcache.system import tensor_files

from ..evaluation.conformal_coverage import promised
from ..evaluation.conformal_sets import SETS
from ..evaluation.held_out_scores import COVERAGES, HeldOutScores, patients_needed, read_scores


def check_coverage(coverage: float) -> None:
    """Raise :class:`UsageError` for a coverage that cannot be asked for."""
    low, high = COVERAGES
    if not low <= coverage <= high:
        raise UsageError(f"--coverage {coverage}: expected a share from {low} to {high}, such as 0.9")


def require_sets(held_out: HeldOutScores | None, kind: Kind, names: Sequence[str], coverage: float) -> dict[str, Any]:
    """What sets of a coverage promise, see :func:`heads.evaluation.conformal_coverage.promised`.

    Raises
    ------
    UsageError
        Another coverage than 0.5 to 0.99, a bundle without held-out scores, or scores of too few patients.
    """
    check_coverage(coverage)
    if held_out is None:
        raise UsageError(
            f"--coverage {coverage}: this bundle holds no scores of patients that it did not learn from, by which sets "
            "are calibrated; those of earlier versions do not. Fit it anew with fit-head, baselines or grid"
        )
    found = promised(kind, held_out, names, coverage)
    if not found["kept"]:
        fewest = found["needed"]
        of = "with some label, and without it" if kind == "labels" else "or other groups"
        raise UsageError(
            f"--coverage {coverage}: it takes {fewest} patients {of} that the model did not learn from, and there are "
            f"{found['patients']}. {_less(found['patients'])}"
        )
    return found


def _less(patients: int) -> str:
    """What so many patients are enough for."""
    possible = [share for share in (0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5) if patients_needed(share) <= patients]
    more = "fit it anew with more patients in the validation part"
    return f"Ask for less, --coverage {possible[0]}, or {more}" if possible else f"{more[0].upper()}{more[1:]}"


def read_held_out(path: Path, kind: Kind, names: Sequence[str]) -> HeldOutScores | None:
    """The held-out scores of a bundle; None where it has none.

    Raises
    ------
    ValueError, WeightsError
        The file is anything else.
    """
    if not path.is_file():
        return None
    rules = SETS[kind]
    return read_scores(tensor_files.read_tensors(path), len(rules.questions(names)), rules.highest)


def answer_sets(held_out: HeldOutScores, kind: Kind, outputs: np.ndarray, answers: np.ndarray, coverage: float) -> Any:
    """The sets of some outputs, as :data:`heads.evaluation.conformal_sets.SETS` has them."""
    rules = SETS[kind]
    columns = [""] * (outputs.shape[1] if outputs.ndim > 1 else 1)
    return rules.sets(outputs, answers, rules.thresholds(held_out, coverage, columns))
