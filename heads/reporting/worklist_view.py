"""What a page shows of a worklist: rows with pictures and choices, and the table that its decisions are applied to."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

from featcache.data import filesystems

from ..evaluation.run_folder import data_title
from ..evaluation.thumbnail import thumbnail
from .thumbnails import data_uri
from .worklist_changes import Changes
from .worklist_facts import Facts
from .worklist_manifest import Manifest
from .worklist_rows import WorklistRow
from .worklist_sources import Worklist

_FIRST, _MOST = 10, 200  # rows that are open, and that stand on the page
_PICTURED, _A_ROW, _SIDE = 40, 4, 128  # rows with pictures, pictures of each, pixels
_LISTED = 50  # paths of a row
_ROWS, _CHARACTERS = 20_000, 4_000_000  # of a table that a page carries, at most
_FEW = 0.5  # different cells of a column, of all, below which they are written once each


def worklist_view(
    worklist: Worklist, facts: Facts, manifest: Manifest | None, changes: Changes | None, images: bool
) -> dict[str, Any]:
    """What the page's template takes; ``images`` with pictures of the first rows."""
    shown = worklist.rows[:_MOST]
    picture = _pictures() if images else None
    pictured = _PICTURED if images else 0
    rows = [_row(rank, row, facts, picture if rank <= pictured else None) for rank, row in enumerate(shown, start=1)]
    paths = [path for row in shown for choice in row.choices for path in choice.images]
    root = _beginning([*(manifest.columns["path"] if manifest else ()), *paths])
    table, why = _table(manifest, root) if manifest is not None else (None, facts.missing)
    return {
        "first": rows[:_FIRST],
        "rest": rows[_FIRST:],
        "all": len(worklist.rows),
        "unit": worklist.unit,
        "unsaid": worklist.unsaid,
        "choosable": any(row.choices for row in shown),
        "why": why,
        "by_verb": manifest is not None,
        "note": manifest.note if manifest is not None else "",
        "private": list(manifest.private) if manifest is not None else [],
        "changes": None if changes is None else _changes(changes),
        "script": {
            "root": root,
            "labels": manifest is not None and "label" in manifest.columns,
            "rows": {_digest(row.key): _choices(row, root) for row in shown if row.choices},
            "table": table,
        },
    }


def _beginning(paths: Sequence[str]) -> str:
    """What all paths or URLs begin with, letter by letter."""
    least, most = min(paths, default=""), max(paths, default="")
    return "".join(a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(least, most, strict=False)))


def _row(rank: int, row: WorklistRow, facts: Facts, picture: Callable[[str], str | None] | None) -> dict[str, Any]:
    return {
        "rank": rank,
        "id": _digest(row.key),
        "kind": row.kind,
        "points": row.stake.text.removeprefix("at most "),
        "bound": row.stake.how == "at most",
        "measured": row.stake.points is not None,
        "reason": row.reason,
        "to_do": row.to_do,
        "choices": [choice.said for choice in row.choices],
        "images": [facts.name(path) for path in row.images[:_LISTED]],
        "more": max(0, len(row.images) - _LISTED),
        "pictures": [
            {"name": facts.name(path), "label": facts.labels.get(path, ""), "uri": picture(path)}
            for path in row.pictured[:_A_ROW]
        ]
        if picture is not None
        else [],
    }


def _pictures() -> Callable[[str], str | None]:
    """Makes a thumbnail's URI, each once."""
    made: dict[str, str | None] = {}

    def picture(path: str) -> str | None:
        if path not in made:
            small = thumbnail(path, _SIDE)
            made[path] = data_uri(small) if small is not None else None
        return made[path]

    return picture


def _choices(row: WorklistRow, root: str) -> list[dict[str, Any]]:
    return [
        {"decision": choice.decision, "images": [path[len(root) :] for path in choice.images]} for choice in row.choices
    ]


def _table(manifest: Manifest, root: str) -> tuple[dict[str, Any] | None, str]:
    """The columns for the page, or why it does not carry them; those that may be of people stay away."""
    columns = {name: cells for name, cells in manifest.columns.items() if name not in manifest.private}
    count = len(columns["path"])
    if count > _ROWS:
        return None, f"{count:,} images are more than the {_ROWS:,} that a page carries a table of"
    told: dict[str, dict[str, Any]] = {}
    for name, cells in columns.items():
        values = list(dict.fromkeys(cells))
        if name == "path":
            told[name] = {"cells": [cell[len(root) :] for cell in cells]}
        elif len(values) <= _FEW * count:
            place = {value: number for number, value in enumerate(values)}
            told[name] = {"values": values, "codes": [place[cell] for cell in cells]}
        else:
            told[name] = {"cells": cells}
    text = json.dumps(told, ensure_ascii=False)
    if len(text) > _CHARACTERS:
        return None, f"its table has {len(text):,} characters, and a page carries {_CHARACTERS:,} at most"
    try:
        text.encode()
    except UnicodeEncodeError:
        return None, "a file's name is not UTF-8, which no page can write down"
    return {"names": list(columns), "columns": told}, ""


def _changes(changes: Changes) -> dict[str, Any]:
    title = changes.data if filesystems.is_url(changes.data) else data_title(changes.data)
    return {
        "data": title,
        "images": changes.images,
        "rows": [
            (words, [row.kind + ": " + row.reason for row in rows])
            for words, rows in (
                ("done: their images were left out or relabelled", changes.done),
                ("still there", changes.still),
                ("found no more, without any of their images being touched", changes.gone),
                ("not looked for again", changes.unsaid),
                ("new", changes.new),
            )
            if rows
        ],
        "value": changes.value,
        "sentences": change_sentences(changes),
    }


def change_sentences(changes: Changes) -> list[str]:
    """What changed in the value, in sentences."""
    value = changes.value
    if value is None:
        return ["Before and after cannot be compared: no head's answers on test images of both are kept."]
    (before, n_before), (after, n_after) = value.stated
    interval = "" if value.interval is None else f", {_signed(value.interval[0])} to {_signed(value.interval[1])}"
    labels = f", {value.relabelled} of them relabelled since" if value.relabelled else ""
    unproven = value.interval is None or value.interval[0] <= 0 <= value.interval[1]
    return [
        f"Test {value.title}: {before:.3f} on {n_before:,} images then, {after:.3f} on {n_after:,} now. Leaving wrong "
        "answers out of the test, or giving them the label that was said, improves this by itself.",
        f"On the {value.n:,} test images that both have{labels}, by today's labels: {value.same[0]:.3f} then, "
        f"{value.same[1]:.3f} now ({_signed(value.difference)}{interval})"
        f"{': no difference is shown.' if unproven else '.'}",
    ]


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
