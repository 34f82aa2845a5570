"""What a page says of the items of a checklist, in sentences to be copied: of its first model and its data.

A sentence repeats what the page shows elsewhere, and claims nothing that the runs and the audit do not say. Where they
say nothing, the item is the authors' to answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .checklist_facts_of_data import OF_DATA
from .checklist_facts_of_model import OF_MODEL
from .checklist_facts_of_results import OF_RESULTS
from .checklist_subject import Subject
from .checklists import CLAIM, TRIPOD_AI, Checklist
from .run_reader import Collected
from .verdict import Verdict

FACTS = {**OF_DATA, **OF_MODEL, **OF_RESULTS}
_OPEN = "to be answered by the authors"


def checklist_answers(
    collected: Collected,
    boards: Sequence[Mapping[str, Any]],
    verdict: Verdict,
    elsewhere: Sequence[Mapping[str, Any]],
    explained: bool,
) -> list[dict[str, Any]]:
    """TRIPOD+AI and CLAIM, each as ``name source items answered text``.

    Parameters
    ----------
    collected : the runs, and what belongs to them.
    boards : tables of results, of which the first one's first row is the model that is spoken of.
    verdict : what the page says of it all.
    elsewhere : of :func:`heads.reporting.tables.elsewhere`.
    explained : whether the page has saliency maps.

    Returns
    -------
    Of each checklist its ``items`` as ``number asks said``, the last empty where only the authors can tell; how many
    are ``answered``; and all of it as ``text``, a line each, to be copied.
    """
    if not boards:  # all metrics are hidden
        return []
    board = boards[0]
    row = board["rows"][0]
    run = next(run for run in collected.runs if run.folder.name == row["run"])
    told = Subject(collected, board, row, run, verdict, elsewhere, explained)
    facts = {name: fact(told) for name, fact in FACTS.items()}
    return [_answered(checklist, facts, f"{row['name']}, {row['features']}") for checklist in (TRIPOD_AI, CLAIM)]


def _answered(checklist: Checklist, facts: Mapping[str, str], model: str) -> dict[str, Any]:
    items = [
        {"number": item.number, "asks": item.asks, "said": " ".join(filter(None, (facts[name] for name in item.facts)))}
        for item in checklist.items
    ]
    lines = [f"{item['number']}\t{item['asks']}\t{item['said'] or _OPEN}" for item in items]
    return {
        "name": checklist.name,
        "source": checklist.source,
        "items": items,
        "answered": sum(bool(item["said"]) for item in items),
        "text": "\n".join([f"{checklist.name} {checklist.source}", f"Model: {model}", *lines, ""]),
    }
