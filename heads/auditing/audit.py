"""``audit``: what in a set of images can make a figure lie. Copies, torn patients, shortcuts, images unfit to learn from."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from featcache.data import filesystems
from featcache.data.dataset import Dataset, label_array, open_dataset
from featcache.data.tasks import task_classes
from featcache.errors import BadImage, DataError, StoreError, UsageError
from featcache.extraction.planning import choose_data, row_keys
from featcache.features.loading import Features
from featcache.features.pooled_rows import read_or_stay
from featcache.store.store import Store
from featcache.system import memory
from featcache.system.write_access import require_writable

from ..evaluation import plots
from ..evaluation.run_folder import data_title, require_out, run_folder, write_json, write_table
from ..evaluation.splits import clean_splits
from . import audit_plots, audit_record
from .image_summary import Look, inverted, take_looks
from .leakage import leak_inflation
from .messages import warnings_of
from .near_duplicates import Pair, exact_duplicates, near_duplicates, units
from .shortcut_probes import shortcuts

_log = logging.getLogger(__name__)
_BYTES_AN_IMAGE = 100_000  # that an audit takes at its peak: the look, its details, and what they are compared by
_LEAST = 50  # images; of fewer, where memory holds no more, an audit says nothing
_AT_ONCE = 2000  # images that are audited unasked: some seconds to a minute
_FAULTS = ("tiny", "blank", "inverted", "low contrast")


@dataclass(frozen=True)
class _Images:
    """The images of an audit that can be read, and those that cannot."""

    dataset: Dataset
    keys: list[bytes]
    looks: list[Look]
    bad: list[BadImage]


def audit(
    data: str | os.PathLike[str] | None = None,
    *,
    against: str | os.PathLike[str] | None = None,
    task: str = "multiclass",
    classes: Sequence[str] | None = None,
    group_regex: str | None = None,
    cache: str | os.PathLike[str] = "cache",
    seed: int = 0,
    limit: int | None = None,
    out: str | os.PathLike[str] | None = None,
    on_progress: Callable[[str, int], None] = lambda what, done: None,
) -> dict[str, Any]:
    """Look for what makes figures lie, write it down, and keep it with the images for ``fit-head`` and the rest.

    Parameters
    ----------
    data, task, classes, group_regex, cache : as in :func:`featcache.load`. Features that the cache holds of all the images
        find more near-duplicates; none are needed.
    against : a second set of images: pairs between the two are looked for as well.
    seed : of folds, forests and samples.
    limit : images of the set to look at; of more, a random sample of whole groups is taken, as it is where memory does not
        hold a look at each. Among the warnings it then says so.
    out : folder for the results; None makes one in ``runs``.
    on_progress : called with what is going on, and how many images are done.

    Returns
    -------
    ``images`` (looked at) ``of`` (there are), ``duplicates near_duplicates split_leaks group_leaks shortcuts leak_inflation
    unreadable quality warnings`` and more;
    in ``out``: ``run.json``, ``near_duplicates.csv``, ``faults.csv``, figures, and ``manifest.csv``, the readable images with
    splits that tear nothing apart, to be given as ``--data``.

    Raises
    ------
    DataError
        No images, or fewer than two classes.
    """
    started = time.perf_counter()
    require_out(out)
    require_writable(cache)
    with Store(cache) as store:
        dataset = choose_data(store, data, group_regex)
        names = task_classes(task, dataset.labels, classes)
        dataset = dataset.take(i for i, label in enumerate(dataset.labels) if label in names)
        second = None if against is None else open_dataset(against, group_regex)
        there = len(dataset)
        every = dataset
        dataset, second = _sampled(dataset, second, limit, seed)
        own = _look_at(store, dataset, on_progress)
        other = None if second is None else _look_at(store, second, on_progress)
        # What is found is kept with all images that it speaks for.
        keys = own.keys if dataset is every else [key for key in row_keys(store, every.paths)[0] if key is not None]
        feature_set, features = _features(store, own, other)
    if len(own.looks) < 2:
        raise DataError(
            f"{dataset.root}: {len(own.looks)} of {len(dataset)} images can be read; nothing to audit", own.bad
        )
    on_progress("looking for copies", 0)
    with run_folder(out, "audit", task) as folder:
        result, pairs = _findings(own, names, features, seed)
        if other is not None and against is not None:
            result["against"] = _against(own, other, features, filesystems.locate(against))
        images, groups = len(own.dataset), len(set(own.dataset.groups))
        result = {
            "verb": "audit", "finished": datetime.now().isoformat(timespec="seconds"), "data": dataset.root, "task": task, "classes": list(names), "images": images,
            "of": images if dataset is every else there,
            "groups": groups, "features": feature_set, **result, "warnings": [], "synthetic": dataset.synthetic, "seed": seed,
            "run": str(folder), "seconds": round(time.perf_counter() - started, 2),
        }  # fmt: skip
        result["warnings"] = warnings_of(result)
        _write(folder, result, own, other, pairs)
        links = [(own.keys[pair.a], own.keys[pair.b]) for pair in pairs]
        audit_record.keep(cache, keys, audit_record.Cautions(result["warnings"], links, str(folder)))
        return result


def audited(
    features: Features,
    task: str,
    data: str | os.PathLike[str] | None,
    group_regex: str | None,
    cache: str | os.PathLike[str],
    wanted: bool,
) -> tuple[Features, list[str]]:
    """:func:`heads.auditing.audit_record.heed`, with an audit before where there was none, it is wanted, and the images are few."""
    if wanted and len(features) <= _AT_ONCE and audit_record.recall(cache, features.keys) is None:
        _log.info("audit: looking at %d images for copies and shortcuts, once; --no-audit leaves it out", len(features))
        audit(data, task=task, classes=features.classes, group_regex=group_regex, cache=cache)
    return audit_record.heed(features, cache)


# -- what is looked at ---------------------------------------------------------------------------


def _sampled(own: Dataset, other: Dataset | None, limit: int | None, seed: int) -> tuple[Dataset, Dataset | None]:
    """Both sets, or of each a random part that memory has room for."""
    if limit is not None and limit < 2:
        raise UsageError(f"--limit {limit}: expected at least 2 images")
    count = len(own) + (0 if other is None else len(other))
    share = min(1.0, memory.available() / (count * _BYTES_AN_IMAGE))
    if share * len(own) < min(_LEAST, len(own)):
        wanted = memory.resident() + count * _BYTES_AN_IMAGE
        raise UsageError(
            f"memory: {_megabytes(memory.available())} are left beside the {_megabytes(memory.resident())} that the process "
            f"holds, too little for a look at {min(_LEAST, len(own))} images; allow {_megabytes(wanted)} for all {count}"
        )
    own = _part(own, min(len(own) if limit is None else limit, int(share * len(own))), seed)
    return own, None if other is None else _part(other, int(share * len(other)), seed)


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


def _part(dataset: Dataset, most: int, seed: int) -> Dataset:
    """At most so many images in whole groups drawn at random; the dataset itself where it has no more."""
    if len(dataset) <= most:
        return dataset
    _, of_group = np.unique(np.asarray(dataset.groups, str), return_inverse=True)
    sizes = np.bincount(of_group)
    drawn = np.random.default_rng(seed).permutation(len(sizes))
    taken = np.zeros(len(sizes), bool)
    taken[drawn[np.cumsum(sizes[drawn]) <= most]] = True
    _log.warning(
        "audit: looking at %d of the %d images of %s, a random sample of whole groups",
        int(sizes[taken].sum()), len(dataset), dataset.root,
    )  # fmt: skip
    return dataset.take(np.flatnonzero(taken[of_group]).tolist())


def _look_at(store: Store, dataset: Dataset, on_progress: Callable[[str, int], None]) -> _Images:
    keys, unreadable = row_keys(store, dataset.paths)
    there = [i for i, key in enumerate(keys) if key is not None]
    name = data_title(dataset.root, dataset.synthetic)
    looks, bad = take_looks([dataset.paths[i] for i in there], lambda done: on_progress(f"{name}: looking", done))
    good = [i for i, look in zip(there, looks, strict=True) if look is not None]
    return _Images(
        dataset.take(good), [key for i in good if (key := keys[i]) is not None],
        [look for look in looks if look is not None], unreadable + bad,
    )  # fmt: skip


def _features(store: Store, own: _Images, other: _Images | None) -> tuple[str | None, np.ndarray | None]:
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


# -- what is found -------------------------------------------------------------------------------


def _findings(
    own: _Images, classes: Sequence[str], features: np.ndarray | None, seed: int
) -> tuple[dict[str, Any], list[Pair]]:
    dataset, mine = own.dataset, None if features is None else features[: len(own.keys)]
    squares = np.stack([look.square for look in own.looks])
    copies = exact_duplicates(own.keys)
    again = {position for group in copies for position in group[1:]}
    once = np.array([position for position in range(len(own.keys)) if position not in again])  # else all copies pair up
    wholes = [own.looks[position].whole for position in once]
    near = [
        Pair(int(once[pair.a]), int(once[pair.b]), pair.similarity)
        for pair in near_duplicates(squares[once], wholes, None if mine is None else mine[once])
    ]
    pairs = near + [Pair(group[0], position, 1.0) for group in copies for position in group[1:]]
    of_unit = units(dataset.groups, [(pair.a, pair.b) for pair in pairs])
    y = label_array(dataset.labels, classes)
    rows = np.asarray(squares[:, ::4, ::4].reshape(len(y), -1), np.float32) if mine is None else mine
    quality: dict[str, list[str]] = {fault: [] for fault in _FAULTS}
    for path, look, negative in zip(dataset.paths, own.looks, inverted(own.looks), strict=True):
        for fault in [*look.faults(), *["inverted"] * negative]:
            quality[fault].append(path)
    described = [_described(dataset, pair) for pair in near]
    result = {
        "per_split": _per_split(dataset),
        "duplicates": [_copies(dataset, group) for group in copies],
        "near_duplicates": described,
        "split_leaks": {
            "duplicates": sum(len({dataset.splits[i] for i in group}) > 1 for group in copies),
            "near_duplicates": sum(pair["splits"][0] != pair["splits"][1] for pair in described),
        },
        "group_leaks": _group_leaks(dataset),
        "shortcuts": shortcuts(own.looks, y, classes, of_unit, seed),
        "leak_inflation": leak_inflation(rows, y, of_unit, seed),
        "unreadable": [{"path": image.path, "reason": image.reason} for image in own.bad],
        "quality": {fault.replace(" ", "_"): paths for fault, paths in quality.items()},
        "against": None,
    }
    return result, pairs


def _copies(dataset: Dataset, group: Sequence[int]) -> dict[str, Any]:
    return {name: [getattr(dataset, name)[i] for i in group] for name in ("paths", "labels", "splits")}


def _described(a: Dataset, pair: Pair, b: Dataset | None = None) -> dict[str, Any]:
    """A pair in words; ``b`` where the second is of another set."""
    within = b is None
    b, second = (a, pair.b) if b is None else (b, pair.b - len(a))
    labels, splits = [a.labels[pair.a], b.labels[second]], [a.splits[pair.a], b.splits[second]]
    apart = "in both sets" if not within else "across splits" if splits[0] != splits[1] else "same class"
    kind = apart if labels[0] == labels[1] else "label conflict"
    return {
        "a": a.paths[pair.a], "b": b.paths[second], "similarity": round(pair.similarity, 4), "labels": labels,
        "splits": splits, "groups": [a.groups[pair.a], b.groups[second]], "kind": kind,
    }  # fmt: skip


def _group_leaks(dataset: Dataset) -> list[dict[str, Any]]:
    splits: dict[str, set[str]] = {}
    for group, split in zip(dataset.groups, dataset.splits, strict=True):
        splits.setdefault(group, set()).add(split)
    sizes = Counter(dataset.groups)
    return [
        {"group": group, "splits": sorted(found), "images": sizes[group]}
        for group, found in splits.items()
        if len(found) > 1
    ]


def _against(own: _Images, other: _Images, features: np.ndarray | None, name: str) -> dict[str, Any]:
    squares = np.stack([look.square for look in own.looks + other.looks])
    wholes = [look.whole for look in own.looks + other.looks]
    pairs = near_duplicates(squares, wholes, features, first=len(own.looks))
    return {
        "data": name, "images": len(other.looks), "near_duplicates": [_described(own.dataset, p, other.dataset) for p in pairs],
        "shared_images": len({pair.b for pair in pairs}),
    }  # fmt: skip


def _per_split(dataset: Dataset) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for (split, label), count in sorted(Counter(zip(dataset.splits, dataset.labels, strict=True)).items()):
        table.setdefault(split or "all", {})[label] = count
    return table


# -- what is written -----------------------------------------------------------------------------


def _write(folder: Path, result: dict[str, Any], own: _Images, other: _Images | None, pairs: Sequence[Pair]) -> None:
    dataset = own.dataset
    listed = result["near_duplicates"] + (result["against"]["near_duplicates"] if result["against"] else [])
    header = ("similarity", "kind", "path_a", "path_b", "label_a", "label_b", "split_a", "split_b")
    rows = [(p["similarity"], p["kind"], p["a"], p["b"], *p["labels"], *p["splits"]) for p in listed]
    write_table(folder / "near_duplicates.csv", header, rows)
    faults = [(path, fault) for fault, paths in result["quality"].items() for path in paths]
    faults += [(entry["path"], entry["reason"]) for entry in result["unreadable"]]
    write_table(folder / "faults.csv", ("path", "fault"), faults)
    of_unit = units(dataset.groups, [(pair.a, pair.b) for pair in pairs])
    splits = clean_splits(label_array(dataset.labels, result["classes"]), dataset.splits, of_unit, result["seed"])
    manifest = zip(dataset.paths, dataset.labels, splits, of_unit, strict=True)
    write_table(folder / "manifest.csv", ("path", "label", "split", "group"), list(manifest))
    title = f"{data_title(dataset.root, dataset.synthetic)}, {', '.join(result['classes'])}, n = {len(dataset)}"
    title += " [SYNTHETIC images]" if result["synthetic"] else ""
    if result["shortcuts"]:
        plots.save(audit_plots.probes(result["shortcuts"], title), folder / "shortcuts.png")
    pictures = dict(zip(dataset.paths, (look.whole for look in own.looks), strict=True))
    if result["near_duplicates"]:
        plots.save(audit_plots.pairs(result["near_duplicates"], pictures, title), folder / "near_duplicates.png")
    if other is not None and result["against"]["near_duplicates"]:
        pictures |= dict(zip(other.dataset.paths, (look.whole for look in other.looks), strict=True))
        drawn = audit_plots.pairs(
            result["against"]["near_duplicates"], pictures, f"{title}, against {other.dataset.root}"
        )
        plots.save(drawn, folder / "against.png")
    write_json(folder / "run.json", result)
