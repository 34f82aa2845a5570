"""Images that show what their table says: several labels, an age, a sex and a view, of patients with several images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("Edema", "Mass", "Nodule")
_NEAR, _FAR = slice(0, 8), slice(8, 16)
_QUARTERS = {"Edema": (_NEAR, _NEAR), "Mass": (_NEAR, _FAR), "Nodule": (_FAR, _NEAR)}


def write_findings(folder: Path, patients: int = 160, seed: int = 0, unknown: float = 0.1) -> Path:
    """Images of 16 pixels and ``table.csv``: a bright quarter for each label, and the rest the brighter the older.

    One patient in four has three images, one in two two; some labels are not known; of the patients a quarter is test.
    """
    rng, rows = np.random.default_rng(seed), []
    (folder / "images").mkdir(parents=True)
    for patient in range(patients):
        has = rng.random(len(LABELS)) < (0.5, 0.4, 0.3)
        age, sex = int(rng.integers(20, 90)), "FM"[int(rng.integers(2))]
        for image in range(int(rng.choice([1, 2, 2, 3]))):
            pixels = rng.normal(60 + age, 12, (16, 16))
            for label, there in zip(LABELS, has, strict=True):
                if there:
                    pixels[_QUARTERS[label]] += 60
            name = f"images/{patient:03d}_{image}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
            cells = ["" if rng.random() < unknown else int(there) for there in has]
            listed = "|".join(label for label, there in zip(LABELS, has, strict=True) if there) or "No Finding"
            split = "test" if patient % 4 == 0 else "train"
            rows.append([name, split, f"p{patient:03d}", *cells, listed, age, sex, ("PA", "AP")[image % 2]])
    with (folder / "table.csv").open("w", newline="") as file:
        header = ["path", "split", "group", *LABELS, "findings", "age", "sex", "view"]
        csv.writer(file).writerows([header, *rows])
    return folder / "table.csv"
