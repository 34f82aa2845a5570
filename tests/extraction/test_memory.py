"""Memory does not grow with the number of images, nor a search beyond its limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from surroundings import ROOT

from featcache.data.synthetic import write_sample

SCRIPT = """
import sys, featcache
featcache.extract(sys.argv[1], sys.argv[2], weights="random", size=int(sys.argv[3]), cache=sys.argv[4], batch_size=16)
"""
# Not getrusage: its peak begins with that of the process this one was forked from.
PEAK = """
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to tell a peak")


def peak(folder: Path, backbone: str, size: int) -> int:
    """Peak resident memory of an extraction in a process of its own, KiB."""
    command = [
        sys.executable,
        "-c",
        SCRIPT + PEAK,
        str(folder),
        backbone,
        str(size),
        str(folder.parent / f"{folder.name}-c"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return int(done.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "size"), [("pixels", 96), ("mobilenet", 128)])
def test_2000_images_take_no_more_memory_than_200(tmp_path, backbone, size):
    sample = write_sample(tmp_path / "sample", train=40, test=10)
    originals = sorted(sample.glob("*/*/*.png"))
    assert len(originals) == 200
    for number in range(2000):
        source = originals[number % 200]
        target = tmp_path / "many" / source.parent.name / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        # Bytes behind the picture's end change the key and not the pixels.
        target.write_bytes(source.read_bytes() + number.to_bytes(4, "big"))
    few, many = peak(sample, backbone, size), peak(tmp_path / "many", backbone, size)
    assert many < 1.15 * few, f"{few} KiB for 200 images, {many} KiB for 2,000"


SEARCH = """
import sys, numpy as np
from heads import DenseHeadClassifier, FastGridSearchCV
rng = np.random.default_rng(0)
X, y = rng.normal(size=(200, 800)).astype(np.float32), np.arange(200) % 2
grid = {"dropout": list(np.linspace(0, 0.5, 40))}
head = DenseHeadClassifier(480, epochs=2, random_state=0)
search = FastGridSearchCV(head, grid, cv=3, memory=int(sys.argv[1]) or None).fit(X, y)
print(search.best_score_)
"""


@pytest.mark.slow
def test_a_search_stays_under_its_limit():
    def run(limit: int) -> tuple[int, str]:
        command = [sys.executable, "-c", SEARCH + PEAK, str(limit)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        score, kib = done.stdout.split()
        return int(kib) * 1024, score

    limit = 900_000_000
    free, same = run(0)
    held, score = run(limit)
    assert held < limit < free, f"{held / 1e6:.0f} MB within a limit of {limit / 1e6:.0f}, {free / 1e6:.0f} without"
    assert score == same
