"""Whether the notes of a cache are whole, and have the looks that runs and bundles say they were."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from featcache.errors import DataError
from featcache.system import schema

from ..bundles.integrity import ABOUT, proven
from ..vault.locks import Hidden
from ..vault.looks import Look
from ..vault.notes import Notes, read_notes
from ..vault.proofs import Proof, proof_of_lock, proof_of_look


class Seen(msgspec.Struct):
    """What ``run.json`` says of a run's look at its test images; earlier versions say nothing."""

    look: Look | None = None
    hidden: Hidden | None = None


def verify_looks(
    cache: str | os.PathLike[str], places: Sequence[str | os.PathLike[str]] | None = None
) -> dict[str, Any]:
    """Prove the chain of notes, and look up what runs and bundles say in it.

    Parameters
    ----------
    cache : its folder.
    places : folders of runs and bundles, or folders of these; None takes the runs in ``./runs``, where there are any.

    Returns
    -------
    ``notes``, how many; ``faults``, sentences; ``rows``, of each run or bundle that was a look or made under a lock
    ``place found state said``; ``without``, how many say nothing of looks; ``sound``, whether all is as it should be.

    Raises
    ------
    DataError
        A place that holds neither, or a description that cannot be read.
    """
    notes = read_notes(cache)
    rows, without = [], 0
    for folder in _folders(places):
        found = _proof(notes, folder)
        if found is None:
            without += 1
        else:
            rows.append({"place": str(folder), "found": found.found, "state": found.state, "said": found.said})
    return {
        "notes": len(notes.every),
        "faults": list(notes.faults),
        "rows": rows,
        "without": without,
        "sound": not notes.faults and all(row["found"] for row in rows),
    }


def proof_of_run(notes: Notes, about: Any, name: str) -> Proof | None:
    """What the notes of a cache say of a run whose ``run.json`` was read; None where it says nothing of looks."""
    if about.get("look"):
        return proof_of_look(notes, about["look"], f"run {name}")
    if about.get("hidden"):
        return proof_of_lock(notes, about["hidden"], f"run {name}")
    return None


def _proof(notes: Notes, folder: Path) -> Proof | None:
    if (folder / ABOUT).is_file():
        about = proven(folder)
        return None if about["look"] is None else proof_of_look(notes, about["look"], f"bundle {folder}")
    path, advice = folder / "run.json", "Remove the folder, or make the run anew"
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). {advice}") from error
    return proof_of_run(
        notes, schema.read(text, Seen, f"{path}: not a run's description", advice, DataError), folder.name
    )


def _folders(places: Sequence[str | os.PathLike[str]] | None) -> list[Path]:
    found: list[Path] = []
    for place in ["runs"] if places is None else places:
        folder = Path(place)
        if _is_one(folder):
            found.append(folder)
            continue
        inside = sorted(path for path in folder.iterdir() if _is_one(path)) if folder.is_dir() else []
        if not inside and places is not None:
            raise DataError(f"{folder}: neither a run nor a bundle, nor a folder of them")
        found += inside
    return found


def _is_one(folder: Path) -> bool:
    return (folder / "run.json").is_file() or (folder / ABOUT).is_file()
