"""The verb ``scout``: which network is worth the expensive run."""

from __future__ import annotations

from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import CLASS_TASK, CLASSES, DATA, GROUPS, MEMORY, NETWORK_INPUT, PREPROCESS, SEEDS, SIDE
from featcache.commands.progress import extraction_progress

from .formatting import SYNTHETIC, interval_text, warning_lines
from .options import SKIP_BAD
from .parsing import names


@click.command()
@DATA
@click.option(
    "--backbone",
    required=True,
    metavar="A,B[,C]",
    help="Two or more: NAME or NAME@WEIGHTS of the table, a file of a network, or the id of a feature set.",
)
@CLASS_TASK
@CLASSES
@GROUPS
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    metavar="W",
    help="imagenet, random[:SEED], FILE: of names without weights of their own.",
)
@click.option("--size", type=SIDE, metavar="N", help="Side of the square input in pixels [default: each one's own].")
@PREPROCESS
@click.option(
    "--keep",
    type=click.Choice(["map", "avg"]),
    help="What stays in the cache, as extract has it [default: map, where there is one].",
)
@NETWORK_INPUT
@SKIP_BAD
@click.option("--seed", type=SEEDS, default=0, show_default=True, help="Of which patients come first, and the folds.")
@MEMORY
@shared_options
def scout(cache: str, output: Output, classes: str | None, **options: Any) -> None:
    """Find which network is worth the run: a tenth of the patients first, more for those that may still win.

    Ranks by cross-validated balanced accuracy on averaged features, of training images alone. What is computed is kept,
    and extract goes on from it. --mean and the like are for networks that are not of the table and say nothing.
    """
    from ..experiments.scout import scout

    options["channels"] = int(options["channels"]) if options["channels"] else None
    result = scout(classes=names(classes), cache=cache, watch=lambda name: extraction_progress(output, name), **options)
    wide = max(len(row["backbone"]) for row in result["rows"]) + 3
    lines = [f"{'network':<{wide}}{'balanced':>9}   {'95% interval':<15}{'images':>8}{'images/s':>10}   status"]
    for row in result["rows"]:
        pace = "–" if row["images_per_second"] is None else f"{row['images_per_second']:.1f}"
        mark = "   [RANDOM weights]" if row["random_weights"] else ""
        score = f"{row['score']:>9.4f}{interval_text(row['score_ci']):<18}"
        lines.append(f"{row['backbone']:<{wide}}{score}{row['images']:>8}{pace:>10}   {row['status']}{mark}")
    lines += [f"{text}." for text in result["said"]]
    lines.append(_cost(result))
    lines += warning_lines(result)
    if result["synthetic"]:
        lines.append(SYNTHETIC)
    lines += [f"{'or' if number else 'next'}: {command}" for number, command in enumerate(result["next"])]
    output.result(result, *lines)


def _cost(result: dict[str, Any]) -> str:
    all_of_them = len(result["rows"]) * result["images"]
    there = f"{result['images_computed']} of {all_of_them} computed in {result['seconds']:.1f} s"
    if not result["seconds_saved"]:
        return f"networks x images: {there}"
    return f"networks x images: {there}; what was stopped saved some {result['seconds_saved']:.0f} s"
