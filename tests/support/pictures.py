"""Small images on disk."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
from PIL import Image


def write_images(folder: Path, count: int, classes=("covid", "normal"), size: int = 32, seed: int = 0) -> list[Path]:
    """``folder/<class>/NNN.png`` of noise, ``count`` in all, every one different."""
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        path = folder / classes[number % len(classes)] / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (size, size), dtype=np.uint8)).save(path)
        paths.append(path)
    return paths


def renamed(folder: Path, target: Path) -> None:
    """The same images in another folder under other names, in another order."""
    for number, path in enumerate(sorted(folder.rglob("*.png"), reverse=True)):
        place = target / path.parent.relative_to(folder) / f"scan{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    age(target)


def age(folder: Path) -> None:
    """Make files look as if they had been left alone for a while, so that their keys are remembered."""
    for path in folder.rglob("*"):
        if path.is_file():
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - 10_000_000_000))
    time.sleep(0.06)  # their change time is now, whatever one does: longer ago than the clock's grain
