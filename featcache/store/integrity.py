"""Whether a shard is what was committed: its SHA-256 must be its name."""

from __future__ import annotations

import enum
from pathlib import Path

from ..system import atomic_files


class State(enum.Enum):
    """What is known of a shard. Of one that cannot be read nothing is known."""

    SOUND = "sound"
    GONE = "gone"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"


def prove(path: Path) -> tuple[State, str]:
    """The state of a shard, and why it is not sound. Damage counts as proven when it is read twice."""
    digest = ""
    for _ in range(2):
        try:
            digest = atomic_files.sha256_file(path, from_device=bool(digest))
        except FileNotFoundError:  # compacted away meanwhile
            return State.GONE, ""
        except OSError as error:
            return State.UNREADABLE, f"cannot be read: {error.strerror or error}"
        if digest == path.stem:
            return State.SOUND, ""
    return State.DAMAGED, f"its SHA-256 is {digest[:12]}…, not its name"
