"""Locked test images: what learns must not learn from them, and their metrics are shown only when asked for as final.

A lock is a note in the chain of :mod:`heads.vault.notes`. It holds for the images by their bytes, in whichever folder,
division or task they are met. It is a promise made to oneself that leaves traces: who has the files can always look.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from featcache.errors import UsageError
from featcache.system.schema import Count, Digest, Line

from .image_sets import codes_of, digest_of, keep_set, read_set
from .notes import Notes, add_note, folder_of, read_notes

#: How verbs that show what a model makes of each image go on.
LEAVE_OUT = "Look at the other parts alone, with --split train or --split val, or at other data"


class Hidden(msgspec.Struct):
    """Why a run shows no metrics of its test images, as it keeps that: so many of ``images`` are ``locked``, by the
    note of this digest."""

    reason: Line
    images: Count
    locked: Count
    lock: Digest
    chain: Digest


@dataclass(frozen=True)
class Locked:
    """Which of some images are locked.

    Attributes
    ----------
    rows : bool array of shape (n,).
    notes : of the locks that hold some of them, in order.
    """

    rows: np.ndarray
    notes: tuple[Mapping[str, Any], ...]

    @property
    def count(self) -> int:
        """So many."""
        return int(self.rows.sum())


def lock(cache: str | os.PathLike[str], keys: Sequence[bytes], run: str, task: str) -> tuple[dict[str, Any], bool]:
    """Lock images.

    Returns
    -------
    The note of the lock, and whether it was there already.

    Raises
    ------
    StoreError
        It cannot be noted.
    """
    digest = digest_of(keys)
    keep_set(folder_of(cache), keys)
    there: list[dict[str, Any]] = []

    def decide(found: Notes) -> dict[str, Any] | None:
        there.extend(note for note in found.of_kind("lock") if note["set"] == digest)
        if there:
            return None
        return {
            "kind": "lock",
            "verb": "vault lock",
            "run": run,
            "task": task,
            "models": [],
            "answers": [],
            "set": digest,
            "images": len(set(keys)),
            "look": 0,
            "final": False,
        }

    note = add_note(cache, decide)
    return (there[0], True) if note is None else (note, False)


def locked(cache: str | os.PathLike[str], keys: Sequence[bytes]) -> Locked:
    """Which of these images are locked in this cache."""
    rows, notes = np.zeros(len(keys), dtype=bool), []
    locks = read_notes(cache).of_kind("lock")
    if locks and len(keys):
        own, whole = codes_of(keys), digest_of(keys)
        for note in locks:
            kept = read_set(folder_of(cache), note["set"])
            # One that is gone is still known where it is these very images.
            hold = np.full(len(keys), note["set"] == whole) if kept is None else np.isin(own, kept)
            if hold.any():
                rows |= hold
                notes.append(note)
    return Locked(rows, tuple(notes))


def hidden(found: Locked) -> dict[str, Any] | None:
    """What :class:`Hidden` has, as plain values, of images of which some are locked; None where none is."""
    if not found.count:
        return None
    note = found.notes[0]
    which = "" if found.count == len(found.rows) else f"{found.count:,} of "
    return {
        "reason": f"{which}these {len(found.rows):,} test images were locked on {note['when'][:10]}; --final shows "
        "their metrics, and notes that they were seen",
        "images": len(found.rows),
        "locked": found.count,
        "lock": note["digest"],
        "chain": note["chain"],
    }


def require_unlocked(cache: str | os.PathLike[str], keys: Sequence[bytes], what: str, advice: str = "") -> None:
    """Raise :class:`UsageError` where any of these images is locked; ``what`` would be done with them."""
    found = locked(cache, keys)
    if found.count:
        raise UsageError(
            f"{'' if found.count == len(keys) else f'{found.count:,} of '}these {len(keys):,} images are locked as a "
            f"test part (since {found.notes[0]['when'][:10]}), and {what}. "
            + (advice or "Give data without them: a manifest of the other images (see: python cli.py vault ls)")
        )


def require_division(cache: str | os.PathLike[str], learnt_from: Sequence[bytes]) -> None:
    """Raise :class:`UsageError` where a division would have a model learn from locked images."""
    require_unlocked(
        cache,
        learnt_from,
        "this division would put them among those that a model learns from or is chosen by",
        "Divide as the lock did (the same --task, --seed and --data; python cli.py vault ls names them), give a "
        "manifest whose split column keeps them in test, or leave them out",
    )
