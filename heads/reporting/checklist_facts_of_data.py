"""Facts of the study and its data, in sentences that a checklist is answered with."""

from __future__ import annotations

from collections.abc import Callable

from .checklist_subject import LISTED, Subject, several
from .run_reader import Run


def _study(told: Subject) -> str:
    also = f" and evaluated on images of {several(len(told.elsewhere), 'other place')}" if told.elsewhere else ""
    return f"Heads and classical models on features of frozen image networks are developed{also}, to tell {_aim(told)}."


def _aim(told: Subject) -> str:
    return f"the number {told.board['title']}" if told.board["kind"] == "number" else str(told.board["title"])


def _data(told: Subject) -> str:
    images = told.run.about.get("images")
    kind = "SYNTHETIC images, drawn by a program" if told.run.about.get("synthetic") else "images"
    return "" if images is None else f"{images:,} {kind}, in {told.collected.data}."


def _target(told: Subject) -> str:
    what = {"classes": "One of several classes", "labels": "Labels that an image has, has not, or does not tell"}
    return (
        f"{what.get(told.board['kind'], 'A number')}, as the data's folders or table name them: {told.board['title']}."
    )


def _parts(told: Subject) -> str:
    parts = _sizes(told.run)
    if not parts:
        return ""
    made = told.run.about.get("made") or []
    how = f" ({' and '.join(made)} set aside at random)" if made else ", as the data name them"
    return f"Images by part: {', '.join(f'{name} {size:,}' for name, size in parts.items())}{how}."


def _sizes(run: Run) -> dict[str, int]:
    return {part: sum(counts.values()) for part, counts in (run.about.get("per_split") or {}).items()}


def _groups(told: Subject) -> str:
    images, groups = told.run.about.get("images"), told.run.about.get("groups")
    if images is None or groups is None:
        return ""
    if groups == images:
        return "No patients are known: each image counts as one of its own."
    of = f"{images:,} images are of {groups:,} patients or other groups"
    if told.audit is None:
        return f"{of}; whether each of them is in one part was not audited."
    torn = len(told.audit.get("group_leaks") or ())
    return f"{of}; " + (f"{torn:,} of them stand in several parts." if torn else "each of them is in one part.")


def _outcomes(told: Subject) -> str:
    parts = told.run.about.get("per_split") or {}
    if told.board["kind"] == "number" or not parts:
        return ""
    names = list(told.board["classes"])[:LISTED]
    counts = [f"{name} {' / '.join(f'{part.get(name, 0):,}' for part in parts.values())}" for name in names]
    more = len(told.board["classes"]) - len(names)
    listed = "; ".join(counts) + (f"; and {more} more" if more > 0 else "")
    return f"Images by {' / '.join(parts)}: {listed}."


def _characteristics(told: Subject) -> str:
    found = told.test.get("subgroups")
    if not found:
        return ""
    columns = []
    for name, column in found["columns"].items():
        counts = [f"{value} {part['images']:,}" for value, part in list(column["subgroups"].items())[:LISTED]]
        columns.append(f"{name}: {', '.join(counts)}")
    return f"Test images by {'; by '.join(columns)}."


def _unreadable(told: Subject) -> str:
    if told.audit is None:
        return ""
    files = len(told.audit.get("unreadable") or ())
    return "Every file could be read." if not files else f"{several(files, 'file')} could not be read."


def _quality(told: Subject) -> str:
    if told.audit is None:
        return ""
    copies, near = len(told.audit.get("duplicates") or ()), len(told.audit.get("near_duplicates") or ())
    return f"An audit looked for copies: {several(copies, 'set')} of exact ones, {several(near, 'pair')} nearly so."


def _missing(told: Subject) -> str:
    if told.board["kind"] != "labels":
        return ""
    known = [f"{name} {told.test['n'] - label['n']:,}" for name, label in told.test["labels"].items()][:LISTED]
    return (
        "What is not known counts neither for a label nor against it; test images without an answer: "
        f"{', '.join(known)}."
    )


OF_DATA: dict[str, Callable[[Subject], str]] = {
    "study": _study,
    "data": _data,
    "target": _target,
    "parts": _parts,
    "groups": _groups,
    "outcomes": _outcomes,
    "characteristics": _characteristics,
    "unreadable": _unreadable,
    "quality": _quality,
    "missing": _missing,
}
