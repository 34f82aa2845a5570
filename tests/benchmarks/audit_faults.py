r"""Which images an audit calls unfit, of sets that are not, and how many of planted faults it finds.

    python tests/benchmarks/audit_faults.py --data xrays/ --data more_xrays/ --pictures site-packages/skimage/data

Sets of pictures of other kinds are cut from what scikit-learn and scikit-image ship, or drawn. Each fault is planted in
one of 20 images, of 100 of each set, in turns, so that each of these has it once. The bound is Clopper and
Pearson's, one-sided.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from heads.auditing.fitness_measures import MEASURES
from heads.auditing.image_summary import summary_of
from heads.auditing.sketches import sketch
from heads.auditing.unfit_images import FAULTS, unfit

EACH = 20  # one image of so many has the fault
PICTURES = ("astronaut", "chelsea", "coffee", "rocket", "camera", "motorcycle_left", "hubble_deep_field", "retina")


def encoded(image: Image.Image, kind: str = "BMP") -> bytes:
    data = io.BytesIO()
    image.save(data, kind)
    return data.getvalue()


# -- sets -----------------------------------------------------------------------------------------


def cut(whole: list[Image.Image], count: int, seed: int) -> list[Image.Image]:
    """Parts of pictures, of all sizes from 128 pixels up."""
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(count):
        image = whole[number % len(whole)]
        most = min(image.size)
        width, height = (int(rng.integers(min(128, most), most + 1)) for _ in range(2))
        left, top = (int(rng.integers(0, room + 1)) for room in (image.width - width, image.height - height))
        parts.append(image.crop((left, top, left + width, top + height)))
    return parts


def lesions(count: int, seed: int = 0) -> list[Image.Image]:
    """Drawn: a dark blot on smooth skin, hairs on some, and the black rim of a lens on some."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:300, :400]
    pictures = []
    for number in range(count):
        skin = rng.uniform((190, 130, 110), (240, 190, 175))
        far = np.hypot(
            (rows - rng.normal(150, 15)) / rng.uniform(40, 100), (columns - rng.normal(200, 20)) / rng.uniform(50, 120)
        )
        angle = np.arctan2(rows - 150, columns - 200)
        far += 0.1 * np.sin(5 * angle + rng.uniform(0, 6)) + 0.05 * np.sin(11 * angle)
        blot = 1 / (1 + np.exp((far - 1) / rng.uniform(0.03, 0.2)))
        pixels = skin - blot[..., None] * rng.uniform((60, 60, 50), (140, 110, 90)) + rng.normal(0, 3, (300, 400, 1))
        pixels += rng.normal(0, 12) * (columns[..., None] - 200) / 200
        if number % 4 == 0:
            pixels[np.hypot(rows - 150, columns - 200) > 215] = 4
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        for _ in range(int(rng.integers(0, 12)) if number % 3 == 0 else 0):
            ends = rng.uniform((0, 0, 0, 0), (400, 300, 400, 300)).tolist()
            ImageDraw.Draw(image).line(ends, fill=(50, 35, 30), width=2)
        pictures.append(image)
    return pictures


