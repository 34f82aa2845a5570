"""The store, the index and the plan from ten thousand to a million images: time, memory, bytes; a table and a figure.

    FEATCACHE_FIGURE=scale.png pytest tests/benchmarks/test_scale.py -s

The images are empty files whose keys are made up and remembered, as after a first extract; the rows are made-up vectors
of 8 numbers, committed 128 at a time as an extract does. Each figure is that of a fresh process; a plan finds every row
there, or, as "new", none, as for another backbone. All of it stands in memory (/dev/shm) where there is such a place: a
million images take some 2 GB of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZES = [int(float(size)) for size in os.environ.get("FEATCACHE_SIZES", "1e4,1e5,1e6").split(",")]
COMMIT, FOLDER = 128, 1000
CLASSES = ("covid", "normal", "pneumonia_bac", "pneumonia_vir")
START = """
import json, sys, time
from dataclasses import replace
from pathlib import Path
import numpy as np
from featcache.data import filesystems as locations; from featcache.store import maintenance as upkeep
from featcache.data.dataset import open_dataset
from featcache.extraction.planning import plan
from featcache.store.shard import Rows
from featcache.spec import FeatureSpec
from featcache.store.store import Store

SPEC = FeatureSpec("mobilenet", "", "random0", "00" * 32, 224, "decode-1", "caffe", "avg", "float32", "float32")
place = Path(sys.argv[1])

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
"""
FILL = """
paths = open_dataset(place / "images").paths
keys = np.random.default_rng(0).integers(0, 256, (len(paths), 32), dtype=np.uint8)
vectors = np.random.default_rng(1).random((len(paths), 8), np.float32)
started = time.perf_counter()
with Store(place / "cache") as store:
    stamps, _ = locations.stat(paths)
    store.index.remember_files(
        ((path, stamp, key.tobytes()) for path, stamp, key in zip(paths, stamps, keys)), time.time_ns() + 10**9
    )
    for start in range(0, len(paths), int(sys.argv[2])):
        block = slice(start, start + int(sys.argv[2]))
        store.commit(SPEC, Rows(keys[block], {"avg": vectors[block]}, 1.0, {"name": "made up"}))
    found = store.on_disk(SPEC.id)
index = (place / "cache" / "index.sqlite").stat().st_size
spent = {"fill": time.perf_counter() - started, "shards": len(found), "store": sum(found.values()), "index": index}
print(json.dumps(spent))
"""
PLAN = """
SPEC = replace(SPEC, size=int(sys.argv[3]))  # of another size nothing is there yet
started = time.perf_counter()
with Store(place / "cache") as store:
    todo = plan(store, SPEC, open_dataset(place / sys.argv[2]).paths)
spent = {"seconds": time.perf_counter() - started, "peak": peak()}
print(json.dumps(spent | {"reused": todo.reused, "jobs": len(todo.to_compute)}))
"""
LS = """
started = time.perf_counter()
with Store(place / "cache") as store:
    (row,) = upkeep.ls(store)
