"""What stands below a table of results, as plain values: each label by itself, patients beside images, subgroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..evaluation.metric_titles import TITLES
from .shown_metrics import SHOWN, Axis, Cell, axes, cell_of, cells

_SUBGROUP_METRICS = {
    "roc_auc": (TITLES["roc_auc"], "share"),
    "mean_roc_auc": (TITLES["mean_roc_auc"], "share"),
    "mae": (TITLES["mae"], "error"),
}


def labels_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Each label of a board's row, the most frequent first.

    ``rows`` of ``name positives n area precision prevalence sensitivity specificity threshold``, cells or None;
    ``area_axis`` and ``precision_axis``; and ``called``, whether sensitivities are there.
    """
    rows = []
    for name, label in row["test"]["labels"].items():
        rows.append(
            {
                "name": name,
                "positives": label["positives"],
                "n": label["n"],
                "prevalence": label["positives"] / label["n"] if label["n"] else 0.0,
                "area": cell_of(label, "roc_auc"),
                "precision": cell_of(label, "average_precision"),
                "sensitivity": cell_of(label, "sensitivity"),
                "specificity": cell_of(label, "specificity"),
                "threshold": label.get("threshold"),
            }
        )
    rows.sort(key=lambda label: -label["positives"])
    areas = [label["area"]["low"] for label in rows if label["area"]]
    return {
        "model": row["name"],
        "features": row["features"],
        "rows": rows,
        "area_axis": Axis(_floor(min([0.5, *areas])), 1.0, 0.5),
        "precision_axis": Axis(0.0, 1.0),
        "called": any(label["sensitivity"] for label in rows),
    }


_OF_SITES = {"classes": "roc_auc", "labels": "mean_roc_auc", "number": "mae"}


def patients_of(row: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """Metrics of images and of patients side by side; None where a board's row has none of patients."""
    test = row["test"]
    patients = test.get("per_patient")
    if not patients:
        return None
    of_images, of_patients = cells(test, kind), cells(patients, kind)
    drawn = axes(kind, [of_images, of_patients])
    titles = [metric.title for metric in SHOWN[kind].metrics]
    return {
        "model": row["name"],
        "features": row["features"],
        "how": patients["how"],
        "images": test["n"],
        "patients": patients["n"],
        "mixed": patients.get("mixed", 0),
        "left_out": patients.get("left_out", 0),
        "rows": list(zip(titles, of_images, of_patients, drawn, strict=True)),
    }


def predictive_of(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """What calls mean at a prevalence, of images and of patients where they were judged; None where that was not asked.

    ``prevalence``, and ``rows`` of ``name of ppv npv``, the latter cells or None.
    """
    test = row["test"]
    parts = [("images", test), ("patients", test.get("per_patient") or {})]
    if "predictive_values" not in test:
        return None
    rows = [
        {"name": name, "of": of, "ppv": _finely(cell_of(value, "ppv")), "npv": _finely(cell_of(value, "npv"))}
        for of, part in parts
        for name, value in part.get("predictive_values", {"of": {}})["of"].items()
    ]
    return {
        "model": row["name"],
        "features": row["features"],
        "prevalence": test["predictive_values"]["prevalence"],
        "rows": rows,
        "axis": Axis(0.0, 1.0),
    }


def _finely(cell: Cell | None) -> Cell | None:
    """Ends in as many digits as the value has: where few have it, a negative predictive value is next to 1."""
    return cell and {**cell, "range": f"{cell['low']:.3f} to {cell['high']:.3f}"}


def subgroups_of(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The subgroups of a board's row, column by column; None where it has none.

    ``columns`` have ``name labels axis gap`` and ``rows`` of ``name images patients positives cell worst``.
    """
    told = row["test"].get("subgroups")
    return None if not told else _subgroups(row, told)


def sites_of(row: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """The same of sites, each judged by a model that learnt from all the others; None where a row has none."""
    left = row.get("leave_out")
    if not left:
        return None
    metric = _OF_SITES[kind]
    sites = {
        site["site"]: {
            "value": (site["test"] or {}).get(metric),
            "ci": (site["test"] or {}).get(f"{metric}_ci"),
            "images": site["n"],
            "patients": site.get("patients", 0),
        }
        for site in left["sites"]
    }
    told = {"metric": metric, "columns": {f"each {left['column']}, left out": {"subgroups": sites, "gap": None}}}
    return _subgroups(row, told)


def _subgroups(row: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    title, scale = _SUBGROUP_METRICS[told["metric"]]
    values = {part.get("value") for column in told["columns"].values() for part in column["subgroups"].values()}
    worst = (told.get("worst") or {}) if len(values - {None}) > 1 else {}  # of equals none is the worst
    columns: list[dict[str, Any]] = []
    for name, column in told["columns"].items():
        rows = [
            {
                "name": subgroup,
                "images": part["images"],
                "patients": part["patients"],
                "positives": _positives(part.get("positives")),
                "cell": _cell(part.get("value"), part.get("ci"), scale),
                "worst": (worst.get("column"), worst.get("subgroup")) == (name, subgroup),
            }
            for subgroup, part in column["subgroups"].items()
        ]
        columns.append({"name": name, "labels": column.get("labels", []), "rows": rows, "gap": column.get("gap")})
    every = [[part["cell"]] for column in columns for part in column["rows"]]
    axis = _axis(every, scale)
    for column in columns:
        if column["gap"]:
            column["gap"] = {**column["gap"], "difference": _text(column["gap"]["difference"], scale)}
    return {
        "model": row["name"],
        "features": row["features"],
        "metric": title,
        "axis": axis,
        "columns": columns,
        "looked_at": sum(1 for column in columns if column["gap"]),
        "worst": {**worst, "cell": _cell(worst["value"], worst.get("ci"), scale)} if worst else None,
    }


def _cell(value: float | None, interval: Sequence[float] | None, scale: str) -> Cell | None:
    return cell_of({"value": value, "value_ci": interval}, "value", scale)


def _text(value: float, scale: str) -> str:
    cell = _cell(value, (value, value), scale)
    return cell["text"] if cell else ""


def _axis(rows: Sequence[Sequence[Cell | None]], scale: str) -> Axis:
    if scale == "error":
        return axes("number", [[*row, *[None] * (len(SHOWN["number"].metrics) - 1)] for row in rows])[0]
    lows = [cell["low"] for row in rows for cell in row if cell]
    return Axis(_floor(min([0.5, *lows])), 1.0, 0.5)


def _floor(value: float) -> float:
    return int(value * 10) / 10


def _positives(count: int | Mapping[str, int] | None) -> str:
    """In words: one number, or one by name."""
    if isinstance(count, Mapping):
        return ", ".join(f"{name} {number}" for name, number in count.items())
    return "" if count is None else str(count)
