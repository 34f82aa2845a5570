"""Images with several findings and a number, drawn so that both can be learnt."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

FINDINGS = ("bar", "blob", "speck")
PLACES = {"bar": (0.25, 0.25), "blob": (0.75, 0.25), "speck": (0.25, 0.75)}  # down, across: a quarter each


def write_findings(folder: Path, count: int, *, side: int = 48, seed: int = 0, name: str = "data.csv") -> Path:
    """A manifest of images: each finding is a bright spot in its own quarter, ``age`` the light of the fourth one.

    The findings are there in 45, 30 and 4 images of 100; of every seventh image whether it has a bar is not known. A
    patient has two images; ``sex`` says nothing.
    """
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[:side, :side] / side
    lines = []
    for number in range(count):
        has = rng.random(3) < (0.45, 0.3, 0.04)
        age = round(float(rng.uniform(20, 90)), 1)
        pixels = rng.normal(70, 22, (side, side))
        for there, (top, left) in zip(has, PLACES.values(), strict=True):
            pixels += there * 90 * np.exp(-((down - top) ** 2 + (across - left) ** 2) / (2 * 0.08**2))
        pixels[side // 2 + 4 :, side // 2 + 4 :] += 1.6 * (age - 20)
        path = folder / "images" / f"{Path(name).stem}-{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
        cells = ["" if finding == "bar" and number % 7 == 0 else int(there) for finding, there in zip(FINDINGS, has)]
        split = "test" if number % 10 >= 6 else "train"
        patient = f"p{number // 20}-{number % 10}"  # of one part
        lines.append([f"images/{path.name}", split, patient, *cells, age, "FM"[int(rng.random() < 0.5)]])
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows([["path", "split", "group", *FINDINGS, "age", "sex"], *lines])
    return folder / name
