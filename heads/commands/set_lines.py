"""Sets of answers as lines for people: of one image, what they promise, and how often they held the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..evaluation.listing import with_and
from .formatting import kind_of

_ANSWERS = ("yes", "no", "cannot say")
_WHOM = {True: "whatever the truth is", False: "of all together"}


def set_lines(row: Mapping[str, Any], promise: Mapping[str, Any] | None) -> list[str]:
    """The set of one image; none where none was asked for."""
    if promise is None:
        return []
    if "set" in row:
        said = with_and(row["set"], "or")
    elif "interval" in row:
        said = " to ".join(f"{end:.6g}" for end in row["interval"])
    else:
        of = {answer: [name for name, one in row["answers"].items() if one == answer] for answer in _ANSWERS}
        said = "; ".join(f"{answer}: {', '.join(names)}" for answer, names in of.items() if names)
    broken = "  (not promised: unlike training)" if row["unlike_training"] else ""
    return [f"  {promise['coverage']:.0%}: {said}{broken}"]


def promise_lines(promise: Mapping[str, Any] | None) -> list[str]:
    """What the sets promise, and of whom."""
    if promise is None:
        return []
    luck = ""
    if promise["between"]:
        low, high = promise["between"]
        luck = f"; by the luck of who calibrated, {low:.2f} to {high:.2f}"
    lines = [
        f"{promise['coverage']:.0%}: so often these hold the truth, {_WHOM[promise['each']]}, on patients like the "
        f"{promise['patients']} that calibrated them, and not on images unlike training{luck}"
    ]
    few = [f"{one['class']} ({one['patients']})" for one in promise["few"] if "class" in one]
    if few:
        lines.append(f"too few of {', '.join(few)} to promise it of each: it takes {promise['needed']} patients")
    for one in (one for one in promise["few"] if "label" in one):
        has = "have it" if one["truth"] == "yes" else "have it not"
        lines.append(
            f"{one['label']}: {one['patients']} patients who {has} calibrate it, of {promise['needed']} needed; "
            f'"{one["truth"]}" is never ruled out'
        )
    return lines


def sets_lines(result: Mapping[str, Any]) -> list[str]:
    """How often the sets of a run held the truth; none of a bundle that gives no sets."""
    from ..evaluation.conformal_coverage import spoken

    found = result["conformal"]
    return [] if found is None else [f"sets: {spoken(found, kind_of(dict(result)))}"]
