"""``audit``: what in images can make a score lie: copies, torn patients, shortcuts, images unfit to learn from."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from featcache.data import filesystems
from featcache.data.tasks import Task, about_task, as_task
from featcache.errors import DataError, StoreError
from featcache.extraction.planning import choose_data, row_keys
from featcache.features.labelled_features import Features
from featcache.features.pooled_rows import read_or_stay
from featcache.store.store import Store
from featcache.system.user_paths import expanded
from featcache.system.write_access import require_writable

from ..evaluation.run_folder import require_out, run_folder
from . import audit_record
from .audit_files import clean, write_audit
from .audited_images import AuditedImages, require_memory, sampled, summarise
from .audited_targets import targets_elsewhere, targets_of
from .findings import compare_sets, examine
from .kept_summaries import KeptSummaries
from .messages import warnings_of

_log = logging.getLogger(__name__)
_AT_ONCE = 2000  # images that are audited unasked: some seconds to a minute


def audit(
    data: str | os.PathLike[str] | None = None,
    *,
    against: str | os.PathLike[str] | None = None,
    task: str | Task = "multiclass",
    classes: Sequence[str] | None = None,
    group_regex: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    seed: int = 0,
    limit: int | None = None,
    out: str | os.PathLike[str] | None = None,
    on_progress: Callable[[str, int], None] = lambda what, done: None,
) -> dict[str, Any]:
    """Look for what makes scores lie, write it down, and keep it with the images for ``fit-head`` and the rest.

    Parameters
    ----------
    data : str or path-like, optional
        A folder of images or a manifest, as for :func:`featcache.load`; the last extract's by default. Features that
        the cache holds of all the images find more near-duplicates; none are needed.
    against : str or path-like, optional
        A second set of images: pairs between the two are looked for as well.
    task : str or Task, optional
        ``multiclass`` (all classes) or ``binary`` (covid against normal), or a :class:`featcache.Multilabel` or
        :class:`featcache.Regression`.
    classes : sequence of str, optional
        Names of the classes, in place of the task's.
    group_regex : str, optional
        Pattern whose first group, found in a file's name, is its patient or other group.
    cache : str or path-like, optional
        The cache folder; what the audit finds is kept there.
    seed : int, optional
        Of folds, forests and samples.
    limit : int, optional
        Images of the set to look at; of more, a random sample of whole groups is taken, and the warnings say so. All by
        default.
    out : str or path-like, optional
        Folder for ``run.json``, ``near_duplicates.csv``, ``faults.csv``, ``confounding.csv``, figures, and
        ``manifest.csv``, the readable images and their metadata with splits that tear nothing apart and, where the data
        gives none, balance targets and metadata, to be given as ``--data``; by default a new one in ``runs``.
    on_progress : callable, optional
        Called with what is going on (str), and how many images are done (int).

    Returns
    -------
    dict
        ``images`` (looked at) ``of`` (there are), ``duplicates near_duplicates split_leaks group_leaks shortcuts
        without_shortcuts confounding absent unbalanced leak_inflation unreadable quality unfit against warnings`` and
        more, as ``run.json`` holds it.

    Raises
    ------
    DataError
        No images, or no such targets to learn.
    UsageError
        ``out`` is there and not empty, ``limit`` is below 2, or memory does not hold an audit of so many images.
    StoreError
        ``cache`` or ``out`` cannot be written to, or the disk has no room for summaries of the images.

    See Also
    --------
    fit_head : Trains; it stands beside what the audit found.

    Examples
    --------
    Sixteen images, of which one is a copy of another:

    >>> import shutil, tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> import heads
    >>> folder = Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> for name in ("covid", "normal"):
    ...     (folder / "images" / name).mkdir(parents=True)
    ...     for number in range(8):
    ...         pixels = rng.integers(0, 256, (64, 64), dtype=np.uint8)
    ...         Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    >>> copied = shutil.copy(folder / "images/covid/0.png", folder / "images/covid/copy.png")
    >>> result = heads.audit(folder / "images", cache=folder / "cache", out=folder / "audit")
    >>> result["images"], [len(copies["paths"]) for copies in result["duplicates"]]
    (17, [2])
    >>> [warning for warning in result["warnings"] if warning.startswith("copies")]
    ['copies: 1 set of identical files within a class; there are fewer patients than images']
    """
    started = time.perf_counter()
    learns = as_task(task, classes)
    require_out(out)
    require_writable(cache)
    with KeptSummaries(expanded(cache).absolute()) as kept:
        with Store(cache) as store:
            dataset = choose_data(store, data, group_regex)
            found = learns.targets(dataset)
            every = dataset.take(found.rows)
            second = None if against is None else choose_data(store, against, group_regex)
            dataset = sampled(every, limit, seed)
            require_memory(len(dataset) + (0 if second is None else len(second)))
            own = summarise(store, kept, dataset, on_progress)
            other = None if second is None else summarise(store, kept, second, on_progress)
            # The record is kept with all images that it speaks for.
            keys = own.keys if dataset is every else [key for key in row_keys(store, every.paths)[0] if key is not None]
            feature_set, features = _features(store, own, other)
        if len(own.summaries) < 2:
            raise DataError(
                f"{dataset.root}: {len(own.summaries)} of {len(dataset)} images can be read; nothing to audit", own.bad
            )
        on_progress("looking for copies", 0)
        with run_folder(out, "audit", learns.name) as folder:
            targets = targets_of(learns, found, every, own.dataset)
            findings, pairs = examine(own, targets, features, seed)
            if other is not None and against is not None:
                others = targets_elsewhere(learns, found.names, other.dataset)
                name = filesystems.locate(against)
                findings["against"] = compare_sets(own, other, targets, others, features, name, seed)
            splits, findings["unbalanced"] = clean(own, targets, pairs, seed)
            result = {
                "verb": "audit",
                "finished": datetime.now().isoformat(timespec="seconds"),
                "data": dataset.root,
                "task": learns.name,
                "learns": about_task(learns),
                "classes": list(found.names),
                "images": len(own.dataset),
                "of": len(own.dataset) if dataset is every else len(every),
                "groups": len(set(own.dataset.groups)),
                "features": feature_set,
                **findings,
                "warnings": [],
                "synthetic": dataset.synthetic,
                "seed": seed,
                "run": str(folder),
                "seconds": round(time.perf_counter() - started, 2),
            }
            result["warnings"] = warnings_of(result)
            write_audit(folder, result, own, other, splits)
            links = [(own.keys[pair.a], own.keys[pair.b]) for pair in pairs]
            record = audit_record.AuditRecord(result["warnings"], links, str(folder))
            audit_record.write_record(cache, keys, record, learns)
            return result


def audited(
    features: Features,
    task: Task,
    data: str | os.PathLike[str] | None,
    group_regex: str | None,
    cache: str | os.PathLike[str],
    wanted: bool,
) -> tuple[Features, list[str]]:
    """The features with linked images in one group, and what must be said of them.

    Both are those of :func:`heads.auditing.audit_record.apply_record`, with an audit before where there was none, it is
    wanted, and the images are few.
    """
    if wanted and len(features) <= _AT_ONCE and audit_record.read_record(cache, features.keys, task) is None:
        _log.info("audit: looking at %d images for copies and shortcuts, once; --no-audit leaves it out", len(features))
        classes = features.classes if task.kind == "classes" else None
        audit(data, task=task, classes=classes, group_regex=group_regex, cache=cache)
    return audit_record.apply_record(features, cache)


def _features(store: Store, own: AuditedImages, other: AuditedImages | None) -> tuple[str | None, np.ndarray | None]:
    """Averaged features of a set that has all the images, the one extracted last first."""
    wanted = own.keys + (other.keys if other is not None else [])
    last = list(store.last_extract().get("feature_sets", {}).values())
    for feature_set in [*reversed(last), *store.feature_sets()]:
        with contextlib.suppress(StoreError, DataError):
            if not feature_set.startswith("pixels-") and not set(wanted) - set(store.rows(feature_set)):
                rows = read_or_stay(store, feature_set, wanted, "avg")
                if isinstance(rows, np.ndarray):
                    return feature_set, rows
                _log.warning("audit: without features, which do not fit in memory: some cropped copies may be missed")
                return None, None
    return None, None
