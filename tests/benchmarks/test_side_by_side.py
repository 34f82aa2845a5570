"""Every kind of the verb ``benchmark``, with the settings of the README's table.

    pytest tests/benchmarks/test_side_by_side.py -s

What it prints is what ``python cli.py benchmark KIND --json`` prints. Contenders that are not installed (scikeras,
torch with timm) are left out, and named.
"""

from __future__ import annotations

import pytest

from heads.benchmark.run import benchmark

KINDS = [
    ("conv", {}),
    ("extract", {"backbone": "vgg16", "images": 96}),
    ("extract", {"backbone": "xception", "images": 192}),
    ("extract", {"backbone": "resnet50", "images": 256}),
    ("extract", {"backbone": "inceptionresnetv2", "images": 192}),
    ("cache", {}),
    ("grid", {}),
    ("grid", {"pooling": "flatten"}),
    ("load", {"files": 100_000}),
]


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
def test_side_by_side(kind, options, tmp_path):
    result = benchmark(kind, rounds=3, out=tmp_path / "run", **options)
    print(f"\n{result['what']}")  # noqa: T201
    for row in result["rows"]:
        print(f"  {row['name']}: {row['seconds']:.3g} s ({row['seconds_min']:.3g} to {row['seconds_max']:.3g})")  # noqa: T201
    for ratio in result["ratios"]:
        spread = f"{ratio['times_min']:.3g} to {ratio['times_max']:.3g}"
        print(f"  {ratio['of']}: {ratio['times']:.3g} times {ratio['to']} ({spread})")  # noqa: T201
    print("  not run:", result["not_run"])  # noqa: T201
