"""The command line: ``python cli.py VERB``. Thin: each verb calls one function of the library.

With ``--json`` stdout carries one JSON object and nothing else. Messages and progress go to stderr.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import featcache
from featcache.errors import BadImage, DataError, FeatcacheError, UsageError

if TYPE_CHECKING:
    from featcache.extraction import ExtractResult, Plan

_log = logging.getLogger("featcache.cli")


# -- what all verbs share --------------------------------------------------------------------------


class Output:
    """Where a verb's result and messages go."""

    def __init__(self, as_json: bool, quiet: bool, verbose: bool) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self._stdout = sys.stdout

    def result(self, values: dict[str, Any], *lines: str) -> None:
        """Print the result: the JSON object, or the lines for people."""
        if self.as_json:
            self.lines(json.dumps(values))
        else:
            self.lines(*lines)

    def lines(self, *lines: str) -> None:
        """Print lines on stdout."""
        for line in lines:
            click.echo(line, file=self._stdout)

    def failure(self, error: BaseException, code: int) -> None:
        """Print an error: its message on stderr, and with ``--json`` the same as an object on stdout."""
        if self.verbose:
            traceback.print_exception(error)
        bad = error.bad if isinstance(error, DataError) else []
        for image in bad[:20]:
            click.echo(f"  {image.path}: {image.reason}", err=True)
        if len(bad) > 20:
            click.echo(f"  … and {len(bad) - 20} more (all of them with --json)", err=True)
        message = str(error) or type(error).__name__
        hint = "" if isinstance(error, FeatcacheError) or self.verbose else " (more with -v)"
        click.echo(f"error: {message}{hint}", err=True)
        if self.as_json:
            values: dict[str, Any] = {"error": message, "exit_code": code}
            if bad:
                values["bad"] = [asdict(image) for image in bad]
            self.lines(json.dumps(values))


