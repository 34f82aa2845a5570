"""The verb ``learning-curve``: what more patients would buy."""

from __future__ import annotations

from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import BACKBONE, DATA, GROUPS, MEMORY, SEEDS, TASK

from ..evaluation.metric_titles import TITLES
from .formatting import interval_text, warning_lines, where_line
from .options import NO_AUDIT, OUT, POOLINGS
from .parsing import whole_numbers


@click.command("learning-curve")
@TASK
@BACKBONE
@click.option("--pooling", type=POOLINGS, default="avg", show_default=True, help="What of the kept map.")
@DATA
@GROUPS
@MEMORY
@click.option(
    "--more", metavar="N[,N]", help="Patients more to forecast for [default: half as many as there are, and as many]."
)
@click.option(
    "--repeats", type=click.IntRange(2), default=20, show_default=True, help="Orders in which patients are added."
)
@click.option("--seed", type=SEEDS, default=0, show_default=True, help="Of these orders.")
@NO_AUDIT
@OUT
@shared_options
def learning_curve(cache: str, output: Output, more: str | None, repeats: int, **options: Any) -> None:
    """The score by the number of patients learnt from, and what more of them would buy.

    Ridge models on nested subsets of the patients, judged on patients held out; a law through the scores forecasts,
    with a 90% interval, or it is said why nothing can be.
    """
    from ..experiments.learning_curve import learning_curve

    asked = None if more is None else whole_numbers("--more", more)
    result = learning_curve(more=asked, repeats=repeats, cache=cache, **options)
    called = TITLES[result["metric"]]
    lines = [f"{'patients':>9}{'images':>8}   {called}   90% interval"]
    for point in result["curve"]:
        ends = interval_text((point["low"], point["high"]))
        lines.append(f"{point['patients']:>9}{point['images']:>8}{point['score']:>{len(called) + 3}.4f}{ends}")
    lines += list(dict.fromkeys(asked["said"] for asked in result["forecast"]))
    lines += _classes(result)
    output.result(result, *lines, *warning_lines(result), where_line(result))


def _classes(result: dict[str, Any]) -> list[str]:
    """What each class or label would gain."""
    classes = result["classes"]
    if len(classes) < 2:
        return []
    wide = max(len(name) for name in classes) + 2
    from ..evaluation.more_patients import gain_in_words

    lines = []
    for name, one in classes.items():
        first = one["forecast"][0] if one.get("forecast") else None
        if first is None or first["gain"] is None:
            said = "cannot say"
        else:
            gain, ends = gain_in_words(first)
            said = f"{gain} ({ends}) from {first['more']:,} more patients of all kinds"
        lines.append(f"  {TITLES[result['of_each']]} of {name:<{wide}}{one['patients']:>6} patients   {said}")
    if result["most_to_gain"] is not None:
        lines.append(f"most to gain, of those that can be told: {result['most_to_gain']}")
    return lines
