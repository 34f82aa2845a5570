"""A built-in sample: synthetic chest radiographs of four classes, drawn by code.

They let every command run on a fresh machine and let tests know the truth. They teach nothing about
medicine. The classes differ in the lungs alone (``covid``: soft patches at the lower outer edge of both
lungs; ``pneumonia_bac``: one dense area; ``pneumonia_vir``: a fine net in both); build, pose, exposure,
noise and border are drawn the same way for all, so that nothing outside the lungs tells the class.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..system.user_paths import expanded

CLASSES = ("covid", "normal", "pneumonia_bac", "pneumonia_vir")
VERSION = "v1"
SIZE = 256


def is_sample(cache: Path, data: str | os.PathLike[str]) -> bool:
    """Whether this is the folder of a cache that the sample is written to."""
    return expanded(data).absolute() == sample_folder(cache)


def of_sample(cache: Path, paths: Iterable[str]) -> bool:
    """Whether any of these images is one of the sample, whatever table names it."""
    inside = os.path.join(sample_folder(cache), "")
    return any(path.startswith(inside) for path in paths)


def sample_folder(cache: Path) -> Path:
    """Where a cache has the sample, or would have it."""
    return cache / "sample" / VERSION


def write_sample(folder: Path, train: int = 24, test: int = 8, seed: int = 0) -> Path:
    """Write ``folder/{train,test}/<class>/*.png`` unless it is there already.

    Parameters
    ----------
    folder : where to; it appears whole or not at all.
    train, test : images a class in each split.
    seed : the same seed gives the same pixels.
    """
    if folder.is_dir():
        return folder
    from PIL import Image

    folder.parent.mkdir(parents=True, exist_ok=True)
    building = folder.parent / f".tmp-{uuid.uuid4().hex}"
    try:
        jobs = [
            (split, label, number)
            for split, count in (("train", train), ("test", test))
            for label in CLASSES
            for number in range(count)
        ]
        for split, label in {job[:2] for job in jobs}:
            (building / split / label).mkdir(parents=True)

        def save(job: tuple[str, str, int]) -> None:
            split, label, number = job
            # A stream of its own for each image: its pixels do not depend on how many others there are.
            rng = np.random.default_rng([seed, CLASSES.index(label), ("train", "test").index(split), number])
            name = f"synthetic-{label}-{number:04d}.png"
            Image.fromarray(draw(label, rng)).save(building / split / label / name)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(save, jobs))
        os.rename(building, folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, with the same pixels
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def draw(label: str, rng: np.random.Generator) -> np.ndarray:
    """One radiograph as uint8 array of shape (256, 256)."""
    from scipy.ndimage import gaussian_filter

    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    # Pose: shift, scale and a slight turn about the centre.
    angle, scale = rng.normal(0, 0.04), rng.normal(1, 0.05)
    u = ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)) / scale + rng.normal(0, 0.02)
    v = ((y - 0.5) * np.cos(angle) - (x - 0.5) * np.sin(angle)) / scale + rng.normal(0, 0.02)

    body = _soft(1 - (u / 0.47) ** 4 - ((v - 0.05) / 0.56) ** 4, 0.15)
    half = rng.normal(0.20, 0.012)
    lungs = np.zeros_like(u)
    sides = []
    for side in (-1, 1):
        width, height = rng.normal(0.145, 0.01), rng.normal(0.30, 0.02)
        across, along = (u - side * half) / width, (v + 0.03) / height
        shape = _soft(1 - across**2 - along**2 - 0.35 * along * side * across, 0.35)
        sides.append((shape, across * side, along))
        lungs = np.maximum(lungs, shape)
    heart = _soft(1 - ((u - 0.05) / 0.13) ** 2 - ((v - 0.14) / 0.16) ** 2, 0.4)
    spine = np.exp(-((u / 0.035) ** 2))
    ribs = np.zeros_like(u)
    spacing, phase = rng.normal(0.085, 0.005), rng.uniform(0, 1)
    for side in (-1, 1):
        arc = v + 0.55 * (side * u - 0.2) ** 2 * 4 - 0.10 * side * u
        ribs += (side * u > 0.03) * np.exp(-((((arc / spacing + phase) % 1) - 0.5) ** 2) / 0.02)

    opacity = _lesions(label, sides, rng, gaussian_filter)
    tissue = 0.62 * body - 0.40 * lungs * (1 - 0.75 * opacity) + 0.22 * heart * body
    tissue += 0.16 * spine * body + 0.06 * ribs * body
    vessels = gaussian_filter(rng.normal(0, 1, (SIZE, SIZE)), 2.5) * 2.5
    tissue += 0.045 * vessels * lungs
    exposure, gamma = rng.normal(0.95, 0.07), rng.normal(1.0, 0.1)
    image = np.clip(tissue * exposure + rng.normal(0.05, 0.015), 0, 1) ** max(gamma, 0.6)
    image = gaussian_filter(image, rng.uniform(0.5, 1.2))
    image += rng.normal(0, rng.uniform(0.01, 0.025), image.shape)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def _lesions(label, sides, rng, gaussian_filter) -> np.ndarray:  # type: ignore[no-untyped-def]
    """How far each pixel of lung is filled, 0 to 1."""
    filled = np.zeros((SIZE, SIZE))
    strength = rng.uniform(0.45, 0.95)
    if label == "covid":
        for shape, outward, along in sides:
            for _ in range(rng.integers(2, 5)):
                a, b = rng.uniform(0.35, 0.8), rng.uniform(0.0, 0.75)
                spot = np.exp(-((outward - a) ** 2 + (along - b) ** 2) / rng.uniform(0.05, 0.14))
                filled = np.maximum(filled, spot * shape)
    elif label == "pneumonia_bac":
        shape, outward, along = sides[rng.integers(2)]
        a, b = rng.uniform(-0.3, 0.4), rng.uniform(-0.6, 0.7)
        ragged = gaussian_filter(rng.normal(0, 1, (SIZE, SIZE)), 6) * 5
        filled = _soft(rng.uniform(0.25, 0.5) - (outward - a) ** 2 - (along - b) ** 2 + 0.1 * ragged, 0.12) * shape
    elif label == "pneumonia_vir":
        net = np.abs(gaussian_filter(rng.normal(0, 1, (SIZE, SIZE)), rng.uniform(2.0, 3.2)))
        net = 1 - np.clip(net / net.mean(), 0, 1)
        for shape, outward, along in sides:
            near_hilum = np.exp(-((outward + 0.4) ** 2 + along**2) / 0.9)
            filled = np.maximum(filled, net * shape * near_hilum)
    return strength * np.clip(filled, 0, 1)


def _soft(level: np.ndarray, width: float) -> np.ndarray:
    """A step from 0 to 1 where ``level`` crosses 0, as wide as ``width``."""
    return 1 / (1 + np.exp(-np.clip(level / width * 4, -40, 40)))
