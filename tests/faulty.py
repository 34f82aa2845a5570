"""A process that extracts pixels and is killed on purpose: ``python faulty.py DATA CACHE STEP``.

It counts every call into C that the store's own modules make while committing, and kills itself with SIGKILL
right before the STEP-th. With STEP 0 it runs through and prints the count.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import featcache

WATCHED = ("durable.py", "store.py", "index.py", "shard.py")
count = 0


def watch(frame, event, argument) -> None:
    global count
    if event == "c_call" and os.path.basename(frame.f_code.co_filename) in WATCHED:
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)


data, cache, step = sys.argv[1], sys.argv[2], int(sys.argv[3])
threading.setprofile(watch)  # the committing thread starts after this
result = featcache.extract(data, "pixels", size=16, cache=cache, commit_rows=8, batch_size=8)
sys.stdout.write(f"{count} {result.computed}")
