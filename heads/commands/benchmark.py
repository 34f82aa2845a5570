"""The verb ``benchmark``: speed, side by side."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import COUNT, PLACE

from .options import OUT

_log = logging.getLogger(__name__)
_ROUNDS = click.option(
    "--rounds", type=COUNT, default=5, show_default=True, help="Each runs every contender once; one more warms up."
)


@click.group("benchmark")
def benchmark_group() -> None:
    """Speed, side by side with what people would use instead; medians, spread, a chart."""


def _images(count: int) -> Callable[[Any], Any]:
    return click.option("--images", type=COUNT, default=count, show_default=True, help="How many images.")


def _kind(name: str, *options: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], click.Command]:
    def make(described: Callable[..., Any]) -> click.Command:
        def verb(cache: str, output: Output, **chosen: Any) -> None:
            _run(name, cache, output, **chosen)

        verb.__doc__ = described.__doc__
        command: Any = shared_options(verb)
        for option in (OUT, _ROUNDS, *reversed(options)):
            command = option(command)
        return benchmark_group.command(name)(command)

    return make


_BACKBONES = click.option("--backbone", default="vgg16", show_default=True, metavar="NAME", help="Which network.")


@_kind("conv", click.option("--runs", type=COUNT, default=50, show_default=True, help="Convolutions a round."))
def _conv() -> None:
    """The reference's toy: 32 filters over 120 images, on CPU and GPU."""


@_kind(
    "extract",
    _BACKBONES,
    _images(128),
    PLACE,
    click.option("--weights", default="random", show_default=True, metavar="W", help="imagenet, random[:SEED], FILE."),
)
def _extract() -> None:
    """From files to shards on each runtime and precision, against Keras predict, torch and the roof."""


@_kind("cache", _BACKBONES, _images(64), PLACE)
def _cache() -> None:
    """An epoch with the backbone in the loop, against one on cached features."""


@_kind(
    "grid",
    click.option(
        "--pooling",
        type=click.Choice(["avg", "flatten"]),
        default="avg",
        show_default=True,
        help="Of the features.",
    ),
    click.option("--features", metavar="DIR", help="A cache with binary VGG16 features [default: made-up ones]."),
)
def _grid() -> None:
    """A slice of the reference's grid, against GridSearchCV over scikeras."""


@_kind(
    "load",
    click.option("--rows", type=COUNT, default=440, show_default=True, help="Rows of the feature set."),
    click.option("--files", type=COUNT, default=10_000, show_default=True, help="Unchanged files to plan."),
)
def _load() -> None:
    """Loading against np.load, verify against SHA-256, and planning unchanged files."""


def _run(kind: str, cache: str, output: Output, **options: Any) -> None:
    from ..benchmark.run import benchmark

    def on_round(number: int) -> None:
        _log.info("%s: %s", kind, f"round {number} of {options['rounds']}" if number else "warming up")

    result = benchmark(kind, on_round=on_round, **options)
    unit = result["unit"]
    machine = result["machine"]
    head = f"{'':<34}{'seconds':>10} {'(least to most)':<18}" + (f"{unit:>12}" if unit else "")
    lines = [
        result["what"],
        f"on {machine['processor']}, {machine['cores']} cores; {result['rounds']} rounds",
        "",
        head,
    ]
    for row in result["rows"]:
        spread = f"({row['seconds_min']:.3g} to {row['seconds_max']:.3g})"
        lines.append(
            f"{row['name']:<34}{row['seconds']:>10.3g} {spread:<18}" + (f"{row['pace']:>12.4g}" if unit else "")
        )
    lines.append("")
    for ratio in result["ratios"]:
        spread = f"({ratio['times_min']:.3g} to {ratio['times_max']:.3g})"
        lines.append(f"{ratio['of']}: {ratio['times']:.3g} times the pace of {ratio['to']} {spread}")
    lines += result["notes"]
    lines += [f"not run: {missing['name']}: {missing['reason']}" for missing in result["not_run"]]
    output.result(result, *lines, f"chart and table: {result['run']}")
