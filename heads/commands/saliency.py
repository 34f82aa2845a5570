"""The verb ``saliency``."""

from __future__ import annotations

from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import DATA, GROUPS, MEMORY, SPLIT

from .formatting import SYNTHETIC
from .options import BUNDLE_WEIGHTS, OUT, SKIP_BAD


@click.command()
@click.argument("bundle")
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@DATA
@GROUPS
@MEMORY
@SPLIT
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    help="Images drawn one by one, misclassified ones first.",
)
@BUNDLE_WEIGHTS
@SKIP_BAD
@OUT
@shared_options
def saliency(cache: str, output: Output, bundle: str, images: tuple[str, ...], **options: Any) -> None:
    """Draw what speaks for a kept model's answers, over the given images or over labelled data."""
    from ..inference.saliency_maps import saliency

    result = saliency(bundle, images, cache=cache, **options)
    cells = " x ".join(map(str, result["map"]))
    lines = [
        f"{result['images']} images, {result['drawn']} drawn one by one; maps of {cells} cells",
        f"positive evidence in the border of the map ({result['border_area']:.0%} of its area), by predicted class:",
    ]
    lines += [f"  {name:<20} {share:.0%}" for name, share in result["border"].items() if share is not None]
    lines += [f"warning of this model: {text}" for text in result["warnings"]]
    if result["synthetic"]:
        lines.append(SYNTHETIC)
    output.result(result, *lines, f"figures and tables: {result['run']}")
