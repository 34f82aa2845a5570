"""The verb ``compare``."""

from __future__ import annotations

from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import DATA, GROUPS, MEMORY

from .formatting import look_lines, where_line
from .options import BUNDLE_WEIGHTS, OUT, PER_PATIENT, SKIP_BAD


@click.command()
@click.argument("bundle_a", metavar="BUNDLE_A")
@click.argument("bundle_b", metavar="BUNDLE_B")
@DATA
@GROUPS
@MEMORY
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    help="Only this part of the data [default: test, of the last extract's data].",
)
@BUNDLE_WEIGHTS
@SKIP_BAD
@PER_PATIENT
@OUT
@shared_options
def compare(cache: str, output: Output, bundle_a: str, bundle_b: str, **options: Any) -> None:
    """Judge two kept models on the same images: which is better, and whether these images can tell."""
    from ..inference.comparison import compare

    result = compare(bundle_a, bundle_b, cache=cache, **options)
    a, b = result["a"]["test"], result["b"]["test"]
    lines = [f"{'':<18}{'A':>9}{'B':>9}{'A minus B':>11}   95% interval"]
    for name, difference in result["differences"].items():
        if difference["value"] is not None:
            both = f"{a[name]:>9.4f}{b[name]:>9.4f}{difference['value']:>+11.4f}"
            low, high = difference["ci"]
            lines.append(f"{name.replace('_', ' '):<18}{both}   {low:+.3f} to {high:+.3f}")
    for name, difference in result.get("labels", {}).items():
        if difference["value"] is not None:
            both = "".join(f"{side['labels'][name]['roc_auc'] or float('nan'):>9.4f}" for side in (a, b))
            low, high = difference["ci"]
            lines.append(f"  {name:<16}{both}{difference['value']:>+11.4f}   {low:+.3f} to {high:+.3f}")
    if "agreement" in result:
        lines.append(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in result["agreement"].items()))
    lines.append(result["verdict"])
    if "per_patient" in result:
        of = result["per_patient"]
        lines.append(f"of patients, their images by {of['how']}: {of['verdict'].replace('images', 'patients')}")
    output.result(result, *lines, *look_lines(result), where_line(result))
