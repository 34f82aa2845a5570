"""A head trained on features that stay in the store against the same in memory: seconds, peak memory, learning curves.

    FEATCACHE_ROWS=40000 pytest tests/benchmarks/test_streaming_speed.py -s

Made-up features of 7 x 7 x 512 (100 KB a row), flattened, 60% of them for training, 3 epochs of the reference's
binary head; in memory they take some four times their size. Default: 10,000 rows, 1 GB. Each in a process of its
own, in turn.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from made_up import write_set  # noqa: E402

ROWS = int(os.environ.get("FEATCACHE_ROWS", "10000"))
TRAIN = """
import json, sys
import featcache
from heads import fit_head
with featcache.memory_limit(sys.argv[2] or None):
    result = fit_head("binary", cache=sys.argv[1], out=sys.argv[3], epochs=3, learning_rate=0.0003).result
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
taken = {"seconds": result["seconds"], "peak": int(peak.split()[1]) * 1024}
print(json.dumps(taken | {"test": result["test"]["accuracy"]}))
"""


def test_from_the_store_and_from_memory(tmp_path):
    write_set(tmp_path, ROWS)

    def run(limit: str) -> tuple[dict, np.ndarray]:
        out = tmp_path / f"run-{limit}"
        command = [sys.executable, "-c", TRAIN, str(tmp_path / "cache"), limit, str(out)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
        rows = list(csv.reader((out / "history.csv").open()))[1:]
        return json.loads(done.stdout.splitlines()[-1]), np.array(rows, float)

    (memory, theirs), (store, ours) = run(""), run("1.5GB")
    for name, found in (("in memory", memory), ("from the store", store)):
        print(  # noqa: T201
            f"\n{ROWS} rows, {name}: {found['seconds']:.1f} s, {found['peak'] / 1e9:.2f} GB at the peak, "
            f"test accuracy {found['test']:.4f}"
        )
    print(f"learning curves differ by {np.abs(ours - theirs).max():.1g} at most")  # noqa: T201
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
