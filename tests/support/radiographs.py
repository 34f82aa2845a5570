"""Ten pictures of many shapes: real radiographs where they are at hand, drawn ones otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from surroundings import REFERENCE


def ten(folder: Path) -> list[Path]:
    """``folder/<a or b>/N.png``, in the order of a dataset; whole radiographs are copied as they are decoded."""
    real = sorted(REFERENCE.glob("data/nih/*/*.*")) + sorted(REFERENCE.glob("data/xray4/test/*/*.*"))
    chosen = real[:: max(1, len(real) // 10)][:10]
    paths = []
    for number in range(10):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.open(chosen[number]).convert("L") if chosen else _drawn(number)
        image.save(path)
        paths.append(path)
    return sorted(paths)


def _drawn(number: int) -> Image.Image:
    rng = np.random.default_rng(number)
    height, width = 300 + 37 * number, 500 - 29 * number
    coarse = Image.fromarray(rng.integers(0, 256, (9, 11), dtype=np.uint8)).resize((width, height))
    return Image.fromarray((np.asarray(coarse) * 0.9 + rng.uniform(0, 25, (height, width))).astype(np.uint8))
