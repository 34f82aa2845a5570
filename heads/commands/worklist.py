"""The verb ``worklist``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from featcache.commands.console import Output, shared_options

_PRINTED = 20
_BECAME = (
    ("done", "done"),
    ("still", "still there"),
    ("gone", "found no more"),
    ("unsaid", "not looked for again"),
    ("new", "new"),
)


@click.command()
@click.option("--runs", metavar="DIR", help="A folder of runs, or a run's [default: ./runs].")
@click.option("--audit", metavar="DIR", help="The audit's folder. Default: the newest of the same data.")
@click.option("--before", metavar="DIR", help="Runs on an earlier version of the data [default: those among the runs].")
@click.option(
    "--decisions", metavar="FILE", help="The list with its column decision filled in, or decisions.csv of the page."
)
@click.option("--out", metavar="FILE", help="The CSV to write, a new one [default: in a new folder in ./runs].")
@shared_options
def worklist(cache: str, output: Output, **options: Any) -> None:
    """What to do about the data, what matters most first; with --decisions, the manifest that was decided on.

    Without --decisions the list is written as worklist.csv; fill in its column decision with a spreadsheet: keep, leave
    out, or relabel as LABEL. No image is touched, and no file is overwritten.
    """
    from ..reporting.worklist import worklist

    result = worklist(cache=cache, **options)
    if "manifest" in result:
        out, anew, kept = (f"{result[name]:,}" for name in ("left_out", "relabelled", "kept"))
        told = f"images: {out} left out, {anew} relabelled; {kept} stand in the manifest"
        note = [f"split: {result['note']}"] if result["note"] else []
        output.result(result, told, *note, f"to be given as --data: {result['manifest']}")
        return
    output.result(result, *_lines(result), f"to be filled in and given as --decisions: {result['csv']}")


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The first rows, what was not looked for, and what changed."""
    rows = result["rows"]
    yield f"{'at stake':>14}   in {result['unit']}" if rows else "nothing to do was found"
    for row in rows[:_PRINTED]:
        yield f"{row['at_stake']:>14}   {row['rank']}. {row['kind']}: {row['reason']}"
        yield f"{'':>17}{row['to_do']}"
    if len(rows) > _PRINTED:
        yield f"… and {len(rows) - _PRINTED:,} more in worklist.csv"
    for verb, names in result["not_looked_for"].items():
        yield f"not looked for: {', '.join(names)} ({verb})"
    changes = result["changes"]
    if changes is not None:
        counts = [(len(changes["rows"][name]), words) for name, words in _BECAME]
        told = ", ".join(f"{count} {words}" for count, words in counts if count) or "none"
        yield f"since {changes['since']}: images {changes['images']}; rows: {told}"
        yield from changes["sentences"]
