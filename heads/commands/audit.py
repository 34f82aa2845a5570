"""The verb ``audit``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import DATA, GROUPS, MEMORY, TASK

from ..auditing.subject import words_for
from .formatting import SYNTHETIC
from .options import OUT, SEED
from .progress import status_shown

_SHOWN = 0.05  # p of a line that is shown
_ROWS = 8


@click.command()
@DATA
@click.option("--against", metavar="PATH", help="A second set of images: what the two share is looked for as well.")
@click.option(
    "--limit",
    type=click.IntRange(2),
    metavar="N",
    help="Images to look at; of more, a random sample of whole groups [default: all].",
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
    rest = result["without_shortcuts"]
    lines = [
        f"{result['images']} images{of} of {', '.join(result['classes'])}; {result['groups']} groups",
        *_probes(result),
        *([rest["said"]] if rest else ()),
        *_together(result),
    ]
    same, near = len(result["duplicates"]), len(result["near_duplicates"])
    lines += ["", f"{same} set(s) of identical files, {near} pair(s) of near-duplicates"]
    if result["against"]:
        other = result["against"]
        lines.append(f"{other['shared_images']} of the {other['images']} images of {other['data']} are in this set too")
        lines += _apart(other["metadata"])
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


def _probes(result: Mapping[str, Any]) -> Iterator[str]:
    """A line each; of many labels, those that something tells, and of each probe the one it tells best."""
    probes = result["shortcuts"]
    if not probes:
        return
    several = len({probe["label"] for probe in probes}) > 1
    head = words_for(result["classes"]).column
    width = max([20, *(len(_called(probe, several)) + 2 for probe in probes)])
    yield ""
    yield f"{head:<{width}}{'score':>8}   {'95% interval':<17}{'guessing':>8}{'p':>9}"
    best = {probe["probe"]: probe for probe in sorted(probes, key=lambda one: one["score"])}
    for probe in probes:
        told = probe["flag"] or probe["names_label"]
        if several and not told and best[probe["probe"]] is not probe:
            continue
        low, high = probe["score_ci"]
        mark = "   SHORTCUT" if probe["flag"] else "   THE LABEL ITSELF?" if probe["names_label"] else ""
        score = f"{probe['score']:>8.3f}   {f'{low:.3f} to {high:.3f}':<17}"
        yield f"{_called(probe, several):<{width}}{score}{probe['chance']:>8.2f}{probe['p_value']:>9.4f}{mark}"
    if several:
        yield f"of {len(probes)} probes and labels; all stand in run.json"


def _called(probe: Mapping[str, Any], several: bool) -> str:
    return f"{probe['probe']}: {probe['label']}" if several else str(probe["probe"])


def _together(result: Mapping[str, Any]) -> Iterator[str]:
    """Columns that go with what is learnt, and what no split can balance."""
    shown = [row for row in result["confounding"] if row["p"] < _SHOWN]
    if shown:
        yield ""
    for row in shown[:_ROWS]:
        yield f"{row['column']} goes with {row['label']}: {row['strength']:.2f} of 1, p {row['p']:.2g} over patients"
    for one in result["absent"][:_ROWS]:
        yield (
            f"no image of {one['label']} {one['class']} has {one['column']} {one['value']}, {one['expected']:.0f} "
            "expected: no split balances that"
        )
    for one in result["unbalanced"][:_ROWS]:
        share = f"{one['share']:.0%} of {one['part']}, {one['overall']:.0%} of all"
        yield f"splits: {one['column']} {one['value']} is {share}"


def _apart(metadata: Mapping[str, Any]) -> Iterator[str]:
    """What the metadata of two sets differ in."""
    for row in [row for row in metadata["columns"] if row["p"] < _SHOWN][:_ROWS]:
        own, other = (f"{row[side]:.3g}" if row["value"] is None else f"{row[side]:.0%}" for side in ("own", "other"))
        what = "mean" if row["value"] is None else row["value"]
        yield f"{row['column']} differs: {what} {own} here, {other} there, p {row['p']:.2g} over patients"
    for side, where in (("own", "here"), ("other", "there")):
        if metadata["alone"][side]:
            yield f"columns {where} alone: {', '.join(metadata['alone'][side])}"
