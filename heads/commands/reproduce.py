"""The verb ``reproduce``."""

from __future__ import annotations

import logging
from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import DATA, GROUPS, PREPROCESS

from ..experiments.reference import TITLE
from .options import SEED
from .parsing import names

_log = logging.getLogger(__name__)


@click.command(help=f"Train all that the reference trained, the students' report {TITLE!r}, its numbers beside ours.")
@DATA
@GROUPS
@click.option("--only", metavar="ID[,ID]", help="Rows, by id or its beginning: b-, m-vgg16, tsne-, speed.")
@click.option("--quick", is_flag=True, help="5 epochs a row; the table says so.")
@click.option("--weights", default="imagenet", show_default=True, metavar="W", help="Of backbones not extracted yet.")
@PREPROCESS
@SEED
@click.option(
    "--out", default="runs/reproduce", show_default=True, metavar="DIR", help="Rows done there are not repeated."
)
@shared_options
def reproduce(cache: str, output: Output, only: str | None, **options: Any) -> None:
    """Train all that the reference trained; the help names it by its title."""
    from ..experiments.reproduction import reproduce
    from ..experiments.reproduction_table import markdown

    def show(row: dict[str, Any]) -> None:
        _log.info("%s: %s", row["id"], row["remarks"] or "done")

    result = reproduce(only=names(only), cache=cache, on_row=show, **options)
    output.result(result, *markdown(result["rows"]).splitlines(), f"also as {result['csv']} and {result['markdown']}")
