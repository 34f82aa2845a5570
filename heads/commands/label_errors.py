"""The verb ``label-errors``: labels that are probably wrong."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import BACKBONE, DATA, GROUPS, MEMORY, TASK
from featcache.data import filesystems

from .formatting import SYNTHETIC, interval_text, kind_of, warning_lines
from .options import FOLDS, NO_AUDIT, OUT, POOLING, SEED
from .parsing import names

_log = logging.getLogger(__name__)
_PRINTED = 20


@click.command("label-errors")
@TASK
@BACKBONE
@POOLING
@DATA
@GROUPS
@MEMORY
@click.option("--models", metavar="A,B", help="Who is asked: of baselines' table, and dense [default: quick ones].")
@click.option("--cv", type=FOLDS, default=5, show_default=True, help="Folds, groups kept whole.")
@SEED
@NO_AUDIT
@OUT
@shared_options
def label_errors(cache: str, output: Output, models: str | None, **options: Any) -> None:
    """Name the labels that are probably wrong, the surest first, each with what speaks against it.

    Models are asked about images of patients that they did not learn from. Copies with different labels come first.
    """
    from ..evaluation.task_metrics import TASK_METRICS
    from ..experiments.label_errors import MODELS, label_errors

    def show(row: dict[str, Any]) -> None:
        _log.info("%s: asked about every image, %.1f s", row["name"], row["seconds"])

    chosen = MODELS if models is None else names(models) or ()
    result = label_errors(models=chosen, cache=cache, on_model=show, **options)
    headline = TASK_METRICS[kind_of(result)].headline
    title = headline(result["models"][0]["test"]).label
    lines = [f"{'asked':<19}{title:>15}   95% interval"]
    for row in result["models"]:
        told = headline(row["test"])
        value = "–" if told.value is None else f"{told.value:.4f}"
        lines.append(f"{row['name']:<19}{value:>15}{interval_text(told.interval)}")
    suspects = result["suspects"]
    share = result["estimated_wrong"] / result["labels"] if result["labels"] else 0
    lines.append(
        f"estimated to be wrong: {result['estimated_wrong']:,} of {result['labels']:,} labels ({share:.1%}); "
        f"{len(suspects):,} suspects"
    )
    for one in suspects[:_PRINTED]:
        name = Path(filesystems.name_of(one["path"])).name
        lines.append(f"{one['score']:.2f}  {name}: {one['label']} -> {one['suggested']}")
        lines.append(f"      {one['reason']}")
    if len(suspects) > _PRINTED:
        lines.append(f"… and {len(suspects) - _PRINTED:,} more in suspects.csv")
    lines += warning_lines(result)
    where = f"gallery and table: {result['run']}"
    output.result(result, *lines, f"{SYNTHETIC}; {where}" if result["synthetic"] else where)
