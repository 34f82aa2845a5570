"""What an audit writes into its folder: tables, figures, ``run.json``, and a manifest that tears nothing apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featcache.data.dataset import label_array

from ..evaluation.canvas import save_figure
from ..evaluation.run_folder import data_title, origin_note, write_json, write_table
from ..evaluation.splits import clean_splits
from . import audit_plots
from .audited_images import AuditedImages
from .near_duplicates import Pair, merged_groups

_PAIR_COLUMNS = ("similarity", "kind", "path_a", "path_b", "label_a", "label_b", "split_a", "split_b")


def write_audit(
    folder: Path, result: dict[str, Any], own: AuditedImages, other: AuditedImages | None, pairs: Sequence[Pair]
) -> None:
    """Write the files of an audit.

    Parameters
    ----------
    folder : where to.
    result : of the audit, for ``run.json``.
    own, other : the images, and those of the second set where there is one.
    pairs : images that show one exposure, by position.
    """
    _write_tables(folder, result)
    _write_manifest(folder, result, own, pairs)
    _write_figures(folder, result, own, other)
    write_json(folder / "run.json", result)


def _write_tables(folder: Path, result: dict[str, Any]) -> None:
    listed = result["near_duplicates"] + (result["against"]["near_duplicates"] if result["against"] else [])
    rows = [(p["similarity"], p["kind"], p["a"], p["b"], *p["labels"], *p["splits"]) for p in listed]
    write_table(folder / "near_duplicates.csv", _PAIR_COLUMNS, rows)
    faults = [(path, fault) for fault, paths in result["quality"].items() for path in paths]
    faults += [(entry["path"], entry["reason"]) for entry in result["unreadable"]]
    write_table(folder / "faults.csv", ("path", "fault"), faults)


def _write_manifest(folder: Path, result: dict[str, Any], own: AuditedImages, pairs: Sequence[Pair]) -> None:
    dataset = own.dataset
    groups = merged_groups(dataset.groups, [(pair.a, pair.b) for pair in pairs])
    splits = clean_splits(label_array(dataset.labels, result["classes"]), dataset.splits, groups, result["seed"])
    manifest = zip(dataset.paths, dataset.labels, splits, groups, strict=True)
    write_table(folder / "manifest.csv", ("path", "label", "split", "group"), list(manifest))


def _write_figures(folder: Path, result: dict[str, Any], own: AuditedImages, other: AuditedImages | None) -> None:
    dataset = own.dataset
    title = f"{data_title(dataset.root, dataset.synthetic)}, {', '.join(result['classes'])}, n = {len(dataset)}"
    title += origin_note(dataset)
    if result["shortcuts"]:
        save_figure(audit_plots.probes(result["shortcuts"], title), folder / "shortcuts.png")
    pictures = dict(zip(dataset.paths, (look.whole for look in own.looks), strict=True))
    if result["near_duplicates"]:
        save_figure(audit_plots.pairs(result["near_duplicates"], pictures, title), folder / "near_duplicates.png")
    if other is not None and result["against"]["near_duplicates"]:
        pictures |= dict(zip(other.dataset.paths, (look.whole for look in other.looks), strict=True))
        title = f"{title}, against {other.dataset.root}"
        save_figure(audit_plots.pairs(result["against"]["near_duplicates"], pictures, title), folder / "against.png")