print(json.dumps({"seconds": time.perf_counter() - started, "peak": peak(), "rows": row["rows"]}))
"""


def fresh(script: str, *arguments: object) -> dict:
    """What a script prints, run in a process of its own."""
    command = [sys.executable, "-c", START + script, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def write_tree(place: Path, count: int) -> None:
    """Empty files in folders of classes and a thousand images each, and manifests of them."""
    import pandas as pd

    names = []
    hour_ago = time.time() - 3600
    for first in range(0, count, FOLDER):
        folder = f"images/{CLASSES[first // FOLDER % len(CLASSES)]}/{first // FOLDER:06d}"
        (place / folder).mkdir(parents=True)
        for number in range(first, min(count, first + FOLDER)):
            name = f"{folder}/{number:09d}_000.png"
            descriptor = os.open(place / name, os.O_CREAT | os.O_WRONLY)
            os.utime(descriptor, (hour_ago, hour_ago))
            os.close(descriptor)
            names.append(name)
    table = pd.DataFrame({"path": names, "label": [name.split("/")[1] for name in names], "split": "train"})
    table.to_csv(place / "manifest.csv", index=False)
    table.to_parquet(place / "manifest.parquet", index=False)


def measure(count: int) -> dict[str, float]:
    """All figures of one size."""
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="featcache-scale-", dir=memory if memory.is_dir() else None))
    try:
        write_tree(place, count)
        filled = fresh(FILL, place, COMMIT)
        row: dict[str, float] = {"images": count, **filled}
        for name, data in (("folder", "images"), ("csv", "manifest.csv"), ("parquet", "manifest.parquet")):
            planned = fresh(PLAN, place, data, 224)
            assert (planned["reused"], planned["jobs"]) == (count, 0)
            row |= {f"{name}_seconds": planned["seconds"], f"{name}_peak": planned["peak"]}
        planned = fresh(PLAN, place, "images", 128)
        assert (planned["reused"], planned["jobs"]) == (0, count)
        row |= {"new_seconds": planned["seconds"], "new_peak": planned["peak"]}
        listed = fresh(LS, place)
        assert listed["rows"] == count
        return row | {"ls_seconds": listed["seconds"], "ls_peak": listed["peak"]}
    finally:
        shutil.rmtree(place)


def draw(rows: list[dict[str, float]], to: Path) -> None:
    """Time, memory and bytes against the number of images."""
    import matplotlib.pyplot as plt

    images = [row["images"] for row in rows]
    panels = (
        (
            "Time",
            "seconds",
            1.0,
            {
                "plan, folder": "folder_seconds",
                "plan, CSV": "csv_seconds",
                "plan, Parquet": "parquet_seconds",
                "plan, folder, nothing there": "new_seconds",
                "cache ls": "ls_seconds",
            },
        ),
        (
            "Peak memory of the process",
            "MB",
            1e6,
            {
                "plan, folder": "folder_peak",
                "plan, CSV": "csv_peak",
                "plan, Parquet": "parquet_peak",
                "plan, folder, nothing there": "new_peak",
                "cache ls": "ls_peak",
            },
        ),
        ("On disk", "MB", 1e6, {"index.sqlite": "index", "shards (8 numbers a row)": "store"}),
    )
    figure, axes = plt.subplots(1, len(panels), figsize=(13, 4.2), layout="constrained")
    for axis, (title, unit, scale, lines) in zip(axes, panels, strict=True):
        for (label, name), marker in zip(lines.items(), "os^vD", strict=False):
            axis.loglog(images, [row[name] / scale for row in rows], marker=marker, markersize=5, label=label)
        axis.set(title=title, xlabel="images", ylabel=unit)
        low, high = axis.get_ylim()
        axis.set_ylim(10 ** np.floor(np.log10(low)), 10 ** np.ceil(np.log10(high)))
        for numbers in (axis.xaxis, axis.yaxis):
            numbers.set_major_formatter("{x:,.7g}")
            numbers.set_minor_formatter("")
        axis.grid(which="major", alpha=0.3)
        axis.legend(frameon=False, fontsize="small", loc="upper left")
    figure.savefig(to, dpi=110)
    plt.close(figure)


def test_scale(tmp_path):
    rows = [measure(count) for count in SIZES]
    to = Path(os.environ.get("FEATCACHE_FIGURE", tmp_path / "scale.png"))
    draw(rows, to)
    columns = {
        "images": ("images", 1),
        "shards": ("shards", 1),
        "plan folder s": ("folder_seconds", 1),
        "plan CSV s": ("csv_seconds", 1),
        "plan Parquet s": ("parquet_seconds", 1),
        "plan new s": ("new_seconds", 1),
        "ls s": ("ls_seconds", 1),
        "plan MB": ("folder_peak", 1e6),
        "CSV MB": ("csv_peak", 1e6),
        "Parquet MB": ("parquet_peak", 1e6),
        "new MB": ("new_peak", 1e6),
        "ls MB": ("ls_peak", 1e6),
        "index MB": ("index", 1e6),
        "store MB": ("store", 1e6),
        "commit s": ("fill", 1),
    }
    print(f"\n{' | '.join(columns)}")  # noqa: T201
    for row in rows:
        print(" | ".join(f"{row[name] / scale:,.6g}"[:9] for name, scale in columns.values()))  # noqa: T201
    print(to)  # noqa: T201
