"""The reference's metrics beside ours, as a table for people and as one for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featcache.system import atomic_files

from ..evaluation.run_folder import write_json, write_table

_METRICS = ("train_accuracy", "train_loss", "val_accuracy", "val_loss", "test_accuracy", "test_loss")
_COLUMNS = (
    *("row", "parameters, reference / ours", "train accuracy", "validation accuracy"),
    *("test accuracy, 95% interval", "remarks"),
)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table for people: the reference's value, then ours, in each cell."""
    lines = [_COLUMNS, ["---"] * len(_COLUMNS), *([row["id"], *_pairs(row), row["remarks"]] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _pairs(row: Mapping[str, Any]) -> list[str]:
    if row["kind"] != "fit":
        return [""] * 4
    reference, ours = row["reference"], row["ours"]
    low, high = ours["test_ci"]
    accuracies = [
        f"{_share(reference.get(name))} / {_share(ours[name])}"
        for name in ("train_accuracy", "val_accuracy", "test_accuracy")
    ]
    accuracies[-1] += f" ({low:.2f} to {high:.2f})"
    return [f"{_count(reference.get('total'))} / {_count(ours['total'])}", *accuracies]


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def write_rows(folder: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """``reproduce.csv``, ``reproduce.md`` and ``run.json``; returns the paths of the first two, as ``csv`` and
    ``markdown``."""
    table, text = folder / "reproduce.csv", folder / "reproduce.md"
    header = ["id", "task", "backbone", "total_reference", "total_ours"]
    header += [f"{name}_{whose}" for name in _METRICS for whose in ("reference", "ours")]
    header += ["test_ci_low", "test_ci_high", "seconds", "remarks"]
    write_table(table, header, [_cells(row) for row in rows])
    atomic_files.write_bytes(text, markdown(rows).encode())
    write_json(folder / "run.json", {"rows": list(rows)})
    return {"csv": str(table), "markdown": str(text)}


def _cells(row: Mapping[str, Any]) -> list[Any]:
    reference, ours = row["reference"], row["ours"]
    pairs = [values.get(name) for name in ("total", *_METRICS) for values in (reference, ours)]
    named = [row["id"], row.get("task", ""), row.get("backbone", "")]
    return [*named, *pairs, *ours.get("test_ci", ("", "")), ours.get("seconds"), row["remarks"]]