def shared_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Options of every verb; the verb is called with ``cache`` and ``output`` first."""

    @click.option("--cache", default="cache", show_default=True, metavar="DIR", help="Folder of the store.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else there.")
    @click.option("-q", "--quiet", is_flag=True, help="Only errors on stderr.")
    @click.option("-v", "--verbose", is_flag=True, help="More on stderr; a traceback with an error.")
    @functools.wraps(verb)
    def run(cache: str, as_json: bool, quiet: bool, verbose: bool, **options: Any) -> None:
        output = Output(as_json, quiet, verbose)
        level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger = logging.getLogger("featcache")
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # Keras announces its downloads on stdout
                verb(cache=cache, output=output, **options)
        except KeyboardInterrupt as error:
            output.failure(KeyboardInterrupt("interrupted; what was done is kept, run the same command to go on"), 130)
            raise SystemExit(130) from error
        except FeatcacheError as error:
            output.failure(error, error.exit_code)
            raise SystemExit(error.exit_code) from error
        except Exception as error:
            output.failure(error, 1)
            raise SystemExit(1) from error

    return run


_DATA = click.option(
    "--data", metavar="PATH", help="Folder or CSV/Parquet manifest. Default: the last extract's; else the sample."
)
_GROUPS = click.option("--group-regex", metavar="RE", help="Where in the file name the patient stands.")
_TASK = click.option("--task", default="multiclass", show_default=True, help="binary or multiclass.")
_CLASSES = click.option("--classes", metavar="A,B", help="Two or more class names, in place of the task's own.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(featcache.__version__, prog_name="featcache")
def cli() -> None:
    """Run each frozen ImageNet backbone once over a set of images, and keep its features."""


# -- extract ---------------------------------------------------------------------------------------


@cli.command()
@_DATA
@click.option("--backbone", default="vgg16", show_default=True, metavar="NAME[,NAME]", help="One or several.")
@click.option("--weights", default="imagenet", show_default=True, metavar="W", help="imagenet, random[:SEED], FILE.")
@click.option("--size", type=int, metavar="N", help="Side of the square input in pixels [default: 224].")
@click.option("--layer", default="", metavar="NAME", help="Keep this layer's output [default: the last].")
@click.option("--preprocess", default="model", show_default=True, help="model (the backbone's own) or rescale (1/255).")
@click.option("--keep", default="map", show_default=True, help="map (and its average) or avg (the average alone).")
@click.option("--dtype", default="float32", show_default=True, help="What is stored: float32 or float16.")
@click.option(
    "--precision", default="float32", show_default=True, help="Computed in: float32, mixed_float16, mixed_bfloat16."
)
@click.option("--runtime", default="auto", show_default=True, help="auto or tensorflow.")
@click.option("--batch-size", type=int, metavar="N", help="Images a step; halved when memory runs out.")
@click.option("--compression", default="none", show_default=True, help="none, gzip or zstd.")
@click.option("--skip-bad", is_flag=True, help="Go on without images that cannot be decoded.")
@_GROUPS
@shared_options
def extract(cache: str, output: Output, backbone: str, **options: Any) -> None:
    """Fill the cache: compute the features of every image that has none yet."""
    names = [name.strip() for name in backbone.split(",") if name.strip()]
    if not names:
        raise UsageError("--backbone names no backbone")
    results = []
    for name in names:
        with _progress(output, name) as (on_start, on_progress):
            result = featcache.extract(
                backbone=name, cache=cache, on_start=on_start, on_progress=on_progress, **options
            )
        results.append(result)
        if not output.as_json:
            _list_skipped(result.bad)
            output.lines(_summary(result))
    rows = [result.to_dict() for result in results]
    output.result(rows[0] if len(rows) == 1 else {"feature_sets": rows})


def _summary(result: ExtractResult) -> str:
    shape = " x ".join(map(str, result.shape))
    marks = (" [SYNTHETIC images]" if result.synthetic else "") + (
        " [RANDOM weights]" if result.weights.startswith("random") else ""
    )
    parts = [f"{result.computed} computed"]
    if result.computed:
        parts[0] += f" in {result.seconds:.1f} s ({result.images_per_second:.1f} images/s)"
    parts.append(f"{result.reused} reused" + (f", {result.saved_seconds:.0f} s saved" if result.reused else ""))
    if result.copies:
        parts.append(f"{result.copies} exact copies")
    if result.skipped:
        parts.append(f"{result.skipped} skipped")
    return f"{result.feature_set}: {result.images} images of {shape}; {'; '.join(parts)}{marks}"


def _list_skipped(bad: list[BadImage]) -> None:
    for image in bad:
        click.echo(f"skipped {image.path}: {image.reason}", err=True)


@contextlib.contextmanager
def _progress(output: Output, name: str) -> Iterator[tuple[Callable[[Plan], None], Callable[[int], None]]]:
    """A bar with images/s and time left, on a terminal; else nothing but the plan."""

    def announce(plan: Plan) -> None:
        if plan.jobs:
            _log.info("%s: %d to compute, %d reused", name, len(plan.jobs), plan.reused)

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

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[rate]} images/s"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None, rate="–")

        def start(plan: Plan) -> None:
            announce(plan)
            bar.reset(task, total=len(plan.jobs), rate="–")

        def step(done: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, rate=f"{speed:.1f}" if speed else "–")

        yield start, step


# -- cache -----------------------------------------------------------------------------------------


@cli.group("cache")
def cache_group() -> None:
    """Look after the store."""


_SETS = click.argument("feature_sets", nargs=-1, metavar="[SET]...")


@cache_group.command("ls")
@shared_options
def cache_ls(cache: str, output: Output) -> None:
    """List the feature sets."""
    from featcache import upkeep

    with featcache.Store(cache) as store:
        rows = upkeep.ls(store)
    lines = [f"{'feature set':<44} {'rows':>8} {'shape':>16} {'shards':>6} {'size':>10}"] if rows else []
    for row in rows:
        shape = " x ".join(map(str, row["shape"]))
        lines.append(
            f"{row['feature_set']:<44} {row['rows']:>8} {shape:>16} {row['shards']:>6} {_size(row['bytes']):>10}"
        )
    output.result({"rows": rows}, *(lines or [f"{Path(cache)} holds no features yet; run: python cli.py extract"]))


@cache_group.command("verify")
@_SETS
@shared_options
def cache_verify(cache: str, output: Output, feature_sets: tuple[str, ...]) -> None:
    """Prove every byte of every shard; exit 5 where one is damaged."""
    from featcache import upkeep

    with featcache.Store(cache) as store:
        report = upkeep.verify(store, feature_sets)
    rate = f" ({_size(report.bytes / report.seconds)}/s)" if report.seconds else ""
    lines = [f"{damage.feature_set}/{damage.shard}: {damage.reason}" for damage in report.damaged]
    if report.leftovers:
        lines.append(f"{len(report.leftovers)} temporary file(s) of writers that died or are at work; harmless")
    verdict = f"{len(report.damaged)} DAMAGED: run 'cache repair'" if report.damaged else "all sound"
    lines.append(f"{report.shards} shards, {_size(report.bytes)}{rate}: {verdict}")
    output.result(asdict(report), *lines)
    if report.damaged:
        raise SystemExit(5)


@cache_group.command("repair")
@_SETS
@shared_options
def cache_repair(cache: str, output: Output, feature_sets: tuple[str, ...]) -> None:
    """Drop just what is damaged; the next extract computes just that."""
    from featcache import upkeep

    with featcache.Store(cache) as store:
        done = upkeep.repair(store, feature_sets)
    output.result(
        done,
        f"{len(done['damaged'])} damaged shard(s) dropped, {done['rows_kept']} of their rows kept, "
        f"{done['rows_lost']} lost; {done['leftovers_removed']} leftover file(s) removed",
    )


@cache_group.command("compact")
@_SETS
@shared_options
def cache_compact(cache: str, output: Output, feature_sets: tuple[str, ...]) -> None:
    """Merge small shards and drop rows that stand twice."""
    from featcache import upkeep

    with featcache.Store(cache) as store:
        done = upkeep.compact(store, feature_sets)
    output.result(
        done,
        f"{done['shards_before']} shards became {done['shards_after']}; {done['rows_dropped']} repeated rows dropped",
    )


@cache_group.command("rm")
@click.argument("feature_sets", nargs=-1, required=True, metavar="SET...")
@shared_options
def cache_rm(cache: str, output: Output, feature_sets: tuple[str, ...]) -> None:
    """Delete feature sets."""
    with featcache.Store(cache) as store:
        freed = {name: store.remove(name) for name in feature_sets}
    output.result({"removed": list(freed), "bytes": sum(freed.values())}, f"{_size(sum(freed.values()))} freed")


@cache_group.command("export")
@click.argument("out", metavar="FILE.h5")
@click.option("--backbone", default="vgg16", show_default=True, help="A backbone, or the id of a feature set.")
@_TASK
@_CLASSES
@click.option("--pooling", default="flatten", show_default=True, help="flatten, avg, max or map.")
@_DATA
@_GROUPS
@shared_options
def cache_export(cache: str, output: Output, out: str, classes: str | None, **options: Any) -> None:
    """Write features, labels, paths, classes, splits and groups to one plain HDF5 file."""
    chosen = classes.split(",") if classes else None
    done = featcache.export(out, classes=chosen, cache=cache, **options)
    output.result(done, f"{done['file']}: {done['rows']} rows of {done['feature_set']}, {_size(done['bytes'])}")


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def main() -> None:
    """Entry point of ``featcache`` and of ``python cli.py``."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    # A scheduler's SIGTERM deserves the same care as Ctrl-C: commit what is done, then go.
    signal.signal(signal.SIGTERM, interrupt)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


if __name__ == "__main__":
    main()
