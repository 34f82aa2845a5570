"""Audits of very many images: time, memory, and how many of planted copies are found.

    python tests/benchmarks/audit_at_scale.py --images 10000 --images 100000

Pictures are drawn by code, blots on coarse shades, none like another. Of 100 of 10,000 a copy is planted, in ten ways
in turn. Each size is audited by a process of its own; with ``--again`` twice, the second time with summaries in the
cache.
Pairs that were not planted count as false.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

ROOT = Path(__file__).resolve().parents[2]
SIDE = 192
FOLDER = 1000  # images
COPIES = 100  # images, of which one is copied


def drawn(number: int) -> Image.Image:
    """A picture unlike others: blots of 4 pixels on coarse shades."""
    rng = np.random.default_rng([20, number])
    fine, coarse = (
        Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8)).resize(
            (SIDE, SIDE), Image.Resampling.BICUBIC
        )
        for cells in (SIDE // 4, 6)
    )
    return Image.blend(fine, coarse, 0.6)


def cropped(image: Image.Image, share: float) -> Image.Image:
    width, height = image.size
    return image.crop(
        (int(width * share), int(height * share / 2), int(width * (1 - share / 2)), int(height * (1 - share)))
    )


TURN = Image.Transpose
WAYS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized": lambda image: image.resize((140, 140), Image.Resampling.LANCZOS),
    "re-encoded": lambda image: image,
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "cropped by 3%": lambda image: cropped(image, 0.03),
    "cropped by 8%": lambda image: cropped(image, 0.08),
    "mirrored": lambda image: image.transpose(TURN.FLIP_LEFT_RIGHT),
    "mirrored top to bottom": lambda image: image.transpose(TURN.FLIP_TOP_BOTTOM),
    "turned by 90 degrees": lambda image: image.transpose(TURN.ROTATE_270),
    "turned by 180 degrees": lambda image: image.transpose(TURN.ROTATE_180),
    "mirrored and turned by 270 degrees": lambda image: image.transpose(TURN.TRANSPOSE),
}


def write(job: tuple[str, int, int]) -> None:
    """The pictures of one folder, and copies of some of them in another."""
    place, first, last = job
    for label in "ab":
        (Path(place) / label / f"{first // FOLDER:04d}").mkdir(parents=True, exist_ok=True)
    for number in range(first, last):
        image = drawn(number)
        name = f"{first // FOLDER:04d}/{number:07d}"
        image.save(Path(place) / "ab"[number % 2] / f"{name}.jpg", quality=90)
        if number % COPIES == 0:
            way = number // COPIES % len(WAYS)
            copy = list(WAYS.values())[way](image)
            copy.save(Path(place) / "ab"[number // COPIES % 2] / f"{name}-copy{way}.jpg", quality=70)


AUDIT = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import heads
laps, begun = {}, time.perf_counter()
def said(what, done):
    laps.setdefault(what.rpartition(": ")[2], time.perf_counter() - begun)
cpu = time.process_time()
result = heads.audit(sys.argv[2], classes=["a", "b"], cache=sys.argv[3], out=sys.argv[4], on_progress=said)
status = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
spent = {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu, "peak": peak, "laps": laps}
pairs = [(Path(one["a"]).stem, Path(one["b"]).stem, one["how"]) for one in result["near_duplicates"]]
faults = {fault: len(paths) for fault, paths in result["quality"].items()}
print(json.dumps(spent | {"images": result["images"], "pairs": pairs, "faults": faults}))
"""


def audited(place: Path, again: int) -> dict:
    command = [sys.executable, "-c", AUDIT, str(ROOT), place / "images", place / "cache", place / f"run{again}"]
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def told(images: int, found: dict) -> tuple[dict[str, tuple[int, int]], int]:
    """By way of copying how many were found of how many; and how many other pairs."""
    planted: dict[str, list[int]] = {name: [0, 0] for name in WAYS}
    for number in range(0, images, COPIES):
        planted[list(WAYS)[number // COPIES % len(WAYS)]][1] += 1
    false = 0
    for a, b, _ in found["pairs"]:
        original, _, copy = max(a, b, key=len).partition("-copy")
        if copy and min(a, b, key=len) == original:
            planted[list(WAYS)[int(copy)]][0] += 1
        else:
            false += 1
    return {name: (hits, count) for name, (hits, count) in planted.items()}, false


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, action="append", required=True)
    parser.add_argument("--again", action="store_true", help="Audit a second time.")
    parser.add_argument("--folder", type=Path, help="Where pictures are written; they are removed afterwards.")
    asked = parser.parse_args()
    for images in asked.images:
        place = Path(tempfile.mkdtemp(prefix="featcache-scale-", dir=asked.folder))
        try:
            jobs = [(str(place / "images"), first, min(images, first + FOLDER)) for first in range(0, images, FOLDER)]
            with Pool() as pool:
                pool.map(write, jobs, chunksize=1)
            for again in range(1 + asked.again):
                found = audited(place, again)
                ways, false = told(images, found)
                hits, count = (sum(column) for column in zip(*ways.values(), strict=True))
                looked = found["laps"].get("looking for copies", 0)
                print(  # noqa: T201
                    f"{found['images']:,} images, {'second' if again else 'first'} audit: {found['seconds']:.0f} s "
                    f"({looked:.0f} s of summaries), {found['cpu']:.0f} s of processor time, "
                    f"{found['peak'] / 1e6:,.0f} MB at the peak; {hits} of {count} copies, {false} other pairs; "
                    f"called unfit: { ({name: n for name, n in found['faults'].items() if n}) }"
                )
                on_disk = (place / "cache" / "summaries.sqlite").stat().st_size / found["images"]
                by_way = "; ".join(f"{name} {hits}/{count}" for name, (hits, count) in ways.items())
                print(f"  {by_way}; summaries of {on_disk / 1e3:.1f} KB an image", flush=True)  # noqa: T201
        finally:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