def smears(count: int, seed: int = 0) -> list[Image.Image]:
    """Drawn: red cells, pale in their middle, and a violet white one on some."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:240, :320]
    pictures = []
    for number in range(count):
        pixels = np.full((240, 320, 3), rng.uniform((225, 215, 210), (245, 235, 230))) + rng.normal(0, 3, (240, 320, 1))
        for _ in range(int(rng.integers(5, 60))):
            far = np.hypot(rows - rng.uniform(0, 240), (columns - rng.uniform(0, 320)) * rng.uniform(0.85, 1.15))
            radius = rng.uniform(14, 18)
            ring = 1 / (1 + np.exp((far - radius) / 1.2)) - 0.5 / (1 + np.exp((far - radius / 2.5) / 2))
            pixels -= ring[..., None] * (40, 90, 80)
        if number % 3 == 0:
            far = np.hypot(rows - rng.uniform(60, 180), columns - rng.uniform(80, 240))
            pixels -= (1 / (1 + np.exp((far - 24) / 1.5)))[..., None] * (90, 130, 40)
        pictures.append(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))
    return pictures


def of_folder(folder: Path) -> list[Image.Image]:
    suffixes = {".png", ".jpg", ".jpeg"}
    return [Image.open(path) for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes]


def sets(data: list[Path], pictures: Path | None) -> dict[str, list[Image.Image]]:
    from sklearn.datasets import load_digits, load_sample_images

    found = {folder.name: of_folder(folder) for folder in data}
    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    if pictures is not None:
        photographs += [
            Image.open(path).convert("RGB") for name in PICTURES for path in sorted(pictures.glob(f"{name}.*"))
        ]
        tissue = [Image.open(pictures / f"{name}.png").convert("RGB") for name in ("ihc",)]
        found["tissue"] = cut(tissue, 100, 2)
        surfaces = [Image.open(pictures / f"{name}.png").convert("L") for name in ("brick", "grass", "gravel", "moon")]
        found["surfaces, grey"] = cut(surfaces, 100, 3)
    found["photographs"] = cut(photographs, 300, 1)
    found["photographs, grey"] = [image.convert("L") for image in cut(photographs, 200, 4)]
    found["skin lesions, drawn"] = lesions(200)
    found["blood smears, drawn"] = smears(200)
    found["digits, 64 pixels"] = [
        Image.fromarray((image * 15.9).astype(np.uint8)).resize((64, 64)) for image in load_digits().images[:200]
    ]
    return found


# -- faults ---------------------------------------------------------------------------------------


def brighter(image: Image.Image) -> Image.Image:
    """Half of the pixels as bright as can be, the rest in proportion."""
    grey = np.asarray(image.convert("L"))
    gain = 255 / max(1.0, float(np.quantile(grey, 0.5)))
    return image.point(lambda value: min(255, value * gain))


def darker(image: Image.Image) -> Image.Image:
    """Seven tenths of the pixels black."""
    least = float(np.quantile(np.asarray(image.convert("L")), 0.7))
    return image.point(lambda value: max(0, value - least))


def lettered(image: Image.Image) -> Image.Image:
    """A word in the corner, a twentieth of the height."""
    image = image.copy()
    size = max(11, image.height // 20)
    white = 255 if image.mode == "L" else (255, 255, 255)
    ImageDraw.Draw(image).text((size, size), "PORTABLE", fill=white, font=ImageFont.load_default(size))
    return image


def tinted(image: Image.Image) -> Image.Image:
    """As a phone takes a film: bluish."""
    return Image.merge(
        "RGB", [image.convert("L").point(lambda value, gain=gain: int(value * gain)) for gain in (0.75, 0.85, 1)]
    )


PLANTED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(min(image.size) / 50)),
    "overexposed": brighter,
    "underexposed": darker,
    "odd aspect": lambda image: image.resize((image.width, max(64, image.width // 5))),
    "burnt-in text": lettered,
    "stray colour": tinted,
    "stray grey": lambda image: image.convert("L"),
    "inverted": lambda image: image.point(lambda value: 255 - value),
    "low contrast": lambda image: image.point(lambda value: int(100 + value / 12)),
}


@dataclass(frozen=True)
class Seen:
    """What :func:`unfit` takes of each of n images."""

    properties: np.ndarray
    measured: np.ndarray
    cells: np.ndarray

    def with_rows(self, rows: np.ndarray, other: Seen) -> Seen:
        """These, some rows from another."""
        return Seen(*(np.where(rows[:, None], getattr(other, of), getattr(self, of)) for of in vars(self)))

    def take(self, rows: np.ndarray) -> Seen:
        """Some of these."""
        return Seen(*(getattr(self, of)[rows] for of in vars(self)))

    def called(self) -> dict[str, set[int]]:
        """Positions by fault."""
        found: dict[str, set[int]] = {fault: set() for fault in FAULTS}
        places = [str(place) for place in range(len(self.cells))]
        for one in unfit(places, self.properties, self.measured, self.cells):
            found[one["fault"]].add(int(one["path"]))
        return found


def seen(images: Iterable[Image.Image]) -> Seen:
    """The summary of each."""
    summaries = [summary_of(encoded(image)) for image in images]
    columns = [(one.properties, one.measured, sketch(one.square)[1]) for one in summaries]
    return Seen(*(np.stack(column) for column in zip(*columns, strict=True)))


def bound(hits: int, count: int) -> float:
    """What a share of so many of so many may be at most, with 95% confidence."""
    return 1.0 if hits == count else float(beta.ppf(0.95, hits + 1, count - hits))


def say(*cells: object) -> None:
    """A row of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, action="append", default=[])
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--planted", type=int, default=100, help="Images of a set in which faults are planted.")
    parser.add_argument("--most", type=int, default=500, help="Images of a set.")
    asked = parser.parse_args()
    say("set", "images", "called unfit", "at most", "by")
    say(*["---"] * 5)
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for name, images in sets(asked.data, asked.pictures).items():
        images = images[: asked.most]
        images = [image.convert("L") if image.mode not in ("L", "RGB") else image for image in images]
        sound = seen(images)
        faults = sound.called()
        unfit_ones = set().union(*faults.values())
        by = ", ".join(f"{fault} {len(rows)}" for fault, rows in faults.items() if rows)
        row = (name, len(images), len(unfit_ones), f"{bound(len(unfit_ones), len(images)):.3f}", by)
        say(*row)
        grey = (sound.measured[:, MEASURES.index("coloured")] < 0.01).mean() > 0.9
        for fault, plant in PLANTED.items() if asked.planted else ():
            if fault == ("stray grey" if grey else "stray colour"):
                continue
            step = -(-len(images) // asked.planted)
            some, there = images[::step], sound.take(np.arange(0, len(images), step))
            planted = seen(plant(image) for image in some)
            hits = 0
            for turn in range(EACH):
                own = np.arange(len(some)) % EACH == turn
                hits += len(there.with_rows(own, planted).called()[fault] & set(np.flatnonzero(own).tolist()))
            found.setdefault(fault, {})[name] = (hits, len(some))
    if not found:
        return
    names = list(next(iter(found.values())))
    say("planted", *names)
    say(*["---"] * (1 + len(names)))
    for fault, hits_of in found.items():
        say(fault, *(f"{hits_of[name][0] / hits_of[name][1]:.2f}" if name in hits_of else "" for name in names))


if __name__ == "__main__":
    main()
