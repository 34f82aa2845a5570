"""A process that works on a store and is killed on purpose: ``python faulty.py DATA CACHE STEP [compact | NETWORK]``.

It extracts pixels, or the features of a network in a file, or compacts; it counts every call into C that the store's
own modules make meanwhile, and kills itself with SIGKILL right before the STEP-th. With STEP 0 it runs through and
prints the count.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import featcache
from featcache.store import maintenance

WATCHED = (
    "atomic_files.py",
    "store.py",
    "feature_sets.py",
    "set_folder.py",
    "last_extract.py",
    "index.py",
    "shard.py",
    "compression.py",
    "maintenance.py",
    "compaction.py",
    "maintenance_lock.py",
    "integrity.py",
    "vouching.py",
)
count = 0


def watch(frame, event, argument) -> None:
    global count
    if event == "c_call" and os.path.basename(frame.f_code.co_filename) in WATCHED:
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)


data, cache, step = sys.argv[1], sys.argv[2], int(sys.argv[3])
if sys.argv[4:] == ["compact"]:
    with featcache.Store(cache) as store:
        sys.setprofile(watch)
        maintenance.compact(store)
        sys.setprofile(None)
    sys.stdout.write(f"{count}")
else:
    threading.setprofile(watch)  # the committing thread starts after this
    options = {"backbone": "pixels", "size": 16}
    if sys.argv[4:]:
        options = {"backbone": sys.argv[4], "mean": 0.5, "std": 0.25, "resize": "squash"}
        sys.setprofile(watch)  # the converted network is kept by the calling thread
    result = featcache.extract(data, cache=cache, commit_rows=8, batch_size=8, **options)
    sys.setprofile(None)
    sys.stdout.write(f"{count} {result.computed}")
