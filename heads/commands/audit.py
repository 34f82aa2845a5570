"""The verb ``audit``."""

from __future__ import annotations

from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import DATA, GROUPS, MEMORY, TASK

from ..auditing.subject import words_for
from .formatting import SYNTHETIC
from .options import OUT, SEED
from .progress import status_shown


@click.command()
@DATA
@click.option("--against", metavar="PATH", help="A second set of images: what the two share is looked for as well.")
@click.option(
    "--limit",
    type=click.IntRange(2),
    metavar="N",
    help="Images to look at; of more, a random sample [default: what memory holds].",
)
@TASK
@GROUPS
@MEMORY
@SEED
@OUT
@shared_options
def audit(cache: str, output: Output, **options: Any) -> None:
    """Look for what makes scores lie: copies, torn patients, shortcuts, images unfit to learn from."""
    from ..auditing.audit import audit

    with status_shown(output) as on_progress:
        result = audit(cache=cache, on_progress=on_progress, **options)
    of = "" if result["of"] == result["images"] else f" (a sample of {result['of']})"
    lines = [f"{result['images']} images{of} of {', '.join(result['classes'])}; {result['groups']} groups"]
    if result["shortcuts"]:
        lines += [
            "",
            f"{words_for(result['classes']).column:<20}{'score':>8}   {'95% interval':<16}{'guessing':>8}{'p':>9}",
        ]
    for probe in result["shortcuts"]:
        low, high = probe["score_ci"]
        mark = "   SHORTCUT" if probe["flag"] else ""
        score = f"{probe['score']:>8.3f}   {f'{low:.3f} to {high:.3f}':<16}"
        lines.append(f"{probe['probe']:<20}{score}{probe['chance']:>8.2f}{probe['p_value']:>9.4f}{mark}")
    same, near = len(result["duplicates"]), len(result["near_duplicates"])
    lines += ["", f"{same} set(s) of identical files, {near} pair(s) of near-duplicates"]
    if result["against"]:
        other = result["against"]
        lines.append(f"{other['shared_images']} of the {other['images']} images of {other['data']} are in this set too")
    if inflation := result["leak_inflation"]:
        low, high = inflation["interval"]
        lines.append(
            f"folds that tear groups apart: {inflation['image_wise']:.3f}; "
            f"that keep them whole: {inflation['group_wise']:.3f}; "
            f"overestimated by {inflation['difference']:+.3f}   {low:+.3f} to {high:+.3f}"
        )
    lines += ["", *(f"! {text}" for text in result["warnings"] or ["nothing found"])]
    if result["synthetic"]:
        lines.append(SYNTHETIC)
    output.result(result, *lines, f"figures, tables and manifest.csv with clean splits: {result['run']}")
