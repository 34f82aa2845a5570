"""What a page says of looks at test images: how many there were, what is hidden, and which the notes do not have."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..evaluation.listing import first_few
from ..vault.notes import read_notes
from .run_reader import Collected, Run
from .vault_check import proof_of_run

_NAMED = 4  # runs


def looks_view(collected: Collected, cache: str | os.PathLike[str]) -> dict[str, Any]:
    """Sentences on the looks that runs were.

    Returns
    -------
    ``rows``, of each run that was a look or made under a lock ``run found state said``; ``missing``, sentences on those
    that the notes of the cache do not have; ``hidden``, of each run without test metrics ``run reason``.
    """
    runs = [*collected.runs, *collected.evaluations]
    notes, rows = read_notes(cache), []
    for run in runs:
        found = proof_of_run(notes, run.about, run.folder.name)
        if found is not None:
            rows.append({"run": run.folder.name, "found": found.found, "state": found.state, "said": found.said})
    missing = [row["said"] for row in rows if row["state"] in ("changed", "unnoted")]
    elsewhere = [str(row["run"]) for row in rows if row["state"] == "elsewhere"]
    if elsewhere:
        were = "these looks; they were" if len(elsewhere) > 1 else "this look; it was"
        missing.append(
            f"{first_few(elsewhere, _NAMED)}: this cache has no notes of {were} made with another cache, or its "
            "notes were removed since"
        )
    return {"rows": rows, "missing": missing, "hidden": hidden_runs(runs)}


def hidden_runs(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Runs whose test metrics were not to be shown, and why."""
    return [
        {"run": run.folder.name, "reason": str(run.about["hidden"]["reason"])}
        for run in runs
        if run.about.get("hidden")
    ]


def looks_before(runs: Sequence[Run], with_answers: Sequence[Run]) -> str:
    """How often the test images of these runs had been looked at, and of which looks the answers are not at hand."""
    known = [run.about["look"] for run in runs if run.about.get("look")]
    if not known:
        return ""
    last = max(known, key=lambda look: look["number"])
    times = {1: "once", 2: "twice"}.get(last["number"], f"{last['number']} times")
    text = f"By the last of these runs its {last['images']:,} test images were looked at {times}"
    if last.get("models", 0) > 1:
        text += f", {last['models']} models in all"
    here = {run.about["look"]["digest"] for run in with_answers if run.about.get("look")}
    missing = last["number"] - len(here)
    if last["number"] > 1 and missing > 0:
        text += (
            f"; of {missing} look{'s' if missing > 1 else ''} the answers are not at hand, and no interval here allows "
            "for what was chosen by them"
        )
    if any(look.get("final") for look in known):
        text += ". The final look was asked for"
    return text + "."
