"""The verbs of stage one. Thin: each calls one function of the library."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import featcache

from ..errors import BadImage, UsageError
from .console import (
    BACKBONE,
    CLASSES,
    COUNT,
    DATA,
    GROUPS,
    PREPROCESS,
    SIDE,
    TASK,
    Output,
    extraction_progress,
    human_size,
    shared_options,
    tell,
)

if TYPE_CHECKING:
    from ..extraction.extract_paths import ExtractResult


@click.command()
@DATA
@click.option("--backbone", default="vgg16", show_default=True, metavar="NAME[,NAME]", help="One or several.")
@click.option("--weights", default="imagenet", show_default=True, metavar="W", help="imagenet, random[:SEED], FILE.")
@click.option("--size", type=SIDE, metavar="N", help="Side of the square input in pixels [default: 224].")
@click.option("--layer", default="", metavar="NAME", help="Keep this layer's output [default: the last].")
@PREPROCESS
@click.option(
    "--keep",
    type=click.Choice(["map", "avg"]),
    default="map",
    show_default=True,
    help="map (and its average) or avg (the average alone).",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="What is stored.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "mixed_float16", "mixed_bfloat16"]),
    default="float32",
    show_default=True,
    help="What is computed in.",
)
@click.option(
    "--runtime",
    type=click.Choice(["auto", "tensorflow", "openvino"]),
    default="auto",
    show_default=True,
    help="What computes; openvino is for CPUs.",
)
@click.option("--batch-size", type=COUNT, metavar="N", help="Images a step [default: found by trying].")
@click.option("--devices", metavar="D,D", help="A process for each: gpu:0,gpu:1, or cpu:2.")
@click.option("--scheduler", metavar="ADDRESS", help="Compute on Dask: tcp://HOST:PORT, or local[:PROCESSES].")
@click.option("--send-back", is_flag=True, help="Dask's workers do not see the cache: they send shards.")
@click.option(
    "--compression", type=click.Choice(["none", "gzip", "zstd"]), default="none", show_default=True, help="Of shards."
)
@click.option("--skip-bad", is_flag=True, help="Go on without images that cannot be decoded.")
@GROUPS
@shared_options
def extract(cache: str, output: Output, backbone: str, **options: Any) -> None:
    """Fill the cache: compute the features of every image that has none yet."""
    names = [name.strip() for name in backbone.split(",") if name.strip()]
    if not names:
        raise UsageError("--backbone names no backbone")
    results = []
    for name in names:
        with extraction_progress(output, name) as (on_start, on_progress):
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
        " [RANDOM weights]" if result.random_weights else ""
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
        tell(f"skipped {image.path}: {image.reason}")


@click.group("cache")
def cache_group() -> None:
    """Look after the store."""


_SETS = click.argument("feature_sets", nargs=-1, metavar="[SET]...")


@cache_group.command("ls")
@shared_options
def cache_ls(cache: str, output: Output) -> None:
    """List the feature sets."""
    from ..store import maintenance

    with featcache.Store(cache) as store:
        rows, unlisted = maintenance.survey(store)
        strangers = store.strangers()
    lines = [f"{'feature set':<44} {'rows':>8} {'shape':>16} {'shards':>6} {'size':>10}"] if rows else []
    for row in rows:
        shape = " x ".join(map(str, row["shape"]))
        lines.append(
            f"{row['feature_set']:<44} {row['rows']:>8} {shape:>16} {row['shards']:>6} {human_size(row['bytes']):>10}"
        )
    if not rows and not unlisted:
        lines.append(f"{Path(cache)} holds no features yet; run: python cli.py extract")
    lines += [f"{name}: cannot be listed: {reason}" for name, reason in unlisted.items()]
    if strangers:
        names = ", ".join(strangers)
        lines.append(f"features/ also holds what is no feature set, and is left alone: {names}")
    output.result({"rows": rows, "unlisted": unlisted, "others": strangers}, *lines)
    if unlisted:
        raise SystemExit(5)


@cache_group.command("verify")
@_SETS
@shared_options
def cache_verify(cache: str, output: Output, feature_sets: tuple[str, ...]) -> None:
    """Prove every byte of every shard; exit 5 where one is damaged or cannot be read."""
    from ..store import maintenance

    with featcache.Store(cache) as store:
        report = maintenance.verify(store, feature_sets)
    rate = f" ({human_size(report.bytes / report.seconds)}/s)" if report.seconds else ""
    lines = [f"{shard.feature_set}/{shard.shard}: {shard.reason}" for shard in report.damaged + report.unreadable]
    if report.set_aside:
        lines.append(f"{len(report.set_aside)} shard(s) set aside by 'cache repair', to be deleted when you like")
    if report.leftovers:
        lines.append(f"{len(report.leftovers)} temporary file(s) of writers that died or are at work; harmless")
    verdicts = [f"{len(report.damaged)} DAMAGED: run 'cache repair'"] if report.damaged else []
    if report.unreadable:
        verdicts.append(f"{len(report.unreadable)} CANNOT BE READ, which says nothing of what they hold")
    verdict = "; ".join(verdicts) or "all sound"
    lines.append(f"{report.shards} shards, {human_size(report.bytes)}{rate}: {verdict}")
    output.result(asdict(report), *lines)
    if report.damaged or report.unreadable:
        raise SystemExit(5)


@cache_group.command("repair")
@_SETS
@shared_options
def cache_repair(cache: str, output: Output, feature_sets: tuple[str, ...]) -> None:
    """Replace damaged shards by their sound rows; exit 5 where one had to stay as it is."""
    from ..store import maintenance

    with featcache.Store(cache) as store:
        done = maintenance.repair(store, feature_sets)
    lines = [f"{shard['feature_set']}/{shard['shard']}: KEPT AS IT IS: {shard['reason']}" for shard in done["refused"]]
    lines += [f"{path}: nothing in it can be saved; delete it when you like" for path in done["set_aside"]]
    lines.append(
        f"{done['mended']} damaged shard(s) replaced or set aside, {done['rows_kept']} of their rows kept, "
        f"{done['rows_lost']} lost; {done['leftovers_removed']} leftover file(s) removed"
    )
    output.result(done, *lines)
    if done["refused"]:
        raise SystemExit(5)


@cache_group.command("compact")
@_SETS
@shared_options
def cache_compact(cache: str, output: Output, feature_sets: tuple[str, ...]) -> None:
    """Merge small shards and drop rows that stand twice."""
    from ..store import maintenance

    with featcache.Store(cache) as store:
        done = maintenance.compact(store, feature_sets)
    output.result(
        done,
        f"{done['shards_before']} shards became {done['shards_after']}; {done['rows_dropped']} repeated rows dropped",
    )


@cache_group.command("rm")
@click.argument("feature_sets", nargs=-1, required=True, metavar="SET...")
@shared_options
def cache_rm(cache: str, output: Output, feature_sets: tuple[str, ...]) -> None:
    """Delete feature sets."""
    from ..store import maintenance

    with featcache.Store(cache) as store:
        freed = maintenance.remove(store, feature_sets)
    output.result({"removed": list(freed), "bytes": sum(freed.values())}, f"{human_size(sum(freed.values()))} freed")


@cache_group.command("export")
@click.argument("out", metavar="FILE.h5")
@BACKBONE
@TASK
@CLASSES
@click.option(
    "--pooling",
    type=click.Choice(["flatten", "avg", "max", "map"]),
    default="flatten",
    show_default=True,
    help="What of the kept map.",
)
@DATA
@GROUPS
@shared_options
def cache_export(cache: str, output: Output, out: str, classes: str | None, **options: Any) -> None:
    """Write features, labels, paths, classes, splits and groups to one plain HDF5 file."""
    chosen = classes.split(",") if classes else None
    done = featcache.export(out, classes=chosen, cache=cache, **options)
    output.result(done, f"{done['file']}: {done['rows']} rows of {done['feature_set']}, {human_size(done['bytes'])}")
