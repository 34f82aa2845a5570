"""The bar of an extraction on a terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .console import Output

if TYPE_CHECKING:
    from ..extraction.planning import Plan

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def extraction_progress(output: Output, name: str) -> Iterator[tuple[Callable[[Plan], None], Callable[[int], None]]]:
    """A bar with images/s and time left, on a terminal; else nothing but the plan."""

    def announce(plan: Plan) -> None:
        if plan.to_compute:
            _log.info("%s: %d to compute, %d reused", name, len(plan.to_compute), plan.reused)

    if output.quiet or not sys.stderr.isatty():
        yield announce, lambda done: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    counts = (BarColumn(), MofNCompleteColumn(), TaskProgressColumn())
    pace = (TextColumn("{task.fields[rate]} images/s"), TimeRemainingColumn())
    columns = (TextColumn("{task.description}"), *counts, *pace)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None, rate="–")

        def start(plan: Plan) -> None:
            announce(plan)
            bar.reset(task, total=len(plan.to_compute), rate="–")

        def step(done: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, rate=f"{speed:.1f}" if speed else "–")

        yield start, step
