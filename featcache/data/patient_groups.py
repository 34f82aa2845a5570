"""Which patient an image is of, as far as its file's name tells."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ..errors import UsageError

# How well-known collections write the patient into a file name: Kermany's paediatric set
# (person12_bacteria_47, IM-0115-0001, NORMAL2-IM-0045-0001), NIH ChestX-ray (00001362_001), and BIDS, so BIMCV
# (sub-S03044_ses-E06025_run-1_bp-chest_vp-ap).
_COLLECTIONS = (
    r"^(?P<group>person\d+_(?:bacteria|virus))_\d+",
    r"^(?P<group>(?:NORMAL2-)?IM-\d{4})-\d{4}",
    r"^(?P<group>\d{8})_\d{3}$",
    r"^(?P<group>sub-[A-Za-z0-9]+)_",
    # In the folders above it: CheXpert (patient00001/study1/view1_frontal) and MIMIC-CXR (p10000032/s50414267/…).
    r"(?:^|/)(?P<group>patient\d{5})/study\d+/",
    r"(?:^|/)(?P<group>p\d{8})/s\d{8}/",
)
# What a name, begun by a zero, holds in which one of them finds a group.
_HINT = re.compile(
    "|".join(
        pattern.replace("^(?P<group>", r"[\0/\\](?:").replace("(?:^|/)(?P<group>", r"[\0/](?:").removesuffix("$")
        for pattern in _COLLECTIONS
    )
)


def group_patterns(group_regex: str | None) -> list[re.Pattern[str]]:
    """The pattern that is given, or those of well-known collections.

    Raises :class:`UsageError` for what is no regular expression.
    """
    try:
        return [re.compile(pattern) for pattern in ([group_regex] if group_regex else _COLLECTIONS)]
    except re.error as error:
        raise UsageError(f"--group-regex {group_regex!r} is no regular expression: {error}") from error


def groups_of(names: Sequence[str], patterns: Sequence[re.Pattern[str]]) -> list[str]:
    """The group that each name tells, by the first pattern that fits; the name itself where none does."""
    # With a million names every call counts: what depends on the pattern alone is settled before.
    parts = [
        (pattern.search, "/" in pattern.pattern, "group" if "group" in pattern.groupindex else min(pattern.groups, 1))
        for pattern in patterns
    ]
    # Most data have nothing of the kind: one search says so of all names at once.
    if [pattern.pattern for pattern in patterns] == list(_COLLECTIONS) and not _HINT.search("\0".join(["", *names])):
        return list(names)
    groups = []
    for name in names:
        stem, _ = os.path.splitext(os.path.basename(name))
        group = name
        for search, in_path, part in parts:
            match = search(name if in_path else stem)
            if match and match.group(part):
                group = match.group(part)
                break
        groups.append(group)
    return groups
