"""The verb ``report``."""

from __future__ import annotations

from typing import Any

import click

from featcache.commands.console import Output, human_size, shared_options
from featcache.commands.options import MEMORY, SEEDS

from .formatting import SYNTHETIC
from .options import BY


@click.command()
@click.argument("runs", nargs=-1)
@click.option("--audit", metavar="DIR", help="The audit's folder. Default: the newest of the same data.")
@click.option("--bundle", metavar="DIR", help="Whose first dense layer is drawn. Default: the newest head's.")
@click.option("--no-images", is_flag=True, help="No thumbnails: no image leaves the machine with the page.")
@BY
@click.option("--before", metavar="DIR", help="Runs on an earlier version of the data [default: those among the runs].")
@click.option("--seed", type=SEEDS, default=0, show_default=True, help="Of t-SNE.")
@MEMORY
@click.option("--out", metavar="FILE", help="The page [default: report.html beside the runs].")
@shared_options
def report(cache: str, output: Output, runs: tuple[str, ...], no_images: bool, **options: Any) -> None:
    """One HTML page about RUNS (a folder of runs, or single ones; default ./runs): can the numbers be trusted?"""
    from ..reporting.html_report import report

    chosen = None if not runs else runs[0] if len(runs) == 1 else list(runs)
    result = report(chosen, cache=cache, images=not no_images, **options)
    lines = [f"Can these numbers be trusted? {result['verdict']}", *(f"  - {reason}" for reason in result["reasons"])]
    if result["left_out"]:
        lines.append(f"{len(result['left_out'])} run(s) on other data are left out; name them to have a page of them")
    if result["synthetic"]:
        lines.append(SYNTHETIC)
    shown = f"{len(result['runs'])} run(s), {result['points']} images on the map"
    output.result(result, *lines, f"{shown}: {result['html']} ({human_size(result['bytes'])})")
