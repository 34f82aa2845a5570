"""``worklist``: what to do about the data, what matters most first; and the manifest that decisions on it make."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featcache.errors import DataError, UsageError
from featcache.system.user_paths import expanded
from featcache.system.write_access import require_writable

from ..auditing.audit_record import audit_runs
from ..evaluation.run_folder import run_folder, write_table
from .run_reader import Collected, Place, collect
from .worklist_changes import Changes, changes_since
from .worklist_decisions import read_decisions, write_worklist
from .worklist_facts import Facts, facts_of
from .worklist_manifest import Manifest, manifest_of
from .worklist_rows import LEAVE_OUT, WorklistRow
from .worklist_sources import Worklist, worklist_of
from .worklist_view import change_sentences


def worklist(
    runs: Place | Sequence[Place] | None = None,
    *,
    decisions: Place | None = None,
    audit: Place | None = None,
    before: Place | None = None,
    cache: Place = "cache",
    out: Place | None = None,
) -> dict[str, Any]:
    """Put what runs know to be wrong with the images into one list; or make the manifest that was decided on.

    Parameters
    ----------
    runs : str or path-like, or a sequence of them, optional
        A folder of runs (``./runs`` by default), of which those on the newest one's data count; or run folders.
    decisions : str or path-like, optional
        The list with its column ``decision`` filled in, or ``decisions.csv`` of the report's page: of each image
        nothing or ``keep``, ``leave out``, or ``relabel as LABEL``. No image is touched.
    audit : str or path-like, optional
        An audit's folder; by default the newest of that data.
    before : str or path-like, optional
        Runs on an earlier version of the data, to say what changed; by default those among ``runs``.
    cache : str or path-like, optional
        Knows how the data is read.
    out : str or path-like, optional
        The file to write, which must not be there: the list, or with ``decisions`` the manifest. By default
        ``worklist.csv`` or ``manifest.csv`` in a new folder in ``runs``.

    Returns
    -------
    dict
        Without decisions ``rows``, each ``rank points how at_stake kind reason to_do images choices`` (points are those
        of ``unit``, None where nobody has measured what is at stake; ``at_stake`` is the same in words),
        ``not_looked_for``, ``changes`` since an earlier version of the data, and ``csv``. With them ``manifest`` (to be
        given as ``data``), ``left_out``, ``relabelled`` and ``kept``, how many images.

    Raises
    ------
    DataError
        No runs, images that cannot be read any more, or decisions that are none of these images'.
    UsageError
        ``out`` is there already.

    See Also
    --------
    report : Shows the list first, to be decided on by clicks.

    Examples
    --------
    An audit finds a copy; leaving it out makes a manifest of one image less:

    >>> import csv, shutil, tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> import featcache, heads
    >>> folder = Path(tempfile.mkdtemp())
    >>> images, rng = folder / "images", np.random.default_rng(0)
    >>> for number in range(16):
    ...     place = images / ("train", "test")[number // 10] / ("covid", "normal")[number % 2]
    ...     place.mkdir(parents=True, exist_ok=True)
    ...     pixels = rng.integers(0, 256, (64, 64), dtype=np.uint8)
    ...     Image.fromarray(pixels).save(place / f"{number}.png")
    >>> original = images / "train" / "covid" / "0.png"
    >>> copied = shutil.copy(original, images / "test" / "covid" / "again.png")
    >>> cache, runs = folder / "cache", folder / "runs"
    >>> extracted = featcache.extract(images, "pixels", size=8, cache=cache)
    >>> audited = heads.audit(images, cache=cache, out=runs / "audit")
    >>> options = {"backbone": "pixels", "models": ["knn"], "cv": 2, "cache": cache}
    >>> board = heads.baselines(**options, out=runs / "baselines")
    >>> result = heads.worklist(runs, cache=cache, out=folder / "worklist.csv")
    >>> copies = next(row for row in result["rows"] if row["kind"] == "Copies across parts")
    >>> copies["how"], [choice["decision"] for choice in copies["choices"]]
    ('at most', ['leave out', 'leave out'])
    >>> with open(folder / "decisions.csv", "w") as file:
    ...     csv.writer(file).writerows([("path", "decision"), (original, "leave out")])
    >>> made = heads.worklist(runs, decisions=folder / "decisions.csv", cache=cache, out=folder / "manifest.csv")
    >>> made["left_out"], made["kept"]
    (1, 16)
    """
    collected = collect(runs, audit, audit_runs(cache))
    facts = facts_of(collected, cache)
    if decisions is not None:
        return _decided(facts, decisions, out)
    listed, changes = listed_with_changes(facts, cache, before)
    with _file(out, "worklist.csv") as path:
        write_worklist(path, listed.rows, facts)
    return {
        "data": collected.data,
        "unit": listed.unit,
        "rows": [_row(rank, row) for rank, row in enumerate(listed.rows, start=1)],
        "not_looked_for": listed.not_looked_for,
        "changes": None if changes is None else _changes(changes),
        "csv": str(path),
    }


def listed_with_changes(
    facts: Facts, cache: Place, before: Place | Sequence[Place] | None
) -> tuple[Worklist, Changes | None]:
    """The list, and what changed since runs on an earlier version; ``before`` as of :func:`worklist`, or several."""
    audits = audit_runs(cache)
    several = [before] if isinstance(before, str | os.PathLike) else list(before or ())
    earlier: list[Collected] = [collect(one, None, audits) for one in several]
    listed = worklist_of(facts)
    return listed, changes_since(facts, listed, cache, earlier, audits)


def _decided(facts: Facts, decisions: Place, out: Place | None) -> dict[str, Any]:
    manifest = manifest_of(facts)
    if manifest is None:
        raise DataError(f"{facts.collected.data}: its images cannot be read any more, so no manifest: {facts.missing}")
    decided = read_decisions(decisions, manifest, facts)
    made = manifest.decided(decided)
    _require_some(made, decisions)
    with _file(out, "manifest.csv") as path:
        write_table(path, tuple(made.columns), made.rows)
    left_out = sum(said == LEAVE_OUT for said in decided.values())
    return {
        "data": facts.collected.data,
        "manifest": str(path),
        "left_out": left_out,
        "relabelled": len(decided) - left_out,
        "kept": len(made.columns["path"]),
        "note": made.note,
    }


def _require_some(made: Manifest, decisions: Place) -> None:
    if not made.columns["path"]:
        raise DataError(f"{decisions} leaves out every image; expected some to be left")


@contextmanager
def _file(out: Place | None, name: str) -> Iterator[Path]:
    """Where to write to: the file that is named, which must not be there, or one in a new folder of runs."""
    if out is None:
        with run_folder(None, "worklist") as folder:
            yield folder / name
        return
    path = expanded(out).absolute()
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file with --out, such as {path / name}")
    if path.exists():
        raise UsageError(f"{path} is there already, and nothing is overwritten; name another file with --out")
    require_writable(path.parent, "--out")
    yield path


def _row(rank: int, row: WorklistRow) -> dict[str, Any]:
    return {
        "rank": rank,
        "points": row.stake.points,
        "how": row.stake.how,
        "at_stake": row.stake.text,
        "kind": row.kind,
        "reason": row.reason,
        "to_do": row.to_do,
        "images": list(row.images),
        "choices": [{"decision": one.decision, "images": list(one.images)} for one in row.choices],
    }


def _changes(changes: Changes) -> dict[str, Any]:
    rows = {name: [row.reason for row in getattr(changes, name)] for name in ("done", "still", "gone", "unsaid", "new")}
    value = changes.value
    return {
        "since": changes.data,
        "images": changes.images,
        "left_out": changes.left_out,
        "added": changes.added,
        "relabelled": [{"path": path, "label": old, "now": new} for path, old, new in changes.relabelled],
        "rows": rows,
        "sentences": change_sentences(changes),
        "value": None
        if value is None
        else {
            "title": value.title,
            "before": value.same[0],
            "after": value.same[1],
            "n": value.n,
            "difference": value.difference,
            "interval": value.interval,
        },
    }
