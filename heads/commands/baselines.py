"""The verb ``baselines``."""

from __future__ import annotations

import logging
from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import BACKBONE, DATA, GROUPS, MEMORY, TASK

from .formatting import interval_text, kind_of, look_lines, warning_lines, where_line
from .options import FINAL, FOLDS, NO_AUDIT, OUT, POOLING, SCHEDULER, SEED, repeats
from .parsing import names
from .set_lines import sets_lines
from .spread_lines import board_spread_lines

_log = logging.getLogger(__name__)


@click.command()
@TASK
@BACKBONE
@POOLING
@DATA
@GROUPS
@MEMORY
@click.option("--models", metavar="A,B", help="Some of the table [default: all].")
@click.option("--cv", type=FOLDS, default=5, show_default=True, help="Folds, groups kept whole.")
@SCHEDULER
@SEED
@repeats
@FINAL
@NO_AUDIT
@OUT
@shared_options
def baselines(cache: str, output: Output, models: str | None, scheduler: str | None, **options: Any) -> None:
    """The leaderboard of classical models, each tuned on its own grid."""
    from featcache.extraction.dask_workers import searching_on

    from ..evaluation.ridge_influence import influence_sentence
    from ..evaluation.simultaneous_intervals import best_sentence
    from ..experiments.baselines import baselines
    from ..experiments.search_scores import SCORES

    def show(row: dict[str, Any]) -> None:
        _log.info("%s: cross-validated %.3f, %.1f s", row["name"], row["cv_score"], row["seconds"])

    with searching_on(scheduler):
        result = baselines(models=names(models), cache=cache, on_row=show, **options)
    score = SCORES[kind_of(result)]
    lines = [] if score.metric == "accuracy" else [f"by {score.label}"]
    lines += [f"{'model':<19}{'cross-validated':>17}{'test':>9}   95% interval{'seconds':>11}   best of its grid"]
    for row in result["rows"]:
        test, best = row["test"] or {}, ", ".join(f"{k} {v}" for k, v in row["best_params"].items())
        cv = f"{score.sign * row['cv_score']:.4f} ± {row['cv_std']:.3f}"
        value = test.get(score.metric)
        on_test = f"{'–' if value is None else format(value, '.4f'):>9}"
        on_test += f"{interval_text(test.get(f'{score.metric}_ci')):<17}"
        lines.append(f"{row['name']:<19}{cv:>17}{on_test}{row['seconds']:>9.1f}   {best}")
    lines += look_lines(result)
    if result["corrected"]:
        first, tests = result["rows"][0]["name"], {row["name"]: row["test"] for row in result["rows"]}
        values = {name: tests[name][score.metric] for name in result["corrected"]["intervals"]}
        best = best_sentence(values, result["corrected"]["intervals"], score.label, score.sign < 0, first)
        lines += [best] if best else []
    if result["influence"]:
        lines += [influence_sentence(result["influence"])]
    lines += [f"of {result['rows'][0]['name']}, {line}" for line in sets_lines(result)]
    lines += [*_sample_lines(result), *board_spread_lines(result)]
    output.result(result, *lines, *warning_lines(result), where_line(result))


def _sample_lines(result: dict[str, Any]) -> list[str]:
    """Which models learnt from fewer rows than others."""
    counts = {row["n"] for row in result["rows"]}
    if len(counts) == 1:
        return []
    few = [row["name"] for row in result["rows"] if row["n"] == min(counts)]
    return [f"{', '.join(few)}: a sample of {min(counts):,} of {max(counts):,} training rows"]
