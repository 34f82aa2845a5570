"""How much memory this process holds, and may still take."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

_CGROUPS = (  # limit, used, and what of it the kernel gives back when asked: version 2, then version 1
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)


def resident() -> int:
    """Bytes of memory that this process and its children hold."""
    me = psutil.Process()
    held = me.memory_info().rss
    for child in me.children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            held += child.memory_info().rss
    return int(held)


def available(cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that are free, or would be freed on demand: of the machine, or of the container where it allows less."""
    free = int(psutil.virtual_memory().available)
    for limit, used, reclaimable in _CGROUPS:
        try:
            most = (cgroups / limit).read_text().strip()
            if most == "max":
                break
            lines = (cgroups / used).with_name("memory.stat").read_text().splitlines()
            given_back = next((int(line.split()[1]) for line in lines if line.startswith(f"{reclaimable} ")), 0)
            return max(0, min(free, int(most) - int((cgroups / used).read_text()) + given_back))
        except (OSError, ValueError):
            continue
    return free
