"""Options that several verbs take, each said once; and the ranges of their values."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import click

from ..data.data_source import DataSource
from ..data.framing import INTERPOLATIONS, RESIZES
from ..data.label_table import UNCERTAIN
from ..data.tasks import NAMES as TASKS
from ..data.tasks import Classification, Multilabel, Regression, Task
from ..errors import UsageError
from ..spec import FORMER_PRECISIONS, PRECISIONS


class Finite(click.FloatRange):
    """A range of numbers of which none is infinite or no number at all."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """As click's own, which lets NaN pass every range."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return float(number)


class Levels(click.ParamType):
    """One number or three, by commas; each may be a fraction: ``127/255``."""

    name = "levels"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The numbers."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(Fraction(part.strip())) for part in str(value).split(","))
        except (ValueError, ZeroDivisionError, OverflowError):
            numbers = ()
        if len(numbers) not in (1, 3):
            self.fail(f"{value!r}: expected one number or three, such as 0.485,0.456,0.406 or 1/255.", param, ctx)
        return numbers


class Precision(click.Choice):
    """What is computed in; names of earlier releases are told what they are called now."""

    def __init__(self) -> None:
        super().__init__(PRECISIONS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As click's own."""
        if value in FORMER_PRECISIONS:
            self.fail(f"{value!r} is called {FORMER_PRECISIONS[value]!r} now.", param, ctx)
        return str(super().convert(value, param, ctx))


COUNT = click.IntRange(1)
SIDE = click.IntRange(1, 4096)  # pixels
SEEDS = click.IntRange(0, 2**31 - 1)  # what every library here takes, and one more
SPLIT = click.option("--split", type=click.Choice(["train", "val", "test"]), help="Only this part of the data.")
PLACE = click.option(
    "--data", metavar="PATH", help="Folder or CSV/Parquet manifest. Default: the last extract's; else the sample."
)
GROUPS = click.option("--group-regex", metavar="RE", help="Where in the file name the patient stands.")
BACKBONE = click.option(
    "--backbone", metavar="NAME", help="A backbone, or the id of a feature set. Default: the last one extracted."
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

CLASS_TASK = click.option(
    "--task",
    type=click.Choice(["binary", "multiclass"]),
    default="multiclass",
    show_default=True,
    help="What is to be told apart.",
)
CLASSES = click.option("--classes", metavar="A,B", help="Two or more class names, in place of the task's own.")


def TASK(command: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N802 - used like the options above
    """The options that say what is to be learnt; see :func:`with_task`."""
    options = (
        click.option(
            "--task", type=click.Choice(TASKS), default="multiclass", show_default=True, help="What is to be learnt."
        ),
        click.option("--classes", metavar="A,B", help="Two or more class names, in place of the task's own."),
        click.option(
            "--labels", metavar="A,B|all", help="Of multilabel: columns of 0 and 1, or of the column's labels, some."
        ),
        click.option("--label-column", metavar="COLUMN", help="Of multilabel: the column that lists labels."),
        click.option(
            "--uncertain", type=click.Choice(UNCERTAIN), help="Of multilabel: what -1 counts as [default: ignore]."
        ),
        click.option("--target", metavar="COLUMN", help="Of regression: the column of numbers to learn."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def with_task(options: dict[str, Any]) -> dict[str, Any]:
    """A verb's options, those of :func:`TASK` made one: ``task``, whole.

    Raises :class:`UsageError` for options of another task.
    """
    if "label_column" not in options:
        return options
    named = {name: options.pop(name) for name in ("classes", "labels", "label_column", "uncertain", "target")}
    options["task"] = _task(options["task"], **named)
    return options


def _task(
    task: str,
    classes: str | None,
    labels: str | None,
    label_column: str | None,
    uncertain: str | None,
    target: str | None,
) -> Task:
    """The task that the options say; raises :class:`UsageError` for options of another one."""
    given = {
        "--classes": classes,
        "--labels": labels,
        "--label-column": label_column,
        "--uncertain": uncertain,
        "--target": target,
    }
    own = {"multilabel": ("--labels", "--label-column", "--uncertain"), "regression": ("--target",)}
    odd = [name for name, value in given.items() if value is not None and name not in own.get(task, ("--classes",))]
    if odd:
        raise UsageError(f"{', '.join(odd)} {'are' if len(odd) > 1 else 'is'} of another task than {task}")
    if task == "regression":
        return Regression(target or "")
    if task == "multilabel":
        chosen: Any = "all" if labels == "all" else None if labels is None else tuple(_names(labels))
        return Multilabel(chosen, label_column, uncertain or "ignore")
    return Classification(task, None if classes is None else tuple(_names(classes)))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def DATA(command: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N802 - used like the options above
    """The options that say which data is meant and how it is read; see :func:`with_data`."""
    options = (
        PLACE,
        click.option(
            "--images",
            "image_folder",
            metavar="DIR",
            help="Where a table's images lie; bare names at any depth [default: beside the table].",
        ),
        click.option("--metadata", metavar="A,B", help="Columns to keep that are left out else, such as dates."),
        click.option("--no-headers", is_flag=True, help="Leave the headers of DICOM files unread."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def with_data(options: dict[str, Any]) -> dict[str, Any]:
    """A verb's options, those of :func:`DATA` made one: ``data``, which says how it is read where that is told.

    Raises :class:`UsageError` where it is told, and no data is named.
    """
    if "image_folder" not in options:
        return options
    images, columns = options.pop("image_folder"), options.pop("metadata")
    unread = options.pop("no_headers")
    told = {"--images": images is not None, "--metadata": columns is not None, "--no-headers": unread}
    if not any(told.values()):
        return options
    if options["data"] is None:
        given = ", ".join(name for name, is_told in told.items() if is_told)
        raise UsageError(f"{given}: says how data is read, and no data is named; name it with --data")
    names = [] if columns is None else [name.strip() for name in columns.split(",")]
    if not all(names):
        raise UsageError(f"--metadata {columns!r}: expected names of columns, with commas between them")
    options["data"] = DataSource(options["data"], images=images, metadata=names, headers=not unread)
    return options


def NETWORK_INPUT(command: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N802 - used like the options above
    """The options that say what a network's input is, where its source does not."""
    options = (
        click.option(
            "--mean", type=Levels(), metavar="R,G,B", help="Subtracted from pixels of 0 to 1; one serves all."
        ),
        click.option("--std", type=Levels(), metavar="R,G,B", help="Divides what is left; one serves all."),
        click.option(
            "--channels", type=click.Choice(["1", "3"]), help="1 takes the luminance [default: the network's]."
        ),
        click.option("--order", type=click.Choice(["rgb", "bgr"]), help="Of three channels [default: rgb]."),
        click.option("--resize", type=click.Choice(RESIZES), help="How a picture becomes a square [default: squash]."),
        click.option("--crop", type=Finite(0.1, 1), metavar="SHARE", help="Of the resized side that is kept: 0.875."),
        click.option("--interpolation", type=click.Choice(INTERPOLATIONS), help="Of resizing [default: bilinear]."),
    )
    for option in reversed(options):
        command = option(command)
    return command
