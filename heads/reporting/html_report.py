"""``report``: all runs on one dataset as a single HTML page, the audit's warnings first."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from featcache.errors import DataError, FeatcacheError, UsageError
from featcache.system import atomic_files
from featcache.system.write_access import require_writable

from ..auditing import audit_record
from . import tables
from .embedding_map import explore
from .looks_view import looks_view
from .page import render
from .run_reader import Collected, Place, Run, collect
from .subgroups_later import with_subgroups
from .verdict import judge
from .worklist import listed_with_changes
from .worklist_facts import facts_of
from .worklist_manifest import manifest_of
from .worklist_view import worklist_view

_log = logging.getLogger(__name__)


def report(
    runs: Place | Sequence[Place] | None = None,
    *,
    audit: Place | None = None,
    bundle: Place | None = None,
    cache: Place = "cache",
    images: bool = True,
    by: str | None = None,
    before: Place | Sequence[Place] | None = None,
    out: Place | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write one HTML page about runs; it holds all it shows, and asks no network for anything.

    Parameters
    ----------
    runs : str or path-like, or a sequence of them, optional
        A folder of runs (``./runs`` by default), of which all on the newest one's data are shown; or run folders.
    audit : str or path-like, optional
        An audit's folder; by default the newest of that data among the runs, else among those that the cache knows of.
    bundle : str or path-like, optional
        Whose first dense layer is drawn; by default that of the newest head among the runs.
    cache : str or path-like, optional
        Where its features are.
    images : bool, optional
        Whether to add thumbnails; without them no image leaves the machine with the page.
    by : str, optional
        Columns of metadata whose subgroups are told apart, ``sex,view,age:0-40-65-``, in place of those that the runs
        were asked for; of runs that kept what they said of each image, as ``fit-head`` does.
    before : str or path-like, or a sequence of them, optional
        Folders of runs on an earlier version of the data, to say what changed since; by default those among ``runs``.
    out : str or path-like, optional
        The file; by default ``report.html`` beside the runs.
    seed : int, optional
        Of t-SNE.

    Returns
    -------
    dict
        ``html``, ``bytes``, ``runs`` (folders shown), ``left_out`` (runs on other data), ``audit``, ``verdict`` and its
        ``reasons``, ``to_do`` (rows of the worklist), ``points`` and ``pictures`` of the map, ``looks`` (of each run
        that was a look at test images ``run found state said``: whether this cache's notes have it), ``synthetic``.

    Raises
    ------
    DataError
        No runs, or one that cannot be read.
    UsageError
        Runs on different data, an ``out`` that is no file, or subgroups that cannot be told apart.
    BundleError
        The bundle named is damaged.

    See Also
    --------
    audit : What the page begins with.

    Examples
    --------
    A page about one search:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> import featcache, heads
    >>> from heads.experiments.hyperparameter_search import grid
    >>> folder = Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> for name, grey in (("covid", 60), ("normal", 160)):
    ...     (folder / "images" / name).mkdir(parents=True)
    ...     for number in range(12):
    ...         pixels = rng.normal(grey, 20, (64, 64)).clip(0, 255).astype(np.uint8)
    ...         Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    >>> cache, run = folder / "cache", folder / "runs" / "grid"
    >>> extracted = featcache.extract(folder / "images", backbone="pixels", size=16, cache=cache)
    >>> neighbours = {"n_neighbors": [1, 3]}
    >>> found = grid("binary", backbone="pixels", model="knn", params=neighbours, cv=2, cache=cache, out=run)
    >>> result = heads.report(folder / "runs", cache=cache)
    >>> Path(result["html"]).name, result["verdict"], len(result["runs"])
    ('report.html', 'Nobody has checked.', 1)
    """
    collected = collect(runs, audit, audit_record.audit_runs(cache))
    target = Path(out) if out is not None else collected.runs[0].folder.parent / "report.html"
    if target.is_dir():
        raise UsageError(f"{target} is a folder; name a file with --out, such as {target / 'report.html'}")
    require_writable(target.absolute().parent, "--out")
    if by is not None:
        collected = replace(collected, runs=with_subgroups(collected.runs, by, cache))
    points, missing = _map(collected, bundle, cache, images, seed)
    elsewhere = tables.elsewhere(collected.evaluations, collected.runs)
    verdict = judge(collected, elsewhere)
    to_do = _worklist(collected, before, cache, images)
    looks = looks_view(collected, cache)
    for text in looks["missing"]:
        _log.warning("report: %s", text)
    page = render(collected, verdict, elsewhere, points, missing, images, to_do, looks)
    atomic_files.write_bytes(target.absolute(), page)
    return {
        "html": str(target.absolute()),
        "bytes": len(page),
        "runs": [str(run.folder) for run in collected.runs],
        "left_out": [str(run.folder) for run in collected.left_out],
        "audit": str(collected.audit.folder) if collected.audit else None,
        "verdict": verdict.answer,
        "reasons": verdict.reasons,
        "to_do": to_do["all"],
        "points": len(points["x"]) if points else 0,
        "pictures": len(points["pictures"]) if points else 0,
        "looks": looks["rows"],
        "synthetic": any(run.about.get("synthetic", False) for run in collected.runs),
    }


def _worklist(
    collected: Collected, before: Place | Sequence[Place] | None, cache: Place, images: bool
) -> dict[str, Any]:
    """What there is to do, for the page."""
    facts = facts_of(collected, cache)
    listed, changes = listed_with_changes(facts, cache, before)
    return worklist_view(listed, facts, manifest_of(facts), changes, images)


def _map(
    collected: Collected, bundle: Place | None, cache: Place, images: bool, seed: int
) -> tuple[dict[str, Any] | None, str]:
    """The map, or why there is none; a bundle that was named must give one."""
    data = collected.data or None
    if bundle is not None:
        folder = Path(bundle).absolute().parent
        points = explore(bundle, data=data, parts=_parts(folder), cache=cache, images=images, seed=seed)
        return {**points, "run": folder.name}, ""
    heads = [run for run in collected.runs if run.about.get("model") in ("dense", "own-cnn")]
    heads = sorted(heads, key=lambda run: run.about["model"] != "dense")
    heads = [run for run in heads if (run.folder / "bundle").is_dir()]
    if not heads:
        return None, "None of these runs kept a head; python cli.py fit-head makes one."
    folder = heads[0].folder
    try:
        points = explore(folder / "bundle", data=data, parts=_parts(folder), cache=cache, images=images, seed=seed)
    except (FeatcacheError, OSError) as error:
        _log.warning("report: no map of %s: %s", folder.name, error)
        return None, f"The map of {folder.name} could not be drawn: {error}"
    return {**points, "run": folder.name}, ""


def _parts(folder: Path) -> dict[str, str]:
    """Which part each image was in, where the run says."""
    rows = Run("", folder, {}, "").table("predictions.csv")
    if rows and not {"path", "part"} <= rows[0].keys():
        raise DataError(f"{folder / 'predictions.csv'}: no columns path and part; make the run anew")
    return {row["path"]: row["part"] for row in rows}
