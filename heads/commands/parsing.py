"""Arguments that are more than one value: names, whole numbers, the values of a parameter."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from featcache.errors import UsageError


def names(text: str | None) -> list[str] | None:
    """``A,B`` as a list."""
    return [name.strip() for name in text.split(",") if name.strip()] if text else None


def whole_numbers(option: str, text: str) -> list[int]:
    """``256,64`` as a list.

    Raises :class:`UsageError` for anything else.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} {text!r}: expected whole numbers, such as 256 or 512,128") from None


def param_values(text: str) -> tuple[str, Any]:
    """``learning_rate=0.001,0.01`` as name and values; ``units=256,128x64`` has tuples, ``C=0.1..100`` a range.

    Raises :class:`UsageError` for anything else.
    """
    from ..search.candidate_checks import Between

    name, equals, values = text.partition("=")
    if not (name.strip() and equals and values.strip()):
        raise UsageError(f"--param {text!r}: expected NAME=V,V, such as learning_rate=0.001,0.01")
    low, dots, high = values.partition("..")
    if dots:
        ends = _value(low), _value(high)
        if not all(isinstance(end, int | float) for end in ends) or ends[0] >= ends[1]:
            raise UsageError(f"--param {text!r}: expected LOW..HIGH, two numbers")
        return name.strip(), Between(*ends)
    return name.strip(), [_value(part) for part in values.split(",") if part.strip()]


def _value(text: str) -> Any:
    text = text.strip()
    plain = {"none": None, "true": True, "false": False}
    if text.lower() in plain:
        return plain[text.lower()]
    if re.fullmatch(r"\d+(x\d+)+", text):
        return tuple(int(part) for part in text.split("x"))
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
