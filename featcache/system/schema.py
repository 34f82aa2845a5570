"""What is read from files that someone else may have written: one check of their shape, types and strings.

Every file that is read back (specs, bundles, journals, runs, records in the cache) states what it may hold as a type,
and goes through :func:`read`. Types are built from the strings below, so that no name from a file can leave a folder,
steer a terminal, or stand for something else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ..errors import FeatcacheError, StoreError
from .plain_text import UNPRINTABLE, printable

_NAME = r"\A[A-Za-z0-9][A-Za-z0-9._+-]*\Z"
_DIGEST = r"\A[0-9a-f]{64}\Z"
_DIGEST_OR_NONE = r"\A(?:[0-9a-f]{64})?\Z"
_LINE = rf"\A[^{UNPRINTABLE}]*\Z"
_PLACE = r"\A[^\x00]*\Z"
_WORDS = {
    _PLACE: "a path",
    _NAME: "a plain name (letters, digits and . _ + -, a letter or digit first)",
    _DIGEST: "64 hexadecimal digits",
    _DIGEST_OR_NONE: "64 hexadecimal digits, or nothing",
    _LINE: "text without control characters",
}
LONGEST_CLASS = 255
DEEPEST = 32  # levels of lists and objects; what is written here has six
_SHOWN = 60  # characters of what was found
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")

#: Part of a file's name: no separators, no leading dot.
Name = Annotated[str, Meta(pattern=_NAME, max_length=100)]
#: Name of a file in the same folder, or of a feature set.
FileName = Annotated[str, Meta(pattern=_NAME, max_length=255)]
#: SHA-256, hex.
Digest = Annotated[str, Meta(pattern=_DIGEST)]
#: SHA-256, hex, or empty.
DigestOrNone = Annotated[str, Meta(pattern=_DIGEST_OR_NONE)]
#: One line of text to be shown.
Line = Annotated[str, Meta(pattern=_LINE, max_length=10_000)]
#: A class's name: whatever a folder may be called, but for control characters.
ClassName = Annotated[str, Meta(pattern=_LINE, min_length=1, max_length=LONGEST_CLASS)]
#: A path or URL, which may hold whatever a path may; to be read from, never to be written to.
Place = Annotated[str, Meta(pattern=_PLACE, max_length=32_768)]
#: A number from 0 to 1; NaN is none.
Share = Annotated[float, Meta(ge=0, le=1)]
#: A number that is neither NaN nor infinite.
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]
#: How many.
Count = Annotated[int, Meta(ge=0, le=2**53)]


def read(text: str | bytes, shape: Any, where: str, advice: str, error: type[FeatcacheError] = StoreError) -> Any:
    """Parse JSON and check it against a type.

    Parameters
    ----------
    text : the file's content.
    shape : a type as :func:`msgspec.convert` takes it, made of the ones above.
    where : the file, for the message.
    advice : what to do where it is not of this shape.
    error : what to raise then.

    Returns
    -------
    The plain value (dict, list, str, number, bool or None) that the text holds.
    """
    value = parse(text, where, advice, error)
    check(value, shape, where, advice, error)
    return value


def parse(text: str | bytes, where: str, advice: str, error: type[FeatcacheError] = StoreError) -> Any:
    """Parse JSON of bounded depth, as in :func:`read`; NaN and infinities are numbers, as Python writes them."""
    try:
        value = json.loads(text)
        too_deep = _deeper(value, DEEPEST)
    except RecursionError:
        too_deep = True
    except ValueError as fault:  # no JSON, no UTF-8, or a number of thousands of digits
        raise error(f"{where}: expected JSON, found {printable(str(fault))}. {advice}") from fault
    if too_deep:
        raise error(f"{where}: found lists in lists deeper than {DEEPEST} levels. {advice}")
    return value


def check(value: Any, shape: Any, where: str, advice: str, error: type[FeatcacheError] = StoreError) -> None:
    """Check a value against a type, as in :func:`read`."""
    try:
        msgspec.convert(value, shape)
    except (msgspec.ValidationError, OverflowError, UnicodeEncodeError) as fault:  # the last: half a character as a key
        message, _, path = str(fault).replace("`", "").partition(" - at ")
        for pattern, words in _WORDS.items():
            message = message.replace(f"str matching regex {pattern!r}", words)
        found = _found(value, path)
        shown = f" (found {found})" if found else ""
        raise error(
            f"{where}: {path + ': ' if path else ''}{printable(message, lines=False)}{shown}. {advice}"
        ) from fault


def inside(folder: Path, name: str, error: Callable[[str], Exception] = StoreError) -> Path:
    """The file of this name in a folder; whatever would lead out of it is refused."""
    path = folder / name
    if not name or name in (".", "..") or path.parent != folder or path.name != name or "\\" in name or "\0" in name:
        raise error(
            f"{printable(name, lines=False)!r} is no name of a file in {folder}; nothing is read or written there"
        )
    return path


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested deeper than so many levels."""
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(inner, dict | list) for inner in layer)


def _found(value: Any, path: str) -> str:
    """What stands at a path such as ``$.spec.size``, shortened; empty where the path does not say it exactly."""
    steps = list(_STEP.finditer(path))
    if path != "$" + "".join(step.group() for step in steps):
        return ""
    for step in steps:
        try:
            value = value[step[1]] if step[1] else value[int(step[2])]
        except (KeyError, IndexError, TypeError):
            return ""
    text = printable(repr(value), lines=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
