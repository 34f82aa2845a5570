"""Several names in a sentence."""

from __future__ import annotations

from collections.abc import Sequence


def with_and(parts: Sequence[str], last: str = "and") -> str:
    """One or more things in words: ``a``, ``a and b``, ``a, b and c``; ``last`` stands before the last one."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}"


def first_few(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are: ``a, b and 7 more``; all of them where there are no more."""
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"
