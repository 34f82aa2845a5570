"""Options that several verbs take, each said once; and the ranges of their values."""

from __future__ import annotations

import math
from typing import Any

import click

from ..data.tasks import NAMES as TASKS


class Finite(click.FloatRange):
    """A range of numbers of which none is infinite or no number at all."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """As click's own, which lets NaN pass every range."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return float(number)


COUNT = click.IntRange(1)
SIDE = click.IntRange(1, 4096)  # pixels
SEEDS = click.IntRange(0, 2**31 - 1)  # what every library here takes, and one more
SPLIT = click.option("--split", type=click.Choice(["train", "val", "test"]), help="Only this part of the data.")
DATA = click.option(
    "--data", metavar="PATH", help="Folder or CSV/Parquet manifest. Default: the last extract's; else the sample."
)
GROUPS = click.option("--group-regex", metavar="RE", help="Where in the file name the patient stands.")
BACKBONE = click.option(
    "--backbone", metavar="NAME", help="A backbone, or the id of a feature set. Default: the last one extracted."
)
TASK = click.option(
    "--task", type=click.Choice(TASKS), default="multiclass", show_default=True, help="What is to be told apart."
)
PREPROCESS = click.option(
    "--preprocess",
    type=click.Choice(["model", "rescale"]),
    default="model",
    show_default=True,
    help="model (the backbone's own) or rescale (1/255).",
)
MEMORY = click.option(
    "--memory", metavar="SIZE", help="What all may hold at its peak: 2GB [default: what the machine has free]."
)
CLASSES = click.option("--classes", metavar="A,B", help="Two or more class names, in place of the task's own.")
