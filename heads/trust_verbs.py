"""The verbs that say how far a model can be trusted. Thin: each calls one function of the library."""

from __future__ import annotations

from typing import Any

import click

from featcache.console import DATA, GROUPS, Output, shared_options


@click.command()
@click.argument("bundle")
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@DATA
@GROUPS
@click.option("--split", help="Only this part of the data: train, val or test.")
@click.option("--limit", default=50, show_default=True, help="Images drawn one by one, misclassified ones first.")
@click.option("--weights", metavar="W", help="imagenet or FILE: the network's weights, where the bundle holds none.")
@click.option("--skip-bad", is_flag=True, help="Go on without images that cannot be decoded.")
@click.option("--out", metavar="DIR", help="Folder for the results [default: a new one in ./runs].")
@shared_options
def saliency(cache: str, output: Output, bundle: str, images: tuple[str, ...], **options: Any) -> None:
    """Draw what speaks for a kept model's answers, over the given images or over labelled data."""
    from .saliency import saliency

    result = saliency(bundle, images, cache=cache, **options)
    lines = [
        f"{result['images']} images, {result['drawn']} drawn one by one; maps of {' x '.join(map(str, result['map']))} cells",
        f"positive evidence in the border of the map ({result['border_area']:.0%} of its area), by predicted class:",
    ]  # fmt: skip
    lines += [f"  {name:<20} {share:.0%}" for name, share in result["border"].items() if share is not None]
    if result["synthetic"]:
        lines.append("SYNTHETIC images: no medical result")
    output.result(result, *lines, f"figures and tables: {result['run']}")


VERBS: list[click.Command] = [saliency]
