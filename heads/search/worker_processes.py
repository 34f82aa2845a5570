"""How many processes that fit models side by side fit in memory."""

from __future__ import annotations

_PROCESS = 400_000_000  # bytes of a process that fits models for us, sklearn and the like in it
_COPIES = 4  # of the rows in it: as they came, those learnt from, those scored, and what a model makes of them


def affordable_processes(jobs: int, room: int, rows: int) -> int:
    """At most ``jobs``, and at least one.

    Parameters
    ----------
    jobs : int
        Processes wanted.
    room : int
        Bytes that they may hold, all told.
    rows : int
        Bytes of the rows that each works on.
    """
    return max(1, min(jobs, room // (_PROCESS + _COPIES * rows)))
