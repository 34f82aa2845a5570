"""How long a large table of a known collection takes to read, to learn labels of, and to plan.

    pytest tests/benchmarks/test_table_speed.py -s

A made-up ``train.csv`` of CheXpert's form, 19 columns, of 200,000 rows; of its images one is there, and the plan finds
that the others are not. Seconds of this process's work stand beside those of the clock, since other work on the machine
changes these. ``FEATCACHE_ROWS`` says how many rows, ``FEATCACHE_ROUNDS`` how often.
"""

from __future__ import annotations

import csv
import os
import random
import resource
import statistics
import time
from pathlib import Path

from featcache.data.dataset import open_dataset
from featcache.data.tasks import Multilabel
from featcache.extraction.planning import plan
from featcache.spec import FeatureSpec
from featcache.store.store import Store

ROWS = int(float(os.environ.get("FEATCACHE_ROWS", "2e5")))
ROUNDS = int(os.environ.get("FEATCACHE_ROUNDS", "5"))
SPEC = FeatureSpec("mobilenet", "", "random0", "00" * 32, 224, "decode-1", "caffe", "avg", "float32", "float32")
LABELS = [
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
]


def write_table(folder: Path) -> Path:
    """The table, and the first of its images."""
    rng = random.Random(0)
    with open(folder / "train.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *LABELS])
        for i in range(ROWS):
            path = f"CheXpert-v1.0-small/train/patient{i // 3 + 1:05d}/study1/view{i % 3 + 1}_frontal.jpg"
            about = [rng.choice(["Male", "Female"]), rng.randint(18, 90), "Frontal", rng.choice(["AP", "PA"])]
            writer.writerow([path, *about, *rng.choices(["", "1.0", "0.0", "-1.0"], [6, 2, 1, 1], k=len(LABELS))])
    first = folder / "train" / "patient00001" / "study1" / "view1_frontal.jpg"
    first.parent.mkdir(parents=True)
    first.write_bytes(b"x")
    return folder / "train.csv"


def test_a_large_table(tmp_path):
    table = write_table(tmp_path)
    taken: dict[str, list[tuple[float, float]]] = {
        name: [] for name in ("open_dataset", "Multilabel().targets", "take", "plan")
    }

    def now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    for _ in range(ROUNDS):
        begun = [now()]
        dataset = open_dataset(table)
        begun.append(now())
        targets = Multilabel().targets(dataset)
        begun.append(now())
        dataset.take(targets.rows)
        begun.append(now())
        with Store(tmp_path / "cache") as store:
            made = plan(store, SPEC, dataset.paths)
        begun.append(now())
        assert targets.y.shape[1] == len(LABELS)
        assert len(made.unreadable) == ROWS - 1
        for name, first, last in zip(taken, begun, begun[1:], strict=False):
            taken[name].append((last[0] - first[0], last[1] - first[1]))
    told = ", ".join(
        f"{name} {statistics.median(clock):.1f} s ({statistics.median(work):.1f} s of work)"
        for name, (clock, work) in ((name, zip(*pairs, strict=True)) for name, pairs in taken.items())
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\n{ROWS:,} rows, median of {ROUNDS}: {told}; {peak:.2f} GB at the peak")  # noqa: T201
