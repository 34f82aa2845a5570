"""The verb ``tsne``."""

from __future__ import annotations

from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import BACKBONE, DATA, GROUPS, MEMORY, SPLIT, TASK, Finite

from .formatting import where_line
from .options import OUT, POOLING, SEED


@click.command()
@click.argument("bundle", required=False)
@TASK
@BACKBONE
@POOLING
@DATA
@GROUPS
@MEMORY
@SPLIT
@click.option(
    "--limit",
    type=click.IntRange(4),
    default=100_000,
    show_default=True,
    help="Images drawn; of more, a random sample.",
)
@click.option(
    "--perplexity",
    type=Finite(0, min_open=True),
    default=30.0,
    show_default=True,
    help="About how many neighbours each image has.",
)
@SEED
@OUT
@shared_options
def tsne(cache: str, output: Output, bundle: str | None, **options: Any) -> None:
    """Draw a head's first dense layer by t-SNE, or, without a bundle, the features."""
    from ..inference.embedding import tsne

    result = tsne(bundle, cache=cache, **options)
    of = "" if result["of"] == result["rows"] else f", a sample of {result['of']}"
    wrong = "" if result["misclassified"] is None else f", {result['misclassified']} misclassified"
    output.result(result, f"{result['rows']} images drawn{of}{wrong} ({result['before']}); {where_line(result)}")
