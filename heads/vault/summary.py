"""What a cache's notes come to: each set of images with its looks, and whether the chain is whole."""

from __future__ import annotations

from typing import Any

from .notes import Notes


def sets_seen(notes: Notes) -> list[dict[str, Any]]:
    """Each set of images that was looked at or locked, in the order of its first note.

    Returns
    -------
    ``set images looks models first last locked final tasks`` of each: ``looks``, the number of the last look at these
    images, of other sets of which they are half included; ``locked`` and ``final``, when, or None.
    """
    found: dict[str, dict[str, Any]] = {}
    answers: dict[str, set[str]] = {}
    for note in notes.every:
        row = found.setdefault(
            note["set"],
            {
                "set": note["set"],
                "images": note["images"],
                "looks": 0,
                "models": 0,
                "first": note["when"],
                "last": note["when"],
                "locked": None,
                "lock_of": None,
                "final": None,
                "tasks": [],
            },
        )
        row["last"] = note["when"]
        if note["task"] not in row["tasks"]:
            row["tasks"].append(note["task"])
        if note["kind"] == "lock":
            row["locked"], row["lock_of"] = row["locked"] or note["when"], row["lock_of"] or note["run"]
            continue
        row["looks"] = max(row["looks"], note["look"])
        seen = answers.setdefault(note["set"], set())
        seen.update(note["answers"])
        row["models"] = len(seen)
        if note["final"]:
            row["final"] = row["final"] or note["when"]
    return list(found.values())
