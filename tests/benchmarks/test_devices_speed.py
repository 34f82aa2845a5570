"""Two processes on one processor against one process that uses all of it, extracting the same images, in turn.

    pytest tests/benchmarks/test_devices_speed.py -s

FEATCACHE_IMAGES (1,500) copies of the sample's images, each of its own key, through FEATCACHE_BACKBONE (resnet50) on
OpenVINO, three rounds after a warm-up. Seconds are those of the computation, from the first image to the last committed
shard; with processes they hold the processes' start and the loading of a network in each.
"""

from __future__ import annotations

import os
import shutil
import statistics
from pathlib import Path

import featcache
from featcache.data.synthetic import write_sample

COUNT = int(os.environ.get("FEATCACHE_IMAGES", "1500"))
BACKBONE = os.environ.get("FEATCACHE_BACKBONE", "resnet50")


def test_two_processes_keep_up(tmp_path):
    originals = sorted(write_sample(tmp_path / "sample", train=40, test=10).glob("*/*/*.png"))
    for number in range(COUNT):
        source = originals[number % len(originals)]
        target = tmp_path / "many" / source.parent.name / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes() + number.to_bytes(4, "big"))  # behind the picture's end

    def seconds(data: Path, **options: str) -> float:
        shutil.rmtree(tmp_path / "cache" / "features", ignore_errors=True)
        done = featcache.extract(
            data, BACKBONE, weights="random", runtime="openvino", cache=tmp_path / "cache", **options
        )
        assert done.computed == done.images
        return done.seconds

    seconds(tmp_path / "sample")  # converts the network, and keeps it
    rounds = [(seconds(tmp_path / "many"), seconds(tmp_path / "many", devices="cpu:2")) for _ in range(3)]
    ratios = [one / two for one, two in rounds]
    print(  # noqa: T201
        f"\n{BACKBONE}, {COUNT} images: one process {statistics.median(r[0] for r in rounds):.1f} s, two "
        f"{statistics.median(r[1] for r in rounds):.1f} s; two at {statistics.median(ratios):.2f} of its pace "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
