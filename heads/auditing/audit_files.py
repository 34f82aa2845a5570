"""What an audit writes into its folder: tables, figures, ``run.json``, and a manifest that tears nothing apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.canvas import save_figure
from ..evaluation.run_folder import data_title, origin_note, write_json, write_table
from . import audit_plots
from .audited_images import AuditedImages
from .audited_targets import AuditedTargets
from .balanced_splits import splits_of
from .metadata_probes import of_interest
from .near_duplicates import Pair, merged_groups

_CONFOUNDING = ("column", "label", "strength", "p", "groups")
_PAIR_COLUMNS = ("similarity", "kind", "path_a", "path_b", "label_a", "label_b", "split_a", "split_b", "how")
_FAULT_COLUMNS = ("path", "fault", "value", "limit", "said")


Splits = tuple[list[str], list[str]]


def clean(
    own: AuditedImages, targets: AuditedTargets, pairs: Sequence[Pair], seed: int
) -> tuple[Splits, list[dict[str, Any]]]:
    """Splits and groups of the images that tear nothing apart, and what of the metadata these splits do not balance.

    Parameters
    ----------
    own : the images.
    targets : what is learnt of them.
    pairs : images that show one exposure, by position.
    seed : of random starts.
    """
    dataset = own.dataset
    groups = merged_groups(dataset.groups, [(pair.a, pair.b) for pair in pairs])
    columns = of_interest(dataset, targets.task, targets.names)
    splits, unbalanced = splits_of(dataset.splits, columns, targets.task, targets.y, targets.names, groups, seed)
    return (splits, groups), unbalanced


def write_audit(
    folder: Path, result: dict[str, Any], own: AuditedImages, other: AuditedImages | None, splits: Splits
) -> None:
    """Write the files of an audit.

    Parameters
    ----------
    folder : where to.
    result : of the audit, for ``run.json``.
    own, other : the images, and those of the second set where there is one.
    splits : of :func:`clean`.
    """
    _write_tables(folder, result)
    _write_manifest(folder, result, own, splits)
    _write_figures(folder, result, own, other)
    write_json(folder / "run.json", result)


def _write_tables(folder: Path, result: dict[str, Any]) -> None:
    listed = result["near_duplicates"] + (result["against"]["near_duplicates"] if result["against"] else [])
    rows = [(p["similarity"], p["kind"], p["a"], p["b"], *p["labels"], *p["splits"], p["how"]) for p in listed]
    write_table(folder / "near_duplicates.csv", _PAIR_COLUMNS, rows)
    faults = [tuple(one[name] for name in _FAULT_COLUMNS) for one in result["unfit"]]
    faults += [(one["path"], "unreadable", "", "", one["reason"]) for one in result["unreadable"]]
    write_table(folder / "faults.csv", _FAULT_COLUMNS, faults)
    if result["confounding"]:
        rows = [tuple(one[name] for name in _CONFOUNDING) for one in result["confounding"]]
        write_table(folder / "confounding.csv", _CONFOUNDING, rows)


def _write_manifest(folder: Path, result: dict[str, Any], own: AuditedImages, splits: Splits) -> None:
    """Paths, labels, splits and groups, and of the table the metadata and what the task learns."""
    dataset, learns = own.dataset, result["learns"]
    kept = {*dataset.metadata, *dataset.label_columns, *result["classes"], learns.get("column"), learns.get("target")}
    columns = {name: cells for name, cells in dataset.table.items() if name in kept}
    labels = {"label": dataset.labels} if any(dataset.labels) else {}
    table = {"path": dataset.paths, **labels, "split": splits[0], "group": splits[1], **columns}
    write_table(folder / "manifest.csv", tuple(table), list(zip(*table.values(), strict=True)))


def _write_figures(folder: Path, result: dict[str, Any], own: AuditedImages, other: AuditedImages | None) -> None:
    dataset = own.dataset
    title = f"{data_title(dataset.root, dataset.synthetic)}, {', '.join(result['classes'])}, n = {len(dataset)}"
    title += origin_note(dataset)
    if result["shortcuts"]:
        save_figure(audit_plots.probes(result["shortcuts"], title), folder / "shortcuts.png")
    pairs = result["near_duplicates"]
    if pairs:
        save_figure(audit_plots.pairs(pairs, _pictures(pairs, own), title), folder / "near_duplicates.png")
    if other is not None and result["against"]["near_duplicates"]:
        pairs = result["against"]["near_duplicates"]
        pictures = _pictures(pairs, own) | _pictures(pairs, other)
        title = f"{title}, against {other.dataset.root}"
        save_figure(audit_plots.pairs(pairs, pictures, title), folder / "against.png")


def _pictures(pairs: Sequence[Mapping[str, Any]], images: AuditedImages) -> dict[str, np.ndarray]:
    """The pictures that a figure of these pairs shows, by path."""
    shown = {pair[side] for pair in audit_plots.shown(pairs) for side in ("a", "b")}
    places = [place for place, path in enumerate(images.dataset.paths) if path in shown]
    return {images.dataset.paths[place]: images.summaries[place].whole for place in places}
