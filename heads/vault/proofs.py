"""Whether the notes of a cache have the look that a run or a bundle says it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .looks import look_words
from .notes import Notes


@dataclass(frozen=True)
class Proof:
    """What the notes say of a look.

    Attributes
    ----------
    found : whether they have it, as it says.
    state : ``found``, ``changed`` (these notes should have it, or say otherwise), ``elsewhere`` (there are none, or
        those of another cache), or ``unnoted``.
    said : a sentence.
    """

    found: bool
    state: str
    said: str


def proof_of_look(notes: Notes, about: Mapping[str, Any], what: str) -> Proof:
    """Whether the notes of a cache have the look of ``what``, such as ``run fit-head-…``."""
    told = f"{what} was {look_words({**about, 'digest': 'x'})}"
    if not about.get("digest"):
        return Proof(False, "unnoted", f"{told}; it could not be noted when it was made")
    return _proof(
        notes, about, told, {"look": about["number"], "set": about["set"], "final": about.get("final", False)}
    )


def proof_of_lock(notes: Notes, about: Mapping[str, Any], what: str) -> Proof:
    """Whether the notes have the lock under which ``what`` was made."""
    told = f"{what} was made while its test images were locked"
    return _proof(notes, {**about, "digest": about["lock"]}, told, {"kind": "lock"})


def _proof(notes: Notes, about: Mapping[str, Any], told: str, says: Mapping[str, Any]) -> Proof:
    every = notes.every
    own = [note for note in every if note["digest"] == about["digest"]]
    if own:
        odd = [name for name, value in says.items() if own[0][name] != value]
        if not odd:
            return Proof(True, "found", f"{told}; the notes have it")
        return Proof(False, "changed", f"{told}; the note of this digest says otherwise ({', '.join(odd)})")
    if any(note["chain"] == about["chain"] for note in every):
        return Proof(
            False,
            "changed",
            f"{told}; the notes of this cache ({len(every)}) begin as those did and do not have it: notes were removed "
            "or changed, or it was made with a copy of this cache that went its own way",
        )
    there = "there are no notes" if not every else "the notes are others"
    return Proof(
        False,
        "elsewhere",
        f"{told}; in this cache {there}: it was made with another cache, or its notes were removed since",
    )
