"""The verbs of ``vault``: which test images were looked at, whether the notes of that are whole, and locking some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import BACKBONE, DATA, GROUPS, MEMORY, TASK

from .formatting import SYNTHETIC
from .options import NO_AUDIT, SEED


@click.group("vault")
def vault_group() -> None:
    """Keep a test set honest: looks at it are counted, and it can be locked."""


@vault_group.command("ls")
@shared_options
def vault_ls(cache: str, output: Output) -> None:
    """List the sets of test images that were looked at or locked in this cache."""
    from ..vault.notes import read_notes
    from ..vault.summary import sets_seen

    chain = read_notes(cache)
    rows, faults = sets_seen(chain), list(chain.faults)
    lines = [f"{'images':<14}{'':>8}{'looks':>7}{'models':>8}   {'first':<12}{'last':<12}task"] if rows else []
    for row in rows:
        days = f"{row['first'][:10]:<12}{row['last'][:10]:<12}"
        notes = [", ".join(row["tasks"])]
        notes += [f"locked {row['locked'][:10]} ({row['lock_of']})"] if row["locked"] else []
        notes += [f"final look {row['final'][:10]}"] if row["final"] else []
        lines.append(
            f"{row['set'][:12]:<14}{row['images']:>8,}{row['looks']:>7}{row['models']:>8}   {days}{'; '.join(notes)}"
        )
    if not rows:
        lines.append(f"{Path(cache)} has no notes of looks at test images yet")
    output.result({"rows": rows, "faults": faults}, *lines, *(f"! {fault}" for fault in faults))


@vault_group.command("verify")
@click.argument("runs", nargs=-1, metavar="[RUN|BUNDLE]...")
@shared_options
def vault_verify(cache: str, output: Output, runs: tuple[str, ...]) -> None:
    """Prove the notes, and that they have the looks of these runs and bundles [default: ./runs]; exit 5 where not."""
    from ..reporting.vault_check import verify_looks

    done = verify_looks(cache, runs or None)
    lines = [f"{'' if row['found'] else '! '}{row['said']}" for row in done["rows"]]
    lines += [f"! {fault}" for fault in done["faults"]]
    if done["without"]:
        lines.append(f"{done['without']} runs or bundles say nothing of looks")
    missing = sum(not row["found"] for row in done["rows"])
    chain = f"{len(done['faults'])} FAULTS" if done["faults"] else "the chain is whole"
    looked_up = f"; {missing} of {len(done['rows'])} looks NOT FOUND in them" if missing else ""
    output.result(done, *lines, f"{done['notes']} notes: {chain}{looked_up}")
    if not done["sound"]:
        raise SystemExit(5)


@vault_group.command("lock")
@TASK
@BACKBONE
@DATA
@GROUPS
@MEMORY
@SEED
@NO_AUDIT
@shared_options
def vault_lock(cache: str, output: Output, **options: Any) -> None:
    """Lock the test images of a division: their metrics are shown only with --final, and nothing learns from them."""
    from ..experiments.locking import lock_test

    done = lock_test(cache=cache, **options)
    parts = ", ".join(f"{name} {count:,}" for name, count in done["per_part"].items())
    lines = [f"{done['images']:,} test images are locked{' (as they were)' if done['again'] else ''}: {parts}"]
    if done["looks"]:
        lines.append(f"they were looked at before: {done['looks']} looks, which a lock does not undo")
    lines.append(
        "fit-head, baselines, grid or evaluate with --final shows their metrics, and notes that they were seen"
    )
    if done["synthetic"]:
        lines.append(SYNTHETIC)
    output.result(done, *lines, *(f"! {text}" for text in done["warnings"]))
