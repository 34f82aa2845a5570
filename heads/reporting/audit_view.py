"""What a page shows of an audit: its probes in tables, what goes together, and pictures of near-copies."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featcache.data.filesystems import is_url

from ..auditing.findings import gravest_first
from ..evaluation.thumbnail import thumbnail
from .run_reader import Collected
from .thumbnails import data_uri

_PAIRS, _ROWS = 6, 15
_UNFIT = 3  # pictures of each fault
_PROBES, _AT_ONCE = 16, 24  # that are shown where there are more than the latter
_PAIR_SIDE = 128  # pixels
_SHOWN = 0.05  # p of a row that is shown
# Earlier versions, and shorter run.json, say less.
_AUDIT: dict[str, Any] = {
    "duplicates": [],
    "near_duplicates": [],
    "split_leaks": {},
    "group_leaks": [],
    "shortcuts": [],
    "without_shortcuts": None,
    "confounding": [],
    "absent": [],
    "unbalanced": [],
    "unreadable": [],
    "quality": {},
    "unfit": [],
    "leak_inflation": None,
    "warnings": [],
    "against": None,
    "images": None,
    "groups": None,
    "per_split": {},
    "classes": [],
}
_PROBE: dict[str, Any] = {
    "label": "label",
    "of": "image",
    "measure": "balanced accuracy",
    "names_label": False,
    "p_value": None,
    "verdict": None,
}
_TABLES = (
    (
        "image",
        "Can it be told without looking at the image?",
        "Each probe is a small model that sees only what is named.",
    ),
    (
        "metadata",
        "Can it be told from the metadata?",
        "Each probe knows one column of the table, or whether its cell is empty, and nothing of the image. What a "
        "column tells, a model may tell by what shows the column in a picture.",
    ),
)


def audit_view(collected: Collected, images: bool) -> dict[str, Any] | None:
    """What the page's template takes of the audit, None where there is none; ``images`` with pictures of pairs."""
    if collected.audit is None:
        return None
    audit = {**_AUDIT, **collected.audit.about, "run": collected.audit.folder.name}
    audit["finished"] = collected.audit.finished
    pairs = gravest_first([{"how": "", **pair} for pair in audit["near_duplicates"]])
    audit["near_duplicates"] = pairs
    audit["shown"] = [_pair(pair, collected.data) for pair in pairs[:_PAIRS]] if images else []
    audit["faults"] = _faults(audit["quality"], audit["unfit"], collected.data, images)
    audit["shortcuts"] = [{**_PROBE, **probe} for probe in audit["shortcuts"]]
    audit["probes"] = [table for table in (_probes(audit["shortcuts"], *about) for about in _TABLES) if table]
    if rest := audit["without_shortcuts"]:
        rest = {"net": None, "net_ci": None, **rest}
        ends = [rest["plain_ci"][0], *(rest["net_ci"] or ())]
        audit |= {"without_shortcuts": rest, "rest_low": math.floor(10 * min(ends)) / 10}
    audit["together"] = [row for row in audit["confounding"] if row["p"] < _SHOWN][:_ROWS]
    if audit["against"]:
        metadata = audit["against"].get("metadata") or {}
        differing = [row for row in metadata.get("columns", ()) if row["p"] < _SHOWN][:_ROWS]
        alone = {side: list(names) for side, names in (metadata.get("alone") or {}).items() if names}
        audit["against"] = {"near_duplicates": [], **audit["against"], "differing": differing, "alone": alone}
    return audit


def _probes(every: Sequence[Mapping[str, Any]], of: str, title: str, words: str) -> dict[str, Any] | None:
    """One table of probes: those flagged first where they are many, the rest to be unfolded."""
    rows = [probe for probe in every if probe["of"] == of]
    if not rows:
        return None
    several = len({probe["label"] for probe in rows}) > 1
    if several:
        rows = sorted(rows, key=lambda probe: (not (probe["flag"] or probe["names_label"]), -probe["score"]))
    ends = [end for probe in rows for end in (probe["score_ci"][0], probe["chance"])]
    return {
        "title": title,
        "words": words,
        "measure": rows[0]["measure"],
        "several": several,
        "low": max(-1.0, math.floor(10 * min(ends)) / 10),
        "rows": rows if len(rows) <= _AT_ONCE else rows[:_PROBES],
        "rest": [] if len(rows) <= _AT_ONCE else rows[_PROBES:],
    }


def _faults(
    quality: Mapping[str, Sequence[str]], unfit: Sequence[Mapping[str, Any]], root: str, images: bool
) -> list[dict[str, Any]]:
    """Each fault with its images, the figures that made them so, and pictures of the first; earlier runs have none."""
    faults = []
    for name, paths in quality.items():
        fault = name.replace("_", " ")
        said = {one["path"]: one["said"] for one in unfit if one["fault"] == fault}
        shown = [
            {"path": _within(path, root), "said": said.get(path, ""), "picture": _picture(path, root)}
            for path in (paths[:_UNFIT] if images else [])
        ]
        rows = [{"path": _within(path, root), "said": said.get(path, "")} for path in paths]
        if rows:
            faults.append({"fault": fault, "shown": shown, "rows": rows})
    return faults


def _within(path: str, root: str) -> str:
    return os.path.relpath(path, root) if path.startswith(root) else path


def _picture(path: str, root: str) -> str | None:
    picture = thumbnail(path if is_url(path) else Path(root) / path, _PAIR_SIDE)
    return data_uri(picture) if picture else None


def _pair(pair: Mapping[str, Any], root: str) -> dict[str, Any]:
    names = {side: _within(pair[side], root) for side in ("a", "b")}
    return {**pair, **names, "pictures": [_picture(pair[side], root) for side in ("a", "b")]}
