"""Runs made up for a page, and a browser to look at it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

HOSTILE = "</script><img src=x onerror=hacked=1>"

TEST = {
    "accuracy": 0.9,
    "accuracy_ci": [0.8, 0.95],
    "balanced_accuracy": 0.88,
    "balanced_accuracy_ci": [0.79, 0.94],
    "macro_f1": 0.87,
    "macro_f1_ci": [0.77, 0.93],
    "roc_auc": None,
    "roc_auc_ci": None,
    "loss": 0.3,
    "n": 40,
    "confusion": [[18, 2], [2, 18]],
    "recall": {"a": 0.9, "b": 0.9},
    "recall_ci": {"a": [0.7, 0.98], "b": [0.7, 0.98]},
}
BASE = {"task": "binary", "classes": ["a", "b"], "feature_set": "vgg16-imagenet-224-0", "synthetic": False}
FIT = {
    **BASE,
    "verb": "fit-head",
    "model": "dense",
    "hyperparameters": {"units": 8},
    "epochs_run": 1,
    "best_epoch": 1,
    "test": TEST,
    "made": [],
    "weights": "imagenet",
}
AUDIT = {
    **BASE,
    "verb": "audit",
    "images": 80,
    "groups": 70,
    "per_split": {"train": {"a": 21, "b": 19}},
    "duplicates": [{"paths": ["a/1.png", "a/2.png"], "labels": ["a", "a"], "splits": ["train", "test"]}],
    "near_duplicates": [
        {
            "a": "a/1.png",
            "b": "b/1.png",
            "similarity": 0.99,
            "labels": ["a", "b"],
            "splits": ["train", "train"],
            "kind": "label conflict",
        }
    ],
    "split_leaks": {"duplicates": 1, "near_duplicates": 0},
    "group_leaks": [{"group": HOSTILE, "splits": ["test", "train"], "images": 3}],
    "shortcuts": [
        {
            "probe": "file properties",
            "score": 0.951,
            "score_ci": [0.91, 0.98],
            "chance": 0.5,
            "p_value": 0.0001,
            "flag": True,
            "verdict": f"the size gives it away {HOSTILE}",
        }
    ],
    "without_shortcuts": {
        "plain": 0.94,
        "plain_ci": [0.9, 0.97],
        "net": 0.79,
        "net_ci": [0.68, 0.87],
        "difference": 0.15,
        "difference_ci": [0.08, 0.22],
        "how": "overlap weights",
        "matched": {"score": 0.77, "ci": [0.66, 0.85], "effective_patients": 41.2, "fewest_patients": 20.1},
        "probes": [HOSTILE],
        "probes_score": 0.9,
        "n": 400,
        "said": f"Of a balanced accuracy of 0.94, some 0.15 (0.08 to 0.22) comes from what {HOSTILE} alone gives away",
    },
    "unreadable": [{"path": "a/3.png", "reason": "cut short"}],
    "quality": {"blank": ["a/4.png"]},
    "unfit": [{"path": "a/4.png", "fault": "blank", "value": 0.5, "limit": 2.0, "said": f"nearly even {HOSTILE}"}],
    "leak_inflation": {"image_wise": 0.97, "group_wise": 0.95, "difference": 0.02, "interval": [0.01, 0.03]},
    "warnings": ["The size of the file gives the class away."],
    "against": None,
}
CLEAN = {**BASE, "verb": "audit", "warnings": [], "shortcuts": [{**AUDIT["shortcuts"][0], "flag": False}]}


def write_runs(folder: Path, **runs: dict) -> Path:
    for hour, (name, about) in enumerate(runs.items()):
        run = folder / name.replace("_", "-")
        run.mkdir(parents=True)
        values = {"data": "/data/xrays", "finished": f"2026-01-01T{hour:02}:00:00", **about}
        if values.get("bundle") == "of fit-1":
            values["bundle"] = str(folder / "fit-1" / "bundle")
        (run / "run.json").write_text(json.dumps(values))
    return folder


ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium: $CHROMIUM, or one on PATH."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium or Chrome on PATH; install one, or name it in CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield running
        running.close()
