"""What goes on in a verb of stage two, on a terminal: epochs, cells of a search, a status."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from featcache.commands.console import Output
from featcache.system.plain_text import printable

if TYPE_CHECKING:
    from ..search.search_cv import Progress


@contextlib.contextmanager
def epochs_shown(output: Output) -> Iterator[Callable[[int, list[dict[str, float]]], None] | None]:
    """A line for each epoch on a terminal; nothing elsewhere, where the engine then runs many epochs a call."""
    if output.quiet or not sys.stderr.isatty():
        yield None
        return

    def show(epoch: int, latest: list[dict[str, float]]) -> None:
        metrics = "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in latest[0].items())
        click.echo(f"epoch {epoch:>4}  {metrics}", err=True)

    yield show


@contextlib.contextmanager
def cells_shown(output: Output) -> Iterator[Callable[[Progress], None] | None]:
    """A bar with the best so far and the time left, on a terminal."""
    if output.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("fits; best {task.fields[best]}"), TimeRemainingColumn())
    sums: dict[str, list[float]] = {}
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("grid", total=None, best="–")

        def show(progress: Progress) -> None:
            key = str(sorted(progress.params.items(), key=str))
            sums.setdefault(key, []).append(progress.score)
            best = max(sums, key=lambda name: sum(sums[name]) / len(sums[name]))
            score = sum(sums[best]) / len(sums[best])
            bar.update(task, total=progress.cells, completed=progress.done, best=f"{score:.4f}")

        yield show


@contextlib.contextmanager
def status_shown(output: Output) -> Iterator[Callable[[str, int], None]]:
    """What is going on, on a terminal."""
    if output.quiet or not sys.stderr.isatty():
        yield lambda what, done: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status("") as status:
        yield lambda what, done: status.update(
            Text(printable(f"{what}{f', {done} images' if done else ''}", lines=False))
        )
