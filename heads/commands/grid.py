"""The verb ``grid``."""

from __future__ import annotations

from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import BACKBONE, COUNT, DATA, GROUPS, MEMORY, TASK
from featcache.errors import UsageError

from .formatting import kind_of, look_lines, metrics_table, warning_lines, where_line
from .options import FINAL, FOLDS, NO_AUDIT, OUT, POOLINGS, SCHEDULER, SEED, repeats
from .parsing import param_values
from .progress import cells_shown
from .set_lines import sets_lines
from .spread_lines import spread_lines


@click.command()
@TASK
@click.option("--model", default="dense", show_default=True, help="dense, own-cnn, or one of the baselines.")
@click.option("--preset", type=click.Choice(["reference"]), help="The reference's grid [default without --param].")
@click.option("--param", "params", multiple=True, metavar="NAME=V,V", help="Values to try; may be given several times.")
@click.option(
    "--method",
    type=click.Choice(["exact", "halving", "random"]),
    default="exact",
    show_default=True,
    help="halving is a heuristic.",
)
@click.option("--iterations", type=COUNT, default=20, show_default=True, help="Candidates of a random search.")
@click.option("--cv", type=FOLDS, default=3, show_default=True, help="Folds, groups kept whole.")
@click.option("--nested", is_flag=True, help="Also estimate, by outer folds, unspoilt by the choice.")
@click.option("--force", is_flag=True, help="Halve though there are few rows.")
@BACKBONE
@click.option("--pooling", type=POOLINGS, help="What of the kept map [default: flatten; on the built-in sample avg].")
@DATA
@GROUPS
@MEMORY
@click.option("--restart", is_flag=True, help="Forget the cells of an earlier search.")
@SCHEDULER
@SEED
@repeats
@FINAL
@NO_AUDIT
@OUT
@shared_options
def grid(cache: str, output: Output, params: tuple[str, ...], scheduler: str | None, **options: Any) -> None:
    """Search hyperparameters by cross-validation; refit, judge and keep the best. Goes on where it was cut off."""
    from featcache.extraction.dask_workers import searching_on

    from ..evaluation.task_metrics import TASK_METRICS
    from ..experiments.hyperparameter_search import grid

    space: dict[str, Any] = {}
    for text in params:
        name, values = param_values(text)
        if name in space:
            raise UsageError(f"--param {name} is given twice; give all its values in one: {name}=V,V")
        space[name] = values
    with searching_on(scheduler), cells_shown(output) as on_cell:
        result = grid(params=space or None, cache=cache, on_cell=on_cell, **options)
    lines = [f"{'rank':>4}{'score':>9}{'± std':>8}   parameters"]
    for row in result["top"]:
        values = ", ".join(f"{name} {value}" for name, value in row["params"].items())
        lines.append(f"{row['rank']:>4}{row['score']:>9.4f}{row['std']:>8.4f}   {values}")
    again = f", {result['from_journal']} of them from an earlier search" if result["from_journal"] else ""
    lines.append(f"{result['candidates']} candidates x {result['folds']} folds{again}, {result['seconds']:.1f} s")
    if result["tied"] > 1:
        lines.append(
            f"{result['tied']} candidates share the best score; the first of them is taken, by no merit of its own"
        )
    if result["reference_best"]:
        lines.append("the reference's best: " + ", ".join(f"{k} {v}" for k, v in result["reference_best"].items()))
    lines += ["", "the best, refitted on all training rows:", *metrics_table(result), *look_lines(result)]
    if "nested" in result:
        outer = result["nested"]
        lines.append(f"nested cross-validation: {TASK_METRICS[kind_of(result)].headline(outer)}")
    output.result(
        result, *lines, *sets_lines(result), *spread_lines(result), *warning_lines(result), where_line(result)
    )
