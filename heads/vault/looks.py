"""Looks: each time metrics of test images are about to be shown, a note of it, and which look at these images it is.

Whoever chooses among models by one test set makes the best one look better than it is, the more so the more
often he looks. An earlier look counts when it showed metrics of at least half of these images, in whichever division
and under whatever names. Answers that were shown before (to three digits) are no new look: they show nothing new.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from featcache.errors import StoreError
from featcache.system.schema import Count, Digest

from .image_sets import codes_of, digest_of, keep_set, read_set
from .notes import Notes, add_note, folder_of, read_notes

_log = logging.getLogger(__name__)
_DIGITS = 3
_HALF = 0.5
_said: set[str] = set()


class Look(msgspec.Struct):
    """A look, as runs and bundles keep it.

    ``number`` is which look at these ``images`` it was, ``models`` how many different models' answers on them were
    shown by then; ``set`` is the digest of the images, ``note`` the place of its note in the chain of ``chain``,
    ``digest`` that of the note and ``previous`` that of the one before (all None where nothing could be noted).
    ``final`` says that it was asked for as the final one, ``after_final`` that one was so before it, ``repeat`` that
    the answers had been shown before, by the look that is named.
    """

    number: Count
    models: Count
    images: Count
    set: Digest
    chain: Digest | None = None
    note: Count | None = None
    digest: Digest | None = None
    previous: Digest | None = None
    final: bool = False
    after_final: bool = False
    repeat: bool = False


@dataclass(frozen=True)
class Shown:
    """What is about to be shown.

    Attributes
    ----------
    verb, task : names.
    run : the run folder's name.
    answers : by model, what it gives the images, n rows each.
    """

    verb: str
    run: str
    task: str
    answers: Mapping[str, np.ndarray]


def look(cache: str | os.PathLike[str], keys: Sequence[bytes], shown: Shown, final: bool = False) -> dict[str, Any]:
    """Note a look before its metrics are shown; never raises for a cache that cannot be written, but says so.

    Parameters
    ----------
    cache : whose notes.
    keys : row keys of the images, n of them.
    shown : what is shown of them.
    final : whether it was asked for as the final look.

    Returns
    -------
    What :class:`Look` has, as plain values.
    """
    folder, digest = folder_of(cache), digest_of(keys)
    prints = [_print(keys, outputs) for outputs in shown.answers.values()]
    about: dict[str, Any] = {}

    def decide(found: Notes) -> dict[str, Any] | None:
        earlier = looks_at(cache, found, keys)
        same = [note for note in earlier if note["set"] == digest and set(note["answers"]) & set(prints)]
        known = {one for note in same for one in note["answers"]}
        about.update(
            number=len(earlier) + 1,
            models=len({one for note in earlier for one in note["answers"]} | set(prints)),
            images=len(set(keys)),
            set=digest,
            final=final,
            after_final=any(note["final"] for note in earlier),
            repeat=False,
        )
        if set(prints) <= known and not final:
            about.update(number=same[-1]["look"], repeat=True, final=same[-1]["final"], **_place(same[-1]))
            return None
        return {
            "kind": "look",
            "verb": shown.verb,
            "run": shown.run,
            "task": shown.task,
            "models": list(shown.answers),
            "answers": prints,
            "set": digest,
            "images": len(set(keys)),
            "look": about["number"],
            "final": final,
        }

    try:
        keep_set(folder, keys)
        note = add_note(cache, decide)
        if note is not None:
            about.update(_place(note))
    except (StoreError, OSError) as error:
        decide(read_notes(cache))
        about.update(chain=None, note=None, digest=None, previous=None, repeat=False)
        _say(f"looks: this one could not be noted, and will not be counted later ({error})")
    for fault in read_notes(cache).faults:
        _say(f"looks: {fault}; it is left as it is. See: python cli.py vault verify")
    return about


def looks_at(cache: str | os.PathLike[str], found: Notes, keys: Sequence[bytes]) -> list[dict[str, Any]]:
    """The notes of looks that showed metrics of at least half of these images, in order."""
    looks, folder, digest = found.of_kind("look"), folder_of(cache), digest_of(keys)
    own = np.unique(codes_of(keys))
    counts: dict[str, bool] = {digest: True}
    for name in {note["set"] for note in looks} - {digest}:
        other = read_set(folder, name)
        if other is None:
            _say(f"looks: {name[:12]}….keys is gone or damaged; looks at it count where it is these very images")
        counts[name] = other is not None and bool(np.isin(own, other).mean() >= _HALF)
    return [note for note in looks if counts[note["set"]]]


def look_words(about: Mapping[str, Any]) -> str:
    """Which look it was, in words: ``look 7 at these 62 images (19 models so far)``."""
    text = f"look {about['number']} at these {about['images']:,} images"
    if about.get("models", 0) > 1:
        text += f" ({about['models']} models so far)"
    if about.get("final"):
        text += ", the final one" if not about.get("after_final") else ", asked for as final once more"
    if about.get("after_final"):
        text += ", after the final one"
    if about.get("repeat"):
        text += ", again: answers that were shown before"
    return text if about.get("digest") else f"{text}; it could not be noted"


def _place(note: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "chain": note["chain"],
        "note": note["number"],
        "digest": note["digest"],
        "previous": note["previous"],
    }


def _print(keys: Sequence[bytes], outputs: np.ndarray) -> str:
    """A digest of answers, to three digits of the largest, whatever order the images are in."""
    values = np.asarray(outputs, np.float64).reshape(len(keys), -1)
    most = float(np.abs(values).max(initial=0))
    unit = 10.0 ** (np.ceil(np.log10(most)) - _DIGITS) if most > 0 else 1.0
    rounded = np.rint(values / unit).astype(np.int64)
    order = sorted(range(len(keys)), key=lambda i: (keys[i], rounded[i].tolist()))
    content = b"".join(keys[i] for i in order) + rounded[order].astype("<i8").tobytes() + f"{unit:.3g}".encode()
    return hashlib.sha256(content).hexdigest()[:32]


def _say(text: str) -> None:
    """Once: a study looks many times."""
    if text not in _said:
        _said.add(text)
        _log.warning("%s", text)
