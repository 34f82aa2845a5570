"""The verb ``saliency``."""

from __future__ import annotations

from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import DATA, GROUPS, MEMORY, SPLIT

from .formatting import SYNTHETIC
from .options import BUNDLE_WEIGHTS, OUT, SKIP_BAD

_OF = {"multilabel": "by the label explained", "regression": "what raises the number"}


@click.command()
@click.argument("bundle")
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@DATA
@GROUPS
@MEMORY
@SPLIT
@click.option(
    "--label",
    metavar="NAME",
    help="Of a model of several labels, the one explained in all images; by default each image's rarest true label, or "
    "the most probable one.",
)
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
    """Draw what speaks for a kept model's answers, over the given images or over labelled data.

    Of a number it is what raises it."""
    from ..inference.saliency_maps import saliency

    result = saliency(bundle, images, cache=cache, **options)
    by = _OF.get(result["task"], "by predicted class")
    cells = " x ".join(map(str, result["map"]))
    lines = [
        f"{result['images']} images, {result['drawn']} drawn one by one; maps of {cells} cells",
        f"positive evidence in the border of the map ({result['border_area']:.0%} of its area), {by}:",
    ]
    lines += [f"  {name:<20} {share:.0%}" for name, share in result["border"].items() if share is not None]
    lines += [f"warning of this model: {text}" for text in result["warnings"]]
    if result["synthetic"]:
        lines.append(SYNTHETIC)
    output.result(result, *lines, f"figures and tables: {result['run']}")
