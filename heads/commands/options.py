"""Options that several verbs of stage two share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from featcache.commands.options import SEEDS, Finite

POOLINGS = click.Choice(["flatten", "avg", "max", "cls"])
POOLING = click.option("--pooling", type=POOLINGS, default="flatten", show_default=True, help="What of the kept map.")
FOLDS = click.IntRange(2)
SCHEDULER = click.option(
    "--scheduler", metavar="ADDRESS", help="Search on Dask: tcp://HOST:PORT, or local[:PROCESSES]."
)
NO_AUDIT = click.option(
    "--no-audit", "audit", is_flag=True, default=True, flag_value=False, help="Do not audit images that never were."
)
OUT = click.option("--out", metavar="DIR", help="Folder for the results [default: a new one in ./runs].")
SEED = click.option(
    "--seed", type=SEEDS, default=0, show_default=True, help="Of initial weights, batches, dropout and splits."
)
FINAL = click.option(
    "--final", is_flag=True, help="Show the metrics of locked test images, and note that this was the final look."
)
_DRAWS = click.IntRange(1, 1000)


def repeats(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--seeds`` and ``--repeats``: how far the result is one draw of several."""
    several = click.option(
        "--seeds", type=_DRAWS, default=1, show_default=True, help="Besides: so many seeds, and what they change."
    )
    anew = click.option(
        "--repeats",
        type=_DRAWS,
        default=1,
        show_default=True,
        help="Besides: so many new divisions of all patients, and what they change.",
    )
    return several(anew(command))


BUNDLE_WEIGHTS = click.option(
    "--weights", metavar="W", help="imagenet or FILE: the network's weights, where the bundle holds none."
)
SKIP_BAD = click.option("--skip-bad", is_flag=True, help="Go on without images that cannot be decoded.")
ON_MAP = click.option(
    "--on-map", metavar="RUN", help="Show these images on the map of a run of tsne, of this bundle or its features."
)
NEIGHBOURS = click.IntRange(1, 100)
BY = click.option("--by", metavar="A,B", help="Tell subgroups apart by columns of metadata: sex,view,age:0-40-65-.")
PER_PATIENT = click.option(
    "--per-patient",
    type=click.Choice(["mean", "max", "noisy-or"]),
    help="Judge patients besides images: how the answers on a patient's images are made one.",
)
PREVALENCE = click.option(
    "--prevalence",
    type=Finite(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Of two classes, or labels: what a call means where so many have it, such as 0.02.",
)
