"""The notes of what was seen of test images: a chain of lines in the cache, each sealed with the digest of the last.

``cache/looks/notes.jsonl`` has a line of JSON a note, and is only ever added to. ``digest`` is the SHA-256 of the rest
of the note (JSON, keys sorted, no spaces), of which ``previous`` is the digest of the note before: a note that is
changed, taken out or put in breaks the chain, and one that is cut off at the end is missed wherever its digest was
kept, in a run or a bundle. The first note's ``previous`` is the ``chain``, a random number that tells this chain from
others. There are no paths in it, no labels and no names of classes. Whoever may write the file may write all of it
anew: a chain makes that visible elsewhere, it does not forbid it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from featcache.errors import StoreError
from featcache.store.maintenance_lock import alone
from featcache.system import atomic_files, schema
from featcache.system.schema import Count, Digest, Line
from featcache.system.user_paths import expanded

VERSION = 1
LISTED = 100  # models of a note, and characters of a name
_MOST = 16 << 20  # bytes of all notes, some 20,000; none is added to more
_ADVICE = "It is left as it is"
_Short = Annotated[str, Meta(max_length=LISTED, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
_Print = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]


class _Note(msgspec.Struct):
    """A line."""

    version: Annotated[int, Meta(ge=1, le=VERSION)]
    chain: Digest
    number: Annotated[int, Meta(ge=1, le=2**53)]
    kind: Literal["look", "lock"]
    when: Line
    verb: _Short
    run: _Short
    task: _Short
    models: Annotated[list[_Short], Meta(max_length=LISTED)]
    answers: Annotated[list[_Print], Meta(max_length=LISTED)]
    set: Digest
    images: Count
    look: Count
    final: bool
    previous: Digest
    digest: Digest


@dataclass(frozen=True)
class Notes:
    """What the notes of a cache say.

    Attributes
    ----------
    every : the notes that can be read, in order, changed ones among them: a change shall not make a look unseen.
    faults : sentences on what is not as it was written; none where the chain is whole.
    end : bytes up to where the next note is to stand.
    closed : whether a line ends there.
    """

    every: tuple[dict[str, Any], ...] = ()
    faults: tuple[str, ...] = ()
    end: int = 0
    closed: bool = True

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The looks, or the locks."""
        return [note for note in self.every if note["kind"] == kind]


def folder_of(cache: str | os.PathLike[str]) -> Path:
    """Where a cache keeps its notes, and the sets of images that they are about."""
    return expanded(cache).absolute() / "looks"


def read_notes(cache: str | os.PathLike[str]) -> Notes:
    """The notes of a cache; none where it has none, and what cannot be read is among the ``faults``."""
    path = folder_of(cache) / "notes.jsonl"
    try:
        size = path.stat().st_size
        if size > 2 * _MOST:  # no file of ours
            return Notes(faults=(f"{path}: of {size >> 20} MB, which no notes here take; it is not read",), end=size)
        data = path.read_bytes()
    except FileNotFoundError:
        return Notes()
    except OSError as error:
        return Notes(faults=(f"{path}: cannot be read ({error.strerror or error})",))
    notes: list[dict[str, Any]] = []
    faults: list[str] = []
    *lines, tail = data.split(b"\n")
    end, closed = len(data) - len(tail), True
    if tail and _readable(tail, str(path)) is not None:  # whole, but for the end of its line
        lines, end, closed = [*lines, tail], len(data), False
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        note = _readable(line, where)
        if note is None:
            faults.append(f"{where} is no note: it was damaged, or written by a later version")
            continue
        before = notes[-1]["digest"] if notes else note["chain"]
        if note["digest"] != _digest(note):
            faults.append(f"{where} (note {note['number']}) was changed since it was written")
        elif note["previous"] != before or note["number"] != len(notes) + 1:
            faults.append(f"{where} (note {note['number']}) does not follow the one before it: notes are missing there")
        notes.append(note)
    return Notes(tuple(notes), tuple(faults), end, closed)


def add_note(
    cache: str | os.PathLike[str], decide: Callable[[Notes], Mapping[str, Any] | None]
) -> dict[str, Any] | None:
    """Add a note, durably: when this returns, no kill loses it.

    Parameters
    ----------
    cache : its folder.
    decide : given the notes that are there, while no other process can add one, what the new one says (all that
        :class:`_Note` has but what belongs to the chain); or None to add none.

    Returns
    -------
    The note, or None.

    Raises
    ------
    StoreError
        The folder cannot be written or locked, or the notes have grown beyond 16 MB.
    """
    folder = folder_of(cache)
    with alone(folder, "noting a look at test images"):
        found = read_notes(cache)
        told = decide(found)
        if told is None:
            return None
        if found.end > _MOST:
            raise StoreError(f"{folder / 'notes.jsonl'}: its notes take more than {_MOST >> 20} MB")
        last = found.every[-1] if found.every else None
        chain = secrets.token_hex(32) if last is None else last["chain"]
        note = {
            "version": VERSION,
            "chain": chain,
            "number": 1 if last is None else len(found.every) + 1,
            "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **{key: _plain(value) for key, value in told.items()},
            "previous": chain if last is None else last["digest"],
        }
        note["digest"] = _digest(note)
        _append(folder / "notes.jsonl", found, (_canonical(note) + "\n").encode())
        return note


def _plain(value: Any) -> Any:
    """Names as they can be read back: at most so long, without control characters and halves of characters."""
    if isinstance(value, list):
        return [_plain(one) for one in value[:LISTED]]
    return "".join(c if c.isprintable() else "?" for c in value[:LISTED]) if isinstance(value, str) else value


def _append(path: Path, found: Notes, line: bytes) -> None:
    if not path.exists():
        atomic_files.write_bytes(path, line)
        return
    try:
        descriptor = os.open(path, os.O_RDWR)
        try:
            # What a kill tore in the middle of its line goes: nothing was shown before the whole of it was there.
            os.ftruncate(descriptor, found.end)
            os.lseek(descriptor, 0, os.SEEK_END)
            line = line if found.closed else b"\n" + line
            if os.write(descriptor, line) != len(line):
                os.ftruncate(descriptor, found.end)
                raise StoreError(f"{path}: no room left for a note")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from error


def _readable(line: bytes, where: str) -> dict[str, Any] | None:
    """A note of the right shape, whether or not its digest is its own."""
    try:
        return dict(schema.read(line, _Note, where, _ADVICE))
    except StoreError:
        return None


def _canonical(note: Mapping[str, Any]) -> str:
    return json.dumps(note, sort_keys=True, separators=(",", ":"))


def _digest(note: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical({key: note[key] for key in note if key != "digest"}).encode()).hexdigest()
