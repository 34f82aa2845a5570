"""The verbs of ``cache``: look after the store. Thin: each calls one function of the library."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

import featcache

from .console import Output, human_size, shared_options
from .options import BACKBONE, DATA, GROUPS, TASK


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
        verification = maintenance.verify(store, feature_sets)
    rate = f" ({human_size(verification.bytes / verification.seconds)}/s)" if verification.seconds else ""
    lines = [
        f"{shard.feature_set}/{shard.shard}: {shard.reason}" for shard in verification.damaged + verification.unreadable
    ]
    if verification.set_aside:
        lines.append(f"{len(verification.set_aside)} shard(s) set aside by 'cache repair', to be deleted when you like")
    if verification.leftovers:
        lines.append(f"{len(verification.leftovers)} temporary file(s) of writers that died or are at work; harmless")
    verdicts = [f"{len(verification.damaged)} DAMAGED: run 'cache repair'"] if verification.damaged else []
    if verification.unreadable:
        verdicts.append(f"{len(verification.unreadable)} CANNOT BE READ, which says nothing of what they hold")
    verdict = "; ".join(verdicts) or "all sound"
    lines.append(f"{verification.shards} shards, {human_size(verification.bytes)}{rate}: {verdict}")
    output.result(asdict(verification), *lines)
    if verification.damaged or verification.unreadable:
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
@click.option(
    "--pooling",
    type=click.Choice(["flatten", "avg", "max", "map", "cls"]),
    default="flatten",
    show_default=True,
    help="What of the kept map.",
)
@DATA
@GROUPS
@shared_options
def cache_export(cache: str, output: Output, out: str, **options: Any) -> None:
    """Write features, labels, paths, classes, splits and groups to one plain HDF5 file."""
    done = featcache.export(out, cache=cache, **options)
    output.result(done, f"{done['file']}: {done['rows']} rows of {done['feature_set']}, {human_size(done['bytes'])}")
