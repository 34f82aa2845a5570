"""The verb ``similar``: the kept images that look most like others."""

from __future__ import annotations

from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import BACKBONE, DATA, GROUPS, MEMORY, TASK

from .formatting import where_line
from .options import BUNDLE_WEIGHTS, NEIGHBOURS, OUT, SKIP_BAD


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--bundle", metavar="B", help="A bundle: its features and task, in place of --backbone and --task.")
@BACKBONE
@click.option("--neighbours", type=NEIGHBOURS, default=5, show_default=True, help="Of each image, how many.")
@TASK
@DATA
@GROUPS
@BUNDLE_WEIGHTS
@SKIP_BAD
@MEMORY
@OUT
@shared_options
def similar(cache: str, output: Output, images: tuple[str, ...], **options: Any) -> None:
    """Find the kept images that are nearest to others: files, folders or manifests."""
    from ..inference.similar import similar

    result = similar(images, cache=cache, **options)
    lines: list[str] = []
    for row in result["rows"]:
        if row["rank"] == 1:
            lines.append(row["image"])
        learnt = "  learnt" if row["learnt"] else ""
        lines.append(f"  {row['distance']:.3f}  {row['label']:<16} {row['path']}{learnt}")
    output.result(result, *lines, f"searched {result['searched']:,} images; {where_line(result)}")
